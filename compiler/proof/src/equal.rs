//! Whether two programs mean the same.

use npc_cluster::Namespace;
use npc_model::verdict;
use npc_program::values::address::IpNet;
use npc_program::{Direction, Policy, Program, Tier};

use crate::TooLarge;
use crate::claim::confirm;
use crate::encode::{self, plain, tier};
use crate::formula::Formula;
use crate::solver::Solver;
use crate::universe::Universe;
use crate::witness::{Witness, wishes, witness};

/// A connection on which two programs differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whether the second allows it, which the first denies.
    pub gained: bool,
    /// The connection.
    pub witness: Witness,
}

/// A connection on which two programs differ, if there is one in any cluster.
///
/// # Errors
///
/// As for [`prove`](crate::prove).
pub fn difference(
    old: &Program,
    new: &Program,
    pod_blocks: &[IpNet],
) -> Result<Option<Difference>, TooLarge> {
    let mut universe = Universe::default();
    let before = encode::program(&mut universe, old);
    let after = encode::program(&mut universe, new);
    let before = universe.formulas.and([before.egress, before.ingress]);
    let after = universe.formulas.and([after.egress, after.ingress]);
    let differ = universe.formulas.same(before, after).not();
    let axioms = universe.axioms(pod_blocks)?;
    let mut solver = Solver::new(&universe.formulas, &axioms);
    let wishes = wishes(&universe);
    let Some(model) = solver.solve(&universe.formulas, &[differ], &wishes) else { return Ok(None) };
    let witness = witness(&universe, &model);
    let gained = witness.connection().is_some_and(|connection| verdict(new, &connection).allowed());
    confirm(new, &witness, gained)?;
    confirm(old, &witness, !gained)?;
    Ok(Some(Difference { gained, witness }))
}

/// Whether some policies of one tier say the same as one policy, each by itself: then programs that
/// differ in these only mean the same, whatever their other policies say.
///
/// For plain policies that is: they isolate the same pods, and allow the same. For the tiers of one
/// rank: the first rule that matches does the same. Gives a connection where they do not. With
/// `namespaces`, the cluster has no others.
///
/// # Errors
///
/// As for [`prove`](crate::prove).
pub fn policies_differ(
    policy: &Policy,
    others: &[&Policy],
    pod_blocks: &[IpNet],
    namespaces: Option<&[Namespace]>,
) -> Result<Option<Witness>, TooLarge> {
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
            // What no rule decides, and what is passed on, may be anything, and must stay as it is.
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
    let mut axioms = universe.axioms(pod_blocks)?;
    if let Some(namespaces) = namespaces {
        universe.only(namespaces, &mut axioms);
    }
    let mut solver = Solver::new(&universe.formulas, &axioms);
    let wishes = wishes(&universe);
    let model = solver.solve(&universe.formulas, &[differ], &wishes);
    Ok(model.map(|model| witness(&universe, &model)))
}
