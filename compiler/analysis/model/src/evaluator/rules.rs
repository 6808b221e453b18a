//! The rules of one tier that apply to a pod in one direction, indexed by their peers.

use std::net::IpAddr;

use npc_program::{Peer, Rule};
use rustc_hash::FxHashMap;

use super::terms::{TermId, Terms};
use crate::addresses::{Addresses, bits, prefix};
use crate::interpreter::{ports_match, related};
use npc_vocabulary::{Connection, Endpoint};

/// A rule, with its peers prepared for matching.
pub struct Prepared<'p> {
    /// The index of its policy in the program.
    pub policy: usize,
    /// Its index in the policy.
    pub place: usize,
    /// The rule.
    pub rule: &'p Rule,
    /// The terms of the pods among its peers.
    pub terms: Box<[TermId]>,
    /// The addresses among its peers.
    pub addresses: Addresses,
}

/// A peer, with the terms that select it, sorted.
pub(crate) struct Known<'a, 'c> {
    pub(crate) endpoint: &'a Endpoint<'c>,
    pub(crate) terms: &'a [TermId],
}

impl<'p> Prepared<'p> {
    pub(crate) fn new(policy: usize, place: usize, rule: &'p Rule, terms: &mut Terms<'p>) -> Self {
        let pods = rule.peers.iter().filter_map(|peer| match peer {
            Peer::Pods(term) => Some(terms.intern(term)),
            Peer::Anywhere { .. } | Peer::Block(_) => None,
        });
        let terms = pods.collect();
        Self { policy, place, rule, terms, addresses: Addresses::of(&rule.peers) }
    }

    /// Whether the rule matches, given that its policy selects `subject`.
    fn matches(
        &self,
        terms: &Terms<'p>,
        subject: &Endpoint<'_>,
        peer: &Known<'_, '_>,
        connection: &Connection<'_>,
    ) -> bool {
        ports_match(self.rule, connection)
            && (self.addresses.contain(peer.endpoint.address()) || self.names(terms, subject, peer))
    }

    fn names(&self, terms: &Terms<'p>, subject: &Endpoint<'_>, peer: &Known<'_, '_>) -> bool {
        let (Endpoint::Pod { namespace: own, .. }, Endpoint::Pod { namespace, .. }) =
            (subject, peer.endpoint)
        else {
            return false;
        };
        self.terms.iter().any(|term| {
            peer.terms.binary_search(term).is_ok()
                && terms.scope(*term).is_some_and(|scope| related(scope, own, namespace))
        })
    }
}

/// The policies and rules of a tier that apply to a pod in one direction.
pub struct TierRules {
    /// The indices in the program of the policies that cover the direction, in the order of evaluation.
    pub policies: Box<[usize]>,
    /// Their rules of the direction, in the same order, as indices for
    /// [`Evaluator::rule`](super::Evaluator::rule).
    pub rules: Box<[usize]>,
    index: Option<Index>,
}

/// Up to this many rules are searched one after the other. More rules have an index.
const ASKED_IN_TURN: usize = 16;

impl TierRules {
    pub(crate) fn new(policies: &[usize], rules: Box<[usize]>, all: &[Prepared<'_>]) -> Self {
        let index = (rules.len() > ASKED_IN_TURN).then(|| Index::new(&rules, all));
        Self { policies: policies.into(), rules, index }
    }

    /// The first rule that matches.
    pub(crate) fn first<'r, 'p>(
        &self,
        all: &'r [Prepared<'p>],
        terms: &Terms<'p>,
        subject: &Endpoint<'_>,
        peer: &Known<'_, '_>,
        connection: &Connection<'_>,
    ) -> Option<&'r Prepared<'p>> {
        let matching = |at: &usize| {
            let rule = all.get(*self.rules.get(*at)?)?;
            rule.matches(terms, subject, peer, connection).then_some(rule)
        };
        match &self.index {
            None => (0..self.rules.len()).find_map(|at| matching(&at)),
            Some(index) => index.candidates(peer).iter().find_map(matching),
        }
    }
}

/// Whether a prefix is IPv4, and its length.
type Length = (bool, u8);

/// Finds the rules that may match a peer, as indices of [`TierRules::rules`].
struct Index {
    /// Rules that name pods, by term.
    by_term: FxHashMap<TermId, Vec<usize>>,
    /// Rules that name CIDRs, by the length of the prefix, then by the prefix.
    by_prefix: FxHashMap<Length, FxHashMap<u128, Vec<usize>>>,
    /// Rules with a `/0` or `anywhere`, which may match any address.
    always: Vec<usize>,
}

impl Index {
    fn new(rules: &[usize], all: &[Prepared<'_>]) -> Self {
        let mut index =
            Self { by_term: FxHashMap::default(), by_prefix: FxHashMap::default(), always: Vec::new() };
        for (at, rule) in rules.iter().enumerate().filter_map(|(at, rule)| Some((at, all.get(*rule)?))) {
            for term in &rule.terms {
                index.by_term.entry(*term).or_default().push(at);
            }
            for peer in &rule.rule.peers {
                match peer {
                    Peer::Pods(_) => {}
                    Peer::Block(term) if term.block.net.prefix_len() > 0 => {
                        let (is_v4, bits) = bits(term.block.net.network());
                        let length = (is_v4, term.block.net.prefix_len());
                        let prefixes = index.by_prefix.entry(length).or_default();
                        prefixes.entry(bits).or_default().push(at);
                    }
                    Peer::Block(_) | Peer::Anywhere { .. } => index.always.push(at),
                }
            }
        }
        index
    }

    /// The rules that may match the peer, sorted. Every rule that matches it is among them.
    fn candidates(&self, peer: &Known<'_, '_>) -> Vec<usize> {
        let mut found = self.always.clone();
        for term in peer.terms {
            found.extend(self.by_term.get(term).into_iter().flatten());
        }
        if let Some((is_v4, bits)) = peer.endpoint.address().map(|address: IpAddr| bits(address)) {
            for ((of_v4, length), prefixes) in &self.by_prefix {
                if *of_v4 == is_v4 {
                    found.extend(prefixes.get(&prefix(bits, *length)).into_iter().flatten());
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
