//! The resolver: computes the tables of an image for the pods of a cluster.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use npc_image::{Image, Rule};
use npc_vocabulary::{Direction, NamedPort, Protocol, Traffic};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::changes::Change;
use crate::reason::Reasons;
use crate::select::{Labels, Terms};
use crate::tables::{Identity, PORTS, PeerKey, Shared, SubjectKey, Tables};
use crate::trie::{Family, Trie};

/// The properties of a pod that the tables depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The name of its namespace.
    pub namespace: Arc<str>,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its named ports.
    pub ports: Vec<NamedPort>,
    /// Whether it uses `hostNetwork`. No selector matches such a pod, and its addresses are the node's.
    pub host_network: bool,
    /// Whether it runs on this node, so that its packets are evaluated here.
    pub local: bool,
}

impl Pod {
    /// The properties of a pod of the cluster. `local` states whether it runs on this node.
    #[must_use]
    pub fn new(namespace: impl Into<Arc<str>>, pod: &npc_vocabulary::Pod, local: bool) -> Self {
        Self {
            namespace: namespace.into(),
            labels: Arc::clone(&pod.labels),
            addresses: pod.addresses.clone(),
            ports: pod.ports.clone(),
            host_network: pod.host_network,
            local,
        }
    }
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

/// The tables of an image, and the pods that they were computed from.
#[derive(Debug)]
pub struct Resolver {
    tables: Tables,
    trie: Trie,
    terms: Terms,
    /// Whether each pod term is used as a peer.
    is_peer: Vec<bool>,
    /// The policies that select the pods of each term.
    of_term: Vec<Vec<u32>>,
    node: Vec<IpAddr>,
    services: Vec<IpNet>,
    namespaces: FxHashMap<Arc<str>, Namespace>,
    pods: FxHashMap<u32, PodState>,
    owners: FxHashMap<IpAddr, SmallVec<[u32; 2]>>,
    /// The class of each address that has one of its own.
    classes_of: FxHashMap<IpAddr, u32>,
    changes: Vec<Change>,
    /// Whether [`Self::take_changes`] has been called. Before that no changes are kept, since the tables must
    /// be written completely.
    are_taken: bool,
}

impl Resolver {
    /// Creates the tables of an image without pods, on a node with these addresses.
    #[must_use]
    pub fn new(image: Arc<Image>, node: Vec<IpAddr>) -> Self {
        Self::with_services(image, node, &[])
    }

    /// Like [`Self::new`], with CIDRs of Services, whose addresses are translated to those of pods.
    #[must_use]
    pub fn with_services(image: Arc<Image>, node: Vec<IpAddr>, services: &[IpNet]) -> Self {
        let mut is_peer = vec![false; image.pod_terms.len()];
        let mut of_term: Vec<Vec<u32>> = vec![Vec::new(); image.pod_terms.len()];
        for (number, policy) in (0..).zip(&image.policies) {
            for term in &policy.subjects {
                if let Some(policies) = of_term.get_mut(*term as usize) {
                    policies.push(number);
                }
            }
            for term in policy.rules.iter().flat_map(|rule| &rule.pods) {
                if let Some(is_peer) = is_peer.get_mut(*term as usize) {
                    *is_peer = true;
                }
            }
        }
        let terms = Terms::new(&image);
        let mut tables = Tables::new(image);
        let mut resolver = Self {
            trie: blocks(services, &mut tables),
            terms,
            is_peer,
            of_term,
            node,
            services: services.to_vec(),
            namespaces: FxHashMap::default(),
            pods: FxHashMap::default(),
            owners: FxHashMap::default(),
            classes_of: FxHashMap::default(),
            changes: Vec::new(),
            are_taken: false,
            tables,
        };
        for address in resolver.node.clone() {
            resolver.refresh(address);
        }
        resolver
    }

    /// Adds a namespace or changes its labels.
    pub fn set_namespace(&mut self, name: &str, labels: Labels) {
        let scopes = self.terms.scopes_of(&self.tables.image, name, &labels);
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

    /// Removes a namespace. Its remaining pods are treated as in a namespace without labels.
    pub fn remove_namespace(&mut self, name: &str) {
        self.set_namespace(name, Labels::new());
        if self.namespaces.get(name).is_some_and(|namespace| namespace.pods.is_empty()) {
            self.namespaces.remove(name);
        }
    }

    /// Adds or changes a pod. The caller assigns the numbers.
    pub fn set_pod(&mut self, number: u32, mut pod: Pod) {
        if !self.namespaces.contains_key(&pod.namespace) {
            self.set_namespace(&pod.namespace.clone(), Labels::new());
        }
        let scopes = self.namespaces.get(&pod.namespace).map_or(&[][..], |namespace| &namespace.scopes);
        let terms = self.terms.matching(&self.tables.image, scopes, &pod.labels);
        let identity = self.identity(&pod, &terms);
        // With a hundred thousand pods, memory matters: keep only ports that rules refer to, and share the
        // name.
        if let Some((name, _)) = self.namespaces.get_key_value(&pod.namespace) {
            pod.namespace = Arc::clone(name);
        }
        pod.ports.retain(|port| self.tables.names.contains_key(port.name.as_str()));
        pod.ports.shrink_to_fit();
        let rows = (pod.local && !pod.host_network).then(|| self.acquire_rows(&pod, &terms, &identity.ports));
        for (protocol, _, port) in &identity.ports {
            self.tables.name_port(*protocol, *port, &mut self.changes);
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
        for address in touched.iter().filter(|address| !addresses.contains(address)) {
            if let Some(owners) = self.owners.get_mut(address) {
                owners.retain(|owner| *owner != number);
            }
        }
        // A pod that already has an address does not take it back from a pod that got it later.
        for address in &addresses {
            let owners = self.owners.entry(*address).or_default();
            if !owners.contains(&number) {
                owners.push(number);
            }
        }
        for address in touched {
            self.refresh(address);
        }
        let had_rows = before.as_ref().and_then(|before| before.rows);
        if rows.is_some() || had_rows.is_some() {
            self.changes.push(Change::Endpoint { pod: number });
        }
        if let Some(rows) = had_rows {
            rows.into_iter().for_each(|row| self.tables.release_row(row));
        }
        if !self.are_taken {
            self.changes.clear();
        }
    }

    /// Removes a pod.
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
            rows.into_iter().for_each(|row| self.tables.release_row(row));
        }
    }

    fn leave(&mut self, namespace: &str, pod: u32) {
        if let Some(namespace) = self.namespaces.get_mut(namespace) {
            namespace.pods.remove(&pod);
        }
    }

    /// Returns the changes since the last call, in the order in which they must be written. The first call
    /// returns none: the tables must then be written completely.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.are_taken = true;
        std::mem::take(&mut self.changes)
    }

    /// Makes released numbers available again. Call it only when all changes so far have been written, and
    /// the packets that were being evaluated at that time are finished.
    pub fn recycle(&mut self) {
        self.trie.recycle();
        self.tables.recycle();
    }

    /// Returns the identity of a pod that these terms select. A host-network pod has an empty one.
    fn identity(&self, pod: &Pod, terms: &[u32]) -> Identity {
        if pod.host_network {
            return Identity::default();
        }
        let Some(namespace) = self.namespaces.get(&pod.namespace) else { return Identity::default() };
        let is_peer = |term: &u32| self.is_peer.get(*term as usize) == Some(&true);
        let terms: Vec<u32> = terms.iter().copied().filter(is_peer).collect();
        let (same, lists) = self.tables.asked(terms.iter().copied());
        let mut ports: Vec<(Protocol, u32, u16)> = pod
            .ports
            .iter()
            .filter_map(|port| Some((port.protocol, *self.tables.names.get(port.name.as_str())?, port.port)))
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

    fn values(&self, namespace: &Namespace, lists: &[u32]) -> Shared {
        let of_list = |list: &u32| {
            let keys = self.tables.shared.get(*list as usize)?;
            let values =
                keys.iter().map(|key| namespace.labels.get(&**key).map(|value| Arc::from(value.as_str())));
            Some((*list, values.collect::<Option<Box<[Arc<str>]>>>()?))
        };
        lists.iter().filter_map(of_list).collect()
    }

    /// Recomputes the class of an address: from the pod that has it, or this node, or the ranges of the
    /// image.
    fn refresh(&mut self, address: IpAddr) {
        let owners = self.owners.get(&address).map_or(&[][..], SmallVec::as_slice);
        let state = |owner: &u32| self.pods.get(owner);
        // If two pods have the address, the later one counts: a new pod may get the address of one that is
        // ending. The address of a host-network pod is the node's.
        let pod = owners.iter().rev().filter_map(state).find(|state| !state.pod.host_network);
        let identity = pod.map(|state| state.identity.clone());
        let node = self.node.contains(&address);
        let service = identity.is_none() && self.services.iter().any(|net| net.contains(&address));
        let class = (identity.is_some() || node).then(|| {
            let addresses = self.tables.image.addresses.class_of(address);
            let key = PeerKey { addresses, node, service, identity: identity.unwrap_or_default() };
            self.tables.acquire_class(&key, &mut self.changes)
        });
        let (family, key) = match address {
            IpAddr::V4(address) => (Family::V4, u128::from(address.to_bits()) << 96),
            IpAddr::V6(address) => (Family::V6, address.to_bits()),
        };
        self.trie.set_host(family, key, class, &mut self.changes);
        if self.owners.get(&address).is_some_and(SmallVec::is_empty) {
            self.owners.remove(&address);
        }
        let before = match class {
            Some(class) => self.classes_of.insert(address, class),
            None => self.classes_of.remove(&address),
        };
        if let Some(before) = before {
            self.tables.release_class(before);
        }
    }

    /// Acquires the rows of a local pod, for egress and ingress.
    fn acquire_rows(&mut self, pod: &Pod, terms: &[u32], ports: &[(Protocol, u32, u16)]) -> [u32; 2] {
        let mut policies: Vec<u32> =
            terms.iter().filter_map(|term| self.of_term.get(*term as usize)).flatten().copied().collect();
        policies.sort_unstable();
        policies.dedup();
        let image = Arc::clone(&self.tables.image);
        let policy = |number: u32| image.policies.get(number as usize);
        policies.sort_by_key(|number| policy(*number).map(|policy| (policy.tier as u8, policy.priority)));
        [Direction::Egress, Direction::Ingress].map(|direction| {
            let own: Vec<u32> = policies
                .iter()
                .copied()
                .filter(|number| policy(*number).is_some_and(|policy| policy.covers(direction)))
                .collect();
            let rules = own.iter().filter_map(|number| policy(*number)).flat_map(|policy| &policy.rules);
            let own_rules: Vec<&Rule> = rules.filter(|rule| rule.direction == direction).collect();
            let (same, lists) =
                self.tables.asked(own_rules.iter().flat_map(|rule| rule.pods.iter().copied()));
            let has_names = |rule: &&Rule| !self.tables.names_of(rule).is_empty();
            let named = direction == Direction::Ingress && own_rules.iter().any(has_names);
            let shared = self.namespaces.get(&pod.namespace).map(|namespace| self.values(namespace, &lists));
            let key = SubjectKey {
                direction,
                policies: own.into(),
                namespace: same.then(|| Arc::clone(&pod.namespace)),
                shared: shared.unwrap_or_default(),
                ports: if named { ports.into() } else { Box::default() },
            };
            self.tables.acquire_row(&key, &mut self.changes)
        })
    }

    /// Whether there are CIDRs of Services.
    #[must_use]
    pub const fn has_services(&self) -> bool {
        !self.services.is_empty()
    }

    /// The image.
    #[must_use]
    pub const fn image(&self) -> &Arc<Image> {
        &self.tables.image
    }

    /// The numbers of the reasons.
    #[must_use]
    pub const fn reasons(&self) -> &Reasons {
        &self.tables.reasons
    }

    /// The trie from addresses to classes.
    #[must_use]
    pub const fn trie(&self) -> &Trie {
        &self.trie
    }

    /// The table from ports to columns: [`PORTS`] cells for each protocol.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.tables.ports
    }

    /// The number of columns in a decision list.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.tables.columns.len()
    }

    /// The number of class numbers in use or reusable.
    #[must_use]
    pub fn class_count(&self) -> usize {
        self.tables.classes.len()
    }

    /// The number of rows, including unused ones.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.tables.rows.len()
    }

    /// A row: the number of a decision list for each class.
    #[must_use]
    pub fn row(&self, number: u32) -> &[u32] {
        self.tables.rows.get(number as usize).map_or(&[], |row| &row.cells)
    }

    /// The number of decision lists, including unused ones.
    #[must_use]
    pub fn list_count(&self) -> usize {
        self.tables.decisions.len()
    }

    /// A decision list: the decision for each column (see [`Decision`](crate::Decision)).
    #[must_use]
    pub fn list(&self, number: u32) -> &[u64] {
        self.tables.decisions.get(number as usize).map_or(&[], Vec::as_slice)
    }

    /// A pod.
    #[must_use]
    pub fn pod(&self, number: u32) -> Option<&Pod> {
        self.pods.get(&number).map(|state| &state.pod)
    }

    /// The rows of a local pod, for egress and ingress.
    #[must_use]
    pub fn endpoint(&self, pod: u32) -> Option<[u32; 2]> {
        self.pods.get(&pod)?.rows
    }

    /// Whether policies select a local pod, for egress and ingress: 0 if none does, 1 if only audit policies
    /// do, 2 if others do.
    #[must_use]
    pub fn isolation(&self, pod: u32) -> [u32; 2] {
        let rows = self.endpoint(pod);
        let of = |row: u32| {
            let policies = self.tables.subjects.get(row).map_or(&[][..], |subject| &subject.policies);
            let policy = |number: &u32| self.tables.image.policies.get(*number as usize);
            let decides = policies.iter().filter_map(policy).any(|policy| !policy.audit);
            u32::from(!policies.is_empty()) + u32::from(decides)
        };
        rows.map_or([0, 0], |rows| rows.map(of))
    }

    /// Returns the decision for one direction of a connection, computed as the kernel program does.
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
                *self.tables.ports.get(protocol as usize * PORTS + usize::from(port))?
            }
            Traffic::Other => 0,
        };
        let list = *self.row(row).get(class as usize)?;
        self.list(list).get(usize::from(column)).copied()
    }
}

/// Builds the trie of the image's address ranges. Service CIDRs get classes of their own.
fn blocks(services: &[IpNet], tables: &mut Tables) -> Trie {
    let image = Arc::clone(&tables.image);
    let (own_v4, own_v6) = (&image.addresses.v4, &image.addresses.v6);
    if services.is_empty() {
        return Trie::new(own_v4.iter().copied(), own_v6.iter().copied());
    }
    let mut of_class = |class: u32| {
        let key = PeerKey { addresses: class, node: false, service: true, identity: Identity::default() };
        // There are no rows yet, so that no change is recorded.
        tables.acquire_class(&key, &mut Vec::new())
    };
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for service in services {
        match service {
            IpNet::V4(net) => v4.push((net.network().to_bits(), net.broadcast().to_bits())),
            IpNet::V6(net) => v6.push((net.network().to_bits(), net.broadcast().to_bits())),
        }
    }
    let v4 = overlaid(own_v4, &v4, |last| last.checked_add(1), &mut of_class);
    let v6 = overlaid(own_v6, &v6, |last| last.checked_add(1), &mut of_class);
    Trie::new(v4.into_iter(), v6.into_iter())
}

/// Splits ranges at the edges of some blocks, and maps the classes inside the blocks with `of_class`.
fn overlaid<K: Copy + Ord>(
    ranges: &[(K, u32)],
    blocks: &[(K, K)],
    next: impl Fn(K) -> Option<K>,
    mut of_class: impl FnMut(u32) -> u32,
) -> Vec<(K, u32)> {
    // All addresses where a range or block may begin or end.
    let mut edges: Vec<K> = ranges.iter().map(|(first, _)| *first).collect();
    edges.extend(blocks.iter().flat_map(|(first, last)| [Some(*first), next(*last)]).flatten());
    edges.sort_unstable();
    edges.dedup();
    let class_at = |at: &K| {
        let place = ranges.partition_point(|(first, _)| first <= at);
        ranges.get(place.wrapping_sub(1)).map_or(0, |(_, class)| *class)
    };
    let mut out = Vec::with_capacity(edges.len());
    for at in edges {
        let inside = blocks.iter().any(|(first, last)| (first..=last).contains(&&at));
        let class = if inside { of_class(class_at(&at)) } else { class_at(&at) };
        out.push((at, class));
    }
    out
}
