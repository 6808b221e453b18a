//! Resolution of the connections that users query by name.

use std::net::IpAddr;

use npc_vocabulary::{Connection, Endpoint, Protocol, Route, Traffic, check_port_name};

use crate::{AddressOwner, Cluster, Index, Pod, Service, Via};

/// A query for a connection.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// `namespace/pod`, or an address.
    pub source: &'a str,
    /// The source's address, if the query names one.
    pub source_address: Option<IpAddr>,
    /// `namespace/pod`, a Service as `namespace/name` or `namespace/svc/name`, or an address.
    pub destination: &'a str,
    /// The destination's address, if the query names one.
    pub destination_address: Option<IpAddr>,
    /// The protocol: `tcp`, `udp`, `sctp`, or `other` for any protocol without ports.
    pub protocol: &'a str,
    /// The number of the port, or its name at the destination.
    pub port: &'a str,
}

/// The connections that a query refers to.
#[derive(Debug)]
pub enum Resolution<'c> {
    /// One connection.
    Connection(Connection<'c>),
    /// A connection to a Service.
    Service(ToService<'c>),
}

/// A connection to a Service, as one connection to each of its endpoints.
#[derive(Debug)]
pub struct ToService<'c> {
    /// The Service.
    pub service: &'c Service,
    /// The address that the client connects to, if the query names one.
    pub address: Option<IpAddr>,
    /// The port that the client connects to.
    pub traffic: Traffic,
    /// The connections after address translation; never empty. If a node replaces the client's address with its own,
    /// one for each node that may do so.
    pub connections: Vec<Connection<'c>>,
}

impl Question<'_> {
    /// Resolves the query in a cluster.
    ///
    /// # Errors
    ///
    /// A message, if a part of the query does not exist or no policy decides about the connection.
    pub fn resolve<'c>(&self, cluster: Option<&Index<'c>>) -> Result<Resolution<'c>, String> {
        let source = End::find(self.source, self.source_address, cluster)?;
        if let (End::Address(address), Some(index)) = (&source, cluster)
            && index.owner(*address).is_none()
            && let Some((service, _)) = index.service_at(*address, None)
        {
            return Err(format!(
                "{address} is an address of the Service `{}`, which opens no connections: name a pod",
                service.full_name()
            ));
        }
        let source = match source {
            End::Service(service) => {
                return Err(format!(
                    "`{}` is a Service, which opens no connections: name a pod",
                    service.full_name()
                ));
            }
            source => source,
        };
        let destination = End::find(self.destination, self.destination_address, cluster)?;
        let protocol = protocol(self.protocol)?;
        if let Some(index) = cluster
            && let Some((service, via, address)) = destination.service(index, protocol, self.port)
        {
            let route = ServiceRoute { index, service, via };
            let sources = source.endpoints(cluster)?;
            return route.resolve(&sources, address, protocol, self.port).map(Resolution::Service);
        }
        // Both ends must use the same IP family. Use the destination's first address with a match at the source.
        let (from, to) = (source.addresses(), destination.addresses());
        let fits = |a: &IpAddr, b: &IpAddr| a.is_ipv4() == b.is_ipv4();
        let pair = to.iter().find_map(|to| Some((*from.iter().find(|from| fits(from, to))?, *to)));
        if pair.is_none() && !from.is_empty() && !to.is_empty() {
            return Err(format!(
                "{} and {} have no addresses of the same family",
                self.source, self.destination
            ));
        }
        let (from, to) = match pair {
            Some((from, to)) => (Some(from), Some(to)),
            None => (from.first().copied(), to.first().copied()),
        };
        let (source, destination) = (source.endpoint(from, cluster)?, destination.endpoint(to, cluster)?);
        if !is_pod(&source) && !is_pod(&destination) {
            return Err(NEITHER_IS_A_POD.to_owned());
        }
        let traffic = traffic(protocol, self.port, &destination)?;
        Ok(Resolution::Connection(Connection::direct(source, destination, traffic)))
    }
}

/// The reason why a connection between two addresses is not evaluated.
pub const NEITHER_IS_A_POD: &str = "neither end is a pod of the cluster: no policy decides on this";

/// Whether the endpoint is a pod.
#[must_use]
pub const fn is_pod(end: &Endpoint<'_>) -> bool {
    matches!(end, Endpoint::Pod { .. })
}

/// The endpoint with an address: a pod, a node, or else an outside address.
///
/// # Errors
///
/// If two pods have the address, or its pod has no namespace.
pub fn end_at<'c>(address: IpAddr, cluster: Option<&Index<'c>>) -> Result<Endpoint<'c>, String> {
    let Some(index) = cluster else { return Ok(Endpoint::Outside(address)) };
    match index.owner(address) {
        None => Ok(Endpoint::Outside(address)),
        Some(AddressOwner::Node(name)) => Ok(Endpoint::Node { address, name }),
        Some(AddressOwner::Pod(place)) => index
            .cluster
            .endpoint(place, Some(address))
            .ok_or_else(|| format!("the pod with the address {address} has no namespace")),
        Some(AddressOwner::Pods(first, second)) => {
            let name = |place| index.cluster.endpoint(place, None).map(|end| end.to_string());
            let [first, second] = [first, second].map(|place| name(place).unwrap_or_default());
            Err(format!("{address} is the address of two pods, `{first}` and `{second}`: name one of them"))
        }
    }
}

/// One end of a query, looked up in the cluster.
enum End<'c> {
    Pod(usize, &'c Pod, Option<IpAddr>),
    Service(&'c Service),
    Address(IpAddr),
}

impl<'c> End<'c> {
    fn find(name: &str, address: Option<IpAddr>, cluster: Option<&Index<'c>>) -> Result<Self, String> {
        if let Ok(address) = name.parse() {
            return Ok(Self::Address(address));
        }
        if name == "external" {
            return match address {
                Some(address) => Ok(Self::Address(address)),
                None => Err("`external` needs an address".to_owned()),
            };
        }
        let parts: Vec<&str> = name.split('/').collect();
        let (namespace, kind, own) = match parts.as_slice() {
            [namespace, own] => (*namespace, None, *own),
            [namespace, kind @ ("pod" | "svc" | "service"), own] => (*namespace, Some(*kind), *own),
            _ => {
                return Err(format!(
                    "`{name}` is neither a pod or a Service, as `namespace/name`, nor an address"
                ));
            }
        };
        let Some(cluster) = cluster else {
            return Err(format!("to find the pod `{name}`, give the cluster with `--cluster FILE`"));
        };
        let place = cluster.pod(namespace, own).filter(|_| kind.is_none_or(|kind| kind == "pod"));
        let Some((place, found)) = place.and_then(|place| Some((place, cluster.cluster.pods.get(place)?)))
        else {
            if kind != Some("pod")
                && let Some(service) = cluster.service(namespace, own)
            {
                return Ok(Self::Service(service));
            }
            return Err(match kind {
                Some("svc" | "service") => format!("the cluster file has no Service `{namespace}/{own}`"),
                _ => no_pod(cluster.cluster, namespace, own),
            });
        };
        if let Some(address) = address
            && !found.addresses.is_empty()
            && !found.addresses.contains(&address)
        {
            return Err(format!("the pod `{name}` does not have the address {address}"));
        }
        Ok(Self::Pod(place, found, address))
    }

    /// The Service that the end refers to, the kind of address that the client connects to, and the address if the
    /// query names one. `None` if the end is not a Service.
    fn service(
        &self,
        index: &Index<'c>,
        protocol: Option<Protocol>,
        port: &str,
    ) -> Option<(&'c Service, Via, Option<IpAddr>)> {
        match self {
            Self::Pod(..) => None,
            Self::Service(service) => Some((service, Via::Cluster, None)),
            Self::Address(address) => {
                let traffic = protocol.zip(port.parse().ok());
                let (service, via) = index.service_at(*address, traffic)?;
                Some((service, via, Some(*address)))
            }
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        match self {
            Self::Pod(_, _, Some(address)) | Self::Address(address) => vec![*address],
            Self::Pod(_, pod, None) => pod.addresses.clone(),
            Self::Service(_) => Vec::new(),
        }
    }

    /// The endpoints of this end: one for each of its addresses.
    fn endpoints(&self, cluster: Option<&Index<'c>>) -> Result<Vec<Endpoint<'c>>, String> {
        match self.addresses().as_slice() {
            [] => Ok(vec![self.endpoint(None, cluster)?]),
            some => some.iter().map(|address| self.endpoint(Some(*address), cluster)).collect(),
        }
    }

    fn endpoint(&self, address: Option<IpAddr>, cluster: Option<&Index<'c>>) -> Result<Endpoint<'c>, String> {
        match self {
            Self::Address(address) => end_at(*address, cluster),
            Self::Pod(place, ..) => cluster
                .and_then(|index| index.cluster.endpoint(*place, address))
                .ok_or_else(|| "the pod does not exist".to_owned()),
            Self::Service(service) => Err(format!("`{}` is a Service", service.full_name())),
        }
    }
}

/// The route of a connection to a Service.
#[derive(Debug)]
pub struct ServiceRoute<'q, 'c> {
    /// The cluster.
    pub index: &'q Index<'c>,
    /// The Service.
    pub service: &'c Service,
    /// The kind of address that the client connects to.
    pub via: Via,
}

impl<'c> ServiceRoute<'_, 'c> {
    fn resolve(
        &self,
        sources: &[Endpoint<'c>],
        address: Option<IpAddr>,
        protocol: Option<Protocol>,
        port: &str,
    ) -> Result<ToService<'c>, String> {
        let service = self.service;
        let Some(protocol) = protocol else {
            return Err(format!(
                "`{}` is a Service: connections to it are translated for tcp, udp and sctp only",
                service.full_name()
            ));
        };
        let number = self.port_number(protocol, port)?;
        let is_v4 = match address {
            Some(address) => Some(address.is_ipv4()),
            None => {
                let speaks = |own: &&IpAddr| sources.iter().any(|source| fits(source, Some(**own)));
                service.cluster_addresses.iter().find(speaks).map(IpAddr::is_ipv4)
            }
        };
        let connections = self.connections(sources, protocol, number, is_v4)?;
        if connections.is_empty() {
            return Err(format!(
                "`{}` has no endpoint with an address of the source's family",
                service.full_name()
            ));
        }
        if !connections.iter().any(|one| is_pod(&one.source) || is_pod(&one.destination)) {
            return Err(NEITHER_IS_A_POD.to_owned());
        }
        Ok(ToService { service, address, traffic: Traffic::Port(protocol, number), connections })
    }

    /// Translates a connection to a port of the Service into connections to its endpoints. `sources` are the
    /// addresses of one end; each endpoint gets the first source of its IP family.
    ///
    /// # Errors
    ///
    /// As for [`Service::targets`]. Also if a node replaces the source's address and the addresses of nodes are
    /// unknown.
    pub fn connections(
        &self,
        sources: &[Endpoint<'c>],
        protocol: Protocol,
        port: u16,
        is_v4: Option<bool>,
    ) -> Result<Vec<Connection<'c>>, String> {
        let Self { index, service, via } = *self;
        let mut connections = Vec::new();
        for target in service.targets(index.cluster, via, protocol, port, is_v4)? {
            let Some(source) = sources.iter().find(|source| fits(source, target.address)) else { continue };
            let destination = match (target.pod, target.address) {
                (Some(place), address) => index
                    .cluster
                    .endpoint(place, address)
                    .ok_or_else(|| "the pod of an endpoint has no namespace".to_owned())?,
                (None, Some(address)) => end_at(address, Some(index))?,
                (None, None) => continue,
            };
            let traffic = Traffic::Port(protocol, target.port);
            let mut add = |route| {
                connections.push(Connection { source: *source, destination, traffic, route });
            };
            if via == Via::Cluster {
                add(if service.is_headless() { Route::Direct } else { Route::Service });
                continue;
            }
            // A node keeps the client's address only if the Service requires it. Connections from a node itself have
            // the node's address anyway.
            if service.keeps_client_address || matches!(source, Endpoint::Node { .. }) {
                add(Route::Service);
                continue;
            }
            let nodes = nodes(index, target.address);
            if nodes.is_empty() {
                return Err(format!(
                    "a node that forwards a connection to `{}` replaces the client's address with its own, and the cluster file has no addresses of nodes: include them with `kubectl get namespaces,pods,nodes,services -A -o yaml`",
                    service.full_name()
                ));
            }
            nodes.into_iter().map(Route::Masqueraded).for_each(add);
        }
        Ok(connections)
    }

    /// The number of the port that the client connects to, given by number or name.
    fn port_number(&self, protocol: Protocol, port: &str) -> Result<u16, String> {
        if let Some(number) = number(port)? {
            return Ok(number);
        }
        let own = self.service.ports.iter().find(|own| own.name == port && own.protocol == protocol);
        let own = own.ok_or_else(|| {
            format!("`{}` has no {} port called `{port}`", self.service.full_name(), protocol.as_str())
        })?;
        Ok(own.number(self.via).unwrap_or(own.port))
    }
}

/// Whether an endpoint can connect to an address: both have the same IP family, or one is unknown.
fn fits(end: &Endpoint<'_>, address: Option<IpAddr>) -> bool {
    end.address().zip(address).is_none_or(|(own, other)| own.is_ipv4() == other.is_ipv4())
}

/// The nodes, each with its first address of the endpoint's IP family.
fn nodes<'c>(index: &Index<'c>, target: Option<IpAddr>) -> Vec<Endpoint<'c>> {
    let cluster = index.cluster;
    let fits = |own: &&IpAddr| target.is_none_or(|address| address.is_ipv4() == own.is_ipv4());
    let of_nodes =
        cluster.nodes.iter().filter_map(|node| Some((Some(&*node.name), node.addresses.iter().find(fits)?)));
    let of_pods = cluster.pods.iter().filter_map(|pod| {
        let name = (!pod.node.is_empty()).then_some(&*pod.node);
        Some((name, pod.node_addresses.iter().find(fits)?))
    });
    let mut nodes: Vec<(IpAddr, Option<&str>)> =
        of_nodes.chain(of_pods).map(|(name, address)| (*address, name)).collect();
    // If an address occurs with and without a node name, keep the name.
    nodes.sort_by_key(|(address, name)| (*address, name.is_none()));
    nodes.dedup_by_key(|(address, _)| *address);
    nodes.into_iter().map(|(address, name)| Endpoint::Node { address, name }).collect()
}

fn no_pod(cluster: &Cluster, namespace: &str, pod: &str) -> String {
    if cluster.pods.is_empty() && cluster.namespace(namespace).is_some() {
        return "the cluster file has no pods: include them with `kubectl get namespaces,pods -A -o yaml`"
            .to_owned();
    }
    cluster.no_pod(namespace, pod)
}

/// Parses a protocol. Returns `None` for protocols without ports.
fn protocol(name: &str) -> Result<Option<Protocol>, String> {
    let lower = name.to_ascii_lowercase();
    match Protocol::parse(&lower) {
        Some(protocol) => Ok(Some(protocol)),
        None if matches!(lower.as_str(), "other" | "icmp" | "icmpv6") => Ok(None),
        None => Err(format!(
            "`{name}` is not a protocol: the protocols are tcp, udp, sctp, and `other` for any other"
        )),
    }
}

/// Parses a port number. Returns `None` for a port name.
fn number(port: &str) -> Result<Option<u16>, String> {
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        return match port.parse().ok().filter(|number| *number > 0) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("`{port}` is not a port: ports go from 1 to 65535")),
        };
    }
    match check_port_name(port) {
        Ok(()) => Ok(None),
        Err(why) => Err(format!("`{port}` is not a port: {why}")),
    }
}

fn traffic(protocol: Option<Protocol>, port: &str, destination: &Endpoint<'_>) -> Result<Traffic, String> {
    let Some(protocol) = protocol else { return Ok(Traffic::Other) };
    if let Some(number) = number(port)? {
        return Ok(Traffic::Port(protocol, number));
    }
    let Endpoint::Pod { pod, .. } = destination else {
        return Err(format!("an address has no port called `{port}`: give its number"));
    };
    pod.port_named(protocol, port)
        .map(|number| Traffic::Port(protocol, number))
        .ok_or_else(|| format!("{destination} has no {} port called `{port}`", protocol.as_str()))
}
