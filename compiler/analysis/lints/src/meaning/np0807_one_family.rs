//! Reports rules for all addresses of one family that omit the other family.

use npc_cluster::Cluster;
use npc_diagnostics::{Applicability, Diagnostic};
use npc_program::values::address::IpNet;
use npc_program::{Peer, Program, Rule};
use npc_vocabulary::Action;
use rustc_hash::FxHashSet;

use crate::portability::Origin;

npc_diagnostics::codes! {
    /// # All addresses of only one family
    ///
    /// `0.0.0.0/0` is every IPv4 address and no IPv6 address; `::/0` is the reverse. In a
    /// dual-stack cluster, a rule for only one of them does not apply to connections of the other
    /// family.
    ///
    /// ```np fails
    /// policy web for pods { app = web } in namespace shop {
    ///   allow ingress from 0.0.0.0/0 on tcp/443
    /// }
    /// ```
    ///
    /// Name both, or write `anywhere`:
    ///
    /// ```np
    /// policy web for pods { app = web } in namespace shop {
    ///   allow ingress from 0.0.0.0/0, ::/0 on tcp/443
    /// }
    /// ```
    ///
    /// Nothing is reported for a single-stack cluster: if all `pod-cidrs` in `npc.toml`, or all
    /// pods of the cluster given with `--cluster`, have addresses of that one family.
    ONE_FAMILY = "NP0807" "one-family" Warning;
}

pub(crate) fn run(
    program: &Program,
    pod_cidrs: &[IpNet],
    cluster: Option<&Cluster>,
    origin: Origin,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let addresses = || cluster.into_iter().flat_map(|cluster| &cluster.pods).flat_map(|pod| &pod.addresses);
    let any = addresses().next().is_some();
    let single = |v4: bool| {
        (!pod_cidrs.is_empty() && pod_cidrs.iter().all(|net| net.addr().is_ipv4() == v4))
            || (any && addresses().all(|address| address.is_ipv4() == v4))
    };
    let mut seen = FxHashSet::default();
    let policies = program.deciding();
    for (policy, rule) in policies.flat_map(|(_, policy)| policy.rules.iter().map(move |rule| (policy, rule)))
    {
        let everything = |v4: bool| {
            rule.peers.iter().find_map(|peer| match peer {
                Peer::Block(term)
                    if term.block.net.prefix_len() == 0 && term.block.net.addr().is_ipv4() == v4 =>
                {
                    Some(term)
                }
                _ => None,
            })
        };
        // A peer with addresses of the other family shows that the author considered both families.
        let other = |v4: bool| {
            // That peer may be in another rule with the same action and direction.
            let alike = |other: &&Rule| other.action == rule.action && other.direction == rule.direction;
            policy.rules.iter().filter(alike).flat_map(|other| &other.peers).any(|peer| match peer {
                Peer::Anywhere { .. } => true,
                Peer::Block(term) => term.block.net.addr().is_ipv4() != v4,
                Peer::Pods(_) => false,
            })
        };
        for (v4, missing, name) in [(true, "::/0", "IPv6"), (false, "0.0.0.0/0", "IPv4")] {
            let Some(term) = everything(v4).filter(|_| !other(v4) && !single(v4)) else { continue };
            if !seen.insert(term.location) {
                continue;
            }
            let what = match rule.action {
                Action::Deny => "denies",
                Action::Allow => "allows",
                Action::Pass => "passes",
            };
            let end = term.location.end();
            found.push(
                Diagnostic::new(
                    &ONE_FAMILY,
                    format!("this {what} every address of one family, but no {name} address"),
                    term.location,
                    format!("does not cover {name}"),
                )
                .help(match origin {
                    Origin::Program => format!("add `{missing}`, or write `anywhere` instead"),
                    Origin::Manifests => format!("add `- ipBlock: {{cidr: '{missing}'}}`"),
                })
                .fix(
                    Applicability::Maybe,
                    format!("add `{missing}`"),
                    end,
                    format!(", {missing}"),
                ),
            );
        }
    }
    found
}
