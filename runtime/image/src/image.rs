//! The data model of an image.

use std::sync::Arc;

use npc_vocabulary::{Action, Direction, Operator, Protocol, Tier};
use wildmatch::WildMatch;

/// A compiled program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// The source files that contain the policies and rules.
    pub files: Vec<Arc<str>>,
    /// Label selectors, without duplicates.
    pub selectors: Vec<Selector>,
    /// Sets of namespaces, without duplicates.
    pub scopes: Vec<Scope>,
    /// Sets of pods, without duplicates.
    pub pod_terms: Vec<PodTerm>,
    /// The address sets that rules refer to.
    pub addresses: AddressSets,
    /// The port sets that rules refer to.
    pub ports: PortSets,
    /// The policies, in program order.
    pub policies: Vec<Policy>,
}

/// A label selector: an object must satisfy all requirements.
pub type Selector = Vec<Requirement>;

/// A requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// How the label is compared with the values.
    pub operator: Operator,
    /// The values, in order. Empty for `Exists` and `DoesNotExist`.
    pub values: Vec<Arc<str>>,
}

impl Requirement {
    /// Whether this label value, or an absent label (`None`), satisfies the requirement.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        let is_listed = value.is_some_and(|value| self.values.iter().any(|listed| **listed == *value));
        match self.operator {
            Operator::In => is_listed,
            Operator::NotIn => !is_listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// Whether an object with these labels satisfies every requirement of a selector.
pub(crate) fn selects<'l>(selector: &[Requirement], label: impl Fn(&str) -> Option<&'l str>) -> bool {
    selector.iter().all(|requirement| requirement.matches(label(&requirement.key)))
}

/// A name, or a name pattern with `*` (any characters) and `?` (one character).
#[derive(Clone, Debug)]
pub struct Glob {
    text: Arc<str>,
    pattern: WildMatch,
}

impl Glob {
    /// Parses a pattern.
    #[must_use]
    pub fn new(text: Arc<str>) -> Self {
        Self { pattern: WildMatch::new(&text), text }
    }

    /// The pattern as written in the program.
    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The only name that the pattern matches, if it has no `*` and no `?`.
    #[must_use]
    pub fn exact(&self) -> Option<&Arc<str>> {
        (!self.text.contains(['*', '?'])).then_some(&self.text)
    }

    /// Whether the pattern matches a name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.pattern.matches(name)
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// A set of namespaces.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// The namespaces before exceptions.
    pub base: ScopeBase,
    /// Excluded namespaces, by name.
    pub except_names: Vec<Glob>,
    /// Excluded namespaces, by label: indices into [`Image::selectors`]. One match is enough.
    pub except_selectors: Vec<u32>,
}

/// The namespaces of a scope before exceptions.
#[derive(Clone, Debug, PartialEq)]
pub enum ScopeBase {
    /// All namespaces.
    All,
    /// Namespaces whose name matches one of the patterns.
    Names(Vec<Glob>),
    /// Namespaces that a selector matches: an index into [`Image::selectors`].
    Labels(u32),
    /// The subject's own namespace.
    Same,
    /// Namespaces that have all of these labels, with the same values as the subject's namespace.
    Sharing(Vec<Arc<str>>),
}

/// A set of pods: the pods in a scope that a selector matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PodTerm {
    /// The scope: an index into [`Image::scopes`].
    pub scope: u32,
    /// The selector: an index into [`Image::selectors`].
    pub selector: u32,
}

/// Address sets. Addresses that are in the same sets form one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSets {
    /// The number of sets. They are numbered from 0.
    pub count: u32,
    /// The IPv4 ranges: the first address of each, in ascending order from 0, and its class.
    pub v4: Vec<(u32, u32)>,
    /// The IPv6 ranges, in the same form.
    pub v6: Vec<(u128, u32)>,
    /// The sets that each class is in, in ascending order.
    pub classes: Vec<Vec<u32>>,
    /// The sets that a pod without a known address is in, in ascending order.
    pub of_unknown: Vec<u32>,
}

/// Port sets. Ports of one protocol that are in the same sets form one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSets {
    /// The named ports of each set.
    pub named: Vec<Vec<PortName>>,
    /// The port ranges of each protocol, in the order of [`Protocol::ALL`]: the first port of each range, in
    /// ascending order from 0, and its class.
    pub ranges: [Vec<(u16, u32)>; 3],
    /// The sets that each class is in, in ascending order.
    pub classes: Vec<Vec<u32>>,
}

/// A named port, which the destination pod resolves to a number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PortName {
    /// The protocol.
    pub protocol: Protocol,
    /// The name.
    pub name: Arc<str>,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: Arc<str>,
    /// The location of its name in the source.
    pub place: Place,
    /// Its tier.
    pub tier: Tier,
    /// Its priority within the tier. Lower values are evaluated first; policies of equal priority are
    /// evaluated in the order of [`Image::policies`].
    pub priority: u16,
    /// Whether this is an audit policy: it decides nothing, and its hypothetical decision is reported.
    pub audit: bool,
    /// Whether it isolates its pods even without a rule, indexed by [`Direction`].
    pub isolates: [bool; 2],
    /// The pods that it selects: indices into [`Image::pod_terms`].
    pub subjects: Vec<u32>,
    /// Its rules, in source order.
    pub rules: Vec<Rule>,
}

/// A line of a source file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file: an index into [`Image::files`].
    pub file: u32,
    /// The line number, from 1.
    pub line: u32,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its location in the source.
    pub place: Place,
    /// Its direction.
    pub direction: Direction,
    /// Its action.
    pub action: Action,
    /// Whether connections that it decides are reported.
    pub log: bool,
    /// The pods that it matches as peers: indices into [`Image::pod_terms`].
    pub pods: Vec<u32>,
    /// The address set that it matches, if any. It also matches a pod by the pod's address.
    pub addresses: Option<u32>,
    /// The port set that it matches. `None` matches every IP protocol.
    pub ports: Option<u32>,
}

impl Policy {
    /// Whether the policy covers a direction: it isolates its pods in it, or has a rule for it.
    #[must_use]
    pub fn covers(&self, direction: Direction) -> bool {
        self.isolates.get(direction as usize) == Some(&true)
            || self.rules.iter().any(|rule| rule.direction == direction)
    }
}

impl Image {
    /// Formats a location as `file:line`.
    #[must_use]
    pub fn place(&self, place: Place) -> String {
        let file = self.files.get(place.file as usize).map_or("?", |file| &**file);
        format!("{file}:{}", place.line)
    }
}

/// Returns the value of the range that contains `key`. Each range is given by its first key, in ascending
/// order.
pub(crate) fn in_ranges<K: Ord, V: Copy>(ranges: &[(K, V)], key: &K) -> Option<V> {
    let after = ranges.partition_point(|(first, _)| first <= key);
    ranges.get(after.checked_sub(1)?).map(|(_, value)| *value)
}

impl AddressSets {
    /// The class of an address.
    #[must_use]
    pub fn class_of(&self, address: std::net::IpAddr) -> u32 {
        let class = match address {
            std::net::IpAddr::V4(address) => in_ranges(&self.v4, &address.to_bits()),
            std::net::IpAddr::V6(address) => in_ranges(&self.v6, &address.to_bits()),
        };
        class.unwrap_or(0)
    }

    /// The sets that contain an address, in ascending order.
    #[must_use]
    pub fn of(&self, address: std::net::IpAddr) -> &[u32] {
        self.classes.get(self.class_of(address) as usize).map_or(&[], Vec::as_slice)
    }
}

impl PortSets {
    /// The sets that contain a port by number, in ascending order. Named ports are not considered.
    #[must_use]
    pub fn of(&self, protocol: Protocol, port: u16) -> &[u32] {
        let ranges = self.ranges.get(protocol as usize);
        let class = ranges.and_then(|ranges| in_ranges(ranges, &port));
        class.and_then(|class| self.classes.get(class as usize)).map_or(&[], Vec::as_slice)
    }
}
