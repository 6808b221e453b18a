//! A program as the lints see it: an index of its policies, and readers that record what is read.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use npc_model::{Subjects, Terms, verdict};
use npc_program::values::address::IpNet;
use npc_program::{Peer, PodTerm, Policy, Program, Rule, overlap, policies_overlap};
use npc_proof::{Fact, Witness, exists};
use npc_vocabulary::{Action, Connection, Direction, Tier};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::memo::{self, Memo, Reads};
use super::{Example, Home, is_relative, np0804_denial_undone};

/// The number of policies that one thread looks at before it takes the next.
const SHARE: usize = 64;

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
    /// For each policy about which the lints find nothing, as for the program before, what they read.
    unaffected: Vec<Option<Arc<Reads>>>,
    /// For each policy that the lints looked at, what they read; `None` after a finding.
    results: Vec<Mutex<Option<Reads>>>,
    /// Whether NP0804 compares all pairs of denials and other policies.
    all_pairs: bool,
    stop: &'p (dyn Fn() -> bool + Sync),
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

/// Rules of a program, which only a [`Reader`] returns.
pub(crate) struct RuleList<'p>(Vec<(usize, &'p Policy, &'p Rule)>);

impl<'p> Overview<'p> {
    /// Indexes a program. `pod_cidrs` are the CIDRs of pods' addresses; if empty, pods may have any address.
    /// `before` is the memo table of an earlier version of the program. If `stop` returns true, the lints end early, and
    /// their findings and the memo table are incomplete.
    #[must_use]
    pub fn new(
        program: &'p Program,
        pod_cidrs: &'p [IpNet],
        before: Option<&Memo>,
        stop: &'p (dyn Fn() -> bool + Sync),
    ) -> Self {
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
            unaffected: memo::unaffected(program, pod_cidrs, all_pairs, before),
            results: program.policies.iter().map(|_| Mutex::new(Some(Reads::default()))).collect(),
            all_pairs,
            stop,
        }
    }

    /// The memo table for the next version of the program. To be called after all lints have run.
    #[must_use]
    pub fn into_memo(self) -> Memo {
        let reads = self.unaffected.into_iter().zip(self.results).map(|(unaffected, result)| {
            unaffected.or_else(|| result.into_inner().unwrap_or_else(PoisonError::into_inner).map(Arc::new))
        });
        Memo::new(self.program.policies.iter().cloned().zip(reads).collect(), self.pod_cidrs, self.all_pairs)
    }

    /// The rules of all policies except audit policies that the filter accepts.
    pub(crate) fn rules(&self, filter: impl Fn(&Rule) -> bool) -> RuleList<'p> {
        let all = self
            .program
            .deciding()
            .flat_map(|(index, policy)| policy.rules.iter().map(move |rule| (index, policy, rule)));
        RuleList(all.filter(|(_, _, rule)| filter(rule)).collect())
    }

    /// Runs a lint in parallel on all policies except audit policies, and those about which it finds nothing as before.
    pub(crate) fn each<T: Send>(
        &self,
        look: impl Fn(&Reader<'_, 'p>, usize, &'p Policy, &mut Vec<T>) + Sync + Send,
    ) -> Vec<T> {
        let is_affected = |index: usize| self.unaffected.get(index).is_none_or(Option::is_none);
        let policies: Vec<_> = self.program.deciding().filter(|(index, _)| is_affected(*index)).collect();
        self.in_parallel(&policies, |reader, index, policy, found| {
            let before = found.len();
            look(reader, index, policy, found);
            let Some(result) = self.results.get(index) else { return };
            let mut result = result.lock().unwrap_or_else(PoisonError::into_inner);
            if found.len() > before {
                *result = None;
            } else if let Some(reads) = &mut *result {
                reads.append(&reader.reads.take());
            }
        })
    }

    /// Runs a check in parallel on all policies except audit policies.
    pub(crate) fn all<T: Send>(
        &self,
        look: impl Fn(&Reader<'_, 'p>, usize, &'p Policy, &mut Vec<T>) + Sync + Send,
    ) -> Vec<T> {
        self.in_parallel(&self.program.deciding().collect::<Vec<_>>(), look)
    }

    fn in_parallel<T: Send>(
        &self,
        policies: &[(usize, &'p Policy)],
        look: impl Fn(&Reader<'_, 'p>, usize, &'p Policy, &mut Vec<T>) + Sync + Send,
    ) -> Vec<T> {
        let shares: Vec<Vec<T>> = policies
            .par_chunks(SHARE)
            .map(|share| {
                let mut found = Vec::new();
                for (index, policy) in share {
                    if (self.stop)() {
                        break;
                    }
                    let reader = Reader { overview: self, reads: RefCell::default() };
                    look(&reader, *index, policy, &mut found);
                }
                found
            })
            .collect();
        shares.into_iter().flatten().collect()
    }

    fn selecting(&self, example: &Example<'_>) -> Vec<usize> {
        let scopes = self.terms.scopes_of(&example.namespace.name, &example.namespace);
        self.subjects.policies(&self.terms.matching(&scopes, example)).into_vec()
    }

    fn matching(&self, term: &'p PodTerm, own: Option<&Home<'p>>) -> ExampleMatch<'p> {
        let example = Example::of(term, own);
        let policies = example.as_ref().map(|example| self.selecting(example)).unwrap_or_default();
        ExampleMatch { example, policies }
    }

    /// Whether a connection is possible for which all facts of `all` hold and none of `none`. If the prover
    /// gives up, the answer is `true`, because the lints report nothing then.
    pub(crate) fn possible(&self, all: &[Fact<'_>], none: &[Fact<'_>]) -> bool {
        !matches!(exists(all, none, self.pod_cidrs), Ok(None))
    }
}

/// Reads the policies of a program for a lint that looks at one of them, and records what it reads.
pub(crate) struct Reader<'o, 'p> {
    overview: &'o Overview<'p>,
    reads: RefCell<Reads>,
}

impl<'o, 'p> Reader<'o, 'p> {
    fn read_pods(&self, term: &Arc<PodTerm>) {
        self.reads.borrow_mut().add_pods(term);
    }

    fn read_pods_of(&self, policy: &Policy) {
        policy.subjects.iter().for_each(|term| self.read_pods(term));
    }

    /// A policy whose index another method returned.
    pub(crate) fn policy(&self, index: usize) -> Option<&'p Arc<Policy>> {
        self.overview.program.policies.get(index)
    }

    /// An example pod of a policy's first subject.
    pub(crate) fn first(&self, policy: usize) -> &'o ExampleMatch<'p> {
        const NONE: &ExampleMatch<'_> = &ExampleMatch { example: None, policies: Vec::new() };
        let subject = self.policy(policy).and_then(|policy| policy.subjects.first());
        let (Some(known), Some(subject)) = (self.overview.first.get(policy), subject) else { return NONE };
        self.read_pods(subject);
        known.get_or_init(|| self.overview.matching(subject, None))
    }

    /// An example pod of a term that selects the same pods for every subject.
    pub(crate) fn example(&self, term: &'p Arc<PodTerm>) -> ExampleMatch<'p> {
        self.read_pods(term);
        self.overview.matching(term, None)
    }

    /// An example pod that a peer term selects; `own` is the namespace of the policy's subject.
    pub(crate) fn peer(&self, term: &'p Arc<PodTerm>, own: &Home<'p>) -> Arc<ExampleMatch<'p>> {
        self.read_pods(term);
        match self.overview.peers.get(&Arc::as_ptr(term).addr()) {
            Some(known) => Arc::clone(known.get_or_init(|| Arc::new(self.overview.matching(term, None)))),
            None => Arc::new(self.overview.matching(term, Some(own))),
        }
    }

    /// The policies that overlap with a term and that the filter accepts, in order.
    pub(crate) fn overlapping_term(
        &self,
        term: &Arc<PodTerm>,
        filter: impl Fn(usize, &Policy) -> bool,
    ) -> Vec<&'p Policy> {
        self.read_pods(term);
        let all = self.overview.program.deciding().filter(|(index, policy)| filter(*index, policy));
        let overlapping = all.filter(|(_, policy)| policy.subjects.iter().any(|own| overlap(own, term)));
        overlapping.map(|(_, policy)| policy).collect()
    }

    /// The policies that overlap with a policy and that the filter accepts, in order. A policy overlaps with itself.
    pub(crate) fn overlapping(
        &self,
        policy: &'p Policy,
        filter: impl Fn(usize, &Policy) -> bool,
    ) -> Vec<(usize, &'p Policy)> {
        self.read_pods_of(policy);
        let all = self.overview.program.deciding().filter(|(index, other)| filter(*index, other));
        all.filter(|(_, other)| std::ptr::eq(*other, policy) || policies_overlap(policy, other)).collect()
    }

    /// The rules of a list whose policies overlap with a policy, and that the filter accepts, in order.
    pub(crate) fn overlapping_rules<'l>(
        &self,
        list: &'l RuleList<'p>,
        policy: &'p Policy,
        filter: impl Fn(usize, &Rule) -> bool + 'l,
    ) -> impl Iterator<Item = (usize, &'p Policy, &'p Rule)> + 'l {
        self.read_pods_of(policy);
        let accepted = list.0.iter().filter(move |(index, _, rule)| filter(*index, rule));
        accepted.filter(move |(_, other, _)| policies_overlap(policy, other)).copied()
    }

    /// The policies that select an example pod of one of a policy's subjects, by index, in order. `None` if the program
    /// is small enough to compare all pairs of policies.
    pub(crate) fn near(&self, index: usize, policy: &'p Policy) -> Option<Vec<usize>> {
        if self.overview.all_pairs {
            return None;
        }
        let mut near = self.first(index).policies.clone();
        near.extend(policy.subjects.iter().skip(1).flat_map(|term| self.example(term).policies));
        near.sort_unstable();
        near.dedup();
        Some(near)
    }

    /// All policies of a tier except audit policies, in order.
    pub(crate) fn tier(&self, tier: Tier) -> impl Iterator<Item = &'p Policy> + 'o {
        self.reads.borrow_mut().add_tier(tier);
        self.overview.program.deciding().map(|(_, policy)| policy).filter(move |policy| policy.tier == tier)
    }

    /// Whether the whole program allows a connection in a direction, for a pod that `policy` selects.
    pub(crate) fn allows(&self, policy: &Policy, connection: &Connection<'_>, direction: Direction) -> bool {
        self.read_pods_of(policy);
        !verdict(self.overview.program, connection).denied_in(direction)
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
                    found.rules.extend(others.map(|(_, rule)| (&**other, rule)));
                }
                (Tier::Admin, Tier::Admin) | (Tier::Baseline, Tier::Baseline) => {
                    let before =
                        |at: usize| (other.priority, *other_index, at) < (policy.priority, index, place);
                    let rules = of_direction.filter(|(at, _)| before(*at));
                    found.rules.extend(rules.map(|(_, rule)| (&**other, rule)));
                }
                (Tier::Namespaced | Tier::Baseline, Tier::Admin) => {
                    // With a `pass` rule in the admin tier, a connection that other admin rules match may
                    // still reach this tier.
                    self.reads.borrow_mut().add_tier(Tier::Admin);
                    if !self.overview.passes.contains(&direction) {
                        found.rules.extend(of_direction.map(|(_, rule)| (&**other, rule)));
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

    /// As [`Overview::possible`].
    pub(crate) fn possible(&self, all: &[Fact<'_>], none: &[Fact<'_>]) -> bool {
        self.overview.possible(all, none)
    }

    /// Finds a connection for which all facts of `all` hold and none of `none`. Returns `None` also if the
    /// prover gives up.
    pub(crate) fn find(&self, all: &[Fact<'_>], none: &[Fact<'_>]) -> Option<Witness> {
        exists(all, none, self.overview.pod_cidrs).ok().flatten()
    }
}
