//! Reads what `kubectl get namespaces,pods -A -o yaml` (or `json`) prints.
//!
//! ```
//! let cluster = npc_cluster::Cluster::parse(
//!     "kind: Namespace\nmetadata: {name: shop, labels: {env: prod}}",
//! )
//! .unwrap();
//! assert_eq!(cluster.namespaces[0].labels["env"], "prod");
//! ```

mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use npc_diagnostics::nearest;
use npc_program::values::port::Protocol;
use rustc_hash::FxHashMap;
use serde::Serialize;

npc_diagnostics::codes! {
    /// # Not a cluster file
    ///
    /// `--cluster` takes what `kubectl get namespaces,pods -A -o yaml` prints: a `List`, a stream of
    /// documents, or single objects, as YAML or JSON. It needs at least one Namespace, and each
    /// Pod's Namespace; objects of other kinds are passed over, and so are Pods that have ended.
    BAD_CLUSTER = "NP0702" "bad-cluster" Error;
}

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
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses; none while it waits for one.
    pub addresses: Vec<IpAddr>,
    /// Its containers' ports that have a name.
    pub ports: Vec<NamedPort>,
    /// Whether it is on its node's network, where no policy selects it.
    pub host_network: bool,
    /// The node that it runs on; empty while it waits for one.
    pub node: String,
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

/// The pods of a cluster, found by name: for many questions.
#[derive(Debug)]
pub struct Index<'c> {
    /// The cluster.
    pub cluster: &'c Cluster,
    pods: FxHashMap<(&'c str, &'c str), usize>,
}

impl<'c> Index<'c> {
    /// Of a cluster.
    #[must_use]
    pub fn new(cluster: &'c Cluster) -> Self {
        let pods = cluster.pods.iter().enumerate().filter_map(|(place, pod)| {
            let namespace = cluster.namespaces.get(pod.namespace)?;
            Some(((namespace.name.as_str(), pod.name.as_str()), place))
        });
        Self { cluster, pods: pods.collect() }
    }

    /// The pod of that namespace and name, by its place.
    #[must_use]
    pub fn pod(&self, namespace: &str, name: &str) -> Option<usize> {
        self.pods.get(&(namespace, name)).copied()
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
