//! Pods and namespaces, as far as policies see them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::Protocol;

/// The label that the API server sets on every namespace, with its name as the value.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels. [`NAMESPACE_NAME`] is always among them, even if the input omits it.
    pub labels: BTreeMap<String, String>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// The index of its namespace in the cluster's namespaces.
    pub namespace: usize,
    /// Its name.
    pub name: String,
    /// Its labels. Pods of one workload have the same labels, which a watch stores once.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Its addresses; empty until it gets one.
    pub addresses: Vec<IpAddr>,
    /// The named ports of its containers.
    pub ports: Vec<NamedPort>,
    /// Whether it is a host-network pod: then no policy selects it, and no selector matches it.
    pub host_network: bool,
    /// The node that it runs on; empty until it is scheduled.
    pub node: Arc<str>,
    /// The addresses of that node.
    pub node_addresses: Vec<IpAddr>,
    /// Its UID, which distinguishes it from earlier and later pods of the same name. May be empty.
    pub uid: String,
}

/// A port of a container, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    /// The name.
    pub name: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The number.
    pub port: u16,
}

impl Pod {
    /// The number of its port with this protocol and name.
    #[must_use]
    pub fn port_named(&self, protocol: Protocol, name: &str) -> Option<u16> {
        let is_it = |own: &&NamedPort| own.name == name && own.protocol == protocol;
        self.ports.iter().find(is_it).map(|own| own.port)
    }

    /// The note that follows the name of a host-network pod in output: ` (on the network of node n1)`.
    #[must_use]
    pub fn host_note(&self) -> Option<String> {
        self.host_network.then(|| match &*self.node {
            "" => " (on its node's network)".to_owned(),
            node => format!(" (on the network of node {node})"),
        })
    }
}
