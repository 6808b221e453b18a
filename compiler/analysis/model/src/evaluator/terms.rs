//! The distinct pod terms of a program, and the search for those that select a pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use npc_program::values::name::literal_prefix;
use npc_program::{PodTerm, Scope, ScopeBase, Selector};
use npc_vocabulary::Operator;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Identifies a pod term. Terms with the same scope and selector have the same ID.
pub type TermId = u32;

/// The labels of an object, independent of how they are stored.
pub trait Labels {
    /// The value of a label.
    fn value(&self, key: &str) -> Option<&str>;

    /// All labels, as keys and values.
    fn each(&self) -> impl Iterator<Item = (&str, &str)>;
}

impl Labels for BTreeMap<String, String> {
    fn value(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }

    fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        self.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

/// Distinct pod terms, indexed by the namespaces and labels that they require.
#[derive(Default)]
pub struct Terms<'p> {
    scopes: Vec<OfScope<'p>>,
    scope_ids: FxHashMap<&'p Scope, usize>,
    ids: FxHashMap<(usize, &'p Selector), TermId>,
    /// The scope of each term.
    list: Vec<&'p Scope>,
    /// Scopes that list names of namespaces without wildcards, by name.
    by_name: FxHashMap<&'p str, Vec<usize>>,
    /// Scopes that require a label to have one of several values, by key and value.
    by_label: FxHashMap<(&'p str, &'p str), Vec<usize>>,
    /// All other scopes.
    anywhere: Vec<usize>,
    /// Numbers for the pod labels by which terms are indexed.
    labels: FxHashMap<(&'p str, &'p str), u32>,
}

/// The terms of one scope.
struct OfScope<'p> {
    scope: &'p Scope,
    /// Terms that require a label to have one of several values, by the number of the first such label.
    by_label: FxHashMap<u32, Vec<(TermId, &'p Selector)>>,
    /// All other terms.
    other: Vec<(TermId, &'p Selector)>,
}

impl<'p> Terms<'p> {
    /// Adds a term and returns its ID. Equal terms get the same ID.
    pub fn intern(&mut self, term: &'p PodTerm) -> TermId {
        let scope = self.intern_scope(&term.scope);
        // The number fits: a program has at most 4 GiB, and fewer terms than bytes.
        let next = TermId::try_from(self.list.len()).unwrap_or(TermId::MAX);
        let id = *self.ids.entry((scope, &term.selector)).or_insert(next);
        if id == next
            && let Some(of_scope) = self.scopes.get_mut(scope)
        {
            self.list.push(&term.scope);
            match wanted(&term.selector) {
                Some((key, values)) => {
                    for value in values {
                        let next = u32::try_from(self.labels.len()).unwrap_or(u32::MAX);
                        let label = *self.labels.entry((key, value)).or_insert(next);
                        of_scope.by_label.entry(label).or_default().push((id, &term.selector));
                    }
                }
                None => of_scope.other.push((id, &term.selector)),
            }
        }
        id
    }

    fn intern_scope(&mut self, scope: &'p Scope) -> usize {
        let next = self.scopes.len();
        let id = *self.scope_ids.entry(scope).or_insert(next);
        if id == next {
            self.scopes.push(OfScope { scope, by_label: FxHashMap::default(), other: Vec::new() });
            match &scope.base {
                ScopeBase::Names(names) if names.iter().all(|name| literal_prefix(name) == &**name) => {
                    for name in names {
                        self.by_name.entry(name).or_default().push(id);
                    }
                }
                ScopeBase::Labels(selector) if wanted(selector).is_some() => {
                    let (key, values) = wanted(selector).unwrap_or_default();
                    for value in values {
                        self.by_label.entry((key, value)).or_default().push(id);
                    }
                }
                _ => self.anywhere.push(id),
            }
        }
        id
    }

    /// The scope of a term.
    #[must_use]
    pub fn scope(&self, term: TermId) -> Option<&'p Scope> {
        self.list.get(term as usize).copied()
    }

    /// The scopes that contain a namespace with this name and these labels. The relation that a scope may
    /// require between two namespaces (`same namespace`, `sharing`) is not checked.
    #[must_use]
    pub fn scopes_of(&self, name: &str, labels: &impl Labels) -> Vec<usize> {
        let by_name = self.by_name.get(name);
        let by_label = labels.each().filter_map(|label| self.by_label.get(&label));
        let mut scopes: Vec<usize> = by_name
            .into_iter()
            .chain(by_label)
            .flatten()
            .chain(&self.anywhere)
            .copied()
            .filter(|id| {
                self.scopes
                    .get(*id)
                    .is_some_and(|of_scope| of_scope.scope.holds(name, |key| labels.value(key)))
            })
            .collect();
        scopes.sort_unstable();
        scopes.dedup();
        scopes
    }

    /// The terms that select a pod with these labels, in a namespace that is in these scopes, sorted.
    #[must_use]
    pub fn matching(&self, scopes: &[usize], labels: &impl Labels) -> SmallVec<[TermId; 16]> {
        let mut found = SmallVec::new();
        // `known` requirements of each selector already hold, since the term was found by them. A selector
        // without others needs no check.
        let mut add = |terms: &[(TermId, &Selector)], known: usize| {
            for (id, selector) in terms {
                if selector.requirements.len() == known || selector.matches(|key| labels.value(key)) {
                    found.push(*id);
                }
            }
        };
        let own: SmallVec<[u32; 8]> =
            labels.each().filter_map(|label| self.labels.get(&label).copied()).collect();
        for of_scope in scopes.iter().filter_map(|scope| self.scopes.get(*scope)) {
            if !of_scope.by_label.is_empty() {
                for label in &own {
                    if let Some(terms) = of_scope.by_label.get(label) {
                        add(terms, 1);
                    }
                }
            }
            add(&of_scope.other, 0);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// The policies that each term is a subject of.
#[derive(Default)]
pub struct Subjects {
    of_term: Vec<Vec<usize>>,
}

impl Subjects {
    /// Adds a policy, by its index in the program, that has the term as a subject.
    pub fn add(&mut self, term: TermId, policy: usize) {
        let term = term as usize;
        if self.of_term.len() <= term {
            self.of_term.resize_with(term + 1, Vec::new);
        }
        if let Some(policies) = self.of_term.get_mut(term) {
            policies.push(policy);
        }
    }

    /// The policies that select a pod which these terms select, as sorted indices.
    #[must_use]
    pub fn policies(&self, terms: &[TermId]) -> SmallVec<[usize; 8]> {
        let of_term = terms.iter().filter_map(|term| self.of_term.get(*term as usize));
        let mut policies: SmallVec<[usize; 8]> = of_term.flatten().copied().collect();
        policies.sort_unstable();
        policies.dedup();
        policies
    }
}

/// The first requirement of a selector with the operator `In`: its key and values.
fn wanted(selector: &Selector) -> Option<(&str, &[Arc<str>])> {
    let requirement =
        selector.requirements.iter().find(|requirement| requirement.operator == Operator::In)?;
    Some((&requirement.key, &requirement.values))
}
