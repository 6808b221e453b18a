//! The list of targets: the only file that names all of them.

use crate::target::{AnyTarget, Capabilities};

impl AnyTarget {
    /// Kyverno's ClusterPolicy, `kyverno.io/v1`.
    pub const KYVERNO: Self = Self::new(&crate::kyverno::ClusterPolicies);
    /// Kyverno's GeneratingPolicy, `policies.kyverno.io/v1`.
    pub const KYVERNO_CEL: Self = Self::new(&crate::kyverno_cel::GeneratingPolicies);
    /// Kubernetes' NetworkPolicy, `networking.k8s.io/v1`.
    pub const NETWORK_POLICY: Self = Self::new(&crate::networkpolicy::NetworkPolicies);
    /// Kubernetes' ClusterNetworkPolicy, `policy.networking.k8s.io/v1alpha2`.
    pub const CLUSTER_NETWORK_POLICY: Self =
        Self::new(&crate::cluster_network_policy::ClusterNetworkPolicies);
    /// The map image of the node runtime.
    pub const EBPF: Self = Self::new(&crate::ebpf::MapImage);

    /// Every target. Where several fit, the first is the default.
    pub const ALL: [Self; 5] =
        [Self::KYVERNO, Self::KYVERNO_CEL, Self::NETWORK_POLICY, Self::CLUSTER_NETWORK_POLICY, Self::EBPF];

    /// The target with a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// The targets with some capabilities.
    pub fn with(condition: impl Fn(Capabilities) -> bool) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |target| condition(target.capabilities()))
    }
}
