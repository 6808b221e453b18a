//! Connections as users name them.

use std::net::IpAddr;

use npc_cluster::{Cluster, Index};
use npc_model::{Connection, Endpoint, Traffic};
use npc_program::values::port::{Protocol, check_name};

/// A connection that a user names.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// `namespace/pod`, or an address.
    pub source: &'a str,
    /// The address that it uses, where that is given.
    pub source_address: Option<IpAddr>,
    /// `namespace/pod`, or an address.
    pub destination: &'a str,
    /// The address that it uses, where that is given.
    pub destination_address: Option<IpAddr>,
    /// The protocol: `tcp`, `udp`, `sctp`, or `other` for any without ports.
    pub protocol: &'a str,
    /// The port's number, or its name at the destination.
    pub port: &'a str,
}

impl Question<'_> {
    /// The connection, in a cluster.
    ///
    /// # Errors
    ///
    /// What of it is not there, in words.
    pub fn connection<'c>(&self, cluster: Option<&Index<'c>>) -> Result<Connection<'c>, String> {
        let source = End::find(self.source, self.source_address, cluster)?;
        let destination = End::find(self.destination, self.destination_address, cluster)?;
        // Both ends speak one family; the destination's first address that fits is taken.
        let (from, to) = (source.addresses(), destination.addresses());
        let fits = |a: &IpAddr, b: &IpAddr| a.is_ipv4() == b.is_ipv4();
        let pair = to.iter().find_map(|to| Some((*from.iter().find(|from| fits(from, to))?, *to)));
        if pair.is_none() && !from.is_empty() && !to.is_empty() {
            return Err(format!("{} and {} have no addresses of one family", self.source, self.destination));
        }
        let (from, to) = match pair {
            Some((from, to)) => (Some(from), Some(to)),
            None => (from.first().copied(), to.first().copied()),
        };
        let (source, destination) = (source.endpoint(from, cluster)?, destination.endpoint(to, cluster)?);
        let traffic = traffic(self.protocol, self.port, &destination)?;
        Ok(Connection { source, destination, traffic })
    }
}

/// One end, found in the cluster.
enum End<'c> {
    Pod(usize, &'c npc_cluster::Pod, Option<IpAddr>),
    Outside(IpAddr),
}

impl<'c> End<'c> {
    fn find(name: &str, address: Option<IpAddr>, cluster: Option<&Index<'c>>) -> Result<Self, String> {
        if let Ok(outside) = name.parse() {
            return Ok(Self::Outside(outside));
        }
        if name == "external" {
            return match address {
                Some(address) => Ok(Self::Outside(address)),
                None => Err("`external` needs an address".to_owned()),
            };
        }
        let Some((namespace, pod)) = name.split_once('/') else {
            return Err(format!("`{name}` is neither a pod, as `namespace/name`, nor an address"));
        };
        let Some(cluster) = cluster else {
            return Err(format!("to find the pod `{name}`, give the cluster with `--cluster FILE`"));
        };
        let place = cluster.pod(namespace, pod);
        let Some((place, found)) = place.and_then(|place| Some((place, cluster.cluster.pods.get(place)?)))
        else {
            return Err(no_pod(cluster.cluster, namespace, pod));
        };
        if let Some(address) = address
            && !found.addresses.is_empty()
            && !found.addresses.contains(&address)
        {
            return Err(format!("the pod `{name}` does not have the address {address}"));
        }
        Ok(Self::Pod(place, found, address))
    }

    fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Pod(_, _, Some(address)) | Self::Outside(address) => std::slice::from_ref(address),
            Self::Pod(_, pod, None) => &pod.addresses,
        }
    }

    fn endpoint(&self, address: Option<IpAddr>, cluster: Option<&Index<'c>>) -> Result<Endpoint<'c>, String> {
        match self {
            Self::Outside(address) => Ok(Endpoint::Outside(*address)),
            Self::Pod(place, ..) => cluster
                .and_then(|index| Endpoint::pod(index.cluster, *place, address))
                .ok_or_else(|| "the pod is not there".to_owned()),
        }
    }
}

fn no_pod(cluster: &Cluster, namespace: &str, pod: &str) -> String {
    if cluster.pods.is_empty() && cluster.namespace(namespace).is_some() {
        return "the cluster file has no pods: print them too, with `kubectl get namespaces,pods -A -o yaml`"
            .to_owned();
    }
    cluster.no_pod(namespace, pod)
}

fn traffic(protocol: &str, port: &str, destination: &Endpoint<'_>) -> Result<Traffic, String> {
    let lower = protocol.to_ascii_lowercase();
    let Some(protocol) = Protocol::parse(&lower) else {
        if matches!(lower.as_str(), "other" | "icmp" | "icmpv6") {
            return Ok(Traffic::Other);
        }
        return Err(format!(
            "`{protocol}` is not a protocol: they are tcp, udp, sctp, and `other` for any else"
        ));
    };
    if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = port.parse().ok().filter(|number| *number > 0);
        return match number {
            Some(number) => Ok(Traffic::Port(protocol, number)),
            None => Err(format!("`{port}` is not a port: they go from 1 to 65535")),
        };
    }
    if let Err(why) = check_name(port) {
        return Err(format!("`{port}` is not a port: {why}"));
    }
    match destination {
        Endpoint::Outside(_) => Err(format!("an address has no port called `{port}`: give its number")),
        Endpoint::Pod { pod, .. } => pod
            .ports
            .iter()
            .find(|own| own.name == port && own.protocol == protocol)
            .map(|own| Traffic::Port(protocol, own.port))
            .ok_or_else(|| format!("{destination} has no {lower} port called `{port}`")),
    }
}
