//! Proves or refutes assertions: statements about every cluster.

use npc_model::verdict;
use npc_program::values::address::IpNet;
use npc_program::{Assertion, Program};
use npc_vocabulary::Direction;

use crate::ProofError;
use crate::encode;
use crate::formula::Formula;
use crate::solver::Solver;
use crate::universe::Universe;
use crate::witness::{Witness, wishes, witness};

/// The result of an assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds in every cluster.
    Proved,
    /// It does not hold; the witness is a counterexample.
    Refuted(Box<Witness>),
    /// No connection matches it, in any cluster.
    Vacuous,
}

/// Proves or refutes assertions about a program, in their order: all assertions of the program, or some.
///
/// An assertion covers connections between different pods, and between pods and addresses. A host-network pod
/// counts as an address, since no selector matches it.
///
/// # Errors
///
/// If there are too many cases to distinguish, or if the interpreter does not confirm a counterexample, which
/// would be a bug of this crate.
pub fn prove<'a>(
    program: &Program,
    assertions: impl IntoIterator<Item = &'a Assertion>,
    pod_cidrs: &[IpNet],
) -> Result<Vec<Outcome>, ProofError> {
    let mut assertions = assertions.into_iter().peekable();
    if assertions.peek().is_none() {
        return Ok(Vec::new());
    }
    let mut universe = Universe::default();
    let sides = encode::program(&mut universe, program);
    let allowed = universe.formulas.and([sides.egress, sides.ingress]);
    let claims: Vec<(Formula, bool)> =
        assertions.map(|assertion| (subject(&mut universe, assertion), assertion.allowed)).collect();
    let axioms = universe.axioms(pod_cidrs)?;
    let mut solver = Solver::new(&universe.formulas, &axioms);
    let wishes = wishes(&universe);
    claims
        .into_iter()
        .map(|(subject, expected)| {
            let contrary = if expected { allowed.not() } else { allowed };
            let Some(model) = solver.solve(&universe.formulas, &[subject, contrary], &wishes) else {
                let some = solver.solve(&universe.formulas, &[subject], &[]).is_some();
                return Ok(if some { Outcome::Proved } else { Outcome::Vacuous });
            };
            let witness = witness(&universe, &model);
            confirm(program, &witness, !expected)?;
            Ok(Outcome::Refuted(Box::new(witness)))
        })
        .collect()
}

/// The connections that an assertion covers.
fn subject(universe: &mut Universe, assertion: &Assertion) -> Formula {
    let sources: Vec<Formula> = assertion
        .sources
        .iter()
        .map(|term| encode::selects(universe, term, Direction::Egress, true))
        .collect();
    let source = universe.formulas.or(sources);
    let destinations: Vec<Formula> =
        assertion.destinations.iter().map(|peer| encode::peer(universe, peer, Direction::Egress)).collect();
    let destination = universe.formulas.or(destinations);
    let ports = if assertion.ports.is_empty() {
        Formula::TRUE
    } else {
        let ports: Vec<Formula> = assertion.ports.iter().map(|term| universe.port_is(&term.port)).collect();
        universe.formulas.or(ports)
    };
    universe.formulas.and([source, destination, ports])
}

/// Checks with the interpreter that the witness's connection is allowed, or denied.
pub(crate) fn confirm(program: &Program, witness: &Witness, allowed: bool) -> Result<(), ProofError> {
    let confirmed =
        witness.connection().is_some_and(|connection| verdict(program, &connection).allowed() == allowed);
    if confirmed {
        return Ok(());
    }
    Err(ProofError(format!(
        "this is a fault of npc: the interpreter does not confirm the witness {witness:?}"
    )))
}
