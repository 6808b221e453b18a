//! Lints: checks for programs that do not do what they appear to do. Each lint is a module of `meaning` or
//! `cluster`; `portability` reports what a CNI enforces differently.

mod cluster;
mod meaning;
mod portability;

use npc_cluster::Cluster;
use npc_diagnostics::{Code, Diagnostic};
use npc_program::Program;
use npc_program::values::address::IpNet;

use cluster::{
    Index, dns_in_cluster, np0801_selects_nothing, np0802_uncovered_namespace, np0809_outside_pod_cidrs,
};
use meaning::{
    np0803_redundant, np0804_denial_undone, np0805_no_dns, np0806_half_allowed, np0807_one_family,
    np0808_pods_by_address,
};

pub use meaning::{Memo, Overview};
pub use portability::{Cni, Network, Origin, ignored_rules, portability};

/// Runs the lints that hold in every cluster. Given a cluster, drops the findings that do not apply to it.
#[must_use]
pub fn meaning(overview: &Overview<'_>, origin: Origin, cluster: Option<&Cluster>) -> Vec<Diagnostic> {
    // The lints are independent of each other, and each has a sequential part, so they run in parallel.
    let ((undone, redundant), ((dns, half), (family, by_address))) = rayon::join(
        || rayon::join(|| np0804_denial_undone::run(overview), || np0803_redundant::run(overview)),
        || {
            rayon::join(
                || {
                    rayon::join(
                        || np0805_no_dns::run(overview, origin),
                        || np0806_half_allowed::run(overview),
                    )
                },
                || {
                    rayon::join(
                        || np0807_one_family::run(overview.program, overview.pod_cidrs, cluster, origin),
                        || np0808_pods_by_address::run(overview.program, overview.pod_cidrs, None),
                    )
                },
            )
        },
    );
    let mut diagnostics = undone;
    // If NP0804 reports that one policy opens what another closes, NP0803 may find that the second decides
    // nothing. Both have the same cause; only NP0804 is reported.
    let reported: Vec<_> =
        diagnostics.iter().flat_map(|found| &found.labels).map(|label| label.location).collect();
    diagnostics.extend(
        redundant
            .into_iter()
            .filter(|redundant| !redundant.location().is_some_and(|at| reported.contains(&at))),
    );
    let dns = match cluster.and_then(dns_in_cluster::Resolvers::find) {
        Some(resolvers) => resolvers.judge(overview.program, dns, origin),
        None => dns,
    };
    diagnostics.extend(dns.into_iter().chain(half).chain(family).chain(by_address));
    diagnostics
}

/// Runs the lints that need a cluster.
#[must_use]
pub fn cluster(program: &Program, origin: Origin, cluster: &Cluster, pod_cidrs: &[IpNet]) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let index = Index::new(cluster);
    np0801_selects_nothing::run(program, cluster, &index, &mut diagnostics);
    np0802_uncovered_namespace::run(program, origin, &index, &mut diagnostics);
    diagnostics.extend(np0808_pods_by_address::run(program, &[], Some(cluster)));
    np0809_outside_pod_cidrs::run(cluster, pod_cidrs, &mut diagnostics);
    diagnostics
}

/// All diagnostic codes of this crate.
#[must_use]
pub fn codes() -> Vec<&'static Code> {
    [
        np0801_selects_nothing::CODES,
        np0802_uncovered_namespace::CODES,
        np0803_redundant::CODES,
        np0804_denial_undone::CODES,
        np0805_no_dns::CODES,
        np0806_half_allowed::CODES,
        np0807_one_family::CODES,
        np0808_pods_by_address::CODES,
        np0809_outside_pod_cidrs::CODES,
        portability::CODES,
    ]
    .into_iter()
    .flatten()
    .copied()
    .collect()
}
