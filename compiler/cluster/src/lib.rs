//! Reads what `kubectl get namespaces,pods -A -o yaml` (or `json`) prints.
//!
//! ```
//! let cluster = npc_cluster::Cluster::parse(
//!     "kind: Namespace\nmetadata: {name: shop, labels: {env: prod}}",
//! )
//! .unwrap();
//! assert_eq!(cluster.namespaces[0].labels["env"], "prod");
//! ```

mod index;
mod read;
mod service;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use npc_diagnostics::nearest;
use npc_program::values::port::Protocol;
use serde::Serialize;

npc_diagnostics::codes! {
    /// # Not a cluster file
    ///
    /// `--cluster` takes what `kubectl get namespaces,pods -A -o yaml` prints: a `List`, a stream of
    /// documents, or single objects, as YAML or JSON. It needs at least one Namespace, and each
    /// Pod's Namespace. It may hold Nodes, Services, EndpointSlices and Endpoints too: then the addresses
    /// of nodes and Services are known. Objects of other kinds, and Pods that have ended, are skipped.
    BAD_CLUSTER = "NP0702" "bad-cluster" Error;
}

pub use index::{AddressOwner, Index};
pub use read::ApiPod;
pub use service::{Service, ServiceEndpoint, ServicePort, Target, TargetPort, Via};

/// The label that the API server puts on every namespace, with its name as its value.
pub use npc_program::values::label::NAMESPACE_NAME;

/// A cluster, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its namespaces, by name.
    pub namespaces: Vec<Namespace>,
    /// Its pods that have not ended, by namespace and name.
    ///
    /// A pod that has ended (`Succeeded`, `Failed`) keeps its address in the API while another may
    /// have it already, so it is no pod here.
    pub pods: Vec<Pod>,
    /// Its nodes that the inventory holds, by name.
    pub nodes: Vec<Node>,
    /// Its Services that the inventory holds, by namespace and name.
    pub services: Vec<Service>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels. [`NAMESPACE_NAME`] is always among them, also where an inventory leaves it out.
    pub labels: BTreeMap<String, String>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace, by its place in [`Cluster::namespaces`].
    pub namespace: usize,
    /// Its name.
    pub name: String,
    /// Its labels. Pods of one workload have the same, which a watch keeps once.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Its addresses; none while it waits for one.
    pub addresses: Vec<IpAddr>,
    /// Its containers' ports that have a name.
    pub ports: Vec<NamedPort>,
    /// Whether it is on its node's network: then no policy selects it, and no selector matches it.
    pub host_network: bool,
    /// The node that it runs on; empty while it waits for one.
    pub node: Arc<str>,
    /// The addresses of that node.
    pub node_addresses: Vec<IpAddr>,
    /// What tells it from a pod of the same name before or after it; may be empty.
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
    /// The port to which it gives this name.
    #[must_use]
    pub fn port_named(&self, protocol: Protocol, name: &str) -> Option<u16> {
        let is_it = |own: &&NamedPort| own.name == name && own.protocol == protocol;
        self.ports.iter().find(is_it).map(|own| own.port)
    }

    /// What follows the name of a pod on its node's network wherever it is shown:
    /// ` (on the network of node n1)`.
    #[must_use]
    pub fn host_note(&self) -> Option<String> {
        self.host_network.then(|| match &*self.node {
            "" => " (on its node's network)".to_owned(),
            node => format!(" (on the network of node {node})"),
        })
    }
}

impl Cluster {
    /// The namespace of that name, by its place.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<usize> {
        self.namespaces.binary_search_by(|namespace| namespace.name.as_str().cmp(name)).ok()
    }

    /// The pod of that namespace and name, by its place.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<usize> {
        let namespace = self.namespace(namespace)?;
        self.pods.binary_search_by(|pod| (pod.namespace, pod.name.as_str()).cmp(&(namespace, name))).ok()
    }
}

impl Cluster {
    /// That there is no namespace of that name, in words, with the one that may be meant.
    #[must_use]
    pub fn no_namespace(&self, name: &str) -> String {
        let near = nearest(name, self.namespaces.iter().map(|namespace| namespace.name.as_str()));
        let meant = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        format!("there is no namespace `{name}`{meant}")
    }

    /// That there is no pod of that namespace and name, in words, with the one that may be meant.
    #[must_use]
    pub fn no_pod(&self, namespace: &str, name: &str) -> String {
        let Some(place) = self.namespace(namespace) else { return self.no_namespace(namespace) };
        let beside = self.pods.iter().filter(|pod| pod.namespace == place).map(|pod| pod.name.as_str());
        // Pods of a Deployment have names that nobody types.
        let near = nearest(name, beside.clone()).or_else(|| beside.clone().find(|own| own.starts_with(name)));
        let meant = near.map(|near| format!("; did you mean `{namespace}/{near}`?")).unwrap_or_default();
        format!("there is no pod `{namespace}/{name}` that runs{meant}")
    }
}

/// Why a text is no cluster file, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub(crate) String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
