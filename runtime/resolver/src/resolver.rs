//! An image and the pods there are, as tables.

use std::net::IpAddr;
use std::sync::Arc;

use npc_image::{Direction, Image, Named, NamedPort, Protocol, Rule, ScopeBase, Tier, Traffic};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::changes::Change;
use crate::interned::Interned;
use crate::lists::{Column, ListKey, decide};
use crate::reason::{Reason, Reasons};
use crate::select::{Labels, Terms};
use crate::trie::{Family, Trie};

/// A pod, as far as tables are made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace's name.
    pub namespace: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// The ports that it names.
    pub ports: Vec<Named>,
    /// Whether it is on its node's network.
    pub host_network: bool,
    /// Whether it runs on this node, so that its packets are judged here.
    pub local: bool,
}

/// The values of labels that must be shared, by the lists of labels that are asked for.
type Shared = Box<[(u32, Box<[Arc<str>]>)]>;

/// What tells one kind of peer from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerKey {
    /// The class of its address in the image.
    pub(crate) addresses: u32,
    /// Whether it is this node.
    pub(crate) node: bool,
    pub(crate) identity: Identity,
}

/// What rules can tell of a pod, but for its address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// The terms of peers that select it.
    terms: Box<[u32]>,
    /// Its namespace, where one of them asks whether it is the subject's.
    namespace: Option<Arc<str>>,
    /// The values of labels that must be shared, of the lists of labels that its terms ask for.
    shared: Shared,
    /// The ports that it names and rules know: the protocol, the number of the name, the port.
    pub(crate) ports: Box<[(Protocol, u32, u16)]>,
}

/// What decides for a pod in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SubjectKey {
    direction: Direction,
    /// The policies in the order in which they are asked, by their places.
    policies: Box<[u32]>,
    namespace: Option<Arc<str>>,
    shared: Shared,
    /// Of a destination, the ports that it names.
    ports: Box<[(Protocol, u32, u16)]>,
}

/// What is asked of two namespaces together.
#[derive(Clone, Copy, Debug)]
enum Relation {
    None,
    Same,
    Sharing(u32),
}

#[derive(Debug)]
struct Namespace {
    labels: Labels,
    scopes: Vec<u32>,
    pods: FxHashSet<u32>,
}

#[derive(Debug)]
struct PodState {
    pod: Pod,
    identity: Identity,
    rows: Option<[u32; 2]>,
}

/// A row: a cell for each peer class, which is the number of a decision list.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// The rules, in the order in which they are asked, by their numbers.
    rules: Vec<u32>,
    /// The first plain policy that isolates, without and with audit policies.
    isolating: [Option<u32>; 2],
    pub(crate) cells: Vec<u32>,
}

/// The tables of an image, for the pods that there are.
#[derive(Debug)]
pub struct Resolver {
    image: Arc<Image>,
    reasons: Reasons,
    terms: Terms,
    relations: Vec<Relation>,
    /// The lists of labels that are to be shared.
    shared: Vec<Vec<Arc<str>>>,
    /// Whether each term is a peer's.
    is_peer: Vec<bool>,
    /// The policies that are for the pods of each term.
    of_term: Vec<Vec<u32>>,
    /// The names of ports that rules know.
    names: FxHashMap<Arc<str>, u32>,
    /// All rules: the places of the policy and of the rule.
    rules: Vec<(u32, u32)>,
    node: Vec<IpAddr>,

    namespaces: FxHashMap<Arc<str>, Namespace>,
    pods: FxHashMap<u32, PodState>,
    owners: FxHashMap<IpAddr, Vec<u32>>,
    /// The class that an address has of its own, while it has one.
    classes_of: FxHashMap<IpAddr, u32>,

    trie: Trie,
    classes: Interned<PeerKey>,
    subjects: Interned<SubjectKey>,
    rows: Vec<Row>,
    lists: Interned<ListKey>,
    decisions: Vec<Vec<u64>>,
    columns: Vec<Column>,
    ports: Vec<u16>,
    named: FxHashMap<(Protocol, u16), u16>,
    changes: Vec<Change>,
}

/// How many cells the table of ports has for each protocol.
pub const PORTS: usize = 1 << 16;

impl Resolver {
    /// Of an image, on a node with these addresses, without pods.
    #[must_use]
    pub fn new(image: Arc<Image>, node: Vec<IpAddr>) -> Self {
        let mut shared: Vec<Vec<Arc<str>>> = Vec::new();
        let relations = image.pod_terms.iter().map(|term| {
            match image.scopes.get(term.scope as usize).map(|scope| &scope.base) {
                Some(ScopeBase::Same) => Relation::Same,
                Some(ScopeBase::Sharing(keys)) => {
                    let known = shared.iter().position(|known| known == keys).unwrap_or_else(|| {
                        shared.push(keys.clone());
                        shared.len() - 1
                    });
                    Relation::Sharing(u32::try_from(known).unwrap_or(u32::MAX))
                }
                _ => Relation::None,
            }
        });
        let relations = relations.collect();
        let mut is_peer = vec![false; image.pod_terms.len()];
        let mut of_term: Vec<Vec<u32>> = vec![Vec::new(); image.pod_terms.len()];
        let mut rules = Vec::new();
        for (number, policy) in (0..).zip(&image.policies) {
            for term in &policy.subjects {
                if let Some(policies) = of_term.get_mut(*term as usize) {
                    policies.push(number);
                }
            }
            for (place, rule) in (0..).zip(&policy.rules) {
                rules.push((number, place));
                for term in &rule.pods {
                    if let Some(is_peer) = is_peer.get_mut(*term as usize) {
                        *is_peer = true;
                    }
                }
            }
        }
        let mut names = FxHashMap::default();
        for port in image.ports.named.iter().flatten() {
            let next = u32::try_from(names.len()).unwrap_or(u32::MAX);
            names.entry(Arc::clone(&port.name)).or_insert(next);
        }
        let mut resolver = Self {
            reasons: Reasons::new(&image),
            terms: Terms::new(&image),
            relations,
            shared,
            is_peer,
            of_term,
            names,
            rules,
            node,
            namespaces: FxHashMap::default(),
            pods: FxHashMap::default(),
            owners: FxHashMap::default(),
            classes_of: FxHashMap::default(),
            trie: Trie::new(image.addresses.v4.iter().copied(), image.addresses.v6.iter().copied()),
            classes: Interned::new(),
            subjects: Interned::new(),
            rows: Vec::new(),
            lists: Interned::new(),
            decisions: Vec::new(),
            columns: vec![Column::Other],
            ports: vec![0; 3 * PORTS],
            named: FxHashMap::default(),
            changes: Vec::new(),
            image,
        };
        resolver.number_ports();
        // The classes of addresses come first, by their own numbers, and stay.
        for class in 0..resolver.image.addresses.classes.len() {
            let addresses = u32::try_from(class).unwrap_or(u32::MAX);
            let key = PeerKey { addresses, node: false, identity: Identity::default() };
            resolver.acquire_class(&key);
        }
        for address in resolver.node.clone() {
            resolver.refresh(address);
        }
        resolver
    }

    /// Ports by their classes in the image: the column behind that of what has no ports.
    fn number_ports(&mut self) {
        let classes = u32::try_from(self.image.ports.classes.len()).unwrap_or(u32::MAX);
        self.columns.extend((0..classes).map(Column::Class));
        for (ranges, ports) in self.image.ports.ranges.iter().zip(self.ports.chunks_mut(PORTS)) {
            for (index, (first, class)) in ranges.iter().enumerate() {
                let end = ranges.get(index + 1).map_or(PORTS, |(next, _)| usize::from(*next));
                if let Some(cells) = ports.get_mut(usize::from(*first)..end) {
                    cells.fill(u16::try_from(class + 1).unwrap_or(u16::MAX));
                }
            }
        }
    }

    /// The labels of a namespace, new or changed.
    pub fn set_namespace(&mut self, name: &str, labels: Labels) {
        let scopes = self.terms.scopes_of(&self.image, name, &labels);
        let Some(known) = self.namespaces.get_mut(name) else {
            let namespace = Namespace { labels, scopes, pods: FxHashSet::default() };
            self.namespaces.insert(Arc::from(name), namespace);
            return;
        };
        if known.labels == labels {
            return;
        }
        known.labels = labels;
        known.scopes = scopes;
        let pods: Vec<u32> = known.pods.iter().copied().collect();
        for number in pods {
            if let Some(pod) = self.pods.get(&number).map(|state| state.pod.clone()) {
                self.set_pod(number, pod);
            }
        }
    }

    /// A namespace is gone. Pods that are still there have one without labels.
    pub fn remove_namespace(&mut self, name: &str) {
        self.set_namespace(name, Labels::new());
        if self.namespaces.get(name).is_some_and(|namespace| namespace.pods.is_empty()) {
            self.namespaces.remove(name);
        }
    }

    /// A pod is there, or has changed. Numbers are the caller's.
    pub fn set_pod(&mut self, number: u32, pod: Pod) {
        if !self.namespaces.contains_key(&pod.namespace) {
            self.set_namespace(&pod.namespace.clone(), Labels::new());
        }
        let identity = self.identity(&pod);
        let rows = (pod.local && !pod.host_network).then(|| self.acquire_rows(&pod));
        for (protocol, _, port) in &identity.ports {
            self.name_port(*protocol, *port);
        }
        let addresses = pod.addresses.clone();
        if let Some(namespace) = self.namespaces.get_mut(&pod.namespace) {
            namespace.pods.insert(number);
        }
        let before = self.pods.insert(number, PodState { pod, identity, rows });
        let mut touched = addresses.clone();
        if let Some(before) = &before {
            touched.extend(before.pod.addresses.iter().filter(|address| !addresses.contains(address)));
            let same = self.pods.get(&number).is_some_and(|now| now.pod.namespace == before.pod.namespace);
            if !same {
                self.leave(&before.pod.namespace, number);
            }
        }
        for address in &touched {
            if let Some(owners) = self.owners.get_mut(address) {
                owners.retain(|owner| *owner != number);
            }
        }
        for address in &addresses {
            self.owners.entry(*address).or_default().push(number);
        }
        for address in touched {
            self.refresh(address);
        }
        let had_rows = before.as_ref().and_then(|before| before.rows);
        if rows.is_some() || had_rows.is_some() {
            self.changes.push(Change::Endpoint { pod: number });
        }
        if let Some(rows) = had_rows {
            self.release_rows(rows);
        }
    }

    /// A pod is gone.
    pub fn remove_pod(&mut self, number: u32) {
        let Some(before) = self.pods.remove(&number) else { return };
        self.leave(&before.pod.namespace, number);
        if before.rows.is_some() {
            self.changes.push(Change::Endpoint { pod: number });
        }
        for address in before.pod.addresses {
            if let Some(owners) = self.owners.get_mut(&address) {
                owners.retain(|owner| *owner != number);
            }
            self.refresh(address);
        }
        if let Some(rows) = before.rows {
            self.release_rows(rows);
        }
    }

    fn leave(&mut self, namespace: &str, pod: u32) {
        if let Some(namespace) = self.namespaces.get_mut(namespace) {
            namespace.pods.remove(&pod);
        }
    }

    /// What changed since the last time, in the order in which it is to be written.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Uses numbers again that nothing leads to any more. To be called once all changes so far are
    /// written, and every packet that was being judged then has been.
    pub fn recycle(&mut self) {
        self.trie.recycle();
        self.classes.recycle();
        self.subjects.recycle();
        self.lists.recycle();
    }

    fn identity(&self, pod: &Pod) -> Identity {
        let Some(namespace) = self.namespaces.get(&pod.namespace) else { return Identity::default() };
        let mut terms = self.terms.matching(&self.image, &namespace.scopes, &pod.labels);
        terms.retain(|term| self.is_peer.get(*term as usize) == Some(&true));
        let (same, lists) = self.asked(terms.iter().copied());
        let mut ports: Vec<(Protocol, u32, u16)> = pod
            .ports
            .iter()
            .filter_map(|port| Some((port.protocol, *self.names.get(port.name.as_str())?, port.port)))
            .collect();
        ports.sort_unstable();
        ports.dedup();
        Identity {
            terms: terms.into(),
            namespace: same.then(|| Arc::clone(&pod.namespace)),
            shared: self.values(namespace, &lists),
            ports: ports.into(),
        }
    }

    /// What terms ask of two namespaces together: whether one asks for the same, and the lists of labels.
    fn asked(&self, terms: impl Iterator<Item = u32>) -> (bool, Vec<u32>) {
        let (mut same, mut lists) = (false, Vec::new());
        for term in terms {
            match self.relations.get(term as usize) {
                Some(Relation::Same) => same = true,
                Some(Relation::Sharing(list)) => lists.push(*list),
                Some(Relation::None) | None => {}
            }
        }
        lists.sort_unstable();
        lists.dedup();
        (same, lists)
    }

    fn values(&self, namespace: &Namespace, lists: &[u32]) -> Shared {
        let of_list = |list: &u32| {
            let keys = self.shared.get(*list as usize)?;
            let values =
                keys.iter().map(|key| namespace.labels.get(&**key).map(|value| Arc::from(value.as_str())));
            Some((*list, values.collect::<Option<Box<[Arc<str>]>>>()?))
        };
        lists.iter().filter_map(of_list).collect()
    }

    /// The class that an address has now: that of the pod that has it, or of this node, or of its block.
    fn refresh(&mut self, address: IpAddr) {
        let owners = self.owners.get(&address).map_or(&[][..], Vec::as_slice);
        let state = |owner: &u32| self.pods.get(owner);
        // Of two pods, the one that came last: an address passes from one that ends to one that begins.
        let pod = owners.iter().rev().filter_map(state).find(|state| !state.pod.host_network);
        let identity = pod.map(|state| state.identity.clone()).or_else(|| {
            // Pods on a node's network share its address: it is one of theirs only where all are alike.
            let mut hosts = owners.iter().filter_map(state).map(|state| &state.identity);
            let first = hosts.next()?;
            hosts.all(|other| other == first).then(|| first.clone())
        });
        let node = self.node.contains(&address);
        let class = (identity.is_some() || node).then(|| {
            let addresses = self.image.addresses.class_of(address);
            self.acquire_class(&PeerKey { addresses, node, identity: identity.unwrap_or_default() })
        });
        let (family, key) = match address {
            IpAddr::V4(address) => (Family::V4, u128::from(address.to_bits()) << 96),
            IpAddr::V6(address) => (Family::V6, address.to_bits()),
        };
        self.trie.set_host(family, key, class, &mut self.changes);
        if self.owners.get(&address).is_some_and(Vec::is_empty) {
            self.owners.remove(&address);
        }
        let before = match class {
            Some(class) => self.classes_of.insert(address, class),
            None => self.classes_of.remove(&address),
        };
        if let Some(before) = before {
            self.release_class(before);
        }
    }

    fn acquire_class(&mut self, key: &PeerKey) -> u32 {
        let (class, is_new) = self.classes.acquire(key);
        if is_new {
            let rows: Vec<u32> = self.subjects.iter().map(|(row, _)| row).collect();
            for row in rows {
                self.fill(row, class);
                self.changes.push(Change::Cell { row, class });
            }
        }
        class
    }

    fn release_class(&mut self, class: u32) {
        if !self.classes.release(class) {
            return;
        }
        let rows: Vec<u32> = self.subjects.iter().map(|(row, _)| row).collect();
        for row in rows {
            self.release_list(row, class);
        }
    }

    fn release_list(&mut self, row: u32, class: u32) {
        let cell = self.rows.get(row as usize).and_then(|row| row.cells.get(class as usize));
        if let Some(list) = cell.copied() {
            self.lists.release(list);
        }
    }

    /// The rows of a local pod: what it sends, and what it is sent.
    fn acquire_rows(&mut self, pod: &Pod) -> [u32; 2] {
        let Some(namespace) = self.namespaces.get(&pod.namespace) else { return [0, 0] };
        let terms = self.terms.matching(&self.image, &namespace.scopes, &pod.labels);
        let mut policies: Vec<u32> =
            terms.iter().filter_map(|term| self.of_term.get(*term as usize)).flatten().copied().collect();
        policies.sort_unstable();
        policies.dedup();
        let image = Arc::clone(&self.image);
        let policy = |number: u32| image.policies.get(number as usize);
        policies.sort_by_key(|number| policy(*number).map(|policy| (policy.tier as u8, policy.priority)));
        let ports = self.identity(pod).ports;
        [Direction::Egress, Direction::Ingress].map(|direction| {
            let own: Vec<u32> = policies
                .iter()
                .copied()
                .filter(|number| policy(*number).is_some_and(|policy| policy.speaks_of(direction)))
                .collect();
            let rules = own.iter().filter_map(|number| policy(*number)).flat_map(|policy| &policy.rules);
            let own_rules: Vec<&Rule> = rules.filter(|rule| rule.direction == direction).collect();
            let (same, lists) = self.asked(own_rules.iter().flat_map(|rule| rule.pods.iter().copied()));
            let has_names = |rule: &&Rule| !self.names_of(rule).is_empty();
            let named = direction == Direction::Ingress && own_rules.iter().any(has_names);
            let shared = self.namespaces.get(&pod.namespace).map(|namespace| self.values(namespace, &lists));
            let key = SubjectKey {
                direction,
                policies: own.into(),
                namespace: same.then(|| Arc::clone(&pod.namespace)),
                shared: shared.unwrap_or_default(),
                ports: if named { ports.clone() } else { Box::default() },
            };
            self.acquire_row(&key)
        })
    }

    fn names_of(&self, rule: &Rule) -> &[NamedPort] {
        let set = rule.ports.and_then(|set| self.image.ports.named.get(set as usize));
        set.map_or(&[], Vec::as_slice)
    }

    fn acquire_row(&mut self, key: &SubjectKey) -> u32 {
        let (number, is_new) = self.subjects.acquire(key);
        if !is_new {
            return number;
        }
        let mut row = Row::default();
        for policy_number in &key.policies {
            let Some(policy) = self.image.policies.get(*policy_number as usize) else { continue };
            if policy.tier == Tier::Namespaced {
                let [enforced, audited] = &mut row.isolating;
                audited.get_or_insert(*policy_number);
                if !policy.audit {
                    enforced.get_or_insert(*policy_number);
                }
            }
            let first =
                self.reasons.number(Reason::Rule { policy: *policy_number, rule: 0 }) - Reasons::RULES;
            let own = (first..).zip(&policy.rules).filter(|(_, rule)| rule.direction == key.direction);
            row.rules.extend(own.map(|(number, _)| number));
        }
        if self.rows.len() <= number as usize {
            self.rows.resize_with(number as usize + 1, Row::default);
        }
        if let Some(place) = self.rows.get_mut(number as usize) {
            *place = row;
        }
        let classes: Vec<u32> = self.classes.iter().map(|(class, _)| class).collect();
        for class in classes {
            self.fill(number, class);
        }
        self.changes.push(Change::Row { number });
        number
    }

    fn release_rows(&mut self, rows: [u32; 2]) {
        for row in rows {
            if self.subjects.release(row) {
                let classes: Vec<u32> = self.classes.iter().map(|(class, _)| class).collect();
                for class in classes {
                    self.release_list(row, class);
                }
            }
        }
    }

    /// Fills the cell of a row for a class.
    fn fill(&mut self, row_number: u32, class_number: u32) {
        let (Some(row), Some(subject), Some(class)) = (
            self.rows.get(row_number as usize),
            self.subjects.get(row_number),
            self.classes.get(class_number),
        ) else {
            return;
        };
        let key = if subject.direction == Direction::Ingress && class.node {
            ListKey::Node
        } else {
            let sets = self.image.addresses.classes.get(class.addresses as usize);
            let sets = sets.map_or(&[][..], Vec::as_slice);
            let matches = |number: &&u32| {
                self.rule(**number).is_some_and(|(_, rule)| {
                    rule.addresses.is_some_and(|set| sets.binary_search(&set).is_ok())
                        || rule.pods.iter().any(|term| self.is_named(*term, subject, &class.identity))
                })
            };
            let rules: Box<[u32]> = row.rules.iter().filter(matches).copied().collect();
            let by_name = rules
                .iter()
                .any(|number| self.rule(*number).is_some_and(|(_, rule)| !self.names_of(rule).is_empty()));
            let destination = match subject.direction {
                Direction::Egress => &class.identity.ports,
                Direction::Ingress => &subject.ports,
            };
            ListKey::Rules {
                rules,
                isolating: row.isolating,
                ports: if by_name { destination.clone() } else { Box::default() },
            }
        };
        let (list, is_new) = self.lists.acquire(&key);
        if is_new {
            let decisions = self.columns.iter().map(|column| self.decide(&key, *column)).collect();
            if self.decisions.len() <= list as usize {
                self.decisions.resize_with(list as usize + 1, Vec::new);
            }
            if let Some(place) = self.decisions.get_mut(list as usize) {
                *place = decisions;
            }
            self.changes.push(Change::List { number: list });
        }
        if let Some(row) = self.rows.get_mut(row_number as usize) {
            if row.cells.len() <= class_number as usize {
                row.cells.resize(class_number as usize + 1, 0);
            }
            if let Some(cell) = row.cells.get_mut(class_number as usize) {
                *cell = list;
            }
        }
    }

    fn rule(&self, number: u32) -> Option<(u32, &Rule)> {
        let (policy, rule) = self.rules.get(number as usize)?;
        Some((*policy, self.image.policies.get(*policy as usize)?.rules.get(*rule as usize)?))
    }

    /// Whether a term names a peer, as this subject sees it.
    fn is_named(&self, term: u32, subject: &SubjectKey, peer: &Identity) -> bool {
        peer.terms.binary_search(&term).is_ok()
            && match self.relations.get(term as usize) {
                Some(Relation::None) => true,
                Some(Relation::Same) => subject.namespace.is_some() && subject.namespace == peer.namespace,
                Some(Relation::Sharing(list)) => {
                    let of = |all: &Shared| {
                        all.iter().find(|(known, _)| known == list).map(|(_, values)| values.clone())
                    };
                    of(&subject.shared).is_some_and(|own| of(&peer.shared) == Some(own))
                }
                None => false,
            }
    }

    fn decide(&self, key: &ListKey, column: Column) -> u64 {
        let on_ports = |rule: &Rule, ports: &[(Protocol, u32, u16)]| {
            let Some(set) = rule.ports else { return true };
            let (class, named) = match column {
                Column::Other => return false,
                Column::Class(class) => (class, None),
                Column::Named { class, protocol, port } => (class, Some((protocol, port))),
            };
            let sets = self.image.ports.classes.get(class as usize);
            sets.is_some_and(|sets| sets.binary_search(&set).is_ok())
                || named.is_some_and(|(protocol, port)| {
                    self.names_of(rule).iter().any(|name| {
                        name.protocol == protocol
                            && self
                                .names
                                .get(&name.name)
                                .is_some_and(|name| ports.binary_search(&(protocol, *name, port)).is_ok())
                    })
                })
        };
        decide(key, &self.reasons, |number, ports| {
            let (policy, rule) = self.rule(number)?;
            on_ports(rule, ports).then(|| (self.image.policies.get(policy as usize), rule))
        })
    }

    /// A port that a pod names has a column of its own, and every list a cell for it.
    fn name_port(&mut self, protocol: Protocol, port: u16) {
        if self.named.contains_key(&(protocol, port)) {
            return;
        }
        let place = protocol as usize * PORTS + usize::from(port);
        let before = self.ports.get(place).copied().unwrap_or(0);
        let Some(Column::Class(class)) = self.columns.get(usize::from(before)).copied() else { return };
        let column = Column::Named { class, protocol, port };
        let number = u16::try_from(self.columns.len()).unwrap_or(u16::MAX);
        self.columns.push(column);
        self.named.insert((protocol, port), number);
        let lists: Vec<(u32, u64)> =
            self.lists.iter().map(|(list, key)| (list, self.decide(key, column))).collect();
        for (list, decision) in lists {
            if let Some(decisions) = self.decisions.get_mut(list as usize) {
                decisions.push(decision);
            }
            self.changes.push(Change::List { number: list });
        }
        if let Some(place) = self.ports.get_mut(place) {
            *place = number;
        }
        self.changes.push(Change::Port { protocol: protocol as u8, port });
    }

    /// The image.
    #[must_use]
    pub const fn image(&self) -> &Arc<Image> {
        &self.image
    }

    /// The numbers of reasons.
    #[must_use]
    pub const fn reasons(&self) -> &Reasons {
        &self.reasons
    }

    /// From addresses to peer classes.
    #[must_use]
    pub const fn trie(&self) -> &Trie {
        &self.trie
    }

    /// From ports to columns: for each protocol [`PORTS`] cells.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// How many columns a decision list has.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// How many peer classes there are room for.
    #[must_use]
    pub fn class_count(&self) -> usize {
        self.classes.len()
    }

    /// How many rows there are.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// A row: of each peer class, the number of a decision list.
    #[must_use]
    pub fn row(&self, number: u32) -> &[u32] {
        self.rows.get(number as usize).map_or(&[], |row| &row.cells)
    }

    /// How many decision lists there are.
    #[must_use]
    pub fn list_count(&self) -> usize {
        self.decisions.len()
    }

    /// A decision list: of each column, the decision (see [`Decision`](crate::Decision)).
    #[must_use]
    pub fn list(&self, number: u32) -> &[u64] {
        self.decisions.get(number as usize).map_or(&[], Vec::as_slice)
    }

    /// The rows of a local pod: of what it sends, and of what it is sent.
    #[must_use]
    pub fn endpoint(&self, pod: u32) -> Option<[u32; 2]> {
        self.pods.get(&pod)?.rows
    }

    /// Of a local pod, whether policies are for it, by direction: 0 none, 1 audit policies only, which
    /// decide nothing, 2 some that decide.
    #[must_use]
    pub fn isolation(&self, pod: u32) -> [u32; 2] {
        let rows = self.endpoint(pod);
        let of = |row: u32| {
            let policies = self.subjects.get(row).map_or(&[][..], |subject| &subject.policies);
            let policy = |number: &u32| self.image.policies.get(*number as usize);
            let decides = policies.iter().filter_map(policy).any(|policy| !policy.audit);
            u32::from(!policies.is_empty()) + u32::from(decides)
        };
        rows.map_or([0, 0], |rows| rows.map(of))
    }

    /// What the tables say of one side of a connection, found as the kernel finds it.
    #[must_use]
    pub fn decision(&self, pod: u32, direction: Direction, peer: IpAddr, traffic: Traffic) -> Option<u64> {
        let row = *self.endpoint(pod)?.get(direction as usize)?;
        let (family, key) = match peer {
            IpAddr::V4(address) => (Family::V4, u128::from(address.to_bits()) << 96),
            IpAddr::V6(address) => (Family::V6, address.to_bits()),
        };
        let class = self.trie.get(family, key);
        let column = match traffic {
            Traffic::Port(protocol, port) => {
                *self.ports.get(protocol as usize * PORTS + usize::from(port))?
            }
            Traffic::Other => 0,
        };
        let list = *self.row(row).get(class as usize)?;
        self.list(list).get(usize::from(column)).copied()
    }
}
