//! Sets of traffic: ports of protocols, and protocols without ports.

use std::fmt;

use indexmap::IndexSet;
use npc_program::values::port::merge;
use npc_vocabulary::{Port, Protocol, Traffic, Which};
use rustc_hash::{FxBuildHasher, FxHashMap};
use smallvec::{SmallVec, smallvec};

/// Ranges by first and last port; mostly few.
type Ranges = SmallVec<[(u16, u16); 4]>;

/// A set of traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrafficSet {
    /// The ports of each protocol, in the order of [`Protocol::ALL`]: sorted, disjoint ranges by first and
    /// last port.
    ports: [Ranges; 3],
    /// Whether it contains all IP protocols without ports.
    other: bool,
}

/// All ports.
const EVERY_PORT: (u16, u16) = (1, u16::MAX);

impl TrafficSet {
    /// All traffic.
    #[must_use]
    pub fn all() -> Self {
        Self { ports: std::array::from_fn(|_| smallvec![EVERY_PORT]), other: true }
    }

    /// The ports of a rule. `named` adds the numbers of a named port at the destination.
    pub fn of_ports<'a>(
        ports: impl Iterator<Item = &'a Port>,
        mut named: impl FnMut(Protocol, &str, &mut Ranges),
    ) -> Self {
        let mut all = Self::default();
        for port in ports {
            let Some(ranges) = all.ports.get_mut(port.protocol as usize) else { continue };
            match &port.which {
                Which::All => ranges.push(EVERY_PORT),
                Which::Range(first, last) => ranges.push((*first, *last)),
                Which::Named(name) => named(port.protocol, name, ranges),
            }
        }
        for ranges in &mut all.ports {
            let kept = merge(ranges);
            ranges.truncate(kept);
        }
        all
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.other && self.ports.iter().all(SmallVec::is_empty)
    }

    /// Whether the set contains all traffic.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.other && self.ports.iter().all(|ranges| ranges.as_slice() == [EVERY_PORT])
    }

    /// The intersection.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.with(other, |a, b| a && b)
    }

    /// The union.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        self.with(other, |a, b| a || b)
    }

    /// The difference.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.with(other, |a, b| a && !b)
    }

    fn with(&self, other: &Self, keep: impl Fn(bool, bool) -> bool + Copy) -> Self {
        let mut ports = self.ports.iter().zip(&other.ports).map(|(a, b)| combine(a, b, keep));
        Self {
            ports: std::array::from_fn(|_| ports.next().unwrap_or_default()),
            other: keep(self.other, other.other),
        }
    }

    /// An example from the set: the lowest port of the first protocol in it.
    #[must_use]
    pub fn example(&self) -> Option<Traffic> {
        let port = Protocol::ALL
            .into_iter()
            .zip(&self.ports)
            .find_map(|(protocol, ranges)| Some(Traffic::Port(protocol, ranges.first()?.0)));
        port.or(self.other.then_some(Traffic::Other))
    }

    /// Whether the set contains the traffic.
    #[must_use]
    pub fn contains(&self, traffic: Traffic) -> bool {
        match traffic {
            Traffic::Other => self.other,
            Traffic::Port(protocol, port) => self
                .ports
                .get(protocol as usize)
                .is_some_and(|ranges| ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))),
        }
    }

    /// The set as text: `tcp/80`, `udp/1000-2000`, `sctp` for every port of a protocol, `other` for protocols
    /// without ports; only `all` if it contains everything.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        if self.is_all() {
            return vec!["all".to_owned()];
        }
        let mut words = Vec::new();
        for (protocol, ranges) in Protocol::ALL.into_iter().zip(&self.ports) {
            words.extend(ranges.iter().map(|(first, last)| {
                let which =
                    if (*first, *last) == EVERY_PORT { Which::All } else { Which::Range(*first, *last) };
                Port { protocol, which }.to_string()
            }));
        }
        if self.other {
            words.push("other".to_owned());
        }
        words
    }
}

impl fmt::Display for TrafficSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() { f.write_str("none") } else { f.write_str(&self.words().join(", ")) }
    }
}

/// The ports for which `keep` holds, given whether the first and the second list contain them. Ports that are
/// in neither list are not considered.
fn combine(a: &[(u16, u16)], b: &[(u16, u16)], keep: impl Fn(bool, bool) -> bool) -> Ranges {
    // The boundaries of the ranges, alternately a first port and the port after a last one. Between two
    // boundaries nothing changes.
    let turn = |ranges: &[(u16, u16)], at: usize| {
        let (first, last) = ranges.get(at / 2)?;
        Some(if at.is_multiple_of(2) { u32::from(*first) } else { u32::from(*last) + 1 })
    };
    let (mut in_a, mut in_b, mut from, mut out) = (0, 0, None, Ranges::new());
    loop {
        let (next_a, next_b) = (turn(a, in_a), turn(b, in_b));
        let Some(next) = next_a.into_iter().chain(next_b).min() else { return out };
        in_a += usize::from(next_a == Some(next));
        in_b += usize::from(next_b == Some(next));
        match (from, keep(in_a % 2 == 1, in_b % 2 == 1)) {
            (None, true) => from = Some(next),
            (Some(first), false) => {
                if let (Ok(first), Ok(last)) = (u16::try_from(first), u16::try_from(next - 1)) {
                    out.push((first, last));
                }
                from = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
}

/// The index of a set of traffic in [`Sets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SetId(u32);

/// Interned sets of traffic, with cached results of operations.
pub(crate) struct Sets {
    list: IndexSet<TrafficSet, FxBuildHasher>,
    /// For each operation, the results for sets with small indices: by the first set, then by the second.
    results: [Vec<Vec<Option<SetId>>>; 3],
    /// The results for other sets.
    others: FxHashMap<(Operation, SetId, SetId), SetId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    And,
    Or,
    Without,
}

/// Results for this many sets are looked up without hashing; the table takes at most 6 MiB.
const KNOWN: usize = 512;

impl Sets {
    pub(crate) const NONE: SetId = SetId(0);
    pub(crate) const ALL: SetId = SetId(1);

    pub(crate) fn new() -> Self {
        let mut sets = Self {
            list: IndexSet::with_capacity_and_hasher(64, FxBuildHasher),
            results: Default::default(),
            others: FxHashMap::default(),
        };
        sets.intern(TrafficSet::default());
        sets.intern(TrafficSet::all());
        sets
    }

    pub(crate) fn intern(&mut self, set: TrafficSet) -> SetId {
        let (place, _) = self.list.insert_full(set);
        SetId(u32::try_from(place).unwrap_or(u32::MAX))
    }

    pub(crate) fn apply(&mut self, operation: Operation, a: SetId, b: SetId) -> SetId {
        match (operation, a, b) {
            (Operation::And, Self::ALL, other) | (Operation::And, other, Self::ALL) => return other,
            (Operation::And, Self::NONE, _) | (Operation::And, _, Self::NONE) => return Self::NONE,
            (Operation::Or, Self::NONE, other) | (Operation::Or, other, Self::NONE) => return other,
            (Operation::Without, other, Self::NONE) => return other,
            _ => {}
        }
        let is_small = a.place().max(b.place()) < KNOWN;
        let known = if is_small {
            let rows = self.results.get(operation as usize).and_then(|rows| rows.get(a.place()));
            rows.and_then(|row| *row.get(b.place())?)
        } else {
            self.others.get(&(operation, a, b)).copied()
        };
        known.unwrap_or_else(|| {
            let result = self.result(operation, a, b);
            if is_small {
                self.keep(operation, a, b, result);
            } else {
                self.others.insert((operation, a, b), result);
            }
            result
        })
    }

    fn result(&mut self, operation: Operation, a: SetId, b: SetId) -> SetId {
        let nothing = TrafficSet::default();
        let (left, right) = (self.get(a).unwrap_or(&nothing), self.get(b).unwrap_or(&nothing));
        let result = match operation {
            Operation::And => left.and(right),
            Operation::Or => left.or(right),
            Operation::Without => left.without(right),
        };
        self.intern(result)
    }

    fn keep(&mut self, operation: Operation, a: SetId, b: SetId, result: SetId) {
        let Some(rows) = self.results.get_mut(operation as usize) else { return };
        if rows.len() <= a.place() {
            rows.resize(a.place() + 1, Vec::new());
        }
        let Some(row) = rows.get_mut(a.place()) else { return };
        if row.len() <= b.place() {
            row.resize(self.list.len().min(KNOWN), None);
        }
        if let Some(cell) = row.get_mut(b.place()) {
            *cell = Some(result);
        }
    }

    fn get(&self, id: SetId) -> Option<&TrafficSet> {
        self.list.get_index(id.place())
    }

    pub(crate) fn into_list(self) -> Vec<TrafficSet> {
        self.list.into_iter().collect()
    }
}

impl SetId {
    pub(crate) const fn place(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn set(words: &str) -> TrafficSet {
        let ports: Vec<Port> = words
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(|word| {
                let (protocol, ports) = word.split_once('/').unwrap_or((word, "1-65535"));
                let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
                Port {
                    protocol: Protocol::parse(protocol).unwrap(),
                    which: Which::Range(first.parse().unwrap(), last.parse().unwrap()),
                }
            })
            .collect();
        TrafficSet::of_ports(ports.iter(), |_, _, _| {})
    }

    #[test]
    fn operations() {
        let a = set("tcp/80-90 tcp/85-100 tcp/101 udp/53");
        assert_eq!(a.to_string(), "tcp/80-101, udp/53");
        assert_eq!(a.and(&set("tcp/1-80 tcp/101-65535 sctp")).to_string(), "tcp/80, tcp/101");
        assert_eq!(a.or(&set("udp/54 udp/52 tcp/1-79")).to_string(), "tcp/1-101, udp/52-54");
        assert_eq!(a.without(&set("tcp/81-100")).to_string(), "tcp/80, tcp/101, udp/53");
        assert!(a.without(&a).is_empty());
        let rest = TrafficSet::all().without(&set("tcp/65535"));
        assert_eq!(rest.to_string(), "tcp/1-65534, udp, sctp, other");
        assert!(rest.or(&set("tcp/65535")).is_all());
        assert_eq!(rest.example(), Some(Traffic::Port(Protocol::Tcp, 1)));
        assert!(rest.contains(Traffic::Other) && !rest.contains(Traffic::Port(Protocol::Tcp, 65535)));
    }
}
