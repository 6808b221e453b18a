//! What a program can be compiled to.

use std::fmt;

use npc_diagnostics::{Diagnostic, Location};

npc_diagnostics::codes! {
    /// # Something that this target cannot say
    ///
    /// Every target gives exactly the verdicts of the program, or refuses it. A NetworkPolicy, and
    /// so everything that Kyverno generates here, has no `deny`, no tiers, no priorities and no
    /// `log`, and selects the namespaces of peers by their labels only.
    ///
    /// ```np fails target=kyverno
    /// let metadata = 169.254.169.254/32
    /// admin policy no-metadata priority 10 for all pods in all namespaces {
    ///   deny egress to metadata
    /// }
    /// ```
    ///
    /// What it can say instead:
    ///
    /// ```np target=kyverno
    /// let metadata = 169.254.169.254/32
    /// policy no-metadata for all pods in all namespaces except (kube-*, kyverno) {
    ///   allow egress to anywhere except metadata
    /// }
    /// ```
    ///
    /// That denial holds only where no other policy allows what it leaves out.
    CANNOT_EXPRESS = "NP0601" "cannot-express" Error;

    /// # Two objects of one name
    ///
    /// Where a policy becomes several NetworkPolicies, their names are made from its own. One of
    /// them is the name of another policy's object; the last one written would win, in silence.
    NAME_COLLISION = "NP0603" "name-collision" Error;

    /// # The namespaces of the cluster are needed
    ///
    /// A plain NetworkPolicy stands in one namespace. Where a policy is for namespaces that are not
    /// fixed by name, or speaks of a namespace's labels, the compiler has to know the cluster:
    /// `--cluster FILE` takes what `kubectl get namespaces -o yaml` prints.
    ///
    /// ```np fails target=networkpolicy
    /// policy p for all pods in namespaces { env = prod } { isolate ingress }
    /// ```
    ///
    /// ```np target=networkpolicy
    /// policy p for all pods in namespaces (shop, payments) { isolate ingress }
    /// ```
    NEEDS_CLUSTER = "NP0604" "needs-cluster" Error;

    /// # An audit policy is left out
    ///
    /// A policy with `audit` decides nothing; what it would have decided is reported where a target
    /// can. NetworkPolicies cannot, so it is left out of them.
    ///
    /// ```np fails target=kyverno
    /// audit policy trial for all pods in namespace shop { isolate egress }
    /// ```
    ///
    /// In force:
    ///
    /// ```np target=kyverno
    /// policy trial for all pods in namespace shop { isolate egress }
    /// ```
    AUDIT_LEFT_OUT = "NP0605" "audit-left-out" Note;
}

/// A target.
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

    /// As on the command line.
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

    /// The target of that name.
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

/// The diagnostic for a construct that a target cannot say, with those that can.
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
    let can = if names.len() == 1 { "the target that can is" } else { "the targets that can are" };
    diagnostic.note(format!("{can} {list}"))
}
