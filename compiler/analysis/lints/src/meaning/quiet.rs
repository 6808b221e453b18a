//! Policies of which nothing was told, and of which nothing can be told now.
//!
//! What is told of a policy depends on it, on the policies that may select the same pods, and on those that may
//! select the pods that it names; and on the tiers above and below. So where one plain policy changed, only
//! those that it may have to do with, before or now, are looked at again.

use std::sync::Arc;

use npc_program::values::address::IpNet;
use npc_program::{Peer, Policy, Program, overlap, policies_overlap};
use npc_vocabulary::Tier;

/// What was found when a program was looked at: which of its policies nothing was told of.
#[derive(Debug)]
pub struct Quiet {
    policies: Vec<bool>,
    pod_cidrs: Vec<IpNet>,
    /// Whether all pairs of denials and other policies were looked at.
    all_pairs: bool,
}

/// A program as it was, and what was found then.
#[derive(Clone, Copy)]
pub struct Before<'b> {
    /// The program.
    pub program: &'b Program,
    /// What was found.
    pub quiet: &'b Quiet,
}

/// Where more policies than this changed, all are looked at.
const MOST_CHANGED: usize = 8;

impl Quiet {
    pub(super) fn new(policies: Vec<bool>, pod_cidrs: &[IpNet], all_pairs: bool) -> Self {
        Self { policies, pod_cidrs: pod_cidrs.to_vec(), all_pairs }
    }
}

/// Of each policy, whether nothing can be told of it; where that is known of any.
pub(super) fn quiet(
    program: &Program,
    pod_cidrs: &[IpNet],
    all_pairs: bool,
    before: Option<Before<'_>>,
) -> Option<Vec<bool>> {
    let Before { program: old, quiet } = before?;
    if quiet.pod_cidrs != pod_cidrs || quiet.all_pairs != all_pairs {
        return None;
    }
    let (was, now) = (old.policies.as_slice(), program.policies.as_slice());
    let head = was.iter().zip(now).take_while(|(one, other)| one == other).count();
    let rest = was.len().min(now.len()) - head;
    let pairs = was.iter().rev().zip(now.iter().rev()).take(rest);
    let tail = pairs.take_while(|(one, other)| one == other).count();
    let middle = |policies: &[Arc<Policy>]| head..policies.len() - tail;
    let changed = was.get(middle(was)).into_iter().chain(now.get(middle(now))).flatten();
    let changed: Vec<&Arc<Policy>> = changed.collect();
    if changed.len() > MOST_CHANGED || changed.iter().any(|policy| policy.tier != Tier::Namespaced) {
        return None;
    }
    let concerned = |policy: &Policy| changed.iter().any(|changed| concerns(changed, policy));
    let behind = now.len() - tail;
    let quiet_before = |at: usize| {
        let place = if at < head { Some(at) } else { (at >= behind).then(|| at + was.len() - now.len()) };
        place.is_some_and(|place| quiet.policies.get(place) == Some(&true))
    };
    Some(now.iter().enumerate().map(|(at, policy)| quiet_before(at) && !concerned(policy)).collect())
}

/// Whether what is told of a policy may depend on a plain policy.
fn concerns(changed: &Policy, policy: &Policy) -> bool {
    policies_overlap(changed, policy)
        || policy.rules.iter().flat_map(|rule| &rule.peers).any(|peer| match peer {
            Peer::Pods(term) => changed.subjects.iter().any(|subject| overlap(subject, term)),
            Peer::Anywhere { .. } | Peer::Block(_) => false,
        })
}
