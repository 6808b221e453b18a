//! Pods that have other addresses than the configuration says.

use npc_cluster::Cluster;
use npc_diagnostics::Diagnostic;
use npc_program::values::address::IpNet;

npc_diagnostics::codes! {
    /// # Pods outside of `pod-cidrs`
    ///
    /// `pod-cidrs` in `npc.toml` names the blocks that all pods have their addresses from, those on
    /// their nodes' networks too. Pods of the cluster given with `--cluster` have others, so that what
    /// is proved, and what the output leaves to that, does not hold for them.
    ///
    /// Add the blocks that the pods are in, and those of the nodes.
    OUTSIDE_POD_CIDRS = "NP0809" "outside-pod-cidrs" Warning;
}

pub(crate) fn run(cluster: &Cluster, pod_blocks: &[IpNet], diagnostics: &mut Vec<Diagnostic>) {
    if pod_blocks.is_empty() {
        return;
    }
    let mut outside = cluster.pods.iter().filter_map(|pod| {
        let known = |address: &&std::net::IpAddr| !pod_blocks.iter().any(|net| net.contains(*address));
        Some((pod, pod.addresses.iter().find(known)?))
    });
    let Some((pod, address)) = outside.next() else { return };
    let namespace = cluster.namespaces.get(pod.namespace).map_or("", |namespace| namespace.name.as_str());
    let message = match outside.count() {
        0 => format!("`pod-cidrs` leave out the pod {namespace}/{} ({address})", pod.name),
        more => format!(
            "`pod-cidrs` leave out {} pods, {namespace}/{} ({address}) among them",
            more + 1,
            pod.name
        ),
    };
    diagnostics.push(
        Diagnostic::without_place(&OUTSIDE_POD_CIDRS, message)
            .help("add the blocks of all pods, and of the nodes whose network some are on"),
    );
}
