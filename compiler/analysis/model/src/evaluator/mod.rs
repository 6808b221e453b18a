//! Evaluates one program for many connections of one cluster.
//!
//! Pods of one namespace that have the same labels, or are all host-network pods, form one *kind*. Each kind
//! is matched once with the pod terms of the program. A connection is then evaluated by the few rules that
//! apply to its two kinds. The verdicts and their reasons equal the interpreter's.

mod rules;
mod terms;

use std::collections::BTreeMap;

use npc_cluster::Cluster;
use npc_program::{Policy, Program, Scope};
use npc_vocabulary::{Action, Connection, Decision, Direction, Endpoint, Tier, Verdict};
use rustc_hash::{FxBuildHasher, FxHashMap};
use smallvec::SmallVec;

use crate::interpreter::judge;
use rules::Known;
pub use rules::{Prepared, TierRules};
pub use terms::{Labels, Subjects, TermId, Terms};

/// A program and a cluster, prepared for many queries.
pub struct Evaluator<'a> {
    terms: Terms<'a>,
    rules: Vec<Prepared<'a>>,
    tiers: Vec<TierRules>,
    kinds: Vec<Kind>,
    /// The kind of each pod, as an index of `kinds`, in the order of [`Cluster::pods`].
    of_pod: Vec<usize>,
}

/// Identifies a kind: the index of the namespace, and the labels. The labels are `None` for host-network
/// pods.
type PodKey<'c> = (usize, Option<&'c BTreeMap<String, String>>);

/// Pods of one namespace that have the same labels, or are all host-network pods.
struct Kind {
    /// The terms that select the pods, sorted.
    terms: Box<[TermId]>,
    /// The policies that apply to the pods, for each direction.
    egress: Sides,
    ingress: Sides,
}

/// The policies that apply to pods in one direction, as indices for [`Evaluator::tier`]. Equal indices refer
/// to the same policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sides {
    /// Admin policies.
    pub admin: usize,
    /// Plain policies.
    pub plain: usize,
    /// Baseline policies.
    pub baseline: usize,
}

impl<'a> Evaluator<'a> {
    /// Matches the pods of a cluster with the pod terms of a program.
    #[must_use]
    pub fn new(program: &'a Program, cluster: &'a Cluster) -> Self {
        let mut terms = Terms::default();
        let mut rules = Vec::with_capacity(program.policies.iter().map(|policy| policy.rules.len()).sum());
        // The index of each policy's first rule.
        let mut first_rule = Vec::with_capacity(program.policies.len());
        let mut subjects = Subjects::default();
        for (index, policy) in program.policies.iter().enumerate() {
            first_rule.push(rules.len());
            // Audit policies decide nothing.
            if policy.audit.is_some() {
                continue;
            }
            for subject in &policy.subjects {
                subjects.add(terms.intern(subject), index);
            }
            let prepared = policy.rules.iter().enumerate();
            rules.extend(prepared.map(|(place, rule)| Prepared::new(index, place, rule, &mut terms)));
        }
        let mut matcher = Matcher::new(program, rules, first_rule);
        let mut kinds = Vec::new();
        // No selector matches host-network pods, so those of one namespace form one kind.
        let mut by_labels: FxHashMap<PodKey<'_>, usize> =
            FxHashMap::with_capacity_and_hasher(cluster.pods.len(), FxBuildHasher);
        let mut scopes: FxHashMap<usize, Vec<usize>> = FxHashMap::default();
        let mut of_policies: FxHashMap<SmallVec<[usize; 8]>, (Sides, Sides)> = FxHashMap::default();
        let of_pod = cluster
            .pods
            .iter()
            .map(|pod| {
                let labels = (!pod.host_network).then_some(&*pod.labels);
                *by_labels.entry((pod.namespace, labels)).or_insert_with(|| {
                    let scopes = scopes.entry(pod.namespace).or_insert_with(|| {
                        cluster
                            .namespaces
                            .get(pod.namespace)
                            .map(|own| terms.scopes_of(&own.name, &own.labels))
                            .unwrap_or_default()
                    });
                    let terms = labels.map(|labels| terms.matching(scopes, labels)).unwrap_or_default();
                    let policies = subjects.policies(&terms);
                    let (egress, ingress) = *of_policies
                        .entry(policies)
                        .or_insert_with_key(|policies| matcher.sides_of(policies));
                    kinds.push(Kind { terms: terms.as_slice().into(), egress, ingress });
                    kinds.len() - 1
                })
            })
            .collect();
        Self { terms, rules: matcher.rules, tiers: matcher.tiers, kinds, of_pod }
    }

    /// The verdict of the program for a connection. Its pods must be pods of the cluster.
    #[must_use]
    pub fn verdict(&self, connection: &Connection<'_>) -> Verdict {
        judge(connection, |direction, subject, peer| self.decide(direction, subject, peer, connection))
    }

    fn decide(
        &self,
        direction: Direction,
        subject: &Endpoint<'_>,
        peer: &Endpoint<'_>,
        connection: &Connection<'_>,
    ) -> Decision {
        let kind = match subject {
            Endpoint::Outside(_) => return Decision::Outside,
            Endpoint::Node { .. } => return Decision::HostNetwork,
            Endpoint::Pod { pod, .. } if pod.host_network => return Decision::HostNetwork,
            Endpoint::Pod { place, .. } => self.kind(*place),
        };
        let Some(kind) = kind else { return Decision::Default };
        let terms = match peer {
            Endpoint::Node { .. } | Endpoint::Outside(_) => &[],
            Endpoint::Pod { place, .. } => self.kind(*place).map_or(&[][..], |kind| &kind.terms),
        };
        let peer = Known { endpoint: peer, terms };
        let sides = match direction {
            Direction::Egress => &kind.egress,
            Direction::Ingress => &kind.ingress,
        };
        let first =
            |tier: usize| self.tiers.get(tier)?.first(&self.rules, &self.terms, subject, &peer, connection);
        let decided =
            |found: &Prepared<'_>, allowed: bool| Decision::by_rule(found.policy, found.place, allowed);
        if let Some(found) = first(sides.admin) {
            match found.rule.action {
                Action::Allow => return decided(found, true),
                Action::Deny => return decided(found, false),
                Action::Pass => {}
            }
        }
        if let Some(found) = first(sides.plain) {
            return decided(found, true);
        }
        if let Some(plain) = self.tiers.get(sides.plain).filter(|plain| !plain.policies.is_empty()) {
            return Decision::Isolated { policies: plain.policies.to_vec() };
        }
        match first(sides.baseline) {
            Some(found) => decided(found, found.rule.action == Action::Allow),
            None => Decision::Default,
        }
    }

    /// The number of kinds.
    #[must_use]
    pub fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// The kind of the pod with this index in [`Cluster::pods`]. Pods of one kind are in one namespace and
    /// have the same labels, or are all host-network pods.
    #[must_use]
    pub fn kind_of(&self, place: usize) -> Option<usize> {
        self.of_pod.get(place).copied()
    }

    /// The terms that select the pods of a kind, sorted. The relation that a scope may require between two
    /// namespaces (`same namespace`, `sharing`) is not checked.
    #[must_use]
    pub fn terms_of(&self, kind: usize) -> &[TermId] {
        self.kinds.get(kind).map_or(&[], |kind| &kind.terms)
    }

    /// The policies that apply to the pods of a kind in one direction.
    #[must_use]
    pub fn sides(&self, kind: usize, direction: Direction) -> Option<Sides> {
        let kind = self.kinds.get(kind)?;
        Some(match direction {
            Direction::Egress => kind.egress,
            Direction::Ingress => kind.ingress,
        })
    }

    /// The policies of a tier and their rules, by an index of [`Sides`].
    #[must_use]
    pub fn tier(&self, tier: usize) -> Option<&TierRules> {
        self.tiers.get(tier)
    }

    /// A rule, by one of the indices in [`TierRules::rules`].
    #[must_use]
    pub fn rule(&self, place: usize) -> Option<&Prepared<'a>> {
        self.rules.get(place)
    }

    /// All rules, in the order of their indices.
    #[must_use]
    pub fn rules(&self) -> &[Prepared<'a>] {
        &self.rules
    }

    /// The scope of a term.
    #[must_use]
    pub fn scope(&self, term: TermId) -> Option<&'a Scope> {
        self.terms.scope(term)
    }

    fn kind(&self, place: usize) -> Option<&Kind> {
        self.kinds.get(*self.of_pod.get(place)?)
    }
}

/// Finds the rules that apply to kinds of pods, once for each set of policies.
struct Matcher<'a> {
    program: &'a Program,
    rules: Vec<Prepared<'a>>,
    first_rule: Vec<usize>,
    /// The first element has no policies.
    tiers: Vec<TierRules>,
    known: FxHashMap<(Direction, SmallVec<[usize; 8]>), usize>,
}

/// The index of the tier without policies.
const EMPTY: usize = 0;

impl<'a> Matcher<'a> {
    fn new(program: &'a Program, rules: Vec<Prepared<'a>>, first_rule: Vec<usize>) -> Self {
        let empty = TierRules::new(&[], Box::default(), &rules);
        Self { program, rules, first_rule, tiers: vec![empty], known: FxHashMap::default() }
    }

    /// The policies that apply to pods which these policies select: for egress and for ingress.
    fn sides_of(&mut self, policies: &[usize]) -> (Sides, Sides) {
        let mut ordered: SmallVec<[(usize, &Policy); 16]> = policies
            .iter()
            .filter_map(|index| Some((*index, &**self.program.policies.get(*index)?)))
            .collect();
        // By priority, then by the order in the program.
        ordered.sort_unstable_by_key(|(index, policy)| (policy.priority, *index));
        let of_direction = |direction: Direction| {
            let mut of = |tier: Tier| {
                let own = ordered.iter().filter(|(_, policy)| policy.tier == tier);
                let own = own.filter(|(_, policy)| policy.covers(direction));
                self.tier(direction, own.map(|(index, _)| *index).collect())
            };
            Sides { admin: of(Tier::Admin), plain: of(Tier::Namespaced), baseline: of(Tier::Baseline) }
        };
        [Direction::Egress, Direction::Ingress].map(of_direction).into()
    }

    fn tier(&mut self, direction: Direction, policies: SmallVec<[usize; 8]>) -> usize {
        if policies.is_empty() {
            return EMPTY;
        }
        let key = (direction, policies);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let (_, policies) = &key;
        let rules = policies
            .iter()
            .filter_map(|index| Some((self.program.policies.get(*index)?, *self.first_rule.get(*index)?)))
            .flat_map(|(policy, first)| policy.rules.iter().zip(first..))
            .filter(|(rule, _)| rule.direction == direction)
            .map(|(_, place)| place)
            .collect();
        let tier = self.tiers.len();
        self.tiers.push(TierRules::new(policies, rules, &self.rules));
        self.known.insert(key, tier);
        tier
    }
}
