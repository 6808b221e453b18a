//! Decides whether a connection exists for which some facts hold and others do not.

use npc_program::values::address::IpNet;
use npc_program::{Policy, Rule};
use npc_vocabulary::Direction;

use crate::ProofError;
use crate::encode::{self, ends};
use crate::formula::Formula;
use crate::solver::Solver;
use crate::universe::Universe;
use crate::witness::{Witness, wishes, witness};

/// A statement about a connection.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'p> {
    /// The policy selects the subject of this direction.
    Selects(&'p Policy, Direction),
    /// The policy selects the subject of the rule's direction, and the rule matches.
    Matches(&'p Policy, &'p Rule),
    /// The peer of this direction is a pod that selectors can match.
    PeerIsPod(Direction),
    /// These policies allow the connection in this direction.
    Allows(&'p [&'p Policy], Direction),
}

/// Finds a connection between different ends, in any cluster, for which all facts of `all` hold and none of
/// `none`.
///
/// # Errors
///
/// As for [`prove`](crate::prove).
pub fn exists(
    all: &[Fact<'_>],
    none: &[Fact<'_>],
    pod_cidrs: &[IpNet],
) -> Result<Option<Witness>, ProofError> {
    let mut universe = Universe::default();
    let mut wanted: Vec<Formula> = all.iter().map(|fact| encode(&mut universe, fact)).collect();
    wanted.extend(none.iter().map(|fact| encode(&mut universe, fact).not()).collect::<Vec<_>>());
    let wanted = universe.formulas.and(wanted);
    if wanted == Formula::FALSE {
        return Ok(None);
    }
    let axioms = universe.axioms(pod_cidrs)?;
    let mut solver = Solver::new(&universe.formulas, &axioms);
    let wishes = wishes(&universe);
    let model = solver.solve(&universe.formulas, &[wanted], &wishes);
    Ok(model.map(|model| witness(&universe, &model)))
}

fn encode(universe: &mut Universe, fact: &Fact<'_>) -> Formula {
    match fact {
        Fact::Selects(policy, direction) => selected(universe, policy, *direction),
        Fact::Matches(policy, rule) => {
            let selected = selected(universe, policy, rule.direction);
            let matches = encode::matches(universe, rule, rule.direction);
            universe.formulas.and([selected, matches])
        }
        Fact::PeerIsPod(direction) => universe.is_pod(ends(*direction).1),
        Fact::Allows(policies, direction) => {
            let sides = encode::sides(universe, policies.iter().copied());
            match direction {
                Direction::Egress => sides.egress,
                Direction::Ingress => sides.ingress,
            }
        }
    }
}

fn selected(universe: &mut Universe, policy: &Policy, direction: Direction) -> Formula {
    let (subject, _) = ends(direction);
    let terms: Vec<Formula> =
        policy.subjects.iter().map(|term| encode::selects(universe, term, direction, true)).collect();
    let any = universe.formulas.or(terms);
    let pod = universe.is_pod(subject);
    universe.formulas.and([any, pod])
}
