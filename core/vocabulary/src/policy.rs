//! The parts of a policy.

/// The tier of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Tier {
    /// Evaluated first.
    Admin = 0,
    /// Plain policies, as Kubernetes' NetworkPolicy: isolation, and allow rules that form a union.
    Namespaced = 1,
    /// Evaluated for pods that no plain policy isolates.
    Baseline = 2,
}

impl Tier {
    /// The keyword before a policy's name in the language: `admin`, `policy` or `baseline`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Namespaced => "policy",
            Self::Baseline => "baseline",
        }
    }
}

/// A direction, as seen from the pod that the policy selects. The numbers are those of the map image and of the
/// kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// From the pod.
    Egress = 0,
    /// Towards the pod.
    Ingress = 1,
}

impl Direction {
    /// The direction at the other end of the same connection.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Egress => Self::Ingress,
            Self::Ingress => Self::Egress,
        }
    }
}

/// What a rule does with a connection that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// Allows the connection. No further rule is evaluated.
    Allow = 0,
    /// Denies the connection. No further rule is evaluated.
    Deny = 1,
    /// Leaves the decision to the policies below the admin tier.
    Pass = 2,
}

/// The operators of Kubernetes' label selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Operator {
    /// The label has one of the values.
    In = 0,
    /// The label has none of the values, or is missing.
    NotIn = 1,
    /// The label is set.
    Exists = 2,
    /// The label is missing.
    DoesNotExist = 3,
}
