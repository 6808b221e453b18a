//! The list of targets, and the diagnostics that they share.

use std::fmt;

use npc_diagnostics::{Diagnostic, Location};

npc_diagnostics::codes! {
    /// # The target cannot express a construct
    ///
    /// The output of every target gives exactly the verdicts of the program; a program for which that
    /// is impossible is rejected. A NetworkPolicy, and so everything that the Kyverno targets generate,
    /// has no `deny`, no tiers, no priorities and no `log`, and selects the namespaces of peers only by
    /// their labels.
    ///
    /// ```np fails target=kyverno
    /// let metadata = 169.254.169.254/32
    /// admin policy no-metadata priority 10 for all pods in all namespaces {
    ///   deny egress to metadata
    /// }
    /// ```
    ///
    /// A plain policy that allows everything else:
    ///
    /// ```np target=kyverno
    /// let metadata = 169.254.169.254/32
    /// policy no-metadata for all pods in all namespaces except (kube-*, kyverno) {
    ///   allow egress to anywhere except metadata
    /// }
    /// ```
    ///
    /// This denial holds only as long as no other policy allows the excluded address: plain policies
    /// are a union. The targets `clusternetworkpolicy` and `ebpf` support tiers, priorities and `deny`;
    /// the note of the diagnostic lists the targets that support the construct.
    CANNOT_EXPRESS = "NP0601" "cannot-express" Error;

    /// # Two generated objects have the same name
    ///
    /// If a policy is compiled to several NetworkPolicies, the compiler derives their names from the
    /// name of the policy. Here a derived name is also the name of another policy's object, so that the
    /// last one applied would silently replace the other. Rename one of the policies.
    NAME_COLLISION = "NP0603" "name-collision" Error;

    /// # The target needs the namespaces of the cluster
    ///
    /// A NetworkPolicy belongs to one namespace. If a policy does not list its namespaces by name, or
    /// compares namespace labels, the compiler needs the namespaces of the cluster. Write them to a
    /// file with `kubectl get namespaces -o yaml` and pass it with `--cluster FILE`:
    ///
    /// ```np fails target=networkpolicy
    /// policy p for all pods in namespaces { env = prod } { isolate ingress }
    /// ```
    ///
    /// A policy that lists its namespaces needs no such file:
    ///
    /// ```np target=networkpolicy
    /// policy p for all pods in namespaces (shop, payments) { isolate ingress }
    /// ```
    NEEDS_CLUSTER = "NP0604" "needs-cluster" Error;

    /// # The target omits an audit policy
    ///
    /// An audit policy decides nothing; a target that supports it reports what the policy would decide.
    /// NetworkPolicy and ClusterNetworkPolicy have no audit mode, so the output omits the policy.
    /// Target `ebpf` supports it.
    ///
    /// ```np fails target=kyverno
    /// audit policy trial for all pods in namespace shop { isolate egress }
    /// ```
    ///
    /// To enforce the policy, remove `audit`:
    ///
    /// ```np target=kyverno
    /// policy trial for all pods in namespace shop { isolate egress }
    /// ```
    AUDIT_OMITTED = "NP0605" "audit-left-out" Note;
}

/// An output format of `npc compile`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Kyverno's ClusterPolicy, `kyverno.io/v1`.
    Kyverno,
    /// Kyverno's GeneratingPolicy, `policies.kyverno.io/v1`.
    KyvernoCel,
    /// Kubernetes' NetworkPolicy, `networking.k8s.io/v1`.
    NetworkPolicy,
    /// Kubernetes' ClusterNetworkPolicy, `policy.networking.k8s.io/v1alpha2`.
    ClusterNetworkPolicy,
    /// The map image of the node runtime.
    Ebpf,
}

impl Target {
    /// Every target.
    pub const ALL: [Self; 5] =
        [Self::Kyverno, Self::KyvernoCel, Self::NetworkPolicy, Self::ClusterNetworkPolicy, Self::Ebpf];

    /// The name of the target, as `--target` takes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kyverno => "kyverno",
            Self::KyvernoCel => "kyverno-cel",
            Self::NetworkPolicy => "networkpolicy",
            Self::ClusterNetworkPolicy => "clusternetworkpolicy",
            Self::Ebpf => "ebpf",
        }
    }

    /// Parses the name of a target.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.as_str() == name)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a construct that a target cannot express. `why` names the limit of the target's API; `others` are the
/// targets that support the construct, and must not be empty.
pub(crate) fn cannot(
    target: Target,
    what: &str,
    place: Location,
    why: &str,
    others: &[Target],
) -> Diagnostic {
    let names: Vec<String> = others.iter().map(|other| format!("`{other}`")).collect();
    let (last, rest) = names.split_last().map_or(("", &[][..]), |(last, rest)| (last.as_str(), rest));
    let list = if rest.is_empty() { last.to_owned() } else { format!("{} and {last}", rest.join(", ")) };
    let diagnostic =
        Diagnostic::new(&CANNOT_EXPRESS, format!("target `{target}` cannot express {what}"), place, why);
    let can = if names.len() == 1 { "supported by target" } else { "supported by the targets" };
    diagnostic.note(format!("{can} {list}"))
}
