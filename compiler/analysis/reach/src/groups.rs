//! Groups pods, and addresses outside the cluster, that no rule of the program distinguishes.

use std::net::IpAddr;

use indexmap::IndexSet;
use npc_cluster::{Cluster, Pod};
use npc_model::{AddressSets, Classes, Evaluator, Family, Sides, TermId, number};
use npc_program::ScopeBase;
use npc_vocabulary::{Direction, Protocol, Which};
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::set::GroupSet;

/// The location of the addresses of a group's members, in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AddressClass {
    /// They have no address of the family.
    Nowhere,
    /// Their addresses are unknown.
    Unknown,
    /// In this class.
    In(usize),
}

/// Terms; mostly few.
type TermList = SmallVec<[TermId; 16]>;

/// A port name that a pod declares and some rule uses: the protocol, the index of the name, and the port
/// number.
pub(crate) type PortName = (Protocol, usize, u16);

/// A group of pods, or of addresses.
pub(crate) struct Group {
    /// The pods by index in the cluster; empty for addresses outside.
    pub(crate) pods: Vec<usize>,
    /// What decides egress and ingress for them; `None` for addresses and host-network pods, which decide
    /// nothing.
    pub(crate) sides: Option<(Sides, Sides)>,
    /// The peer terms that select them, in order.
    pub(crate) terms: TermList,
    /// The namespace of the first pod. It is that of all pods if a rule that decides for some pod of the namespace
    /// has the scope `same namespace`.
    pub(crate) namespace: Option<usize>,
    /// The location of their addresses, by family.
    pub(crate) address_class: [AddressClass; 2],
    /// The named ports that they declare.
    pub(crate) ports: Vec<PortName>,
}

/// All groups.
pub(crate) struct Groups {
    pub(crate) list: Vec<Group>,
    /// The port names that rules use, with their indices.
    pub(crate) port_names: FxHashMap<String, usize>,
    pub(crate) relations: Relations,
}

/// Conditions of rules on two namespaces together.
pub(crate) struct Relations {
    /// Lists of labels that both must share, each list once.
    pub(crate) shared: Vec<Vec<String>>,
    /// For each term, the condition of its scope.
    of_term: Vec<Option<Relation>>,
    /// For each sides seen so far, the conditions of the rules that decide there: whether `same namespace` is
    /// used, and which lists.
    asked: FxHashMap<Sides, (bool, Vec<usize>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    Same,
    Sharing(usize),
}

impl Relations {
    fn new(evaluator: &Evaluator<'_>) -> Self {
        let mut relations = Self { shared: Vec::new(), of_term: Vec::new(), asked: FxHashMap::default() };
        for term in evaluator.rules().iter().flat_map(|rule| &rule.terms) {
            let relation = match evaluator.scope(*term).map(|scope| &scope.base) {
                Some(ScopeBase::Same) => Relation::Same,
                Some(ScopeBase::Sharing(keys)) => {
                    let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
                    let known = relations.shared.iter().position(|known| *known == keys);
                    Relation::Sharing(known.unwrap_or_else(|| {
                        relations.shared.push(keys);
                        relations.shared.len() - 1
                    }))
                }
                _ => continue,
            };
            let place = *term as usize;
            if relations.of_term.len() <= place {
                relations.of_term.resize(place + 1, None);
            }
            if let Some(own) = relations.of_term.get_mut(place) {
                *own = Some(relation);
            }
        }
        relations
    }

    /// The condition of a term's scope on two namespaces together.
    pub(crate) fn of(&self, term: TermId) -> Option<Relation> {
        self.of_term.get(term as usize).copied().flatten()
    }

    /// The values of the labels of a list, if the namespace has all of them.
    pub(crate) fn values<'c>(
        &self,
        cluster: &'c Cluster,
        list: usize,
        namespace: usize,
    ) -> Option<Vec<&'c str>> {
        let labels = &cluster.namespaces.get(namespace)?.labels;
        self.shared.get(list)?.iter().map(|key| labels.get(key).map(String::as_str)).collect()
    }

    /// Whether rules that decide by these sides use `same namespace`, and the lists that they use.
    pub(crate) fn asked(&self, sides: Sides) -> (bool, &[usize]) {
        self.asked.get(&sides).map_or((false, &[]), |(same, lists)| (*same, lists))
    }

    fn find_asked(&mut self, evaluator: &Evaluator<'_>, sides: Sides) {
        if self.asked.contains_key(&sides) {
            return;
        }
        let mut same = false;
        let mut lists = Vec::new();
        for tier in [sides.admin, sides.plain, sides.baseline] {
            let rules = evaluator.tier(tier).map_or(&[][..], |tier| &tier.rules);
            for term in rules.iter().filter_map(|rule| evaluator.rule(*rule)).flat_map(|rule| &rule.terms) {
                match self.of(*term) {
                    None => {}
                    Some(Relation::Same) => same = true,
                    Some(Relation::Sharing(list)) => lists.push(list),
                }
            }
        }
        lists.sort_unstable();
        lists.dedup();
        self.asked.insert(sides, (same, lists));
    }
}

/// The properties of a pod's kind that rules can distinguish.
#[derive(PartialEq, Eq, Hash)]
struct KindKey<'c> {
    sides: (Sides, Sides),
    terms: TermList,
    namespace: Option<usize>,
    shared: Vec<(usize, Vec<&'c str>)>,
}

/// The properties of a pod that rules can distinguish.
#[derive(PartialEq, Eq, Hash)]
struct PodKey {
    kind: usize,
    host_network: bool,
    address_class: [AddressClass; 2],
    ports: Vec<PortName>,
}

impl Groups {
    pub(crate) fn new(
        evaluator: &Evaluator<'_>,
        cluster: &Cluster,
        sets: &AddressSets<'_>,
        classes: &[Classes; 2],
    ) -> Self {
        let relations = Relations::new(evaluator);
        let mut groups = Self { list: Vec::new(), port_names: port_names(evaluator), relations };
        let kinds = groups.kinds(evaluator, cluster);
        let mut known: FxHashMap<PodKey, usize> = FxHashMap::default();
        for (place, pod) in cluster.pods.iter().enumerate() {
            let Some((kind_place, kind)) = evaluator
                .kind_of(place)
                .and_then(|kind| *kinds.of.get(kind)?)
                .and_then(|kind| Some((kind, kinds.list.get_index(kind)?)))
            else {
                continue;
            };
            let key = PodKey {
                kind: kind_place,
                host_network: pod.host_network,
                address_class: [Family::V4, Family::V6].map(|family| address_class(pod, family, classes)),
                ports: groups.ports(pod),
            };
            let next = groups.list.len();
            let group = match known.get(&key) {
                Some(group) => *group,
                None => {
                    groups.list.push(Group {
                        pods: Vec::new(),
                        sides: (!pod.host_network).then_some(kind.sides),
                        terms: kind.terms.clone(),
                        namespace: Some(pod.namespace),
                        address_class: key.address_class,
                        ports: key.ports.clone(),
                    });
                    known.insert(key, next);
                    next
                }
            };
            if let Some(group) = groups.list.get_mut(group) {
                group.pods.push(place);
            }
        }
        drop(known);
        debug_assert!(sets.of_rule.len() == evaluator.rules().len());
        for (family, classes) in classes.iter().enumerate() {
            for class in 0..classes.all().len() {
                let mut address_class = [AddressClass::Nowhere; 2];
                if let Some(own) = address_class.get_mut(family) {
                    *own = AddressClass::In(class);
                }
                groups.list.push(Group {
                    pods: Vec::new(),
                    sides: None,
                    terms: TermList::new(),
                    namespace: None,
                    address_class,
                    ports: Vec::new(),
                });
            }
        }
        groups
    }

    fn kinds<'c>(&mut self, evaluator: &Evaluator<'_>, cluster: &'c Cluster) -> Kinds<'c> {
        // The terms that are peers of some rule.
        let mut peers: Vec<bool> = Vec::new();
        for term in evaluator.rules().iter().flat_map(|rule| &rule.terms) {
            let place = *term as usize;
            if peers.len() <= place {
                peers.resize(place + 1, false);
            }
            if let Some(is_peer) = peers.get_mut(place) {
                *is_peer = true;
            }
        }
        let is_peer = |term: &TermId| peers.get(*term as usize).is_some_and(|is_peer| *is_peer);
        // All pods of a kind are in one namespace, so its first pod suffices.
        let mut firsts: Vec<(usize, usize)> = Vec::new();
        let mut seen = vec![false; evaluator.kinds()];
        for (place, pod) in cluster.pods.iter().enumerate() {
            if let Some(kind) = evaluator.kind_of(place)
                && let Some(seen @ false) = seen.get_mut(kind)
            {
                *seen = true;
                firsts.push((kind, pod.namespace));
            }
        }
        // A rule with a condition on two namespaces, which decides for some pod, distinguishes the pods that
        // are in that pod's namespace, or share its labels.
        let mut own: FxHashSet<usize> = FxHashSet::default();
        let mut shared: FxHashSet<(usize, Vec<&str>)> = FxHashSet::default();
        for (kind, namespace) in &firsts {
            for sides in [Direction::Egress, Direction::Ingress].map(|way| evaluator.sides(*kind, way)) {
                let Some(sides) = sides else { continue };
                self.relations.find_asked(evaluator, sides);
                let (same, lists) = self.relations.asked(sides);
                if same {
                    own.insert(*namespace);
                }
                for list in lists {
                    shared.extend(
                        self.relations.values(cluster, *list, *namespace).map(|values| (*list, values)),
                    );
                }
            }
        }
        let mut kinds = Kinds { list: IndexSet::default(), of: vec![None; evaluator.kinds()] };
        for (kind, namespace) in firsts {
            let sides = |way| evaluator.sides(kind, way);
            let Some(sides) = sides(Direction::Egress).zip(sides(Direction::Ingress)) else { continue };
            let lists = 0..self.relations.shared.len();
            let key = KindKey {
                sides,
                terms: evaluator.terms_of(kind).iter().copied().filter(is_peer).collect(),
                namespace: own.contains(&namespace).then_some(namespace),
                shared: lists
                    .filter_map(|list| Some((list, self.relations.values(cluster, list, namespace)?)))
                    .filter(|values| shared.contains(values))
                    .collect(),
            };
            let (place, _) = kinds.list.insert_full(key);
            if let Some(of) = kinds.of.get_mut(kind) {
                *of = Some(place);
            }
        }
        kinds
    }

    /// The ports of a pod that some rule names. A host-network pod has no named ports.
    fn ports(&self, pod: &Pod) -> Vec<PortName> {
        if pod.host_network {
            return Vec::new();
        }
        let mut ports: Vec<PortName> = pod
            .ports
            .iter()
            .filter_map(|port| Some((port.protocol, *self.port_names.get(&port.name)?, port.port)))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// The groups that have an address of a family, or whose addresses are unknown.
    pub(crate) fn of_family<S: GroupSet>(&self, family: usize) -> S {
        let mut all = S::default();
        for (index, group) in (0..).zip(&self.list) {
            if group
                .address_class
                .get(family)
                .is_some_and(|address_class| *address_class != AddressClass::Nowhere)
            {
                all.insert(index);
            }
        }
        all
    }
}

/// The kinds of pods that rules distinguish.
struct Kinds<'c> {
    list: IndexSet<KindKey<'c>, FxBuildHasher>,
    /// For each kind of the evaluator, its index in the list.
    of: Vec<Option<usize>>,
}

fn port_names(evaluator: &Evaluator<'_>) -> FxHashMap<String, usize> {
    let mut names = FxHashMap::default();
    for term in evaluator.rules().iter().flat_map(|rule| &rule.rule.ports) {
        if let Which::Named(name) = &term.port.which {
            let next = names.len();
            names.entry(name.to_string()).or_insert(next);
        }
    }
    names
}

/// The location of a pod's first address of a family.
fn address_class(pod: &Pod, family: Family, classes: &[Classes; 2]) -> AddressClass {
    if pod.addresses.is_empty() {
        return AddressClass::Unknown;
    }
    let first = pod.addresses.iter().find(|address| Family::of(**address) == family);
    match (first, classes) {
        (Some(address @ IpAddr::V4(_)), [v4, _]) => AddressClass::In(v4.of(number(*address))),
        (Some(address @ IpAddr::V6(_)), [_, v6]) => AddressClass::In(v6.of(number(*address))),
        (None, _) => AddressClass::Nowhere,
    }
}
