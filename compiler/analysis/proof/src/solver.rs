//! Translates formulas for the SAT solver, and its models back.
//!
//! The solver is `batsat`, a Rust port of MiniSat. Each node of a formula becomes a variable with clauses
//! that tie it to its parts (Tseitin, "On the Complexity of Derivation in Propositional Calculus", 1968).

use batsat::{BasicSolver, Lit, SolverInterface as _, Var, lbool};
use rustc_hash::FxHashSet;

use crate::formula::{Formula, Formulas, Node};

/// A solver with some asserted formulas.
pub(crate) struct Solver {
    solver: BasicSolver,
    /// The variable of each node that has one.
    variables: Vec<Option<Var>>,
}

/// An assignment, as the set of nodes that hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    holds: FxHashSet<usize>,
    /// The nodes that have a value.
    known: FxHashSet<usize>,
}

impl Model {
    pub(crate) fn holds(&self, formula: Formula) -> bool {
        self.holds.contains(&formula.node()) != formula.is_negated()
    }

    /// Evaluates any formula, even if the solver has no variable for it.
    pub(crate) fn holds_in(&self, formulas: &Formulas, formula: Formula) -> bool {
        if self.known.contains(&formula.node()) {
            return self.holds(formula);
        }
        let holds = match formulas.nodes().get(formula.node()) {
            Some(Node::And(parts)) => parts.iter().all(|part| self.holds_in(formulas, *part)),
            Some(Node::True) => true,
            Some(Node::Atom) | None => false,
        };
        holds != formula.is_negated()
    }
}

impl Solver {
    /// Creates a solver in which the axioms hold.
    pub(crate) fn new(formulas: &Formulas, axioms: &[Formula]) -> Self {
        let mut solver = Self { solver: BasicSolver::default(), variables: Vec::new() };
        for axiom in axioms {
            solver.assert(formulas, *axiom);
        }
        solver
    }

    /// Asserts a formula.
    pub(crate) fn assert(&mut self, formulas: &Formulas, formula: Formula) {
        // A disjunction needs one clause, and a conjunction is asserted part by part, so neither needs a
        // variable.
        match (formulas.nodes().get(formula.node()), formula.is_negated()) {
            (Some(Node::True), negated) => {
                if negated {
                    self.solver.add_clause_reuse(&mut Vec::new());
                }
            }
            (Some(Node::And(parts)), true) => {
                let mut clause: Vec<Lit> =
                    parts.iter().map(|part| self.literal(formulas, part.not())).collect();
                self.solver.add_clause_reuse(&mut clause);
            }
            (Some(Node::And(parts)), false) => {
                for part in parts {
                    self.assert(formulas, *part);
                }
            }
            _ => {
                let literal = self.literal(formulas, formula);
                self.solver.add_clause_reuse(&mut vec![literal]);
            }
        }
    }

    /// Asserts that at least one of the formulas holds.
    pub(crate) fn assert_any(&mut self, formulas: &Formulas, any: &[Formula]) {
        let mut clause: Vec<Lit> = any.iter().map(|formula| self.literal(formulas, *formula)).collect();
        self.solver.add_clause_reuse(&mut clause);
    }

    /// The literal of a formula.
    pub(crate) fn literal(&mut self, formulas: &Formulas, formula: Formula) -> Lit {
        let variable = self.variable(formulas, formula.node());
        Lit::new(variable, !formula.is_negated())
    }

    fn variable(&mut self, formulas: &Formulas, root: usize) -> Var {
        if self.variables.len() < formulas.nodes().len() {
            self.variables.resize(formulas.nodes().len(), None);
        }
        // A depth-first traversal: a node gets its variable after all of its parts have theirs.
        let mut stack = vec![root];
        while let Some(node) = stack.last().copied() {
            if self.of(node).is_some() {
                stack.pop();
                continue;
            }
            let parts: &[Formula] = match formulas.nodes().get(node) {
                Some(Node::And(parts)) => parts,
                _ => &[],
            };
            let waiting: Vec<usize> =
                parts.iter().map(|part| part.node()).filter(|part| self.of(*part).is_none()).collect();
            if !waiting.is_empty() {
                stack.extend(waiting);
                continue;
            }
            let variable = self.solver.new_var_default();
            if let Some(slot) = self.variables.get_mut(node) {
                *slot = Some(variable);
            }
            match formulas.nodes().get(node) {
                Some(Node::True) => {
                    self.solver.add_clause_reuse(&mut vec![Lit::new(variable, true)]);
                }
                Some(Node::And(parts)) => {
                    let literals: Vec<Lit> = parts
                        .iter()
                        .filter_map(|part| Some(Lit::new(self.of(part.node())?, !part.is_negated())))
                        .collect();
                    for literal in &literals {
                        self.solver.add_clause_reuse(&mut vec![Lit::new(variable, false), *literal]);
                    }
                    let mut clause: Vec<Lit> = literals.iter().map(|literal| !*literal).collect();
                    clause.push(Lit::new(variable, true));
                    self.solver.add_clause_reuse(&mut clause);
                }
                _ => {}
            }
            stack.pop();
        }
        // The loop gave the root its variable.
        self.of(root).unwrap_or_else(|| self.solver.new_var_default())
    }

    fn of(&self, node: usize) -> Option<Var> {
        self.variables.get(node).copied().flatten()
    }

    /// Finds a model in which the assumed formulas hold too.
    ///
    /// The model also fulfils as many `wishes` as can easily be found; earlier ones are dropped last.
    pub(crate) fn solve(
        &mut self,
        formulas: &Formulas,
        assumed: &[Formula],
        wishes: &[Formula],
    ) -> Option<Model> {
        if assumed.contains(&Formula::FALSE) {
            return None;
        }
        let fixed: Vec<Lit> = assumed.iter().map(|formula| self.literal(formulas, *formula)).collect();
        if self.solver.solve_limited(&fixed) != lbool::TRUE {
            return None;
        }
        let mut wanted: Vec<Lit> = Vec::new();
        for wish in wishes {
            wanted.push(self.literal(formulas, *wish));
        }
        loop {
            let mut assumptions = fixed.clone();
            assumptions.extend(&wanted);
            if self.solver.solve_limited(&assumptions) == lbool::TRUE {
                return Some(self.model());
            }
            // Drops the last wish that takes part in the conflict.
            let core: FxHashSet<Lit> = self.solver.unsat_core().iter().map(|literal| !*literal).collect();
            let culprit = wanted.iter().rposition(|literal| core.contains(literal));
            match culprit {
                Some(place) => {
                    wanted.remove(place);
                }
                None => wanted.clear(),
            }
        }
    }

    /// If the assumed formulas are unsatisfiable, returns some of them that contradict each other.
    pub(crate) fn refuted(&mut self, formulas: &Formulas, assumed: &[Formula]) -> Option<Vec<Formula>> {
        let literals: Vec<Lit> = assumed.iter().map(|formula| self.literal(formulas, *formula)).collect();
        if self.solver.solve_limited(&literals) != lbool::FALSE {
            return None;
        }
        let core: FxHashSet<Lit> = self.solver.unsat_core().iter().map(|literal| !*literal).collect();
        let kept = assumed.iter().zip(&literals).filter(|(_, literal)| core.contains(literal));
        Some(kept.map(|(formula, _)| *formula).collect())
    }

    fn model(&self) -> Model {
        let values = self.solver.get_model();
        let holds = |variable: &Var| values.get(variable.idx() as usize) == Some(&lbool::TRUE);
        let holds = self
            .variables
            .iter()
            .enumerate()
            .filter(|(_, variable)| variable.as_ref().is_some_and(holds))
            .map(|(node, _)| node)
            .collect();
        let known = self.variables.iter().enumerate().filter(|(_, variable)| variable.is_some());
        Model { holds, known: known.map(|(node, _)| node).collect() }
    }
}
