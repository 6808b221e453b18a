//! Builds a cluster and a connection from a model of the solver.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use npc_cluster::{Cluster, NAMESPACE_NAME, NamedPort, Namespace, Pod};
use npc_vocabulary::{Connection, Endpoint, Protocol, Traffic, Which};
use rustc_hash::FxHashSet;

use crate::formula::Formula;
use crate::solver::Model;
use crate::universe::{End, Holder, Universe};

/// A cluster with at most two pods, and a connection between them or with an address outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The cluster.
    pub cluster: Cluster,
    /// The source.
    pub source: WitnessEnd,
    /// The destination.
    pub destination: WitnessEnd,
    /// The protocol and port.
    pub traffic: Traffic,
}

/// One end of a [`Witness`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessEnd {
    /// A pod of the cluster, by its index, with its only address.
    Pod(usize, IpAddr),
    /// An address outside.
    Outside(IpAddr),
}

impl Witness {
    /// The connection.
    #[must_use]
    pub fn connection(&self) -> Option<Connection<'_>> {
        let end = |end: &WitnessEnd| match end {
            WitnessEnd::Pod(place, address) => self.cluster.endpoint(*place, Some(*address)),
            WitnessEnd::Outside(address) => Some(Endpoint::Outside(*address)),
        };
        Some(Connection::direct(end(&self.source)?, end(&self.destination)?, self.traffic))
    }
}

/// Optional constraints that make a witness simple: plain addresses and ports, and no labels except those
/// that it needs. The solver drops the last ones first.
pub(crate) fn wishes(universe: &Universe) -> Vec<Formula> {
    let mut wishes = Vec::new();
    wishes.extend(End::BOTH.map(|end| universe.is_pod(end)));
    wishes.push(universe.v6.not());
    wishes.push(universe.protocols[0]);
    for (index, bit) in universe.port.into_iter().enumerate() {
        wishes.push(if 80u16 >> (15 - index) & 1 == 1 { bit } else { bit.not() });
    }
    // No label is present unless a formula needs it.
    for label in &universe.labels {
        wishes.push(label.present.not());
    }
    for (_, atom) in &universe.named_ports {
        wishes.push(atom.not());
    }
    for end in End::BOTH {
        let base = plain(end, false);
        for (index, bit) in bits(universe, end).iter().enumerate().take(32) {
            if let Some(bit) = bit {
                wishes.push(if base >> (127 - index) & 1 == 1 { *bit } else { bit.not() });
            }
        }
    }
    wishes
}

fn bits(universe: &Universe, end: End) -> &[Option<Formula>] {
    let [source, destination] = &universe.bits;
    match end {
        End::Source => source,
        End::Destination => destination,
    }
}

/// The default address of an end. IPv4 addresses are in the upper 32 of the 128 bits.
fn plain(end: End, v6: bool) -> u128 {
    let last: u8 = match end {
        End::Source => 1,
        End::Destination => 2,
    };
    if v6 {
        u128::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)))
    } else {
        u128::from(u32::from(Ipv4Addr::new(10, 0, 0, last))) << 96
    }
}

/// Builds the cluster and the connection of a model.
pub(crate) fn witness(universe: &Universe, model: &Model) -> Witness {
    let same = model.holds(universe.same_namespace);
    let mut namespaces: Vec<Namespace> = Vec::new();
    let mut pods: Vec<(String, Pod)> = Vec::new();
    let traffic = traffic(universe, model);
    let mut ends = Vec::new();
    for end in End::BOTH {
        let address = address(universe, model, end);
        if !model.holds(universe.is_pod(end)) {
            ends.push(Err(address));
            continue;
        }
        let name = if same && end == End::Destination && !namespaces.is_empty() {
            namespaces.first().map(|namespace| namespace.name.clone()).unwrap_or_default()
        } else {
            let mut namespace = namespace(universe, model, end);
            // Values that programs do not name are equal only if the model says so.
            if let Some(other) = namespaces.first() {
                others(universe, model, other, &mut namespace);
            }
            let name = namespace.name.clone();
            namespaces.push(namespace);
            name
        };
        let labels = labels(universe, model, end, Holder::Pod);
        let mut pod = Pod {
            name: match end {
                End::Source => "source".to_owned(),
                End::Destination => "destination".to_owned(),
            },
            labels: labels.into(),
            addresses: vec![address],
            ..Pod::default()
        };
        if end == End::Destination
            && let Traffic::Port(protocol, number) = traffic
        {
            for (port, atom) in &universe.named_ports {
                if let Which::Named(name) = &port.which
                    && port.protocol == protocol
                    && model.holds(*atom)
                {
                    pod.ports.push(NamedPort { name: name.to_string(), protocol, port: number });
                }
            }
        }
        pods.push((name, pod));
        ends.push(Ok(pods.len() - 1));
    }
    namespaces.sort_by(|a, b| a.name.cmp(&b.name));
    let mut cluster = Cluster { namespaces, ..Cluster::default() };
    for (namespace, pod) in &mut pods {
        pod.namespace = cluster.namespace(namespace).unwrap_or_default();
    }
    let mut order: Vec<usize> = (0..pods.len()).collect();
    order.sort_by_key(|index| pods.get(*index).map(|(_, pod)| (pod.namespace, pod.name.clone())));
    cluster.pods = order.iter().filter_map(|index| pods.get(*index).map(|(_, pod)| pod.clone())).collect();
    let mut ends = ends.into_iter().map(|end| match end {
        Err(address) => WitnessEnd::Outside(address),
        Ok(index) => {
            let place = order.iter().position(|at| *at == index).unwrap_or_default();
            let address = pods.get(index).and_then(|(_, pod)| pod.addresses.first().copied());
            WitnessEnd::Pod(place, address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
        }
    });
    let nowhere = || WitnessEnd::Outside(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let source = ends.next().unwrap_or_else(nowhere);
    let destination = ends.next().unwrap_or_else(nowhere);
    Witness { cluster, source, destination, traffic }
}

fn traffic(universe: &Universe, model: &Model) -> Traffic {
    let found = Protocol::ALL.into_iter().zip(universe.protocols).find(|(_, atom)| model.holds(*atom));
    let Some((protocol, _)) = found else { return Traffic::Other };
    let mut number = 0u16;
    for bit in universe.port {
        number = number << 1 | u16::from(model.holds(bit));
    }
    Traffic::Port(protocol, number)
}

fn address(universe: &Universe, model: &Model, end: End) -> IpAddr {
    let v6 = model.holds(universe.v6);
    let mut address = plain(end, v6);
    // Addresses outside have another default, so that they do not look like pods.
    if !model.holds(universe.is_pod(end)) {
        address = if v6 {
            u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))
        } else {
            u128::from(u32::from(Ipv4Addr::new(203, 0, 113, 1))) << 96
        };
    }
    for (index, bit) in bits(universe, end).iter().enumerate() {
        if let Some(bit) = bit {
            let mask = 1u128 << (127 - index);
            address = if model.holds(*bit) { address | mask } else { address & !mask };
        }
    }
    if v6 { IpAddr::V6(Ipv6Addr::from(address)) } else { IpAddr::V4(Ipv4Addr::from((address >> 96) as u32)) }
}

fn labels(universe: &Universe, model: &Model, end: End, holder: Holder) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for label in &universe.labels {
        if label.end != end || label.holder != holder || !model.holds(label.present) {
            continue;
        }
        let value = label.values.iter().find(|(_, atom)| model.holds(*atom));
        let value = match value {
            Some((value, _)) => value.to_string(),
            None => other(label.values.iter().map(|(value, _)| &**value), None),
        };
        labels.insert(label.key.to_string(), value);
    }
    labels
}

/// A value that differs from all of these.
fn other<'a>(values: impl Iterator<Item = &'a str>, taken: Option<&'a str>) -> String {
    let values: FxHashSet<&str> = values.chain(taken).collect();
    let mut candidate = "other".to_owned();
    let mut number = 1;
    while values.contains(candidate.as_str()) {
        number += 1;
        candidate = format!("other-{number}");
    }
    candidate
}

fn namespace(universe: &Universe, model: &Model, end: End) -> Namespace {
    let name = universe.name(end);
    let named = name.named.iter().find(|(_, atom)| model.holds(*atom));
    let name = match named {
        Some((name, _)) => name.to_string(),
        None => {
            let class = name.classes.iter().position(|atom| model.holds(*atom));
            let class = class.and_then(|index| universe.name_classes.get(index));
            // Both namespaces may be of the same class, but need different names.
            let [first, second] = match class {
                Some(class) => &class.examples,
                None => return Namespace { name: String::new(), labels: BTreeMap::new() },
            };
            match end {
                End::Source => first.clone(),
                End::Destination => second.clone(),
            }
        }
    };
    let mut labels = labels(universe, model, end, Holder::Namespace);
    labels.insert(NAMESPACE_NAME.to_owned(), name.clone());
    Namespace { name, labels }
}

/// Makes values that programs do not name different if the model says that they differ.
fn others(universe: &Universe, model: &Model, there: &Namespace, here: &mut Namespace) {
    for (key, equal) in &universe.equal_others {
        let both = here.labels.get(&**key).zip(there.labels.get(&**key));
        let Some((mine, theirs)) = both else { continue };
        if mine == theirs && !model.holds(*equal) {
            let named = universe
                .labels
                .iter()
                .filter(|label| label.holder == Holder::Namespace && label.key == *key)
                .flat_map(|label| label.values.iter().map(|(value, _)| &**value));
            let value = other(named, Some(theirs));
            here.labels.insert(key.to_string(), value);
        }
    }
}
