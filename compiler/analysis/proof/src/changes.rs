//! Computes all changes between two programs, described by the conditions that they depend on.

use npc_program::Program;
use npc_program::values::address::IpNet;

use crate::ProofError;
use crate::claim::confirm;
use crate::describe::{Kind, kind, propositions};
use crate::encode;
use crate::formula::Formula;
use crate::solver::Solver;
use crate::universe::Universe;
use crate::witness::{Witness, wishes, witness};

/// A kind of connections that one program allows and the other denies.
#[derive(Clone, Debug)]
pub struct Change {
    /// The conditions: the verdict of every connection that fulfils them changes.
    pub kind: Kind,
    /// An example.
    pub witness: Witness,
}

/// The changes from one program to another.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Connections that the new program allows and the old one denies.
    pub gained: Vec<Change>,
    /// Connections that the new program denies and the old one allows.
    pub lost: Vec<Change>,
    /// Whether there are more kinds than are listed.
    pub more: bool,
}

impl Changes {
    /// Whether no verdict changes, in any cluster.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.gained.is_empty() && self.lost.is_empty()
    }
}

/// Computes the changes from one program to another, in any cluster: at most `most` kinds of gained
/// connections, and as many of lost ones. Each kind is as general as possible; kinds may overlap.
///
/// # Errors
///
/// As for [`prove`](crate::prove).
pub fn changes(
    old: &Program,
    new: &Program,
    pod_cidrs: &[IpNet],
    most: usize,
) -> Result<Changes, ProofError> {
    let mut universe = Universe::default();
    universe.said = Some(Vec::new());
    let before = encode::program(&mut universe, old);
    let after = encode::program(&mut universe, new);
    let before = universe.formulas.and([before.egress, before.ingress]);
    let after = universe.formulas.and([after.egress, after.ingress]);
    let gained = universe.formulas.and([before.not(), after]);
    let lost = universe.formulas.and([before, after.not()]);
    let axioms = universe.axioms(pod_cidrs)?;
    let mut found = Changes::default();
    for (changed, allowed) in [(gained, true), (lost, false)] {
        let (list, more) = kinds(&universe, &axioms, changed, most)?;
        for change in &list {
            confirm(new, &change.witness, allowed)?;
            confirm(old, &change.witness, !allowed)?;
        }
        found.more |= more;
        if allowed {
            found.gained = list;
        } else {
            found.lost = list;
        }
    }
    Ok(found)
}

/// The kinds of connections for which a formula holds, and whether there are more than `most`.
fn kinds(
    universe: &Universe,
    axioms: &[Formula],
    formula: Formula,
    most: usize,
) -> Result<(Vec<Change>, bool), ProofError> {
    let formulas = &universe.formulas;
    let mut solver = Solver::new(formulas, axioms);
    let wishes = wishes(universe);
    let [said, atoms] = propositions(universe);
    let contrary = formula.not();
    let mut found = Vec::new();
    // Until every connection that satisfies the formula belongs to a kind.
    while let Some(model) = solver.solve(formulas, &[formula], &wishes) {
        if found.len() == most {
            return Ok((found, true));
        }
        let example = witness(universe, &model);
        // The propositions with their truth values in the model. Those that the programs state are used alone
        // if they imply the formula; otherwise everything that the formula depends on is added. Propositions
        // that hold come first, because they describe connections better than those that do not.
        let in_words = |propositions: &[Formula]| {
            let (holds, not): (Vec<Formula>, Vec<Formula>) =
                propositions.iter().partition(|proposition| model.holds_in(formulas, **proposition));
            holds.into_iter().chain(not.into_iter().map(Formula::not)).collect::<Vec<_>>()
        };
        let mut kept = in_words(&said);
        let mut refute = |kept: &[Formula]| {
            let assumed: Vec<Formula> = std::iter::once(contrary).chain(kept.iter().copied()).collect();
            solver.refuted(formulas, &assumed)
        };
        let core = match refute(&kept) {
            Some(core) => core,
            None => {
                kept.extend(in_words(&atoms));
                refute(&kept).ok_or_else(|| {
                    let why =
                        "this is a fault of npc: the conditions of a connection do not determine its verdict";
                    ProofError(why.to_owned())
                })?
            }
        };
        kept.retain(|proposition| core.contains(proposition));
        // Drops the propositions that are not needed, from the end.
        let mut index = kept.len();
        while index > 0 {
            index -= 1;
            let mut without = kept.clone();
            without.remove(index);
            if let Some(core) = refute(&without) {
                without.retain(|proposition| core.contains(proposition));
                index = index.min(without.len());
                kept = without;
            }
        }
        solver.assert_any(formulas, &kept.iter().map(|proposition| proposition.not()).collect::<Vec<_>>());
        found.push(Change { kind: kind(universe, &kept), witness: example });
    }
    Ok((found, false))
}
