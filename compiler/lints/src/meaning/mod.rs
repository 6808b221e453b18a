//! What a program means in every cluster.
//!
//! Most rules are plainly what they seem: a pod and a connection that are the rule's own, as simple as
//! they can be, show it. Those examples are looked up in an index; only where they leave a doubt is the
//! prover asked, about the few policies that matter.

mod example;
pub(crate) mod np0803_decides_nothing;
pub(crate) mod np0804_denial_undone;
pub(crate) mod np0805_no_dns;
pub(crate) mod np0806_half_allowed;
pub(crate) mod np0807_one_family;
pub(crate) mod np0808_pods_by_address;
mod quiet;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use npc_model::{Subjects, Terms};
use npc_program::values::address::IpNet;
use npc_program::{Action, Direction, Peer, PodTerm, Policy, Program, Rule, ScopeBase, Tier};
use npc_proof::{Fact, Witness, exists};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

pub(crate) use example::{Example, Home};
pub use quiet::{Before, Quiet};

/// A program, with its policies found by the pods that they select. Pods have addresses in some blocks
/// only, where those are known.
pub struct Overview<'p> {
    pub(crate) program: &'p Program,
    pub(crate) pod_blocks: &'p [IpNet],
    terms: Terms<'p>,
    /// The policies of each subject's term.
    subjects: Subjects,
    /// The directions in which some admin rule says `pass`.
    passes: Vec<Direction>,
    /// Of each policy, a pod of its first subject.
    first: Vec<OnceLock<Known<'p>>>,
    /// Of each peer's term that means the same pods for every subject, by its place in memory, a pod that
    /// it selects.
    peers: FxHashMap<usize, OnceLock<Arc<Known<'p>>>>,
    /// Of each policy, whether nothing can be told of it; empty where that is known of none.
    quiet: Vec<bool>,
    /// Of each policy, whether something was found of it.
    found: Vec<AtomicBool>,
    /// Whether all pairs of denials and other policies are looked at.
    pub(crate) all_pairs: bool,
}

/// A pod that a term selects, where the first attempt finds one, and the policies that select it.
#[derive(Default)]
pub(crate) struct Known<'p> {
    pub(crate) example: Option<Example<'p>>,
    pub(crate) policies: Vec<usize>,
}

/// What decides on the connections that a rule matches, other than the rule.
#[derive(Clone)]
pub(crate) struct Deciders<'p> {
    /// Rules that decide before it, or as well.
    pub(crate) rules: Vec<(&'p Policy, &'p Rule)>,
    /// The policies that isolate its pods, so that no baseline policy is asked.
    pub(crate) isolating: Vec<&'p Policy>,
}

impl<'p> Overview<'p> {
    /// Of a program, and the blocks that pods have their addresses from; none where any may be. What it was
    /// before may spare much work.
    #[must_use]
    pub fn new(program: &'p Program, pod_blocks: &'p [IpNet], before: Option<Before<'_>>) -> Self {
        let all_pairs = np0804_denial_undone::all_pairs(program);
        let mut terms = Terms::default();
        let mut subjects = Subjects::default();
        for (index, policy) in program.deciding() {
            for subject in &policy.subjects {
                subjects.add(terms.intern(subject), index);
            }
        }
        let passes = program
            .deciding()
            .flat_map(|(_, policy)| &policy.rules)
            .filter(|rule| rule.action == Action::Pass)
            .map(|rule| rule.direction)
            .collect();
        let first = program.policies.iter().map(|_| OnceLock::new()).collect();
        let rules = program.policies.iter().flat_map(|policy| &policy.rules);
        let peers = rules
            .flat_map(|rule| &rule.peers)
            .filter_map(|peer| match peer {
                Peer::Pods(term) if !is_relative(term) => Some((Arc::as_ptr(term).addr(), OnceLock::new())),
                _ => None,
            })
            .collect();
        Self {
            program,
            pod_blocks,
            terms,
            subjects,
            passes,
            first,
            peers,
            quiet: quiet::quiet(program, pod_blocks, all_pairs, before).unwrap_or_default(),
            found: program.policies.iter().map(|_| AtomicBool::new(false)).collect(),
            all_pairs,
        }
    }

    /// Of which policies nothing was found, once all were looked at.
    #[must_use]
    pub fn into_quiet(self) -> Quiet {
        let quiet = self.found.into_iter().map(|found| !found.into_inner()).collect();
        Quiet::new(quiet, self.pod_blocks, self.all_pairs)
    }

    /// Whether something may be told of a policy.
    pub(crate) fn may_tell(&self, policy: usize) -> bool {
        self.quiet.get(policy) != Some(&true)
    }

    /// Something was found of a policy.
    pub(crate) fn mark(&self, policy: usize) {
        if let Some(found) = self.found.get(policy) {
            found.store(true, Relaxed);
        }
    }

    /// A pod of a policy's first subject.
    pub(crate) fn first(&self, policy: usize) -> &Known<'p> {
        const NONE: &Known<'_> = &Known { example: None, policies: Vec::new() };
        let Some(known) = self.first.get(policy) else { return NONE };
        known.get_or_init(|| {
            let subject = self.policy(policy).and_then(|policy| policy.subjects.first());
            subject.map(|subject| self.known(subject, None)).unwrap_or_default()
        })
    }

    /// A pod that a peer's term selects, as seen from a subject in the namespace `own`.
    pub(crate) fn peer(&self, term: &'p Arc<PodTerm>, own: &Home<'p>) -> Arc<Known<'p>> {
        match self.peers.get(&Arc::as_ptr(term).addr()) {
            Some(known) => Arc::clone(known.get_or_init(|| Arc::new(self.known(term, None)))),
            None => Arc::new(self.known(term, Some(own))),
        }
    }

    fn known(&self, term: &'p PodTerm, own: Option<&Home<'p>>) -> Known<'p> {
        let example = Example::of(term, own);
        let policies = example.as_ref().map(|example| self.selecting(example)).unwrap_or_default();
        Known { example, policies }
    }

    /// What decides beside a rule, by the places of its policy and of it there, for a pod of the policy's
    /// first subject.
    pub(crate) fn beside(&self, index: usize, place: usize) -> Option<Deciders<'p>> {
        let policy = self.policy(index)?;
        let direction = policy.rules.get(place)?.direction;
        let mut found = Deciders { rules: Vec::new(), isolating: Vec::new() };
        for other_index in &self.first(index).policies {
            let other = self.policy(*other_index)?;
            let of_direction =
                other.rules.iter().enumerate().filter(|(_, other)| other.direction == direction);
            match (policy.tier, other.tier) {
                (Tier::Namespaced, Tier::Namespaced) => {
                    let others = of_direction.filter(|(at, _)| (*other_index, *at) != (index, place));
                    found.rules.extend(others.map(|(_, rule)| (other, rule)));
                }
                (Tier::Admin, Tier::Admin) | (Tier::Baseline, Tier::Baseline) => {
                    let before =
                        |at: usize| (other.priority, *other_index, at) < (policy.priority, index, place);
                    let rules = of_direction.filter(|(at, _)| before(*at));
                    found.rules.extend(rules.map(|(_, rule)| (other, rule)));
                }
                (Tier::Namespaced | Tier::Baseline, Tier::Admin) => {
                    // What some rule passes on may be decided here all the same.
                    if !self.passes.contains(&direction) {
                        found.rules.extend(of_direction.map(|(_, rule)| (other, rule)));
                    }
                }
                (Tier::Baseline, Tier::Namespaced) => {
                    if other.speaks_of(direction) {
                        found.isolating.push(other);
                    }
                }
                (Tier::Admin, _) | (Tier::Namespaced, Tier::Baseline) => {}
            }
        }
        Some(found)
    }

    /// The policies that select a pod, by their places in the program, in order.
    pub(crate) fn selecting(&self, example: &Example<'_>) -> Vec<usize> {
        let scopes = self.terms.scopes_of(&example.namespace.name, &example.namespace);
        self.subjects.policies(&self.terms.matching(&scopes, example)).into_vec()
    }

    pub(crate) fn policy(&self, index: usize) -> Option<&'p Policy> {
        self.program.policies.get(index).map(|policy| &**policy)
    }

    /// The policies that decide, with their places, in shares for as many threads as there are. Those that
    /// nothing can be told of on meaning are left out, and those are marked of which something is found.
    pub(crate) fn each<T: Send>(
        &self,
        look: impl Fn(usize, &'p Policy, &mut Vec<T>) + Sync + Send,
    ) -> Vec<T> {
        let policies = self.program.deciding().filter(|(index, _)| self.may_tell(*index));
        shared_out(&policies.collect::<Vec<_>>(), |index, policy, found| {
            let before = found.len();
            look(index, policy, found);
            if found.len() > before {
                self.mark(index);
            }
        })
    }

    /// The same of all policies that decide.
    pub(crate) fn all<T: Send>(&self, look: impl Fn(usize, &'p Policy, &mut Vec<T>) + Sync + Send) -> Vec<T> {
        shared_out(&self.program.deciding().collect::<Vec<_>>(), look)
    }

    /// Whether some connection could be of which all of `all` hold and none of `none`. Where that is
    /// more than can be proved, it is taken to be so, since nothing is said then.
    pub(crate) fn possible(&self, all: &[Fact<'_>], none: &[Fact<'_>]) -> bool {
        !matches!(exists(all, none, self.pod_blocks), Ok(None))
    }

    /// A connection of which all of `all` hold and none of `none`, where there is one and it is found.
    pub(crate) fn find(&self, all: &[Fact<'_>], none: &[Fact<'_>]) -> Option<Witness> {
        exists(all, none, self.pod_blocks).ok().flatten()
    }
}

fn shared_out<'p, T: Send>(
    policies: &[(usize, &'p Policy)],
    look: impl Fn(usize, &'p Policy, &mut Vec<T>) + Sync + Send,
) -> Vec<T> {
    let shares: Vec<Vec<T>> = policies
        .par_chunks(256)
        .map(|share| {
            let mut found = Vec::new();
            for (index, policy) in share {
                look(*index, policy, &mut found);
            }
            found
        })
        .collect();
    shares.into_iter().flatten().collect()
}

pub(crate) const fn is_relative(term: &PodTerm) -> bool {
    matches!(term.scope.base, ScopeBase::Same | ScopeBase::Sharing(_))
}

/// A connection, as `npc query` would name it, with the labels of its pods.
pub(crate) fn told(witness: &Witness) -> Option<String> {
    let connection = witness.connection()?;
    let end = |end: &npc_model::Endpoint<'_>| match end {
        npc_model::Endpoint::Outside(address) | npc_model::Endpoint::Node { address, .. } => {
            address.to_string()
        }
        npc_model::Endpoint::Pod { pod, namespace, .. } => {
            let labels = |labels: &std::collections::BTreeMap<String, String>| {
                let labels: Vec<String> = labels
                    .iter()
                    .filter(|(key, _)| *key != npc_cluster::NAMESPACE_NAME)
                    .map(|(key, value)| format!("{key} = {value}"))
                    .collect();
                if labels.is_empty() { String::new() } else { format!(" {{ {} }}", labels.join(", ")) }
            };
            format!(
                "a pod{} in the namespace {}{}",
                labels(&pod.labels),
                namespace.name,
                labels(&namespace.labels)
            )
        }
    };
    Some(format!(
        "for example from {} to {}, {}",
        end(&connection.source),
        end(&connection.destination),
        connection.traffic
    ))
}
