//! What a cluster's network makes of a program, where that is not what the program says.
//!
//! Each cause was found by running the policy engines of the networks themselves over many policies;
//! `docs/portability.md` names them all.

mod calico;
mod cilium;
mod cni;

use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, Level, Location};
use npc_program::values::port::{Protocol, Which};
use npc_program::{Policy, Program, Rule, Tier};
use rustc_hash::FxHashMap;

use crate::meaning::Overview;
pub use cni::{Cni, Network};

npc_diagnostics::codes! {
    /// # The cluster's network judges otherwise
    ///
    /// The network that `--cni`, or `cni` in `npc.toml`, names will not do what is written here: it
    /// leaves out something, or reads it in another way. The finding says what happens, and `cause` is
    /// its name in `docs/portability.md`.
    ///
    /// ```np fails cni=cilium@1.20
    /// policy web for pods { app = web } in namespace shop {
    ///   allow ingress from 10.0.0.0/8 on tcp/443
    /// }
    /// ```
    ///
    /// Cilium lets no pod in by its address. Pods are named by their labels:
    ///
    /// ```np cni=cilium@1.20
    /// policy web for pods { app = web } in namespace shop {
    ///   allow ingress from all pods in all namespaces on tcp/443
    /// }
    /// ```
    PORTABILITY = "NP0811" "portability" Warning;

    /// # The cluster's network does not read this
    ///
    /// Admin and baseline policies are ClusterNetworkPolicies, which the network that `--cni`, or `cni`
    /// in `npc.toml`, names does not know: it reads none of them, and what they deny stays open.
    ///
    /// ```np fails cni=calico@3.28,allow-vxlan
    /// admin policy metadata priority 1 for all pods in all namespaces {
    ///   deny egress to 169.254.169.254
    /// }
    /// ```
    ///
    /// Policies of the plain tier are NetworkPolicies, which every network reads. They deny nothing, but
    /// what they do not allow:
    ///
    /// ```np cni=calico@3.28,allow-vxlan
    /// policy web for pods { app = web } in namespace shop {
    ///   allow egress to anywhere except 169.254.169.254
    /// }
    /// ```
    NOT_ENFORCED = "NP0812" "not-enforced" Error;
}

/// Where policies come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A program, whose output avoids what can be avoided at the same meaning.
    Program,
    /// Manifests, which are as they are.
    Manifests,
}

/// A finding, under the name of its cause.
fn judged_otherwise(cni: &Cni, cause: &str, place: Location, what: &str, label: &str) -> Diagnostic {
    Diagnostic::new(&PORTABILITY, format!("{cni} {what}"), place, label).note(format!("cause: {cause}"))
}

/// Rules that manifests have, and that no direction of their `policyTypes` takes up.
#[must_use]
pub fn left_out_rules(cni: &Cni, places: impl Iterator<Item = Location>) -> Vec<Diagnostic> {
    if cni.network != Network::Cilium || cni.version < (1, 20) {
        return Vec::new();
    }
    places
        .map(|place| {
            judged_otherwise(
                cni,
                "policytypes",
                place,
                "takes up rules that `policyTypes` leaves out",
                "isolates here, and allows",
            )
            .help("remove them, or name their direction in `policyTypes`")
        })
        .collect()
}

/// What a network makes of a program otherwise than it says.
#[must_use]
pub fn portability(
    overview: &Overview<'_>,
    cni: &Cni,
    origin: Origin,
    cluster: Option<&Cluster>,
) -> Vec<Diagnostic> {
    let program = overview.program;
    let mut found = not_enforced(program, cni);
    match cni.network {
        Network::Cilium => found.extend(cilium::run(overview, cni, origin, cluster)),
        Network::Calico => found.extend(calico::run(program, cni)),
        Network::Aws => {}
    }
    found
}

/// Tiers that are not read at all.
fn not_enforced(program: &Program, cni: &Cni) -> Vec<Diagnostic> {
    if cni.reads_tiers() {
        return Vec::new();
    }
    let tiers = decided_by(program).filter(|policy| policy.tier != Tier::Namespaced);
    tiers
        .map(|policy| {
            let place = policy.tier_location.unwrap_or(policy.location);
            Diagnostic::new(
                &NOT_ENFORCED,
                format!("{cni} does not read `{}`", policy.name),
                place,
                "admin and baseline policies are ClusterNetworkPolicies",
            )
            .help("use a network that reads them; a plain policy denies only what no other policy allows")
        })
        .collect()
}

/// The policies that decide.
fn decided_by(program: &Program) -> impl Iterator<Item = &Policy> {
    program.deciding().map(|(_, policy)| policy)
}

/// The rules of the policies that decide.
fn rules(program: &Program) -> impl Iterator<Item = (&Policy, &Rule)> {
    decided_by(program).flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)))
}

/// The names of ports that rules speak of, with their protocols and one place.
fn port_names(program: &Program) -> Vec<(&str, Vec<Protocol>, Location)> {
    let mut names: Vec<(&str, Vec<Protocol>, Location)> = Vec::new();
    let mut known: FxHashMap<&str, usize> = FxHashMap::default();
    for term in rules(program).flat_map(|(_, rule)| &rule.ports) {
        let Which::Named(name) = &term.port.which else { continue };
        let at = *known.entry(name).or_insert_with(|| {
            names.push((name, Vec::new(), term.location));
            names.len() - 1
        });
        if let Some((_, protocols, _)) = names.get_mut(at)
            && !protocols.contains(&term.port.protocol)
        {
            protocols.push(term.port.protocol);
        }
    }
    names
}

/// What is so whatever the program says: told, and no mistake in it.
fn always(mut diagnostic: Diagnostic) -> Diagnostic {
    diagnostic.level = Level::Note;
    diagnostic
}
