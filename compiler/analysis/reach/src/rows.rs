//! Computes what a group may send or receive according to its own policies.

use npc_cluster::Cluster;
use npc_model::{AddressSets, Classes, Evaluator, Prepared, Sides};
use npc_vocabulary::{Action, Direction, Protocol, Which};
use rustc_hash::{FxHashMap, FxHasher};
use smallvec::{SmallVec, smallvec};
use std::hash::{Hash as _, Hasher as _};

use crate::groups::{AddressClass, Group, Groups, PortName, Relation};
use crate::set::GroupSet;
use crate::traffic::{Operation, SetId, Sets, TrafficSet};

/// What one side allows with which groups: non-empty sets of traffic, with disjoint sets of groups.
pub(crate) type Row<S> = Vec<(SetId, S)>;

/// The index of a row in [`Rows::list`].
pub(crate) type RowId = usize;

/// All rows of one family, each once.
pub(crate) struct Rows<'e, 'a, S> {
    evaluator: &'e Evaluator<'a>,
    cluster: &'e Cluster,
    groups: &'e Groups,
    sets: &'e AddressSets<'e>,
    /// The groups that have the family.
    pub(crate) all: S,
    /// The groups that each term selects.
    of_term: Vec<S>,
    /// The ports of each rule; `None` if it uses named ports.
    ports_of: &'e [Option<SetId>],
    /// The groups in each set of addresses.
    of_set: Vec<S>,
    /// The groups of each namespace, and of each list of values of shared labels.
    of_namespace: FxHashMap<usize, S>,
    of_values: FxHashMap<(usize, Vec<&'e str>), S>,
    /// The groups that declare the same named ports.
    of_ports: FxHashMap<&'e [PortName], S>,
    pub(crate) list: Vec<Row<S>>,
    by_hash: FxHashMap<u64, SmallVec<[RowId; 1]>>,
    known: FxHashMap<Key<'e>, RowId>,
}

/// Everything that a row depends on.
#[derive(PartialEq, Eq, Hash)]
struct Key<'e> {
    direction: Direction,
    sides: Sides,
    namespace: Option<usize>,
    shared: Vec<(usize, Option<Vec<&'e str>>)>,
    ports: Option<&'e [PortName]>,
}

/// The result of the rules evaluated so far, for some groups.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    /// The traffic that no rule has decided yet.
    open: SetId,
    /// The traffic that a `pass` rule hands on to the plain policies.
    passed: SetId,
    allowed: SetId,
}

/// Whether later rules still see the traffic that a rule decides.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    WhatItDecides,
    Nothing,
}

/// The groups in each state. The sets of groups are disjoint; mostly few.
type States<S> = SmallVec<[(State, S); 4]>;

impl<'e, 'a, S: GroupSet> Rows<'e, 'a, S> {
    pub(crate) fn new(
        evaluator: &'e Evaluator<'a>,
        cluster: &'e Cluster,
        groups: &'e Groups,
        sets: &'e AddressSets<'e>,
        classes: &Classes,
        family: usize,
        ports_of: &'e [Option<SetId>],
    ) -> Self {
        let mut rows = Self {
            evaluator,
            cluster,
            groups,
            sets,
            all: groups.of_family(family),
            of_term: Vec::new(),
            ports_of,
            of_set: vec![S::default(); sets.list.len()],
            of_namespace: FxHashMap::default(),
            of_values: FxHashMap::default(),
            of_ports: FxHashMap::default(),
            list: Vec::new(),
            by_hash: FxHashMap::default(),
            known: FxHashMap::default(),
        };
        // The first row allows everything: it is the row of groups for which nothing decides.
        rows.intern(vec![(Sets::ALL, rows.all.clone())]);
        let unknown = sets.of_unknown();
        for (index, group) in (0..).zip(&groups.list) {
            let lies_in = match group.address_class.get(family) {
                None | Some(AddressClass::Nowhere) => continue,
                Some(AddressClass::Unknown) => unknown.as_slice(),
                Some(AddressClass::In(class)) => classes.sets(*class),
            };
            for set in lies_in {
                if let Some(of_set) = rows.of_set.get_mut(*set) {
                    of_set.insert(index);
                }
            }
            for term in &group.terms {
                let place = *term as usize;
                if rows.of_term.len() <= place {
                    rows.of_term.resize(place + 1, S::default());
                }
                if let Some(own) = rows.of_term.get_mut(place) {
                    own.insert(index);
                }
            }
            rows.of_ports.entry(group.ports.as_slice()).or_default().insert(index);
            if let Some(namespace) = group.namespace {
                rows.of_namespace.entry(namespace).or_default().insert(index);
                for list in 0..groups.relations.shared.len() {
                    if let Some(values) = groups.relations.values(cluster, list, namespace) {
                        rows.of_values.entry((list, values)).or_default().insert(index);
                    }
                }
            }
        }
        rows
    }

    /// The row of a group, which must have the family.
    pub(crate) fn row(&mut self, sets: &mut Sets, group: &'e Group, direction: Direction) -> RowId {
        let Some((egress, ingress)) = group.sides else { return 0 };
        let sides = match direction {
            Direction::Egress => egress,
            Direction::Ingress => ingress,
        };
        let (same, lists) = self.groups.relations.asked(sides);
        let values = |list: usize| self.groups.relations.values(self.cluster, list, group.namespace?);
        let key = Key {
            direction,
            sides,
            namespace: group.namespace.filter(|_| same),
            shared: lists.iter().map(|list| (*list, values(*list))).collect(),
            ports: (direction == Direction::Ingress).then_some(group.ports.as_slice()),
        };
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let row = self.compute(sets, group, direction, sides);
        let id = self.intern(row);
        self.known.insert(key, id);
        id
    }

    fn intern(&mut self, row: Row<S>) -> RowId {
        let mut hasher = FxHasher::default();
        for (set, groups) in &row {
            set.hash(&mut hasher);
            groups.hash_into(&mut hasher);
        }
        let alike = self.by_hash.entry(hasher.finish()).or_default();
        if let Some(known) = alike.iter().find(|known| self.list.get(**known) == Some(&row)) {
            return *known;
        }
        alike.push(self.list.len());
        self.list.push(row);
        self.list.len() - 1
    }

    fn compute(&self, sets: &mut Sets, group: &Group, direction: Direction, sides: Sides) -> Row<S> {
        let start = State { open: Sets::ALL, passed: Sets::NONE, allowed: Sets::NONE };
        let mut states: States<S> = smallvec![(start, self.all.clone())];
        let rules = |tier: usize| self.evaluator.tier(tier).map_or(&[][..], |tier| &tier.rules);
        for place in rules(sides.admin) {
            self.apply(sets, &mut states, group, direction, *place, Takes::WhatItDecides);
        }
        // Traffic that no admin rule decides continues too.
        step(&mut states, |state| {
            let open = sets.apply(Operation::Or, state.open, state.passed);
            State { open, passed: Sets::NONE, ..state }
        });
        let isolated = self.evaluator.tier(sides.plain).is_some_and(|tier| !tier.policies.is_empty());
        // Plain rules only allow, and the rest is denied in any case, so none needs to hide traffic from the
        // next.
        for place in rules(sides.plain) {
            self.apply(sets, &mut states, group, direction, *place, Takes::Nothing);
        }
        if isolated {
            step(&mut states, |state| State { open: Sets::NONE, ..state });
        }
        for place in rules(sides.baseline) {
            self.apply(sets, &mut states, group, direction, *place, Takes::WhatItDecides);
        }
        // The default is to allow.
        step(&mut states, |state| {
            let allowed = sets.apply(Operation::Or, state.allowed, state.open);
            State { open: Sets::NONE, allowed, ..state }
        });
        let mut row: Row<S> = states
            .into_iter()
            .filter(|(state, _)| state.allowed != Sets::NONE)
            .map(|(state, groups)| (state.allowed, groups))
            .collect();
        row.sort_unstable_by_key(|(set, _)| *set);
        row
    }

    /// Applies one rule.
    fn apply(
        &self,
        sets: &mut Sets,
        states: &mut States<S>,
        group: &Group,
        direction: Direction,
        place: usize,
        takes: Takes,
    ) {
        let Some(rule) = self.evaluator.rule(place) else { return };
        let named = self.named(group, place, rule);
        if named.is_empty() {
            return;
        }
        for (ports, groups) in self.ports(sets, group, direction, place, rule, named) {
            let before = std::mem::take(states);
            for (state, mut old) in before {
                let both = if state.open == Sets::NONE { S::default() } else { old.and(&groups) };
                if both.is_empty() {
                    add(states, state, old);
                    continue;
                }
                let hit = sets.apply(Operation::And, state.open, ports);
                if hit == Sets::NONE {
                    add(states, state, old);
                    continue;
                }
                old.take(&both);
                if !old.is_empty() {
                    add(states, state, old);
                }
                let mut next = state;
                if takes == Takes::WhatItDecides {
                    next.open = sets.apply(Operation::Without, state.open, hit);
                }
                match rule.rule.action {
                    Action::Allow => next.allowed = sets.apply(Operation::Or, state.allowed, hit),
                    Action::Pass => next.passed = sets.apply(Operation::Or, state.passed, hit),
                    Action::Deny => {}
                }
                add(states, next, both);
            }
        }
    }

    /// The groups that are peers of a rule.
    fn named(&self, subject: &Group, place: usize, rule: &Prepared<'_>) -> S {
        let set = self.sets.of_rule.get(place).and_then(|set| self.of_set.get(*set));
        let mut named = set.cloned().unwrap_or_default();
        for term in &rule.terms {
            let Some(selected) = self.of_term.get(*term as usize) else { continue };
            match self.groups.relations.of(*term) {
                None => named.add(selected),
                Some(Relation::Same) => {
                    let own = subject.namespace.and_then(|own| self.of_namespace.get(&own));
                    if let Some(own) = own {
                        named.add(&selected.and(own));
                    }
                }
                Some(Relation::Sharing(list)) => {
                    let values = subject
                        .namespace
                        .and_then(|own| self.groups.relations.values(self.cluster, list, own));
                    if let Some(own) = values.and_then(|values| self.of_values.get(&(list, values))) {
                        named.add(&selected.and(own));
                    }
                }
            }
        }
        named
    }

    /// The ports of a rule, with the groups for which it has them: named ports depend on the destination.
    fn ports(
        &self,
        sets: &mut Sets,
        subject: &Group,
        direction: Direction,
        place: usize,
        rule: &Prepared<'_>,
        named: S,
    ) -> SmallVec<[(SetId, S); 1]> {
        if let Some(ports) = self.ports_of.get(place).copied().flatten() {
            return smallvec![(ports, named)];
        }
        let ports = &rule.rule.ports;
        let mut of = |own: &[PortName]| {
            let set = TrafficSet::of_ports(ports.iter().map(|term| &term.port), |protocol, name, out| {
                out.extend(self.numbers(own, protocol, name));
            });
            sets.intern(set)
        };
        match direction {
            Direction::Ingress => smallvec![(of(&subject.ports), named)],
            Direction::Egress => self
                .of_ports
                .iter()
                .map(|(own, groups)| (of(own), named.and(groups)))
                .filter(|(_, groups)| !groups.is_empty())
                .collect(),
        }
    }

    fn numbers<'o>(
        &self,
        own: &'o [PortName],
        protocol: Protocol,
        name: &str,
    ) -> impl Iterator<Item = (u16, u16)> + 'o {
        let name = self.groups.port_names.get(name).copied();
        own.iter()
            .filter(move |port| port.0 == protocol && Some(port.1) == name)
            .map(|(_, _, number)| (*number, *number))
    }
}

/// The ports of each rule; `None` for rules with named ports, which depend on the destination.
pub(crate) fn ports_of(evaluator: &Evaluator<'_>, sets: &mut Sets) -> Vec<Option<SetId>> {
    let of = |rule: &Prepared<'_>| {
        let ports = &rule.rule.ports;
        if ports.is_empty() {
            return Some(Sets::ALL);
        }
        let by_name = ports.iter().any(|term| matches!(term.port.which, Which::Named(_)));
        (!by_name).then(|| {
            let ports = ports.iter().map(|term| &term.port);
            sets.intern(TrafficSet::of_ports(ports, |_, _, _| {}))
        })
    };
    evaluator.rules().iter().map(of).collect()
}

/// Adds groups to those in the same state.
fn add<S: GroupSet>(states: &mut States<S>, state: State, groups: S) {
    match states.iter_mut().find(|(known, _)| *known == state) {
        Some((_, all)) => all.add(&groups),
        None => states.push((state, groups)),
    }
}

fn step<S: GroupSet>(states: &mut States<S>, mut next: impl FnMut(State) -> State) {
    for (state, groups) in std::mem::take(states) {
        add(states, next(state), groups);
    }
}
