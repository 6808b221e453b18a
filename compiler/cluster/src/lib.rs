//! Reads a cluster file: the output of `kubectl get namespaces,pods -A -o yaml` (or `json`).
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
    /// `--cluster` reads the output of `kubectl get namespaces,pods -A -o yaml`: a `List`, a stream of
    /// documents, or single objects, as YAML or JSON. The file must contain at least one Namespace, and the
    /// Namespace of each Pod. It may also contain Nodes, Services, EndpointSlices and Endpoints, which give
    /// npc the addresses of nodes and Services. npc skips objects of other kinds, and Pods that have ended.
    BAD_CLUSTER = "NP0702" "bad-cluster" Error;
}

pub use index::{AddressOwner, Index};
pub use read::ApiPod;
pub use service::{Service, ServiceEndpoint, ServicePort, Target, TargetPort, Via};

/// The label that the API server sets on every namespace, with its name as the value.
pub use npc_program::values::label::NAMESPACE_NAME;

/// A cluster, as far as the cluster file describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its namespaces, sorted by name.
    pub namespaces: Vec<Namespace>,
    /// Its pods that have not ended, sorted by namespace and name.
    ///
    /// A pod that has ended (`Succeeded`, `Failed`) keeps its address in the API although another pod may
    /// have the address already, so it is left out.
    pub pods: Vec<Pod>,
    /// The nodes in the cluster file, sorted by name.
    pub nodes: Vec<Node>,
    /// The Services in the cluster file, sorted by namespace and name.
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
    /// Its labels. [`NAMESPACE_NAME`] is always among them, even if the cluster file omits it.
    pub labels: BTreeMap<String, String>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// The index of its namespace in [`Cluster::namespaces`].
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

impl Cluster {
    /// The index of the namespace with this name.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<usize> {
        self.namespaces.binary_search_by(|namespace| namespace.name.as_str().cmp(name)).ok()
    }

    /// The index of the pod with this namespace and name.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<usize> {
        let namespace = self.namespace(namespace)?;
        self.pods.binary_search_by(|pod| (pod.namespace, pod.name.as_str()).cmp(&(namespace, name))).ok()
    }
}

impl Cluster {
    /// The message that a namespace does not exist, with the most similar name as a suggestion.
    #[must_use]
    pub fn no_namespace(&self, name: &str) -> String {
        let near = nearest(name, self.namespaces.iter().map(|namespace| namespace.name.as_str()));
        let meant = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        format!("there is no namespace `{name}`{meant}")
    }

    /// The message that a pod does not exist, with the most similar name as a suggestion.
    #[must_use]
    pub fn no_pod(&self, namespace: &str, name: &str) -> String {
        let Some(place) = self.namespace(namespace) else { return self.no_namespace(namespace) };
        let beside = self.pods.iter().filter(|pod| pod.namespace == place).map(|pod| pod.name.as_str());
        // The names of a Deployment's pods end in generated characters, so a prefix is a likely input.
        let near = nearest(name, beside.clone()).or_else(|| beside.clone().find(|own| own.starts_with(name)));
        let meant = near.map(|near| format!("; did you mean `{namespace}/{near}`?")).unwrap_or_default();
        format!("there is no running pod `{namespace}/{name}`{meant}")
    }
}

/// The reason that a text is not a cluster file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub(crate) String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
