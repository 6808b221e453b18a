//! An index of an image's pod terms, to find those that select a pod.

use std::collections::BTreeMap;
use std::sync::Arc;

use npc_image::{Glob, Image, Requirement, Scope, ScopeBase};
use npc_vocabulary::Operator;
use rustc_hash::FxHashMap;

/// The labels of an object.
pub type Labels = BTreeMap<String, String>;

/// The pod terms of an image, indexed by scope and by a required label.
#[derive(Debug)]
pub(crate) struct Terms {
    /// The terms of each scope.
    of_scope: Vec<OfScope>,
    /// Scopes that list namespaces by exact name, indexed by that name.
    by_name: FxHashMap<Arc<str>, Vec<u32>>,
    /// All other scopes.
    not_by_name: Vec<u32>,
}

#[derive(Debug, Default)]
struct OfScope {
    /// Terms with an `In` requirement, indexed by the key and by each value of the first one.
    by_label: FxHashMap<Arc<str>, FxHashMap<Arc<str>, Vec<u32>>>,
    /// All other terms.
    other: Vec<u32>,
}

impl Terms {
    pub(crate) fn new(image: &Image) -> Self {
        let mut of_scope: Vec<OfScope> = Vec::new();
        of_scope.resize_with(image.scopes.len(), OfScope::default);
        for (number, term) in (0..).zip(&image.pod_terms) {
            let Some(own) = of_scope.get_mut(term.scope as usize) else { continue };
            let selector = image.selectors.get(term.selector as usize).map_or(&[][..], Vec::as_slice);
            match selector.iter().find(|requirement| requirement.operator == Operator::In) {
                Some(wanted) => {
                    let of_key = own.by_label.entry(Arc::clone(&wanted.key)).or_default();
                    for value in &wanted.values {
                        of_key.entry(Arc::clone(value)).or_default().push(number);
                    }
                }
                None => own.other.push(number),
            }
        }
        let mut by_name: FxHashMap<Arc<str>, Vec<u32>> = FxHashMap::default();
        let mut not_by_name = Vec::new();
        for (number, scope) in (0..).zip(&image.scopes) {
            let names: Option<Vec<&Arc<str>>> = match &scope.base {
                ScopeBase::Names(globs) => globs.iter().map(Glob::exact).collect(),
                _ => None,
            };
            match names {
                Some(names) => {
                    names
                        .into_iter()
                        .for_each(|name| by_name.entry(Arc::clone(name)).or_default().push(number));
                }
                None => not_by_name.push(number),
            }
        }
        Self { of_scope, by_name, not_by_name }
    }

    /// Returns the scopes that contain a namespace, in order. `same` and `sharing` scopes depend on a second
    /// namespace: only their conditions on this one are checked.
    pub(crate) fn scopes_of(&self, image: &Image, name: &str, labels: &Labels) -> Vec<u32> {
        let named = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
        let may_hold = named.iter().chain(&self.not_by_name).copied();
        let holds = |number: &u32| {
            image.scopes.get(*number as usize).is_some_and(|scope| holds(image, scope, name, labels))
        };
        let mut found: Vec<u32> = may_hold.filter(holds).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Returns the terms that select a pod with these labels in a namespace of these scopes, in order.
    pub(crate) fn matching(&self, image: &Image, scopes: &[u32], labels: &Labels) -> Vec<u32> {
        let mut found = Vec::new();
        let mut add = |terms: &[u32]| {
            for number in terms {
                let term = image.pod_terms.get(*number as usize);
                let selector = term.and_then(|term| image.selectors.get(term.selector as usize));
                if selector.is_some_and(|selector| selects(selector, labels)) {
                    found.push(*number);
                }
            }
        };
        for own in scopes.iter().filter_map(|scope| self.of_scope.get(*scope as usize)) {
            if !own.by_label.is_empty() {
                for (key, value) in labels {
                    let of_key = own.by_label.get(key.as_str());
                    add(of_key.and_then(|of_key| of_key.get(value.as_str())).map_or(&[], Vec::as_slice));
                }
            }
            add(&own.other);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

fn selects(selector: &[Requirement], labels: &Labels) -> bool {
    selector.iter().all(|requirement| requirement.matches(labels.get(&*requirement.key).map(String::as_str)))
}

fn holds(image: &Image, scope: &Scope, name: &str, labels: &Labels) -> bool {
    let selected = |selector: u32| {
        image.selectors.get(selector as usize).is_some_and(|selector| selects(selector, labels))
    };
    let base = match &scope.base {
        ScopeBase::All | ScopeBase::Same => true,
        ScopeBase::Names(globs) => globs.iter().any(|glob| glob.matches(name)),
        ScopeBase::Labels(selector) => selected(*selector),
        ScopeBase::Sharing(keys) => keys.iter().all(|key| labels.contains_key(&**key)),
    };
    base && !scope.except_names.iter().any(|glob| glob.matches(name))
        && !scope.except_selectors.iter().any(|selector| selected(*selector))
}
