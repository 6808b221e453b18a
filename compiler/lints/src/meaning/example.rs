//! Pods and connections that are just what a term or a rule asks for.

use std::collections::BTreeMap;
use std::net::IpAddr;

use npc_cluster::{Cluster, NAMESPACE_NAME, NamedPort, Namespace, Pod};
use npc_model::{Connection, Endpoint, Traffic};
use npc_program::values::address::{Block, IpNet};
use npc_program::values::port::{Port, Which};
use npc_program::{Direction, Operator, Peer, PodTerm, Rule, ScopeBase, Selector};

/// A value that no program has.
const OTHER: &str = "any-other-value";
/// A port that hardly any rule names.
const PORT: u16 = 61_321;

/// A pod that a term selects.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) namespace: Namespace,
    pub(crate) pod: Pod,
}

impl Example {
    /// A pod that the term selects, as seen from a subject in the namespace `own`. `None` where the
    /// first attempt fails, which says nothing.
    pub(crate) fn of(term: &PodTerm, own: Option<&Namespace>) -> Option<Self> {
        let labels = labels(&term.selector)?;
        let mut namespace = match (&term.scope.base, own) {
            (ScopeBase::Same | ScopeBase::Sharing(_), Some(own)) => own.clone(),
            (ScopeBase::Names(names), _) => {
                let name = names.first()?.replace('*', "any").replace('?', "x");
                Namespace { name, labels: BTreeMap::new() }
            }
            (ScopeBase::Labels(selector), _) => {
                let labels = self::labels(selector)?;
                let name = labels.get(NAMESPACE_NAME).cloned();
                Namespace { name: name.unwrap_or_else(|| OTHER.to_owned()), labels }
            }
            (ScopeBase::Sharing(keys), None) => {
                let labels = keys.iter().map(|key| (key.to_string(), OTHER.to_owned())).collect();
                Namespace { name: OTHER.to_owned(), labels }
            }
            (ScopeBase::All | ScopeBase::Same, _) => {
                Namespace { name: OTHER.to_owned(), labels: BTreeMap::new() }
            }
        };
        namespace.labels.insert(NAMESPACE_NAME.to_owned(), namespace.name.clone());
        let held = term.scope.holds(&namespace.name, |key| namespace.labels.get(key).map(String::as_str));
        held.then(|| Self { namespace, pod: Pod { labels, ..Pod::default() } })
    }
}

/// Labels that a selector matches: as few as can be, of values that are asked for only where they must
/// be.
fn labels(selector: &Selector) -> Option<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for requirement in &selector.requirements {
        let key = &*requirement.key;
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
            labels.insert(key.to_owned(), value.to_owned());
        }
    }
    Some(labels)
}

/// A connection in a cluster of its own.
pub(crate) struct Case {
    cluster: Cluster,
    /// The other end, where it is no pod.
    outside: Option<IpAddr>,
    direction: Direction,
    traffic: Traffic,
}

impl Case {
    /// A connection of a subject that a rule matches by one of its peers. `None` where the first attempt
    /// fails, which says nothing.
    pub(crate) fn of(subject: &Example, rule: &Rule, peer: &Peer) -> Option<Self> {
        let mut subject = subject.clone();
        let mut other = match peer {
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
        let destination = match rule.direction {
            Direction::Ingress => Some(&mut subject),
            Direction::Egress => other.as_mut(),
        };
        let traffic = match rule.ports.first().map(|term| &term.port) {
            None => Traffic::Other,
            Some(Port { protocol, which }) => match which {
                Which::All => Traffic::Port(*protocol, PORT),
                Which::Range(first, _) => Traffic::Port(*protocol, *first),
                Which::Named(name) => {
                    let own = NamedPort { name: name.to_string(), protocol: *protocol, port: PORT };
                    destination?.pod.ports.push(own);
                    Traffic::Port(*protocol, PORT)
                }
            },
        };
        let mut cluster = Cluster::default();
        for (index, example) in [Some(subject), other].into_iter().flatten().enumerate() {
            let Example { namespace, mut pod } = example;
            pod.namespace = index;
            pod.name = ["subject", "peer"].get(index).map_or_else(String::new, ToString::to_string);
            cluster.namespaces.push(namespace);
            cluster.pods.push(pod);
        }
        Some(Self { cluster, outside, direction: rule.direction, traffic })
    }

    pub(crate) fn connection(&self) -> Option<Connection<'_>> {
        // Pods without an address: no block but the two that hold everything is theirs.
        let subject = Endpoint::pod(&self.cluster, 0, None)?;
        let other = match self.outside {
            Some(address) => Endpoint::Outside(address),
            None => Endpoint::pod(&self.cluster, 1, None)?,
        };
        let (source, destination) = match self.direction {
            Direction::Egress => (subject, other),
            Direction::Ingress => (other, subject),
        };
        Some(Connection { source, destination, traffic: self.traffic })
    }
}

/// An address of a block.
fn within(block: &Block) -> Option<IpAddr> {
    let last = match block.net {
        IpNet::V4(net) => IpAddr::V4(net.broadcast()),
        IpNet::V6(net) => IpAddr::V6(net.broadcast()),
    };
    [block.net.network(), last].into_iter().find(|address| block.contains(address))
}
