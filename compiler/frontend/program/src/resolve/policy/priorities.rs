//! The check that no two admin policies, and no two baseline policies, of the same priority can select the same pod.

use std::sync::Arc;

use npc_diagnostics::Diagnostic;
use npc_syntax::ast::{self, Tier};
use rustc_hash::FxHashMap;

use super::PRIORITY_OVERLAP;
use crate::ir::{LAST_PRIORITY, PodTerm, Policy, Program, Requirement, Scope, ScopeBase, Selector};
use crate::resolve::Context;
use crate::selector::overlap;
use crate::values::name::{literal_prefix, prefixes_overlap};

/// Reports pairs of policies of one tier and one priority that can select the same pod.
///
/// Subjects are indexed by the namespace name or label value that they require, so each is compared only with subjects
/// that can overlap. Only the first overlap of a policy is reported.
pub(in crate::resolve) fn priorities(program: &Program, cx: &mut Context<'_>) {
    // The groups, in the order of their first policies.
    let mut groups: Vec<Vec<&Policy>> = Vec::new();
    let mut known: FxHashMap<(Tier, u16), usize> = FxHashMap::default();
    for (_, policy) in program.deciding().filter(|(_, policy)| policy.tier != Tier::Namespaced) {
        let group = *known.entry((policy.tier, policy.priority)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups.get_mut(group).into_iter().for_each(|group| group.push(policy));
    }
    for group in groups {
        let mut buckets = Buckets::default();
        for policy in group {
            if let Some(other) = buckets.overlapping(policy) {
                cx.emit(overlap_diagnostic(policy, other));
            }
            buckets.add(policy);
        }
    }
}

/// One subject of a policy.
#[derive(Clone, Copy)]
struct Entry<'a> {
    policy: &'a Policy,
    subject: &'a PodTerm,
}

/// Entries by the key of a label that they require, and by each value that they accept for it.
type ByLabel<'a> = FxHashMap<Arc<str>, FxHashMap<Arc<str>, Vec<Entry<'a>>>>;

/// An index of subjects by a necessary condition: the name of the namespace, or the value of a label. Each subject is
/// in exactly one of the fields.
#[derive(Default)]
struct Buckets<'a> {
    /// Subjects that list their namespaces by name.
    by_name: FxHashMap<Arc<str>, Vec<Entry<'a>>>,
    /// Other subjects that list the values of a namespace label.
    by_namespace: ByLabel<'a>,
    /// Other subjects that list the values of a pod label.
    by_pod: ByLabel<'a>,
    rest: Vec<Entry<'a>>,
}

/// The first requirement of a selector that lists values of a label.
fn listed(selector: &Selector) -> Option<&Requirement> {
    selector.requirements.iter().find(|requirement| requirement.operator == ast::Operator::In)
}

fn of_namespace(scope: &Scope) -> Option<&Selector> {
    match &scope.base {
        ScopeBase::Labels(selector) => Some(selector),
        _ => None,
    }
}

impl<'a> Buckets<'a> {
    fn names(scope: &Scope) -> Option<&[Arc<str>]> {
        match &scope.base {
            ScopeBase::Names(names) if !names.iter().any(|name| name.contains(['*', '?'])) => Some(names),
            _ => None,
        }
    }

    fn add(&mut self, policy: &'a Policy) {
        for subject in &policy.subjects {
            let entry = Entry { policy, subject };
            if let Some(names) = Self::names(&subject.scope) {
                for name in names {
                    self.by_name.entry(Arc::clone(name)).or_default().push(entry);
                }
            } else if let Some(requirement) = of_namespace(&subject.scope).and_then(listed) {
                insert(&mut self.by_namespace, requirement, entry);
            } else if let Some(requirement) = listed(&subject.selector) {
                insert(&mut self.by_pod, requirement, entry);
            } else {
                self.rest.push(entry);
            }
        }
    }

    fn overlapping(&self, policy: &Policy) -> Option<&'a Policy> {
        policy.subjects.iter().find_map(|subject| {
            let named: Box<dyn Iterator<Item = &Entry<'a>>> = match Self::names(&subject.scope) {
                Some(names) => Box::new(names.iter().filter_map(|name| self.by_name.get(name)).flatten()),
                None => Box::new(self.by_name.values().flatten()),
            };
            named
                .chain(&self.rest)
                .chain(candidates(&self.by_namespace, of_namespace(&subject.scope)))
                .chain(candidates(&self.by_pod, Some(&subject.selector)))
                .filter(|entry| names_may_overlap(&entry.subject.scope, &subject.scope))
                .find(|entry| overlap(entry.subject, subject))
                .map(|entry| entry.policy)
        })
    }
}

fn insert<'a>(index: &mut ByLabel<'a>, requirement: &Requirement, entry: Entry<'a>) {
    let values = index.entry(Arc::clone(&requirement.key)).or_default();
    for value in &requirement.values {
        values.entry(Arc::clone(value)).or_default().push(entry);
    }
}

/// The entries that can match together with the selector, judged by the values that it lists for the same labels.
fn candidates<'s, 'a>(
    index: &'s ByLabel<'a>,
    selector: Option<&'s Selector>,
) -> impl Iterator<Item = &'s Entry<'a>> {
    index.iter().flat_map(move |(key, values)| {
        let same_key = |r: &&Requirement| r.key == *key && r.operator == ast::Operator::In;
        let asked = selector.and_then(|selector| selector.requirements.iter().find(same_key));
        let chosen: Vec<_> = match asked {
            Some(requirement) => requirement.values.iter().filter_map(|value| values.get(value)).collect(),
            None => values.values().collect(),
        };
        chosen.into_iter().flatten()
    })
}

/// Whether two scopes may contain the same namespace, judged by the literal prefixes of their names and patterns.
fn names_may_overlap(a: &Scope, b: &Scope) -> bool {
    match (&a.base, &b.base) {
        (ScopeBase::Names(a), ScopeBase::Names(b)) if a.len() * b.len() <= 64 => a
            .iter()
            .any(|one| b.iter().any(|other| prefixes_overlap(literal_prefix(one), literal_prefix(other)))),
        _ => true,
    }
}

fn overlap_diagnostic(policy: &Policy, other: &Policy) -> Diagnostic {
    let place = policy.priority_location.unwrap_or(policy.location);
    let tier = if policy.tier == Tier::Admin { "admin" } else { "baseline" };
    let said = |policy: &Policy| match policy.priority_location {
        Some(_) => format!("`{}` has priority {}", policy.name, policy.priority),
        None => format!("`{}` has no priority, so it has the default, {LAST_PRIORITY}", policy.name),
    };
    Diagnostic::new(
        &PRIORITY_OVERLAP,
        format!("two {tier} policies of priority {} can select the same pod", policy.priority),
        place,
        said(policy),
    )
    .label(other.priority_location.unwrap_or(other.location), said(other))
    .help("give one of them another priority; lower numbers are evaluated first")
}
