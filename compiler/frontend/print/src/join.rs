//! Joins equal policies of several namespaces.

use std::sync::Arc;

use npc_program::{PodTerm, Policy, Scope, ScopeBase};
use npc_vocabulary::Tier;
use rustc_hash::{FxHashMap, FxHashSet};

use super::term::{block_text, pods_text};
use crate::Printed;

/// Joins plain policies that differ only in their namespaces. That does not change the meaning: a policy for
/// several namespaces is the union of one policy for each, and `same namespace` still means the namespace of
/// each subject.
///
/// Only policies with the same name are joined. Names are compared as they were before they were made unique.
pub(crate) fn join(policies: &[Printed]) -> Vec<Printed> {
    let mut first: FxHashMap<String, usize> = FxHashMap::default();
    let mut joined: Vec<Printed> = Vec::with_capacity(policies.len());
    for imported in policies {
        let Some((namespaces, subject)) = namespaces(&imported.policy) else {
            joined.push(imported.clone());
            continue;
        };
        let key = content(imported, subject);
        match first.get(&key).and_then(|at| joined.get_mut(*at)) {
            Some(other) => {
                if let Some(term) = other.policy.subjects.first_mut() {
                    let mut wider = PodTerm::clone(term);
                    if let ScopeBase::Names(names) = &mut wider.scope.base {
                        names.extend(namespaces.iter().cloned());
                        names.sort_unstable();
                        names.dedup();
                    }
                    *term = Arc::new(wider);
                }
                other.policy.name = Arc::clone(&imported.short_name);
            }
            None => {
                first.insert(key, joined.len());
                joined.push(imported.clone());
            }
        }
    }
    unique_names(&mut joined);
    joined
}

/// The namespaces of a plain policy, if it has one subject and its scope only lists names.
fn namespaces(policy: &Policy) -> Option<(&[Arc<str>], &PodTerm)> {
    let [subject] = policy.subjects.as_slice() else { return None };
    let Scope { base: ScopeBase::Names(names), except_names, except_labels } = &subject.scope else {
        return None;
    };
    (policy.tier == Tier::Namespaced && except_names.is_empty() && except_labels.is_empty())
        .then_some((names, subject))
}

/// A key for the contents of a policy other than its namespaces.
fn content(imported: &Printed, subject: &PodTerm) -> String {
    let policy = &imported.policy;
    let anywhere = PodTerm { scope: Scope::of(ScopeBase::All), ..subject.clone() };
    let mut key = format!(
        "{}\n{}\n{:?}\n{:?} {:?}\n",
        imported.short_name,
        pods_text(&anywhere, true),
        policy.docs,
        policy.isolate.ingress.is_some(),
        policy.isolate.egress.is_some(),
    );
    super::settings_text(&mut key, &policy.settings);
    for rule in &policy.rules {
        key.push_str(&format!("{:?} {:?} ", rule.action, rule.direction));
        for peer in &rule.peers {
            key.push_str(&match peer {
                npc_program::Peer::Anywhere { except, .. } => super::term::anywhere_text(except),
                npc_program::Peer::Pods(term) => pods_text(term, true),
                npc_program::Peer::Block(term) => block_text(&term.block),
            });
            key.push(';');
        }
        for term in &rule.ports {
            key.push_str(&format!(" {}", term.port));
        }
        key.push('\n');
    }
    key
}

/// Makes the names unique again: several joined policies may have the same name.
fn unique_names(policies: &mut [Printed]) {
    let mut taken: FxHashSet<Arc<str>> = FxHashSet::default();
    for imported in policies {
        let first = Arc::clone(&imported.policy.name);
        let mut number = 1;
        while !taken.insert(Arc::clone(&imported.policy.name)) {
            number += 1;
            imported.policy.name = format!("{first}-{number}").into();
        }
    }
}
