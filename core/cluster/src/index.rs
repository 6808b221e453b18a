//! An index of a cluster's pods, nodes and Services by name and address.

use std::net::IpAddr;

use npc_vocabulary::Protocol;
use rustc_hash::FxHashMap;

use crate::{Cluster, Service, Via};

/// The pods, nodes and Services of a cluster, indexed by their names and addresses.
#[derive(Debug)]
pub struct Index<'c> {
    /// The cluster.
    pub cluster: &'c Cluster,
    pods: FxHashMap<(&'c str, &'c str), usize>,
    services: FxHashMap<(&'c str, &'c str), usize>,
    owners: FxHashMap<IpAddr, AddressOwner<'c>>,
    by_service_address: FxHashMap<IpAddr, Vec<(usize, Via)>>,
    /// The Services that have a node port.
    on_nodes: Vec<usize>,
}

/// The owner of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOwner<'c> {
    /// A pod, by its index in [`Cluster::pods`]. It is not a host-network pod.
    Pod(usize),
    /// Two pods: the cluster file was written while the address moved from one pod to the other.
    Pods(usize, usize),
    /// A node, by its name if that is known. Host-network pods of the node have the address too.
    Node(Option<&'c str>),
}

impl<'c> Index<'c> {
    /// Builds the index of a cluster.
    #[must_use]
    pub fn new(cluster: &'c Cluster) -> Self {
        let pods = cluster.pods.iter().enumerate().filter_map(|(place, pod)| {
            let namespace = cluster.namespaces.get(pod.namespace)?;
            Some(((namespace.name.as_str(), pod.name.as_str()), place))
        });
        let mut owners: FxHashMap<IpAddr, AddressOwner<'c>> = FxHashMap::default();
        for node in &cluster.nodes {
            owners.extend(node.addresses.iter().map(|own| (*own, AddressOwner::Node(Some(&node.name)))));
        }
        for pod in &cluster.pods {
            let on_host = pod.addresses.iter().filter(|_| pod.host_network);
            for address in pod.node_addresses.iter().chain(on_host) {
                let name = (!pod.node.is_empty()).then_some(&*pod.node);
                let known = owners.entry(*address).or_insert(AddressOwner::Node(name));
                if *known == AddressOwner::Node(None) {
                    *known = AddressOwner::Node(name);
                }
            }
        }
        for (place, pod) in cluster.pods.iter().enumerate().filter(|(_, pod)| !pod.host_network) {
            for address in &pod.addresses {
                let owner = match owners.get(address) {
                    Some(AddressOwner::Pod(other)) => AddressOwner::Pods(*other, place),
                    Some(both @ AddressOwner::Pods(..)) => *both,
                    Some(AddressOwner::Node(_)) | None => AddressOwner::Pod(place),
                };
                owners.insert(*address, owner);
            }
        }
        let mut services = FxHashMap::default();
        let mut by_service_address: FxHashMap<IpAddr, Vec<(usize, Via)>> = FxHashMap::default();
        let mut on_nodes = Vec::new();
        for (place, service) in cluster.services.iter().enumerate() {
            services.insert((service.namespace.as_str(), service.name.as_str()), place);
            let addresses =
                [(&service.cluster_addresses, Via::Cluster), (&service.external_addresses, Via::External)];
            for (addresses, via) in addresses {
                for address in addresses {
                    by_service_address.entry(*address).or_default().push((place, via));
                }
            }
            if service.ports.iter().any(|port| port.node_port.is_some()) {
                on_nodes.push(place);
            }
        }
        Self { cluster, pods: pods.collect(), services, owners, by_service_address, on_nodes }
    }

    /// The index of the pod with this namespace and name.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<usize> {
        self.pods.get(&(namespace, name)).copied()
    }

    /// The Service with this namespace and name.
    #[must_use]
    pub fn service(&self, namespace: &str, name: &str) -> Option<&'c Service> {
        self.cluster.services.get(*self.services.get(&(namespace, name))?)
    }

    /// The owner of an address. `None` for an address outside the cluster and for an address of a Service.
    #[must_use]
    pub fn owner(&self, address: IpAddr) -> Option<AddressOwner<'c>> {
        self.owners.get(&address).copied()
    }

    /// The Service that translates a connection to this address and port, and the kind of the address. If
    /// several Services have the address, the one that has the port; if none has the port, the first.
    #[must_use]
    pub fn service_at(
        &self,
        address: IpAddr,
        traffic: Option<(Protocol, u16)>,
    ) -> Option<(&'c Service, Via)> {
        let all = self.services_at(address);
        let has_it = |(service, via): &&(&Service, Via)| {
            service.ports.iter().any(|port| {
                traffic.is_some_and(|(protocol, asked)| {
                    (protocol, Some(asked)) == (port.protocol, port.number(*via))
                })
            })
        };
        let own = |(_, via): &&(&Service, Via)| *via != Via::NodePort;
        // A node's port that no Service uses belongs to the node itself.
        all.iter().find(has_it).or_else(|| all.iter().find(own)).copied()
    }

    /// The Services that have this address, or a node port on it.
    #[must_use]
    pub fn services_at(&self, address: IpAddr) -> Vec<(&'c Service, Via)> {
        let own = self.by_service_address.get(&address).into_iter().flatten();
        let own = own.filter_map(|(place, via)| Some((self.cluster.services.get(*place)?, *via)));
        let is_node = matches!(self.owner(address), Some(AddressOwner::Node(_)));
        let on_nodes = self.on_nodes.iter().filter(|_| is_node);
        let on_nodes = on_nodes.filter_map(|place| Some((self.cluster.services.get(*place)?, Via::NodePort)));
        own.chain(on_nodes).collect()
    }

    /// The addresses of all pods, nodes and Services.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.owners.keys().chain(self.by_service_address.keys()).copied()
    }
}
