//! Describes groups as text.

use std::collections::BTreeMap;
use std::net::IpAddr;

use npc_cluster::{Cluster, Pod};
use npc_model::{Family, number};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// The members of a group as text. Each item is exact: `shop/web-1` is a pod, `shop/{app=web}` all pods of a
/// namespace with the label, `shop/*` all pods of a namespace; other items are addresses outside and ranges
/// of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// The items.
    pub items: Vec<String>,
}

impl Members {
    /// All items.
    #[must_use]
    pub fn long(&self) -> String {
        self.items.join(", ")
    }

    /// The first items, and how many more there are.
    #[must_use]
    pub fn short(&self, most: usize) -> String {
        let shown = self.items.iter().take(most).cloned().collect::<Vec<_>>().join(", ");
        match self.items.len().saturating_sub(most) {
            0 => shown,
            more => format!("{shown} and {more} more"),
        }
    }
}

/// Labels that usually identify an application, the most specific first.
const TELLING: [&str; 6] =
    ["app.kubernetes.io/name", "app", "k8s-app", "name", "app.kubernetes.io/component", "component"];

/// Describes a group of pods.
pub(crate) fn pods_members(cluster: &Cluster, pods: &[usize], all: &Census<'_>) -> Members {
    if pods.len() == cluster.pods.len() && pods.len() > 1 {
        return Members { items: vec!["every pod".to_owned()] };
    }
    // Sorted by namespace, like the pods of a cluster.
    let mut pods: SmallVec<[&Pod; 8]> = pods.iter().filter_map(|place| cluster.pods.get(*place)).collect();
    pods.sort_by_key(|pod| pod.namespace);
    let mut items = Vec::new();
    for own in pods.chunk_by(|a, b| a.namespace == b.namespace) {
        let Some(namespace) = own.first().map(|pod| pod.namespace) else { continue };
        let name = cluster.namespaces.get(namespace).map_or("", |namespace| namespace.name.as_str());
        if let [pod] = own {
            items.push(pod_name(name, pod));
            continue;
        }
        if all.pods(namespace) == own.len() {
            items.push([name, "/*"].concat());
            continue;
        }
        let mut own = own.to_vec();
        for key in TELLING {
            let mut by_value: BTreeMap<&str, usize> = BTreeMap::new();
            for value in own.iter().filter_map(|pod| pod.labels.get(key)) {
                *by_value.entry(value).or_default() += 1;
            }
            by_value.retain(|value, count| *count > 1 && all.with(namespace, key, value) == *count);
            items.extend(by_value.keys().map(|value| format!("{name}/{{{key}={value}}}")));
            own.retain(|pod| pod.labels.get(key).is_none_or(|value| !by_value.contains_key(value.as_str())));
        }
        items.extend(own.iter().map(|pod| pod_name(name, pod)));
    }
    Members { items }
}

/// A pod's name, with its node if it is a host-network pod.
fn pod_name(namespace: &str, pod: &Pod) -> String {
    [namespace, "/", &pod.name, &pod.host_note().unwrap_or_default()].concat()
}

/// The number of pods in each namespace, and with each identifying label there.
pub(crate) struct Census<'c> {
    pods: FxHashMap<usize, usize>,
    with: FxHashMap<(usize, &'static str, &'c str), usize>,
}

impl<'c> Census<'c> {
    pub(crate) fn new(cluster: &'c Cluster) -> Self {
        let mut census = Self { pods: FxHashMap::default(), with: FxHashMap::default() };
        for pod in &cluster.pods {
            *census.pods.entry(pod.namespace).or_default() += 1;
            for (key, value) in pod.labels.iter() {
                if let Some(key) = TELLING.iter().find(|telling| *telling == key) {
                    *census.with.entry((pod.namespace, key, value)).or_default() += 1;
                }
            }
        }
        census
    }

    fn pods(&self, namespace: usize) -> usize {
        self.pods.get(&namespace).copied().unwrap_or(0)
    }

    fn with(&self, namespace: usize, key: &'static str, value: &'c str) -> usize {
        self.with.get(&(namespace, key, value)).copied().unwrap_or(0)
    }
}

/// Describes a group of outside addresses. `classes` is the number of classes of the family; `is_rest` says
/// whether this is the largest.
pub(crate) fn outside_members(
    cluster: &Cluster,
    ranges: &[(IpAddr, IpAddr)],
    classes: usize,
    is_rest: bool,
) -> Members {
    let family = ranges.first().map_or(Family::V4, |(first, _)| Family::of(*first)).as_str();
    if classes == 1 {
        return Members { items: vec![format!("outside ({family})")] };
    }
    if is_rest {
        return Members { items: vec![format!("elsewhere outside ({family})")] };
    }
    let items = ranges
        .iter()
        .map(|(first, last)| match prefix(*first, *last) {
            Some(prefix) if first == last => match node_name(cluster, *first) {
                Some(name) => format!("node {name} ({prefix})"),
                None => format!("outside {prefix}"),
            },
            Some(prefix) => format!("outside {prefix}"),
            None => format!("outside {first}-{last}"),
        })
        .collect();
    Members { items }
}

/// The name of the node that has an address.
fn node_name(cluster: &Cluster, address: IpAddr) -> Option<&str> {
    let of_nodes = cluster.nodes.iter().map(|node| (node.name.as_str(), &node.addresses));
    let of_pods = cluster.pods.iter().map(|pod| (&*pod.node, &pod.node_addresses));
    let own = of_nodes.chain(of_pods).filter(|(name, _)| !name.is_empty());
    { own }.find(|(_, addresses)| addresses.contains(&address)).map(|(name, _)| name)
}

/// A range as a CIDR, if it is one.
fn prefix(first: IpAddr, last: IpAddr) -> Option<String> {
    let (first_bits, last_bits) = (number(first), number(last));
    let width = if first.is_ipv4() { 32 } else { 128 };
    let differ = first_bits ^ last_bits;
    let host_bits = 128 - differ.leading_zeros();
    let host = if host_bits == 128 { u128::MAX } else { (1 << host_bits) - 1 };
    if first_bits & host != 0 || last_bits & host != host {
        return None;
    }
    Some(if host_bits == 0 { first.to_string() } else { format!("{first}/{}", width - host_bits) })
}
