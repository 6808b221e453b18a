//! Priorities of admin and baseline policies: two of one priority must not select one pod.

use std::sync::Arc;

use npc_diagnostics::Diagnostic;
use npc_syntax::ast::{self, Tier};
use rustc_hash::FxHashMap;

use super::PRIORITY_OVERLAP;
use crate::ir::{LAST_PRIORITY, PodTerm, Policy, Program, Scope, ScopeBase};
use crate::resolve::Context;
use crate::selector::overlap;

/// Tells pairs of admin, or of baseline, policies of one priority that can select one pod.
///
/// Policies are compared within buckets: of those whose subjects name their namespaces only the
/// ones that name the same, and of those that ask for a label's value only the ones that ask for the
/// same. A policy's first overlap is told, so the work is bounded by what is told.
pub(in crate::resolve) fn priorities(program: &Program, cx: &mut Context<'_>) {
    let mut groups: FxHashMap<(Tier, u16), Vec<&Policy>> = FxHashMap::default();
    for policy in &program.policies {
        if policy.tier != Tier::Namespaced && policy.audit.is_none() {
            groups.entry((policy.tier, policy.priority)).or_default().push(policy);
        }
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| group.first().map(|policy| policy.location));
    for group in groups {
        let mut buckets = Buckets::default();
        for policy in group {
            if let Some(other) = buckets.overlapping(policy) {
                cx.tell(tell_overlap(policy, other));
            }
            buckets.add(policy);
        }
    }
}

/// One subject of a policy.
type Entry<'a> = (&'a Policy, &'a PodTerm);

/// Policies by what their subjects surely need: a namespace's name, or a label with a value.
#[derive(Default)]
struct Buckets<'a> {
    /// Subjects that need one of few names.
    by_name: FxHashMap<Arc<str>, Vec<Entry<'a>>>,
    /// Other subjects that need one of few values of a pod's label.
    by_label: FxHashMap<Arc<str>, FxHashMap<Arc<str>, Vec<Entry<'a>>>>,
    rest: Vec<Entry<'a>>,
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
            let entry = (policy, &**subject);
            if let Some(names) = Self::names(&subject.scope) {
                for name in names {
                    self.by_name.entry(Arc::clone(name)).or_default().push(entry);
                }
                continue;
            }
            let listed = subject.selector.requirements.iter().find(|r| r.operator == ast::Operator::In);
            match listed {
                Some(requirement) => {
                    let values = self.by_label.entry(Arc::clone(&requirement.key)).or_default();
                    for value in &requirement.values {
                        values.entry(Arc::clone(value)).or_default().push(entry);
                    }
                }
                None => self.rest.push(entry),
            }
        }
    }

    fn overlapping(&self, policy: &Policy) -> Option<&'a Policy> {
        policy.subjects.iter().find_map(|subject| {
            let hit = |entry: &&(&'a Policy, &'a PodTerm)| overlap(entry.1, subject);
            if let Some(names) = Self::names(&subject.scope) {
                let same_name = names.iter().filter_map(|name| self.by_name.get(name)).flatten();
                return same_name.chain(self.not_by_name(subject)).find(hit).map(|entry| entry.0);
            }
            self.by_name.values().flatten().chain(self.not_by_name(subject)).find(hit).map(|entry| entry.0)
        })
    }

    /// Those without names that the subject's labels do not rule out.
    fn not_by_name<'s>(
        &'s self,
        subject: &'s PodTerm,
    ) -> impl Iterator<Item = &'s (&'a Policy, &'a PodTerm)> {
        let by_label = self.by_label.iter().flat_map(move |(key, values)| {
            let listed = subject
                .selector
                .requirements
                .iter()
                .find(|r| r.key == *key && r.operator == ast::Operator::In);
            let chosen: Vec<_> = match listed {
                Some(requirement) => {
                    requirement.values.iter().filter_map(|value| values.get(value)).collect()
                }
                None => values.values().collect(),
            };
            chosen.into_iter().flatten()
        });
        self.rest.iter().chain(by_label)
    }
}

fn tell_overlap(policy: &Policy, other: &Policy) -> Diagnostic {
    let place = policy.priority_location.unwrap_or(policy.location);
    let tier = if policy.tier == Tier::Admin { "admin" } else { "baseline" };
    let said = |policy: &Policy| match policy.priority_location {
        Some(_) => format!("`{}` has priority {}", policy.name, policy.priority),
        None => format!("`{}` has no priority, so the last one, {LAST_PRIORITY}", policy.name),
    };
    Diagnostic::new(
        &PRIORITY_OVERLAP,
        format!("two {tier} policies of priority {} can select one pod", policy.priority),
        place,
        said(policy),
    )
    .label(other.priority_location.unwrap_or(other.location), said(other))
    .help("give one of them another priority; the lower is asked first")
}
