//! Reports pods whose addresses are outside the configured `pod-cidrs`.

use npc_cluster::Cluster;
use npc_diagnostics::Diagnostic;
use npc_program::values::address::IpNet;

npc_diagnostics::codes! {
    /// # Pods outside of `pod-cidrs`
    ///
    /// `pod-cidrs` in `npc.toml` lists the CIDRs that pods have their addresses from. Pods of the
    /// cluster given with `--cluster` have other addresses, so the proofs that npc makes with
    /// `pod-cidrs` do not hold for these pods. Host-network pods have their node's address and are
    /// not counted.
    ///
    /// Add the CIDRs of these pods to `pod-cidrs`.
    OUTSIDE_POD_CIDRS = "NP0809" "outside-pod-cidrs" Warning;
}

pub(crate) fn run(cluster: &Cluster, pod_cidrs: &[IpNet], diagnostics: &mut Vec<Diagnostic>) {
    if pod_cidrs.is_empty() {
        return;
    }
    let mut outside = cluster.pods.iter().filter(|pod| !pod.host_network).filter_map(|pod| {
        let known = |address: &&std::net::IpAddr| !pod_cidrs.iter().any(|net| net.contains(*address));
        Some((pod, pod.addresses.iter().find(known)?))
    });
    let Some((pod, address)) = outside.next() else { return };
    let namespace = cluster.namespaces.get(pod.namespace).map_or("", |namespace| namespace.name.as_str());
    let message = match outside.count() {
        0 => format!("`pod-cidrs` does not contain the address of pod {namespace}/{} ({address})", pod.name),
        more => format!(
            "`pod-cidrs` does not contain the addresses of {} pods, such as {namespace}/{} ({address})",
            more + 1,
            pod.name
        ),
    };
    diagnostics.push(
        Diagnostic::without_place(&OUTSIDE_POD_CIDRS, message)
            .help("add the CIDRs of these pods to `pod-cidrs` in npc.toml"),
    );
}
