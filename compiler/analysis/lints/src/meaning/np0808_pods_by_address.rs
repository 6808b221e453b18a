//! Reports CIDRs that contain addresses of pods.

use npc_cluster::Cluster;
use npc_diagnostics::Diagnostic;
use npc_program::values::address::{Block, IpNet};
use npc_program::{Peer, Program};
use rustc_hash::FxHashSet;

npc_diagnostics::codes! {
    /// # Pods selected by address
    ///
    /// The CIDR contains addresses of pods: it is in one of the `pod-cidrs` in `npc.toml`, or pods
    /// of the cluster given with `--cluster` have addresses in it. A pod gets a new address when it
    /// is recreated, and some CNIs do not match pods by address at all. Select the pods by their
    /// labels instead.
    ///
    /// ```np fails cluster=shop pods=10.1.0.9
    /// policy web for pods { app = web } in namespace shop { allow ingress from 10.1.0.0/24 }
    /// ```
    ///
    /// ```np cluster=shop pods=10.1.0.9
    /// policy web for pods { app = web } in namespace shop { allow ingress from all pods in namespace shop }
    /// ```
    PODS_BY_ADDRESS = "NP0808" "pods-by-address" Warning;
}

pub(crate) fn run(program: &Program, pod_cidrs: &[IpNet], cluster: Option<&Cluster>) -> Vec<Diagnostic> {
    let mut seen = FxHashSet::default();
    let mut found = Vec::new();
    let terms = program.policies.iter().flat_map(|policy| &policy.rules).flat_map(|rule| &rule.peers);
    for term in terms {
        let Peer::Block(term) = term else { continue };
        // A CIDR that contains every address names no particular pods.
        if term.block.net.prefix_len() == 0 || !seen.insert(term.location) {
            continue;
        }
        let why = match cluster {
            Some(cluster) => match pods_in(cluster, &term.block) {
                (0, _) => continue,
                (1, first) => format!("contains the address of pod {first}"),
                (more, first) => format!("contains the addresses of {more} pods, such as {first}"),
            },
            None if pod_cidrs.iter().any(|net| net.contains(&term.block.net)) => {
                "in `pod-cidrs`: only pods have these addresses".to_owned()
            }
            None => continue,
        };
        found.push(
            Diagnostic::new(&PODS_BY_ADDRESS, "this CIDR selects pods by their addresses", term.location, why)
                .help("select the pods by their labels, as in `pods { app = web }`: a recreated pod has another address"),
        );
    }
    found
}

/// How many pods of a cluster have an address in a CIDR, and the name of the first. Host-network
/// pods do not count.
fn pods_in(cluster: &Cluster, block: &Block) -> (usize, String) {
    let mut pods = cluster
        .pods
        .iter()
        .filter(|pod| !pod.host_network && pod.addresses.iter().any(|address| block.contains(address)));
    let Some(first) = pods.next() else { return (0, String::new()) };
    let namespace = cluster.namespaces.get(first.namespace).map_or("", |namespace| namespace.name.as_str());
    (1 + pods.count(), format!("{namespace}/{}", first.name))
}
