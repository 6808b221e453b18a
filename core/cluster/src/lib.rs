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
mod question;
mod read;
mod service;

use std::fmt;
use std::net::IpAddr;

use npc_suggest::nearest;
use npc_vocabulary::Endpoint;
pub use npc_vocabulary::{NAMESPACE_NAME, NamedPort, Namespace, Pod};

pub use index::{AddressOwner, Index};
pub use question::{NEITHER_IS_A_POD, Question, Resolution, ServiceRoute, ToService, end_at, is_pod};
pub use read::ApiPod;
pub use service::{Service, ServiceEndpoint, ServicePort, Target, TargetPort, Via};

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
    /// The pod with this index in [`Cluster::pods`] as the endpoint of a connection, with the address that the
    /// connection uses. `None` if the cluster has no such pod.
    #[must_use]
    pub fn endpoint(&self, place: usize, address: Option<IpAddr>) -> Option<Endpoint<'_>> {
        let pod = self.pods.get(place)?;
        let namespace = self.namespaces.get(pod.namespace)?;
        Some(Endpoint::Pod { place, pod, namespace, address })
    }

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
