//! Minimal examples: a pod that a term selects, and a connection that a rule matches.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use npc_cluster::{Cluster, NAMESPACE_NAME, NamedPort, Namespace, Pod};
use npc_model::Labels;
use npc_program::values::address::{Block, IpNet};
use npc_program::values::name::is_label;
use npc_program::{Peer, PodTerm, Rule, ScopeBase, Selector};
use npc_vocabulary::{Connection, Direction, Endpoint, Operator, Port, Traffic, Which};

/// A label value and namespace name that is assumed not to occur in programs.
const OTHER: &str = "any-other-value";
/// A port that rules are unlikely to name.
const PORT: u16 = 61_321;

/// Labels as key and value, each key once.
type Pairs<'p> = Vec<(&'p str, &'p str)>;

/// A pod that a term selects.
#[derive(Clone, Debug)]
pub(crate) struct Example<'p> {
    /// The pod's labels.
    labels: Pairs<'p>,
    /// The pod's namespace.
    pub(crate) namespace: Home<'p>,
}

/// The namespace of an example pod.
#[derive(Clone, Debug)]
pub(crate) struct Home<'p> {
    pub(crate) name: Cow<'p, str>,
    /// The labels, without `kubernetes.io/metadata.name`.
    labels: Pairs<'p>,
}

impl Labels for Example<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        value(&self.labels, key)
    }

    fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().copied()
    }
}

impl Labels for Home<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        if key == NAMESPACE_NAME { Some(&self.name) } else { value(&self.labels, key) }
    }

    fn each(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().copied().chain([(NAMESPACE_NAME, &*self.name)])
    }
}

fn value<'p>(labels: &Pairs<'p>, key: &str) -> Option<&'p str> {
    labels.iter().find(|(own, _)| *own == key).map(|(_, value)| *value)
}

impl<'p> Example<'p> {
    /// Constructs a pod that the term selects; `own` is the namespace of the policy's subject. Returns `None`
    /// if the first attempt fails, which does not prove that there is no such pod.
    pub(crate) fn of(term: &'p PodTerm, own: Option<&Home<'p>>) -> Option<Self> {
        let labels = labels(&term.selector)?;
        let other = |labels: Pairs<'p>| Home { name: Cow::Borrowed(OTHER), labels };
        let namespace = match (&term.scope.base, own) {
            (ScopeBase::Same | ScopeBase::Sharing(_), Some(own)) => own.clone(),
            (ScopeBase::Names(names), _) => {
                let name = names.first()?;
                let name = match name.contains(['*', '?']) {
                    true => Cow::Owned(name.replace('*', "any").replace('?', "x")),
                    false => Cow::Borrowed(&**name),
                };
                Home { name, labels: Vec::new() }
            }
            (ScopeBase::Labels(selector), _) => {
                let mut namespace = other(self::labels(selector)?);
                if let Some(at) = namespace.labels.iter().position(|(key, _)| *key == NAMESPACE_NAME) {
                    namespace.name = Cow::Borrowed(namespace.labels.swap_remove(at).1);
                }
                namespace
            }
            (ScopeBase::Sharing(keys), None) => {
                let keys = keys.iter().filter(|key| ***key != *NAMESPACE_NAME);
                other(keys.map(|key| (&**key, OTHER)).collect())
            }
            (ScopeBase::All | ScopeBase::Same, _) => other(Vec::new()),
        };
        // The text that replaces a `*` may give a name that no namespace can have.
        let held = is_label(&namespace.name) && term.scope.holds(&namespace.name, |key| namespace.value(key));
        held.then_some(Self { labels, namespace })
    }
}

/// Labels that a selector matches. A key gets no label if its requirements permit that, otherwise a value
/// that no requirement lists, otherwise a listed value.
fn labels(selector: &Selector) -> Option<Pairs<'_>> {
    let mut labels: Pairs<'_> = Vec::new();
    for requirement in &selector.requirements {
        let key = &*requirement.key;
        if value(&labels, key).is_some() {
            continue;
        }
        let fits = |value: Option<&str>| {
            let own = selector.requirements.iter().filter(|other| *other.key == *key);
            own.clone().all(|other| other.matches(value))
        };
        let listed = selector
            .requirements
            .iter()
            .filter(|other| *other.key == *key && other.operator == Operator::In)
            .flat_map(|other| &other.values)
            .map(|value| &**value);
        let value = [None, Some(OTHER)].into_iter().chain(listed.map(Some)).find(|value| fits(*value))?;
        if let Some(value) = value {
            labels.push((key, value));
        }
    }
    Some(labels)
}

/// The traffic of a connection that the rule matches, by its first port term: the first port of a range, or a
/// fixed port if the term leaves it open. The second value is the port name that the destination must
/// declare.
fn traffic(rule: &Rule) -> (Traffic, Option<&str>) {
    let Some(Port { protocol, which }) = rule.ports.first().map(|term| &term.port) else {
        return (Traffic::Other, None);
    };
    match which {
        Which::All => (Traffic::Port(*protocol, PORT), None),
        Which::Range(first, _) => (Traffic::Port(*protocol, *first), None),
        Which::Named(name) => (Traffic::Port(*protocol, PORT), Some(name)),
    }
}

/// Whether the ports of another rule may cover the traffic that [`traffic`] chooses for a rule. Most rules
/// differ in their ports, so this excludes most pairs.
pub(crate) fn ports_may_overlap(rule: &Rule, other: &Rule) -> bool {
    other.ports.is_empty()
        || match traffic(rule).0 {
            Traffic::Other => false,
            Traffic::Port(protocol, number) => other.ports.iter().any(|term| {
                term.port.protocol == protocol
                    && match &term.port.which {
                        Which::Range(first, last) => (*first..=*last).contains(&number),
                        Which::All | Which::Named(_) => true,
                    }
            }),
        }
}

/// A connection, with a cluster that contains only its pods.
pub(crate) struct Case {
    cluster: Cluster,
    /// The other end, if it is not a pod.
    outside: Option<IpAddr>,
    direction: Direction,
    traffic: Traffic,
}

impl Case {
    /// Constructs a connection of a subject that a rule matches by one of its peers. Returns `None` if the
    /// first attempt fails, which does not prove that there is no such connection.
    pub(crate) fn of<'p>(subject: &Example<'p>, rule: &Rule, peer: &'p Peer) -> Option<Self> {
        let other = match peer {
            Peer::Pods(term) => Some(Example::of(term, Some(&subject.namespace))?),
            Peer::Anywhere { .. } | Peer::Block(_) => None,
        };
        let outside = match peer {
            Peer::Pods(_) => None,
            Peer::Anywhere { except, .. } => {
                let free = |address: &IpAddr| !except.iter().any(|block| block.contains(address));
                let tried = ["198.51.100.77", "203.0.113.78", "100.64.3.2", "2001:db8:7777::77"];
                Some(tried.iter().filter_map(|word| word.parse().ok()).find(free)?)
            }
            Peer::Block(term) => Some(within(&term.block)?),
        };
        let (traffic, name) = traffic(rule);
        // A named port is resolved at the destination, and an address has no named ports.
        let names = match (name, traffic) {
            (Some(name), Traffic::Port(protocol, port)) => {
                Some(NamedPort { name: name.to_owned(), protocol, port })
            }
            _ => None,
        };
        let destination = match rule.direction {
            Direction::Ingress => 0,
            Direction::Egress => 1,
        };
        if names.is_some() && rule.direction == Direction::Egress && other.is_none() {
            return None;
        }
        let mut cluster = Cluster::default();
        for (index, example) in [Some(subject), other.as_ref()].into_iter().flatten().enumerate() {
            cluster.namespaces.push(Namespace {
                name: example.namespace.name.clone().into_owned(),
                labels: owned_labels(&example.namespace),
            });
            let name = ["subject", "peer"].get(index).map_or_else(String::new, ToString::to_string);
            let ports = names.iter().filter(|_| index == destination).cloned().collect();
            let labels = owned_labels(example);
            cluster.pods.push(Pod { name, namespace: index, labels: labels.into(), ports, ..Pod::default() });
        }
        Some(Self { cluster, outside, direction: rule.direction, traffic })
    }

    pub(crate) fn connection(&self) -> Option<Connection<'_>> {
        // The pods have no addresses, so only the CIDRs 0.0.0.0/0 and ::/0 match them.
        let subject = self.cluster.endpoint(0, None)?;
        let other = match self.outside {
            Some(address) => Endpoint::Outside(address),
            None => self.cluster.endpoint(1, None)?,
        };
        let (source, destination) = match self.direction {
            Direction::Egress => (subject, other),
            Direction::Ingress => (other, subject),
        };
        Some(Connection::direct(source, destination, self.traffic))
    }
}

fn owned_labels(labels: &impl Labels) -> BTreeMap<String, String> {
    labels.each().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The first or last address of a block that is not excluded.
fn within(block: &Block) -> Option<IpAddr> {
    let last = match block.net {
        IpNet::V4(net) => IpAddr::V4(net.broadcast()),
        IpNet::V6(net) => IpAddr::V6(net.broadcast()),
    };
    [block.net.network(), last].into_iter().find(|address| block.contains(address))
}
