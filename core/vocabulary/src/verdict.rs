//! Verdicts and their reasons.

use crate::Direction;

/// The verdict of a program or of a map image for a connection, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed: a pod connects to itself.
    Itself,
    /// Allowed: the source is the node that the destination runs on.
    Node,
    /// Both sides decide.
    Decided {
        /// The source's decision for egress.
        egress: Decision,
        /// The destination's decision for ingress.
        ingress: Decision,
    },
}

/// The decision of one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed: this side is an address outside the cluster, which has no policies.
    Outside,
    /// Allowed: this side is a node or a host-network pod, which no policy selects.
    HostNetwork,
    /// A rule decides.
    Rule {
        /// The index of its policy in the program or image.
        policy: usize,
        /// Its index in the policy.
        rule: usize,
        /// Whether it allows the connection.
        allowed: bool,
    },
    /// Denied: these plain policies isolate the pod in this direction, and none of their rules matches.
    Isolated {
        /// The policies, as indices of the program or image.
        policies: Vec<usize>,
    },
    /// Allowed by default: no plain policy isolates the pod in this direction, and no other rule decides.
    Default,
}

impl Verdict {
    /// Whether the connection is allowed.
    #[must_use]
    pub const fn allowed(&self) -> bool {
        match self {
            Self::Itself | Self::Node => true,
            Self::Decided { egress, ingress } => egress.allowed() && ingress.allowed(),
        }
    }

    /// Whether the side of a direction denies it.
    #[must_use]
    pub const fn denied_in(&self, direction: Direction) -> bool {
        let (egress, ingress) = self.denied();
        match direction {
            Direction::Egress => egress,
            Direction::Ingress => ingress,
        }
    }

    /// Whether each side denies it: (egress, ingress).
    #[must_use]
    pub const fn denied(&self) -> (bool, bool) {
        match self {
            Self::Itself | Self::Node => (false, false),
            Self::Decided { egress, ingress } => (!egress.allowed(), !ingress.allowed()),
        }
    }
}

impl Decision {
    /// The decision by a rule.
    #[must_use]
    pub const fn by_rule(policy: usize, rule: usize, allowed: bool) -> Self {
        Self::Rule { policy, rule, allowed }
    }

    /// Whether this side allows it.
    #[must_use]
    pub const fn allowed(&self) -> bool {
        match self {
            Self::Outside | Self::HostNetwork | Self::Default => true,
            Self::Rule { allowed, .. } => *allowed,
            Self::Isolated { .. } => false,
        }
    }
}
