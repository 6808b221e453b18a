//! Reports what the cluster's CNI enforces differently from what the program says.
//!
//! Each cause was found by running the policy engines of the CNIs over many policies;
//! `docs/portability.md` lists them all.

mod calico;
mod cilium;
mod cni;

use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, Level, Location};
use npc_program::{Policy, Program, Rule};
use npc_vocabulary::{Protocol, Tier, Which};
use rustc_hash::FxHashMap;

use crate::meaning::Overview;
pub use cni::{Cni, Network};

npc_diagnostics::codes! {
    /// # The CNI enforces this differently
    ///
    /// The CNI that `--cni`, or `cni` in `npc.toml`, names does not enforce this as written: it
    /// ignores a part of it or interprets it differently. The message says what happens; the note
    /// `cause` is the entry in `docs/portability.md`.
    ///
    /// ```np fails cni=cilium@1.20
    /// policy web for pods { app = web } in namespace shop {
    ///   allow ingress from 10.0.0.0/8 on tcp/443
    /// }
    /// ```
    ///
    /// Cilium does not match pods by CIDR, so this rule allows no pod. Select pods by their labels:
    ///
    /// ```np cni=cilium@1.20
    /// policy web for pods { app = web } in namespace shop {
    ///   allow ingress from all pods in all namespaces on tcp/443
    /// }
    /// ```
    PORTABILITY = "NP0811" "portability" Warning;

    /// # The CNI does not enforce this policy
    ///
    /// Admin and baseline policies compile to ClusterNetworkPolicies. The CNI that `--cni`, or
    /// `cni` in `npc.toml`, names does not read them, so the connections that they deny stay
    /// allowed.
    ///
    /// ```np fails cni=calico@3.28,allow-vxlan
    /// admin policy metadata priority 1 for all pods in all namespaces {
    ///   deny egress to 169.254.169.254
    /// }
    /// ```
    ///
    /// Plain policies compile to NetworkPolicies, which every CNI enforces. They cannot deny, but a
    /// pod that they isolate has only the connections that they allow:
    ///
    /// ```np cni=calico@3.28,allow-vxlan
    /// policy web for pods { app = web } in namespace shop {
    ///   allow egress to anywhere except 169.254.169.254
    /// }
    /// ```
    NOT_ENFORCED = "NP0812" "not-enforced" Error;
}

/// The source of the policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A `.np` program. Its output avoids differences of CNIs where another form has the same
    /// meaning.
    Program,
    /// Manifests, which the CNI enforces as written.
    Manifests,
}

/// Creates a diagnostic NP0811 with a note that names its cause.
fn cni_difference(cni: &Cni, cause: &str, place: Location, what: &str, label: &str) -> Diagnostic {
    Diagnostic::new(&PORTABILITY, format!("{cni} {what}"), place, label).note(format!("cause: {cause}"))
}

/// Reports rules of manifests whose direction `policyTypes` does not list, given their locations.
#[must_use]
pub fn ignored_rules(cni: &Cni, places: impl Iterator<Item = Location>) -> Vec<Diagnostic> {
    if cni.network != Network::Cilium || cni.version < (1, 20) {
        return Vec::new();
    }
    places
        .map(|place| {
            cni_difference(
                cni,
                "policytypes",
                place,
                "applies rules whose direction `policyTypes` does not list",
                "these rules isolate pods and allow connections",
            )
            .help("remove them, or add their direction to `policyTypes`")
        })
        .collect()
}

/// Reports what a CNI enforces differently from what the program says.
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

/// Reports admin and baseline policies if the CNI does not read ClusterNetworkPolicies.
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
                format!("{cni} does not enforce policy `{}`", policy.name),
                place,
                "admin and baseline policies are ClusterNetworkPolicies, which it does not read",
            )
            .help(
                "use a CNI that reads them, or a plain policy, which cannot deny what another policy allows",
            )
        })
        .collect()
}

/// All policies except audit policies.
fn decided_by(program: &Program) -> impl Iterator<Item = &Policy> {
    program.deciding().map(|(_, policy)| policy)
}

/// The rules of all policies except audit policies.
fn rules(program: &Program) -> impl Iterator<Item = (&Policy, &Rule)> {
    decided_by(program).flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule)))
}

/// The named ports of all rules, each with its protocols and the location of its first use.
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

/// Turns a diagnostic into a note: it applies to every program, so nothing is wrong with this one.
fn always(mut diagnostic: Diagnostic) -> Diagnostic {
    diagnostic.level = Level::Note;
    diagnostic
}
