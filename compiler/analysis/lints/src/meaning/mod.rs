//! Lints that hold in every cluster.
//!
//! Most rules do not need the prover: a minimal example, a pod and a connection that only this rule decides,
//! shows that the rule has an effect. An index finds the policies of the example; only if the example leaves
//! a doubt is the prover called, with the few policies that matter.

mod example;
pub(crate) mod np0803_redundant;
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
use npc_program::{Peer, PodTerm, Policy, Program, Rule, ScopeBase};
use npc_proof::{Fact, Witness, exists};
use npc_vocabulary::{Action, Direction, Tier};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

pub(crate) use example::{Example, Home};
pub use quiet::{Before, Quiet};

/// A program with an index of its policies by the pods that they select. If `pod_cidrs` is not empty, pods
/// have addresses only in these CIDRs.
pub struct Overview<'p> {
    pub(crate) program: &'p Program,
    pub(crate) pod_cidrs: &'p [IpNet],
    terms: Terms<'p>,
    /// The policies of each subject term.
    subjects: Subjects,
    /// The directions in which an admin policy has a `pass` rule.
    passes: Vec<Direction>,
    /// For each policy, a pod of its first subject.
    first: Vec<OnceLock<ExampleMatch<'p>>>,
    /// For each peer term that selects the same pods for every subject, by its address in memory, a pod that
    /// it selects.
    peers: FxHashMap<usize, OnceLock<Arc<ExampleMatch<'p>>>>,
    /// For each policy, whether no finding about it is possible; empty if that is unknown for all policies.
    quiet: Vec<bool>,
    /// For each policy, whether a finding was made about it.
    found: Vec<AtomicBool>,
    /// Whether NP0804 compares all pairs of denials and other policies.
    pub(crate) all_pairs: bool,
}

/// An example pod of a term, if the first attempt finds one, and the policies that select it.
#[derive(Default)]
pub(crate) struct ExampleMatch<'p> {
    pub(crate) example: Option<Example<'p>>,
    pub(crate) policies: Vec<usize>,
}

/// What else decides the connections that a rule matches.
#[derive(Clone)]
pub(crate) struct Deciders<'p> {
    /// Other rules that decide them before the rule, or that allow them too.
    pub(crate) rules: Vec<(&'p Policy, &'p Rule)>,
    /// For a plain rule: how many of `rules`, counted from the first, stand before it in the program.
    pub(crate) earlier: usize,
    /// Plain policies that isolate the rule's pods, so that no baseline policy is evaluated.
    pub(crate) isolating: Vec<&'p Policy>,
}

impl<'p> Overview<'p> {
    /// Indexes a program. `pod_cidrs` are the CIDRs of pods' addresses; if empty, pods may have any address.
    /// `before` is the previous version of the program, whose results are reused.
    #[must_use]
    pub fn new(program: &'p Program, pod_cidrs: &'p [IpNet], before: Option<Before<'_>>) -> Self {
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
            pod_cidrs,
            terms,
            subjects,
            passes,
            first,
            peers,
            quiet: quiet::quiet(program, pod_cidrs, all_pairs, before).unwrap_or_default(),
            found: program.policies.iter().map(|_| AtomicBool::new(false)).collect(),
            all_pairs,
        }
    }

    /// For each policy, whether no finding was made about it. To be called after all lints have run.
    #[must_use]
    pub fn into_quiet(self) -> Quiet {
        let quiet = self.found.into_iter().map(|found| !found.into_inner()).collect();
        Quiet::new(quiet, self.pod_cidrs, self.all_pairs)
    }

    /// Whether a finding about the policy is possible.
    pub(crate) fn may_report(&self, policy: usize) -> bool {
        self.quiet.get(policy) != Some(&true)
    }

    /// Records that a finding was made about the policy.
    pub(crate) fn mark(&self, policy: usize) {
        if let Some(found) = self.found.get(policy) {
            found.store(true, Relaxed);
        }
    }

    /// An example pod of a policy's first subject.
    pub(crate) fn first(&self, policy: usize) -> &ExampleMatch<'p> {
        const NONE: &ExampleMatch<'_> = &ExampleMatch { example: None, policies: Vec::new() };
        let Some(known) = self.first.get(policy) else { return NONE };
        known.get_or_init(|| {
            let subject = self.policy(policy).and_then(|policy| policy.subjects.first());
            subject.map(|subject| self.known(subject, None)).unwrap_or_default()
        })
    }

    /// An example pod that a peer term selects; `own` is the namespace of the policy's subject.
    pub(crate) fn peer(&self, term: &'p Arc<PodTerm>, own: &Home<'p>) -> Arc<ExampleMatch<'p>> {
        match self.peers.get(&Arc::as_ptr(term).addr()) {
            Some(known) => Arc::clone(known.get_or_init(|| Arc::new(self.known(term, None)))),
            None => Arc::new(self.known(term, Some(own))),
        }
    }

    fn known(&self, term: &'p PodTerm, own: Option<&Home<'p>>) -> ExampleMatch<'p> {
        let example = Example::of(term, own);
        let policies = example.as_ref().map(|example| self.selecting(example)).unwrap_or_default();
        ExampleMatch { example, policies }
    }

    /// What else decides the connections of a rule, for the example pod of its policy's first subject.
    /// `index` is the policy's index in the program, `place` the rule's index in the policy.
    pub(crate) fn competing_rules(&self, index: usize, place: usize) -> Option<Deciders<'p>> {
        let policy = self.policy(index)?;
        let direction = policy.rules.get(place)?.direction;
        let mut found = Deciders { rules: Vec::new(), earlier: 0, isolating: Vec::new() };
        // The policies are in the order of the program.
        for other_index in &self.first(index).policies {
            let other = self.policy(*other_index)?;
            let of_direction =
                other.rules.iter().enumerate().filter(|(_, other)| other.direction == direction);
            if *other_index <= index {
                let here = of_direction.clone().filter(|(at, _)| (*other_index, *at) < (index, place));
                found.earlier = found.rules.len() + here.count();
            }
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
                    // With a `pass` rule in the admin tier, a connection that other admin rules match may
                    // still reach this tier.
                    if !self.passes.contains(&direction) {
                        found.rules.extend(of_direction.map(|(_, rule)| (other, rule)));
                    }
                }
                (Tier::Baseline, Tier::Namespaced) => {
                    if other.covers(direction) {
                        found.isolating.push(other);
                    }
                }
                (Tier::Admin, _) | (Tier::Namespaced, Tier::Baseline) => {}
            }
        }
        Some(found)
    }

    /// The policies that select a pod, by index in the program, in order.
    pub(crate) fn selecting(&self, example: &Example<'_>) -> Vec<usize> {
        let scopes = self.terms.scopes_of(&example.namespace.name, &example.namespace);
        self.subjects.policies(&self.terms.matching(&scopes, example)).into_vec()
    }

    pub(crate) fn policy(&self, index: usize) -> Option<&'p Policy> {
        self.program.policies.get(index).map(|policy| &**policy)
    }

    /// Runs `look` in parallel on all policies except audit policies and those about which no finding is
    /// possible, and records the policies about which it makes a finding.
    pub(crate) fn each<T: Send>(
        &self,
        look: impl Fn(usize, &'p Policy, &mut Vec<T>) + Sync + Send,
    ) -> Vec<T> {
        let policies = self.program.deciding().filter(|(index, _)| self.may_report(*index));
        in_parallel(&policies.collect::<Vec<_>>(), |index, policy, found| {
            let before = found.len();
            look(index, policy, found);
            if found.len() > before {
                self.mark(index);
            }
        })
    }

    /// Runs `look` in parallel on all policies except audit policies.
    pub(crate) fn all<T: Send>(&self, look: impl Fn(usize, &'p Policy, &mut Vec<T>) + Sync + Send) -> Vec<T> {
        in_parallel(&self.program.deciding().collect::<Vec<_>>(), look)
    }

    /// Whether a connection is possible for which all facts of `all` hold and none of `none`. If the prover
    /// gives up, the answer is `true`, because the lints report nothing then.
    pub(crate) fn possible(&self, all: &[Fact<'_>], none: &[Fact<'_>]) -> bool {
        !matches!(exists(all, none, self.pod_cidrs), Ok(None))
    }

    /// Finds a connection for which all facts of `all` hold and none of `none`. Returns `None` also if the
    /// prover gives up.
    pub(crate) fn find(&self, all: &[Fact<'_>], none: &[Fact<'_>]) -> Option<Witness> {
        exists(all, none, self.pod_cidrs).ok().flatten()
    }
}

fn in_parallel<'p, T: Send>(
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

/// Formats the connection of a witness, with the labels of its pods.
pub(crate) fn format_witness(witness: &Witness) -> Option<String> {
    let connection = witness.connection()?;
    let end = |end: &npc_vocabulary::Endpoint<'_>| match end {
        npc_vocabulary::Endpoint::Outside(address) | npc_vocabulary::Endpoint::Node { address, .. } => {
            address.to_string()
        }
        npc_vocabulary::Endpoint::Pod { pod, namespace, .. } => {
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
