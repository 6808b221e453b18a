//! Classes, rows and decision lists: the decisions of all rules for every kind of peer.

use std::sync::Arc;

use npc_image::{Image, PortName, Rule, ScopeBase};
use npc_vocabulary::{Direction, Protocol, Tier};
use rustc_hash::FxHashMap;

use crate::changes::Change;
use crate::interned::Interned;
use crate::lists::{Column, ListKey, decide};
use crate::reason::{Reason, Reasons};

/// The values of the labels that `sharing` scopes compare, by the number of the label list.
pub(crate) type Shared = Box<[(u32, Box<[Arc<str>]>)]>;

/// The properties that distinguish one class of peers from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PeerKey {
    /// The address class in the image.
    pub(crate) addresses: u32,
    /// Whether the address is this node's.
    pub(crate) node: bool,
    /// Whether it is a Service address, which is translated to a pod's.
    pub(crate) service: bool,
    pub(crate) identity: Identity,
}

/// The properties of a pod that rules can distinguish, other than its address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// The peer pod terms that select it.
    pub(crate) terms: Box<[u32]>,
    /// Its namespace, if one of the terms compares it with the subject's.
    pub(crate) namespace: Option<Arc<str>>,
    /// The values of the labels that its `sharing` terms compare.
    pub(crate) shared: Shared,
    /// Its named ports that rules refer to, as (protocol, number of the name, port).
    pub(crate) ports: Box<[(Protocol, u32, u16)]>,
}

/// The properties that determine a row: the policies of a pod in one direction, and what their rules depend
/// on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SubjectKey {
    pub(crate) direction: Direction,
    /// The indices of the policies, in order of evaluation.
    pub(crate) policies: Box<[u32]>,
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) shared: Shared,
    /// The pod's named ports, if the direction is ingress and a rule uses a named port.
    pub(crate) ports: Box<[(Protocol, u32, u16)]>,
}

/// How a pod term relates the namespaces of subject and peer.
#[derive(Clone, Copy, Debug)]
enum Relation {
    None,
    Same,
    Sharing(u32),
}

/// A Bloom filter of pod terms and address sets, of the rules of a row or of a class. If two filters have no
/// bit in common, no rule of the row matches the class.
#[derive(Clone, Copy, Debug, Default)]
struct Hint([u64; 4]);

impl Hint {
    fn add(&mut self, number: u32, is_term: bool) {
        // Fibonacci hashing: the factor is 2³² divided by the golden ratio, and the upper bits are well
        // distributed.
        let spread = (number << 1 | u32::from(is_term)).wrapping_mul(0x9e37_79b9) >> 24;
        if let Some(word) = self.0.get_mut(spread as usize / 64) {
            *word |= 1 << (spread % 64);
        }
    }

    fn has_common(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).any(|(own, other)| own & other != 0)
    }
}

/// A row: the number of a decision list for each class.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// The numbers of the rules, in order of evaluation.
    rules: Vec<u32>,
    /// The terms and sets that the rules match.
    hint: Hint,
    /// The lists for peers that no rule matches, without and with deferral. The row holds a reference to
    /// each.
    of_others: [Option<u32>; 2],
    /// The first plain policy that isolates: without audit policies, and with them.
    isolating: [Option<u32>; 2],
    pub(crate) cells: Vec<u32>,
}

/// The number of cells in the port table for each protocol.
pub const PORTS: usize = 1 << 16;

/// All tables except the trie. They contain classes and rows, but no pods.
#[derive(Debug)]
pub(crate) struct Tables {
    pub(crate) image: Arc<Image>,
    pub(crate) reasons: Reasons,
    relations: Vec<Relation>,
    /// The distinct label lists of `sharing` scopes.
    pub(crate) shared: Vec<Vec<Arc<str>>>,
    /// The numbers of the port names that rules refer to.
    pub(crate) names: FxHashMap<Arc<str>, u32>,
    /// All rules, as the indices of the policy and of the rule in it.
    rules: Vec<(u32, u32)>,
    pub(crate) classes: Interned<PeerKey>,
    /// The terms and sets of each class.
    hints: Vec<Hint>,
    pub(crate) subjects: Interned<SubjectKey>,
    pub(crate) rows: Vec<Row>,
    lists: Interned<ListKey>,
    pub(crate) decisions: Vec<Vec<u64>>,
    pub(crate) columns: Vec<Column>,
    pub(crate) ports: Vec<u16>,
    named: FxHashMap<(Protocol, u16), u16>,
}

impl Tables {
    /// Creates the tables of an image, with its address classes and without rows.
    pub(crate) fn new(image: Arc<Image>) -> Self {
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
        let rules = (0..)
            .zip(&image.policies)
            .flat_map(|(number, policy)| (0..).zip(&policy.rules).map(move |(place, _)| (number, place)));
        let rules = rules.collect();
        let mut names = FxHashMap::default();
        for port in image.ports.named.iter().flatten() {
            let next = u32::try_from(names.len()).unwrap_or(u32::MAX);
            names.entry(Arc::clone(&port.name)).or_insert(next);
        }
        let mut tables = Self {
            reasons: Reasons::new(&image),
            relations,
            shared,
            names,
            rules,
            classes: Interned::new(),
            hints: Vec::new(),
            subjects: Interned::new(),
            rows: Vec::new(),
            lists: Interned::new(),
            decisions: Vec::new(),
            columns: vec![Column::Other],
            ports: vec![0; 3 * PORTS],
            named: FxHashMap::default(),
            image,
        };
        tables.number_ports();
        // The address classes of the image are created first, so that they keep their numbers, and are never
        // released. There are no rows yet, so that no change is recorded.
        for class in 0..tables.image.addresses.classes.len() {
            let addresses = u32::try_from(class).unwrap_or(u32::MAX);
            let key = PeerKey { addresses, node: false, service: false, identity: Identity::default() };
            tables.acquire_class(&key, &mut Vec::new());
        }
        tables
    }

    /// Makes released numbers available again. Call it only when no reader can use them any more.
    pub(crate) fn recycle(&mut self) {
        self.classes.recycle();
        self.subjects.recycle();
        self.lists.recycle();
    }

    /// Fills the port table. Column 0 is for protocols without ports; port class `n` of the image is column
    /// `n + 1`.
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

    pub(crate) fn acquire_class(&mut self, key: &PeerKey, changes: &mut Vec<Change>) -> u32 {
        let (class, is_new) = self.classes.acquire(key);
        if is_new {
            let mut hint = Hint::default();
            key.identity.terms.iter().for_each(|term| hint.add(*term, true));
            let sets = self.image.addresses.classes.get(key.addresses as usize);
            sets.into_iter().flatten().for_each(|set| hint.add(*set, false));
            if self.hints.len() <= class as usize {
                self.hints.resize_with(class as usize + 1, Hint::default);
            }
            if let Some(place) = self.hints.get_mut(class as usize) {
                *place = hint;
            }
            let rows: Vec<u32> = self.subjects.iter().map(|(row, _)| row).collect();
            for row in rows {
                self.fill(row, class, changes);
                changes.push(Change::Cell { row, class });
            }
        }
        class
    }

    pub(crate) fn release_class(&mut self, class: u32) {
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

    pub(crate) fn names_of(&self, rule: &Rule) -> &[PortName] {
        let set = rule.ports.and_then(|set| self.image.ports.named.get(set as usize));
        set.map_or(&[], Vec::as_slice)
    }

    pub(crate) fn acquire_row(&mut self, key: &SubjectKey, changes: &mut Vec<Change>) -> u32 {
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
            for (number, rule) in own {
                row.rules.push(number);
                rule.pods.iter().for_each(|term| row.hint.add(*term, true));
                rule.addresses.iter().for_each(|set| row.hint.add(*set, false));
            }
        }
        if self.rows.len() <= number as usize {
            self.rows.resize_with(number as usize + 1, Row::default);
        }
        if let Some(place) = self.rows.get_mut(number as usize) {
            *place = row;
        }
        if let Some(place) = self.rows.get_mut(number as usize) {
            place.cells.reserve(self.classes.len());
        }
        let classes: Vec<u32> = self.classes.iter().map(|(class, _)| class).collect();
        for class in classes {
            self.fill(number, class, changes);
        }
        changes.push(Change::Row { number });
        number
    }

    /// Computes the cell of a row for a class.
    fn fill(&mut self, row_number: u32, class_number: u32, changes: &mut Vec<Change>) {
        let (Some(row), Some(subject), Some(class), Some(hint)) = (
            self.rows.get(row_number as usize),
            self.subjects.get(row_number),
            self.classes.get(class_number),
            self.hints.get(class_number as usize),
        ) else {
            return;
        };
        let is_node = subject.direction == Direction::Ingress && class.node;
        // An address outside the cluster may be translated to a pod's.
        let deferred = (class.service || class.identity == Identity::default())
            && subject.direction == Direction::Egress;
        let rules = if is_node || !row.hint.has_common(hint) {
            Box::default()
        } else {
            self.rules_for(row, subject, class)
        };
        let list = if is_node {
            self.acquire_list(&ListKey::Node, changes)
        } else if !rules.is_empty() {
            let ports = self.ports_for(&rules, subject, class);
            let key = ListKey::Rules { rules, isolating: row.isolating, deferred, ports };
            self.acquire_list(&key, changes)
        } else if let Some(list) = row.of_others.get(usize::from(deferred)).copied().flatten() {
            self.lists.acquire_known(list);
            list
        } else {
            let key = ListKey::Rules { rules, isolating: row.isolating, deferred, ports: Box::default() };
            let list = self.acquire_list(&key, changes);
            self.lists.acquire_known(list);
            let row = self.rows.get_mut(row_number as usize);
            if let Some(place) = row.and_then(|row| row.of_others.get_mut(usize::from(deferred))) {
                *place = Some(list);
            }
            list
        };
        if let Some(row) = self.rows.get_mut(row_number as usize) {
            if row.cells.len() <= class_number as usize {
                row.cells.resize(class_number as usize + 1, 0);
            }
            if let Some(cell) = row.cells.get_mut(class_number as usize) {
                *cell = list;
            }
        }
    }

    /// Returns the rules of a row that match peers of a class.
    fn rules_for(&self, row: &Row, subject: &SubjectKey, class: &PeerKey) -> Box<[u32]> {
        let sets = self.image.addresses.classes.get(class.addresses as usize);
        let sets = sets.map_or(&[][..], Vec::as_slice);
        let matches = |number: &&u32| {
            self.rule(**number).is_some_and(|(_, rule)| {
                rule.addresses.is_some_and(|set| sets.binary_search(&set).is_ok())
                    || rule.pods.iter().any(|term| self.is_named(*term, subject, &class.identity))
            })
        };
        row.rules.iter().filter(matches).copied().collect()
    }

    /// Returns the named ports of the destination if one of these rules uses a named port.
    fn ports_for(&self, rules: &[u32], subject: &SubjectKey, class: &PeerKey) -> Box<[(Protocol, u32, u16)]> {
        let has_names =
            |number: &u32| self.rule(*number).is_some_and(|(_, rule)| !self.names_of(rule).is_empty());
        match subject.direction {
            _ if !rules.iter().any(has_names) => Box::default(),
            Direction::Egress => class.identity.ports.clone(),
            Direction::Ingress => subject.ports.clone(),
        }
    }

    fn acquire_list(&mut self, key: &ListKey, changes: &mut Vec<Change>) -> u32 {
        let (list, is_new) = self.lists.acquire(key);
        if is_new {
            let decisions = self.columns.iter().map(|column| self.decide(key, *column)).collect();
            if self.decisions.len() <= list as usize {
                self.decisions.resize_with(list as usize + 1, Vec::new);
            }
            if let Some(place) = self.decisions.get_mut(list as usize) {
                *place = decisions;
            }
            changes.push(Change::List { number: list });
        }
        list
    }

    fn rule(&self, number: u32) -> Option<(u32, &Rule)> {
        let (policy, rule) = self.rules.get(number as usize)?;
        Some((*policy, self.image.policies.get(*policy as usize)?.rules.get(*rule as usize)?))
    }

    /// Whether a term selects a peer, relative to this subject.
    fn is_named(&self, term: u32, subject: &SubjectKey, peer: &Identity) -> bool {
        peer.terms.binary_search(&term).is_ok()
            && match self.relations.get(term as usize) {
                Some(Relation::None) => true,
                Some(Relation::Same) => subject.namespace.is_some() && subject.namespace == peer.namespace,
                Some(Relation::Sharing(list)) => {
                    let own = values_of(&subject.shared, *list);
                    own.is_some() && own == values_of(&peer.shared, *list)
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

    /// Adds a column for a port that a pod names, and a decision for it to every list.
    pub(crate) fn name_port(&mut self, protocol: Protocol, port: u16, changes: &mut Vec<Change>) {
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
            changes.push(Change::List { number: list });
        }
        if let Some(place) = self.ports.get_mut(place) {
            *place = number;
        }
        changes.push(Change::Port { protocol: protocol as u8, port });
    }

    /// Returns how terms relate two namespaces: whether one requires the same namespace, and the numbers of
    /// the label lists that must be shared.
    pub(crate) fn asked(&self, terms: impl Iterator<Item = u32>) -> (bool, Vec<u32>) {
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

    /// Decrements the reference count of a row, and releases its lists if it is now 0.
    pub(crate) fn release_row(&mut self, row: u32) {
        if self.subjects.release(row) {
            let classes: Vec<u32> = self.classes.iter().map(|(class, _)| class).collect();
            for class in classes {
                self.release_list(row, class);
            }
            let own = self.rows.get_mut(row as usize).map(|row| std::mem::take(&mut row.of_others));
            for list in own.into_iter().flatten().flatten() {
                self.lists.release(list);
            }
        }
    }
}

/// Returns the values of a label list, if the namespace has all of the labels.
fn values_of(shared: &Shared, list: u32) -> Option<&[Arc<str>]> {
    shared.iter().find(|(known, _)| *known == list).map(|(_, values)| &**values)
}
