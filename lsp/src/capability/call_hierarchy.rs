//! The call hierarchy: which policies' pods may connect to the pods of a policy, and the reverse.

use std::sync::Arc;

use npc_diagnostics::Location;
use npc_program::{Peer, PodTerm, Policy, Rule, ScopeBase, overlap};
use npc_vocabulary::{Action, Direction};
use serde_json::json;
use tower_lsp::ls_types::{
    CallHierarchyIncomingCall, CallHierarchyItem, CallHierarchyOutgoingCall, SymbolKind,
};

use crate::convert::Places;
use crate::core::program::Program;

/// The policy at an offset.
pub(crate) fn prepare(places: Places<'_>, file: usize, offset: u32) -> Option<CallHierarchyItem> {
    let policy = places.program.policy(file, offset)?;
    of_policy(places, policy)
}

fn of_policy(places: Places<'_>, policy: &Policy) -> Option<CallHierarchyItem> {
    let subjects: Vec<String> =
        policy.subjects.iter().map(|term| places.program.written(term.location)).collect();
    Some(CallHierarchyItem {
        name: policy.name.to_string(),
        kind: SymbolKind::CLASS,
        tags: None,
        detail: Some(subjects.join(", ")),
        uri: places.uri(policy.location)?,
        range: places.range(policy.whole),
        selection_range: places.range(policy.location),
        data: Some(json!(*policy.name)),
    })
}

/// A peer of a rule that overlaps with no policy.
fn of_peer(places: Places<'_>, location: Location) -> Option<CallHierarchyItem> {
    Some(CallHierarchyItem {
        name: places.program.written(location),
        kind: SymbolKind::OBJECT,
        tags: None,
        detail: None,
        uri: places.uri(location)?,
        range: places.range(location),
        selection_range: places.range(location),
        data: None,
    })
}

/// The policy of a call hierarchy item.
fn policy<'p>(program: &'p Program, item: &CallHierarchyItem) -> Option<&'p Policy> {
    program.policy_named(item.data.as_ref()?.as_str()?).map(|policy| &**policy)
}

pub(crate) fn incoming(places: Places<'_>, item: &CallHierarchyItem) -> Vec<CallHierarchyIncomingCall> {
    let calls = calls(places, item, Direction::Ingress);
    calls.into_iter().map(|(from, from_ranges)| CallHierarchyIncomingCall { from, from_ranges }).collect()
}

pub(crate) fn outgoing(places: Places<'_>, item: &CallHierarchyItem) -> Vec<CallHierarchyOutgoingCall> {
    let calls = calls(places, item, Direction::Egress);
    calls.into_iter().map(|(to, from_ranges)| CallHierarchyOutgoingCall { to, from_ranges }).collect()
}

type Call = (CallHierarchyItem, Vec<tower_lsp::ls_types::Range>);

/// The peers of a policy's rules in one direction: the policies whose pods the peer may select, or the peer
/// as written if there is none.
fn calls(places: Places<'_>, item: &CallHierarchyItem, direction: Direction) -> Vec<Call> {
    let program = places.program;
    let Some(policy) = policy(program, item) else { return Vec::new() };
    let mut calls: Vec<Call> = Vec::new();
    let allows = |rule: &&Rule| rule.direction == direction && rule.action == Action::Allow;
    for rule in policy.rules.iter().filter(allows) {
        let range = places.range(rule.location);
        for peer in &rule.peers {
            let mut named: Vec<CallHierarchyItem> = Vec::new();
            if let Peer::Pods(term) = peer {
                let terms: Vec<PodTerm> = policy.subjects.iter().map(|own| placed(term, own)).collect();
                let others = program.checked.program.policies.iter().filter(|other| {
                    let pods = |subject: &Arc<PodTerm>| terms.iter().any(|term| overlap(term, subject));
                    other.subjects.iter().any(pods)
                });
                named.extend(others.filter_map(|other| of_policy(places, other)));
            }
            if named.is_empty() {
                let location = match peer {
                    Peer::Anywhere { location, .. } => *location,
                    Peer::Pods(term) => term.location,
                    Peer::Block(term) => term.location,
                };
                named.extend(of_peer(places, location));
            }
            for one in named {
                match calls.iter_mut().find(|(own, _)| own.uri == one.uri && own.range == one.range) {
                    Some((_, ranges)) if ranges.contains(&range) => {}
                    Some((_, ranges)) => ranges.push(range),
                    None => calls.push((one, vec![range])),
                }
            }
        }
    }
    calls
}

/// A peer whose scope is relative to its policy's pods, with that scope replaced by the subject's.
fn placed(peer: &PodTerm, subject: &PodTerm) -> PodTerm {
    let mut placed = peer.clone();
    if peer.scope.base == ScopeBase::Same {
        placed.scope.base = subject.scope.base.clone();
        placed.scope.except_names.extend(subject.scope.except_names.iter().cloned());
        placed.scope.except_labels.extend(subject.scope.except_labels.iter().cloned());
    } else if let ScopeBase::Sharing(_) = peer.scope.base {
        // Which namespaces share labels with the subject's depends on the cluster: assume all.
        placed.scope.base = ScopeBase::All;
    }
    placed
}
