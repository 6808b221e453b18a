//! Decides whether two programs, or policies, have the same meaning.

use npc_cluster::Namespace;
use npc_model::verdict;
use npc_program::values::address::IpNet;
use npc_program::{Policy, Program};
use npc_vocabulary::{Direction, Tier};

use crate::ProofError;
use crate::claim::confirm;
use crate::encode::{self, plain, tier};
use crate::formula::Formula;
use crate::solver::Solver;
use crate::universe::Universe;
use crate::witness::{Witness, wishes, witness};

/// A connection for which two programs give different verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whether the second program allows the connection. The first then denies it, and vice versa.
    pub gained: bool,
    /// The connection.
    pub witness: Witness,
}

/// Finds a connection for which two programs give different verdicts, in any cluster.
///
/// # Errors
///
/// As for [`prove`](crate::prove).
pub fn difference(
    old: &Program,
    new: &Program,
    pod_cidrs: &[IpNet],
) -> Result<Option<Difference>, ProofError> {
    let mut universe = Universe::default();
    let before = encode::program(&mut universe, old);
    let after = encode::program(&mut universe, new);
    let before = universe.formulas.and([before.egress, before.ingress]);
    let after = universe.formulas.and([after.egress, after.ingress]);
    let differ = universe.formulas.same(before, after).not();
    let axioms = universe.axioms(pod_cidrs)?;
    let mut solver = Solver::new(&universe.formulas, &axioms);
    let wishes = wishes(&universe);
    let Some(model) = solver.solve(&universe.formulas, &[differ], &wishes) else { return Ok(None) };
    let witness = witness(&universe, &model);
    let gained = witness.connection().is_some_and(|connection| verdict(new, &connection).allowed());
    confirm(new, &witness, gained)?;
    confirm(old, &witness, !gained)?;
    Ok(Some(Difference { gained, witness }))
}

/// Compares one policy with several policies of the same tier, regardless of all other policies: if they are
/// equal, replacing one by the others does not change the meaning of any program. Returns a connection for
/// which they differ.
///
/// Plain policies are equal if they isolate the same pods and allow the same connections. Policies of the
/// admin or baseline tier, which must have one priority, are equal if the first matching rule has the same
/// action. With `namespaces`, only clusters with exactly these namespaces count.
///
/// # Errors
///
/// As for [`prove`](crate::prove).
pub fn policies_differ(
    policy: &Policy,
    others: &[&Policy],
    pod_cidrs: &[IpNet],
    namespaces: Option<&[Namespace]>,
) -> Result<Option<Witness>, ProofError> {
    let mut universe = Universe::default();
    let mut differ = Vec::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        if policy.tier == Tier::Namespaced {
            let one = plain(&mut universe, std::iter::once(policy), direction);
            let other = plain(&mut universe, others.iter().copied(), direction);
            for (a, b) in [(one.isolated, other.isolated), (one.allowed, other.allowed)] {
                differ.push(universe.formulas.same(a, b).not());
            }
        } else {
            // Connections that no rule matches, and those that are passed, may have any verdict; it must be
            // the same on both sides.
            let (otherwise, pass) = (universe.formulas.atom(), universe.formulas.atom());
            let one = tier(&mut universe, &[policy], policy.tier, direction, otherwise, pass);
            let other = tier(&mut universe, others, policy.tier, direction, otherwise, pass);
            differ.push(universe.formulas.same(one, other).not());
        }
    }
    let differ = universe.formulas.or(differ);
    if differ == Formula::FALSE {
        return Ok(None);
    }
    let mut axioms = universe.axioms(pod_cidrs)?;
    if let Some(namespaces) = namespaces {
        universe.only(namespaces, &mut axioms);
    }
    let mut solver = Solver::new(&universe.formulas, &axioms);
    let wishes = wishes(&universe);
    let model = solver.solve(&universe.formulas, &[differ], &wishes);
    Ok(model.map(|model| witness(&universe, &model)))
}
