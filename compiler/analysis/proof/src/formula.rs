//! Boolean formulas over atoms, hash-consed: equal formulas are stored once.

use rustc_hash::FxHashMap;

/// A formula in [`Formulas`]: a node or its negation. The lowest bit is the negation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Formula(u32);

impl Formula {
    pub(crate) const TRUE: Self = Self(0);
    pub(crate) const FALSE: Self = Self(1);

    pub(crate) const fn not(self) -> Self {
        Self(self.0 ^ 1)
    }

    pub(crate) const fn node(self) -> usize {
        (self.0 >> 1) as usize
    }

    pub(crate) const fn is_negated(self) -> bool {
        self.0 & 1 == 1
    }
}

/// A node of a formula.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    True,
    /// A proposition that may be true or false.
    Atom,
    /// The conjunction of these formulas.
    And(Box<[Formula]>),
}

/// Formulas. Conjunctions that differ only in the order of their parts are the same formula.
#[derive(Debug)]
pub(crate) struct Formulas {
    nodes: Vec<Node>,
    ands: FxHashMap<Box<[Formula]>, u32>,
}

impl Default for Formulas {
    fn default() -> Self {
        Self { nodes: vec![Node::True], ands: FxHashMap::default() }
    }
}

impl Formulas {
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Creates an atom.
    pub(crate) fn atom(&mut self) -> Formula {
        self.nodes.push(Node::Atom);
        Formula(((self.nodes.len() - 1) as u32) << 1)
    }

    pub(crate) fn and(&mut self, parts: impl IntoIterator<Item = Formula>) -> Formula {
        let mut parts: Vec<Formula> = parts.into_iter().filter(|part| *part != Formula::TRUE).collect();
        parts.sort_unstable();
        parts.dedup();
        // After sorting, a formula and its negation are adjacent.
        let contrary = parts.windows(2).any(|pair| matches!(pair, [a, b] if *a == b.not()));
        if contrary || parts.contains(&Formula::FALSE) {
            return Formula::FALSE;
        }
        match parts.as_slice() {
            [] => return Formula::TRUE,
            [only] => return *only,
            _ => {}
        }
        let parts = parts.into_boxed_slice();
        if let Some(node) = self.ands.get(&parts) {
            return Formula(node << 1);
        }
        let node = self.nodes.len() as u32;
        self.nodes.push(Node::And(parts.clone()));
        self.ands.insert(parts, node);
        Formula(node << 1)
    }

    pub(crate) fn or(&mut self, parts: impl IntoIterator<Item = Formula>) -> Formula {
        self.and(parts.into_iter().map(Formula::not)).not()
    }

    pub(crate) fn implies(&mut self, a: Formula, b: Formula) -> Formula {
        self.or([a.not(), b])
    }

    /// `then` if `condition` holds, `otherwise` if not.
    pub(crate) fn choose(&mut self, condition: Formula, then: Formula, otherwise: Formula) -> Formula {
        if then == otherwise {
            return then;
        }
        let first = self.and([condition, then]);
        let second = self.and([condition.not(), otherwise]);
        self.or([first, second])
    }

    /// Both hold, or neither.
    pub(crate) fn same(&mut self, a: Formula, b: Formula) -> Formula {
        self.choose(a, b, b.not())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_formulas_are_one() {
        let mut formulas = Formulas::default();
        let (a, b, c) = (formulas.atom(), formulas.atom(), formulas.atom());
        let ab = formulas.and([a, b]);
        assert_eq!(formulas.and([b, a, a, Formula::TRUE]), ab);
        assert_eq!(formulas.and([a, b, a.not()]), Formula::FALSE);
        assert_eq!(formulas.or([a, a.not()]), Formula::TRUE);
        assert_eq!(formulas.and([c]), c);
        assert_eq!(formulas.choose(Formula::TRUE, a, b), a);
        assert_eq!(formulas.same(a, a), Formula::TRUE);
    }
}
