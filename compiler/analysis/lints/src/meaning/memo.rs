//! The memo table of the lints: policies about which they find nothing, and what that depends on.
//!
//! A lint reads other policies only through a [`Reader`](super::Reader), which records what it reads. If no policy that
//! a recorded read could return has changed, the lints find nothing about the policy again.

use std::sync::Arc;

use npc_program::values::address::IpNet;
use npc_program::{PodTerm, Policy, Program, overlap};
use npc_vocabulary::Tier;

/// What lints read about other policies while they looked at one policy.
#[derive(Clone, Debug, Default)]
pub(super) struct Reads {
    /// They read policies that select some pods of these terms.
    terms: Vec<Arc<PodTerm>>,
    /// They read all policies of these tiers.
    tiers: Vec<Tier>,
}

impl Reads {
    pub(super) fn add_pods(&mut self, term: &Arc<PodTerm>) {
        if !self.terms.iter().any(|known| Arc::ptr_eq(known, term)) {
            self.terms.push(Arc::clone(term));
        }
    }

    pub(super) fn add_tier(&mut self, tier: Tier) {
        if !self.tiers.contains(&tier) {
            self.tiers.push(tier);
        }
    }

    pub(super) fn append(&mut self, other: &Self) {
        other.terms.iter().for_each(|term| self.add_pods(term));
        other.tiers.iter().for_each(|tier| self.add_tier(*tier));
    }

    /// Whether a read could return the policy.
    fn may_return(&self, policy: &Policy) -> bool {
        self.tiers.contains(&policy.tier)
            || policy.subjects.iter().any(|subject| self.terms.iter().any(|term| overlap(subject, term)))
    }
}

/// The memo table.
#[derive(Debug)]
pub struct Memo {
    /// The policies of the program, each with what the lints read, if they found nothing.
    policies: Vec<(Arc<Policy>, Option<Arc<Reads>>)>,
    pod_cidrs: Vec<IpNet>,
    /// Whether all pairs of denials and other policies were compared.
    all_pairs: bool,
}

/// If more policies than this changed, the lints look at all policies.
const MOST_CHANGED: usize = 8;

impl Memo {
    pub(super) fn new(
        policies: Vec<(Arc<Policy>, Option<Arc<Reads>>)>,
        pod_cidrs: &[IpNet],
        all_pairs: bool,
    ) -> Self {
        Self { policies, pod_cidrs: pod_cidrs.to_vec(), all_pairs }
    }
}

/// The policies about which the lints find nothing, as before: for each policy what they read, or `None` if they must
/// look at it.
pub(super) fn unaffected(
    program: &Program,
    pod_cidrs: &[IpNet],
    all_pairs: bool,
    before: Option<&Memo>,
) -> Vec<Option<Arc<Reads>>> {
    let all = || vec![None; program.policies.len()];
    let Some(memo) = before else { return all() };
    if memo.pod_cidrs != pod_cidrs || memo.all_pairs != all_pairs {
        return all();
    }
    let (was, now) = (memo.policies.as_slice(), program.policies.as_slice());
    let head = was.iter().zip(now).take_while(|((was, _), now)| was == *now).count();
    let rest = was.len().min(now.len()) - head;
    let pairs = was.iter().rev().zip(now.iter().rev()).take(rest);
    let tail = pairs.take_while(|((was, _), now)| was == *now).count();
    let old = was.get(head..was.len() - tail).into_iter().flatten().map(|(policy, _)| policy);
    let changed: Vec<&Arc<Policy>> =
        old.chain(now.get(head..now.len() - tail).into_iter().flatten()).collect();
    if changed.len() > MOST_CHANGED {
        return all();
    }
    let behind = now.len() - tail;
    let reads = |at: usize| {
        let old_index = match at {
            _ if at < head => at,
            _ if at >= behind => at + was.len() - now.len(),
            _ => return None,
        };
        let reads = memo.policies.get(old_index)?.1.as_ref()?;
        (!changed.iter().any(|policy| reads.may_return(policy))).then(|| Arc::clone(reads))
    };
    (0..now.len()).map(reads).collect()
}
