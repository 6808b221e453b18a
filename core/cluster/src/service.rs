//! Services, and the endpoints that a connection to one of them reaches.

use std::collections::BTreeMap;
use std::net::IpAddr;

use npc_vocabulary::Protocol;

use crate::{Cluster, Pod};

/// A Service: addresses and ports that kube-proxy translates to those of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Its namespace's name.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its addresses inside the cluster; empty if it is headless.
    pub cluster_addresses: Vec<IpAddr>,
    /// Its addresses for clients outside the cluster: those of load balancers, and `externalIPs`.
    pub external_addresses: Vec<IpAddr>,
    /// Whether nodes forward connections from outside only to their own endpoints, and keep the client's
    /// address (`externalTrafficPolicy: Local`).
    pub keeps_client_address: bool,
    /// The DNS name that it is an alias for, if it is of type ExternalName.
    pub external_name: Option<String>,
    /// The labels of its pods; empty if it has no selector.
    pub selector: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Its endpoints, if the cluster file contains its EndpointSlices or its Endpoints.
    pub endpoints: Option<Vec<ServiceEndpoint>>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; may be empty if the Service has one port.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The port that clients connect to.
    pub port: u16,
    /// The port of the endpoints.
    pub target: TargetPort,
    /// The port of every node that is forwarded to it.
    pub node_port: Option<u16>,
}

impl ServicePort {
    /// The number that clients connect to. `None` if they connect to a node and it has no node port.
    #[must_use]
    pub fn number(&self, via: Via) -> Option<u16> {
        if via == Via::NodePort { self.node_port } else { Some(self.port) }
    }
}

/// The port of a Service's endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// By number.
    Number(u16),
    /// By name: each pod has its own port with this name.
    Name(String),
}

/// An endpoint of an EndpointSlice or of Endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its ports: the name of the Service's port, the protocol, the number.
    pub ports: Vec<(String, Protocol, u16)>,
}

impl ServiceEndpoint {
    /// The port for a port of the Service. Endpoints written by hand may omit the name of their only port.
    fn port_of(&self, name: &str, protocol: Protocol) -> Option<u16> {
        let mut of_protocol = self.ports.iter().filter(|(_, of, _)| *of == protocol);
        let named = of_protocol.clone().find(|(own, ..)| own == name);
        let (.., number) = named.or_else(|| match (of_protocol.next(), of_protocol.next()) {
            (Some(only @ (unnamed, ..)), None) if unnamed.is_empty() => Some(only),
            _ => None,
        })?;
        Some(*number)
    }
}

/// The kind of address that a client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// An address inside the cluster, or the Service's name.
    Cluster,
    /// An address of a load balancer, or an external address.
    External,
    /// A port of a node.
    NodePort,
}

/// The destination of a connection to a Service after translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The index of the pod in [`Cluster::pods`]. `None` if no pod has the address.
    pub pod: Option<usize>,
    /// The address. `None` if the pod has none yet.
    pub address: Option<IpAddr>,
    /// The port.
    pub port: u16,
}

impl Service {
    /// Whether it has no address of its own, so that clients connect directly to its endpoints.
    #[must_use]
    pub fn is_headless(&self) -> bool {
        self.cluster_addresses.is_empty()
    }

    /// Its unique name, `namespace/svc/name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}/svc/{}", self.namespace, self.name)
    }

    /// The endpoints that a connection to a port reaches, of one address family if `is_v4` is given.
    ///
    /// # Errors
    ///
    /// A message if the Service is of type ExternalName, has no such port, has no endpoints there, or if the
    /// cluster file does not contain its endpoints.
    pub fn targets(
        &self,
        cluster: &Cluster,
        via: Via,
        protocol: Protocol,
        port: u16,
        is_v4: Option<bool>,
    ) -> Result<Vec<Target>, String> {
        if let Some(name) = &self.external_name {
            return Err(format!(
                "`{}` is of type ExternalName: it is an alias for `{name}` and has no endpoints",
                self.full_name()
            ));
        }
        let is_asked = |own: &&ServicePort| own.protocol == protocol && own.number(via) == Some(port);
        let own = self.ports.iter().find(is_asked);
        // Connections to a headless Service are not translated: clients may connect to any port of its pods.
        if own.is_none() && !self.is_headless() {
            return Err(self.no_port(protocol, port));
        }
        let fits = |address: IpAddr| is_v4.is_none_or(|v4| address.is_ipv4() == v4);
        let mut targets = match &self.endpoints {
            Some(endpoints) => self.listed(cluster, endpoints, own, protocol, port),
            None if self.selector.is_empty() => {
                return Err(format!(
                    "`{}` has no selector, and the cluster file does not contain its endpoints: include them with `kubectl get namespaces,pods,services,endpointslices -A -o yaml`",
                    self.full_name()
                ));
            }
            None => self.selected(cluster, own, port, &fits),
        };
        targets.retain(|target| target.address.is_none_or(fits));
        if targets.is_empty() {
            return Err(format!(
                "`{}` has no endpoints on {}/{port}: no pod answers there",
                self.full_name(),
                protocol.as_str()
            ));
        }
        Ok(targets)
    }

    fn listed(
        &self,
        cluster: &Cluster,
        endpoints: &[ServiceEndpoint],
        own: Option<&ServicePort>,
        protocol: Protocol,
        port: u16,
    ) -> Vec<Target> {
        let target = |endpoint: &ServiceEndpoint| {
            let number = match own.filter(|_| !self.is_headless()) {
                None => Some(port),
                Some(own) => endpoint.port_of(&own.name, protocol),
            };
            let pod = cluster.pods.iter().position(|pod| pod.addresses.contains(&endpoint.address));
            Some(Target { pod, address: Some(endpoint.address), port: number? })
        };
        endpoints.iter().filter_map(target).collect()
    }

    fn selected(
        &self,
        cluster: &Cluster,
        own: Option<&ServicePort>,
        port: u16,
        fits: &impl Fn(IpAddr) -> bool,
    ) -> Vec<Target> {
        let namespace = cluster.namespace(&self.namespace);
        let is_selected = |pod: &Pod| {
            Some(pod.namespace) == namespace
                && self.selector.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
        };
        let target = |(place, pod): (usize, &Pod)| {
            let number = match own.filter(|_| !self.is_headless()).map(|own| (own, &own.target)) {
                None => port,
                Some((_, TargetPort::Number(number))) => *number,
                Some((own, TargetPort::Name(name))) => pod.port_named(own.protocol, name)?,
            };
            let address = pod.addresses.iter().copied().find(|address| fits(*address));
            let can_be_reached = address.is_some() || pod.addresses.is_empty();
            can_be_reached.then_some(Target { pod: Some(place), address, port: number })
        };
        let selected = cluster.pods.iter().enumerate().filter(|(_, pod)| is_selected(pod));
        selected.filter_map(target).collect()
    }

    fn no_port(&self, protocol: Protocol, port: u16) -> String {
        let ports: Vec<String> =
            self.ports.iter().map(|own| format!("{}/{}", own.protocol.as_str(), own.port)).collect();
        format!(
            "`{}` has no port {}/{port}: it has {}",
            self.full_name(),
            protocol.as_str(),
            if ports.is_empty() { "none".to_owned() } else { ports.join(", ") }
        )
    }
}
