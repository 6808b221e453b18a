//! What an image holds.

use std::sync::Arc;

use wildmatch::WildMatch;

/// A compiled program.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    /// The source files that rules and policies stand in.
    pub files: Vec<Arc<str>>,
    /// Requirements on labels, each list once.
    pub selectors: Vec<Selector>,
    /// Sets of namespaces, each once.
    pub scopes: Vec<Scope>,
    /// Sets of pods, each once.
    pub pod_terms: Vec<PodTerm>,
    /// The sets of addresses that rules name.
    pub addresses: AddressSets,
    /// The sets of ports that rules name.
    pub ports: PortSets,
    /// The policies, in the order of the program.
    pub policies: Vec<Policy>,
}

/// Requirements on labels, all of which must hold.
pub type Selector = Vec<Requirement>;

/// A requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: Arc<str>,
    /// What it asks.
    pub operator: Operator,
    /// The values that it names, in order; none for `Exists` and `DoesNotExist`.
    pub values: Vec<Arc<str>>,
}

/// What a requirement asks, by the names of the Kubernetes API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Operator {
    /// The label has one of the values.
    In = 0,
    /// It has none of them, or is absent.
    NotIn = 1,
    /// It is there.
    Exists = 2,
    /// It is not.
    DoesNotExist = 3,
}

impl Requirement {
    /// Whether a label of this value, or its absence, satisfies the requirement.
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

/// Whether an object with these labels satisfies a selector.
pub(crate) fn selects<'l>(selector: &[Requirement], label: impl Fn(&str) -> Option<&'l str>) -> bool {
    selector.iter().all(|requirement| requirement.matches(label(&requirement.key)))
}

/// A name, or a pattern of names with `*` (anything) and `?` (one character).
#[derive(Clone, Debug)]
pub struct Glob {
    text: Arc<str>,
    pattern: WildMatch,
}

impl Glob {
    /// The pattern that is written so.
    #[must_use]
    pub fn new(text: Arc<str>) -> Self {
        Self { pattern: WildMatch::new(&text), text }
    }

    /// As it is written.
    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The one name that it matches, where it has no `*` and no `?`.
    #[must_use]
    pub fn exact(&self) -> Option<&Arc<str>> {
        (!self.text.contains(['*', '?'])).then_some(&self.text)
    }

    /// Whether a name matches.
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
    /// Which, before the exceptions.
    pub base: ScopeBase,
    /// Names that are left out.
    pub except_names: Vec<Glob>,
    /// Those that any of these selects are left out, too.
    pub except_selectors: Vec<u32>,
}

/// Which namespaces, before exceptions.
#[derive(Clone, Debug, PartialEq)]
pub enum ScopeBase {
    /// All.
    All,
    /// Those of these names.
    Names(Vec<Glob>),
    /// Those that a selector selects, by its place in [`Image::selectors`].
    Labels(u32),
    /// The subject's own.
    Same,
    /// Those that have all of these labels with the same values as the subject's namespace.
    Sharing(Vec<Arc<str>>),
}

/// A set of pods: those of some namespaces that a selector selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PodTerm {
    /// The namespaces, by their place in [`Image::scopes`].
    pub scope: u32,
    /// The selector, by its place in [`Image::selectors`].
    pub selector: u32,
}

/// Sets of addresses. Addresses that are in the same sets are one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSets {
    /// How many sets there are; they are numbered from 0.
    pub count: u32,
    /// The first address of each range of IPv4, in order, the first of all 0; and its class.
    pub v4: Vec<(u32, u32)>,
    /// The same of IPv6.
    pub v6: Vec<(u128, u32)>,
    /// Of each class, the sets that it is in, in order.
    pub classes: Vec<Vec<u32>>,
    /// The sets, in order, that hold the address of a pod of which none is known.
    pub of_unknown: Vec<u32>,
}

/// Sets of ports. Ports of a protocol that are in the same sets are one class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSets {
    /// Of each set, the ports that it names by name.
    pub named: Vec<Vec<NamedPort>>,
    /// Of each protocol, in the order of [`Protocol::ALL`], the first port of each range, in order, the
    /// first of all 0; and its class.
    pub ranges: [Vec<(u16, u32)>; 3],
    /// Of each class, the sets that it is in, in order.
    pub classes: Vec<Vec<u32>>,
}

/// A port by the name that the destination gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedPort {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its name.
    pub name: Arc<str>,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// TCP, IP protocol 6.
    Tcp = 0,
    /// UDP, IP protocol 17.
    Udp = 1,
    /// SCTP, IP protocol 132.
    Sctp = 2,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// `tcp`, `udp` or `sctp`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: Arc<str>,
    /// Where its name stands.
    pub place: Place,
    /// Its tier.
    pub tier: Tier,
    /// Its priority within the tier; lower is asked first, and of two that are the same the first in
    /// [`Image::policies`].
    pub priority: u16,
    /// Whether it decides nothing, and what it would have decided is reported.
    pub audit: bool,
    /// Whether it isolates its pods, by direction, though it may have no rule.
    pub isolates: [bool; 2],
    /// The pods that it is for, by their places in [`Image::pod_terms`].
    pub subjects: Vec<u32>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// The line of a source file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, by its place in [`Image::files`].
    pub file: u32,
    /// The line, from 1.
    pub line: u32,
}

/// The tier of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tier {
    /// Asked first.
    Admin = 0,
    /// The plain policies, of which all that allow count.
    Namespaced = 1,
    /// Asked where no plain policy isolates.
    Baseline = 2,
}

impl Tier {
    /// As the language writes it before a policy's name: `admin`, `policy` or `baseline`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Namespaced => "policy",
            Self::Baseline => "baseline",
        }
    }
}

/// A direction, as the subject sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// From the subject.
    Egress = 0,
    /// To the subject.
    Ingress = 1,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// Allows, and ends the search.
    Allow = 0,
    /// Denies, and ends the search.
    Deny = 1,
    /// Goes on with the plain policies.
    Pass = 2,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Where it stands.
    pub place: Place,
    /// Its direction.
    pub direction: Direction,
    /// What it does.
    pub action: Action,
    /// Whether connections that it decides are reported.
    pub log: bool,
    /// The pods that it names, by their places in [`Image::pod_terms`].
    pub pods: Vec<u32>,
    /// The set of addresses that it names, where it names any; a pod is named by its address, too.
    pub addresses: Option<u32>,
    /// The set of ports; without one it is for every protocol there is.
    pub ports: Option<u32>,
}

impl Policy {
    /// Whether the policy says anything of a direction.
    #[must_use]
    pub fn covers(&self, direction: Direction) -> bool {
        self.isolates.get(direction as usize) == Some(&true)
            || self.rules.iter().any(|rule| rule.direction == direction)
    }
}

impl Image {
    /// Where something stands: `file:line`.
    #[must_use]
    pub fn place(&self, place: Place) -> String {
        let file = self.files.get(place.file as usize).map_or("?", |file| &**file);
        format!("{file}:{}", place.line)
    }
}

/// Which of some ranges, by their firsts in order, something is in: its value.
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

    /// The sets that an address is in, in order.
    #[must_use]
    pub fn of(&self, address: std::net::IpAddr) -> &[u32] {
        self.classes.get(self.class_of(address) as usize).map_or(&[], Vec::as_slice)
    }
}

impl PortSets {
    /// The sets that a port of a protocol is in by its number, in order.
    #[must_use]
    pub fn of(&self, protocol: Protocol, port: u16) -> &[u32] {
        let ranges = self.ranges.get(protocol as usize);
        let class = ranges.and_then(|ranges| in_ranges(ranges, &port));
        class.and_then(|class| self.classes.get(class as usize)).map_or(&[], Vec::as_slice)
    }
}
