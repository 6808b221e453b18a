//! The cluster's pods that a term selects.

use npc_cluster::{Cluster, Namespace, Pod};
use npc_program::{PodTerm, ScopeBase};

/// The pods that a term selects. `None` if that depends on the pod that the policy selects.
#[must_use]
pub fn pods<'c>(cluster: &'c Cluster, term: &PodTerm) -> Option<Vec<&'c Pod>> {
    if matches!(term.scope.base, ScopeBase::Same | ScopeBase::Sharing(_)) {
        return None;
    }
    let in_scope: Vec<bool> = cluster.namespaces.iter().map(|own| holds(term, own)).collect();
    let chosen = |pod: &&Pod| {
        in_scope.get(pod.namespace) == Some(&true)
            && !pod.host_network
            && term.selector.matches(|key| pod.labels.get(key).map(String::as_str))
    };
    Some(cluster.pods.iter().filter(chosen).collect())
}

fn holds(term: &PodTerm, namespace: &Namespace) -> bool {
    term.scope.holds(&namespace.name, |key| namespace.labels.get(key).map(String::as_str))
}

/// The pods that any of the terms selects, without duplicates.
#[must_use]
pub fn any<'c, 't>(cluster: &'c Cluster, terms: impl Iterator<Item = &'t PodTerm>) -> Option<Vec<&'c Pod>> {
    let mut all: Vec<&Pod> = Vec::new();
    for term in terms {
        all.extend(pods(cluster, term)?);
    }
    all.sort_by_key(|pod| (pod.namespace, &pod.name));
    all.dedup_by_key(|pod| (pod.namespace, &pod.name));
    Some(all)
}

/// `namespace/pod`
#[must_use]
pub fn name(cluster: &Cluster, pod: &Pod) -> String {
    let namespace = cluster.namespaces.get(pod.namespace).map_or("", |own| own.name.as_str());
    format!("{namespace}/{}", pod.name)
}
