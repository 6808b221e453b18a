//! Verdicts, and what they rest on.

/// What a program says of a connection, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed: a pod reaches itself.
    Itself,
    /// Allowed: the node that a pod runs on reaches it.
    Node,
    /// Each side decides.
    Decided {
        /// What the source's side says of its egress.
        egress: Decision,
        /// What the destination's side says of its ingress.
        ingress: Decision,
    },
}

/// What one side says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed: an address outside the cluster decides nothing.
    Outside,
    /// Allowed: no policy selects a node, or a pod on its node's network.
    HostNetwork,
    /// A rule decides.
    Rule {
        /// Its policy, by its place in the program.
        policy: usize,
        /// Its place in the policy.
        rule: usize,
        /// Whether it allows the connection.
        allowed: bool,
    },
    /// Denied: these plain policies, by their places in the program, isolate the pod in this
    /// direction, and no rule of theirs matches.
    Isolated {
        /// The policies.
        policies: Vec<usize>,
    },
    /// Allowed: nothing says anything of it.
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

    /// Which sides deny it: (egress, ingress).
    #[must_use]
    pub const fn denied(&self) -> (bool, bool) {
        match self {
            Self::Itself | Self::Node => (false, false),
            Self::Decided { egress, ingress } => (!egress.allowed(), !ingress.allowed()),
        }
    }
}

impl Decision {
    pub(crate) const fn by_rule(policy: usize, rule: usize, allowed: bool) -> Self {
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
