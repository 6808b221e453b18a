//! Numbers for the reasons of decisions.

use npc_image::Image;

/// The reason why a connection is allowed or denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Allowed by default: no policy decides.
    Default,
    /// Always allowed: the peer is the pod's own node.
    Node,
    /// A rule matched.
    Rule {
        /// The index of its policy.
        policy: u32,
        /// The index of the rule in that policy.
        rule: u32,
    },
    /// Plain policies isolate the pod, and none of their rules matches.
    Isolated {
        /// The index of the first such policy.
        policy: u32,
    },
}

/// Maps the reasons of an image to numbers: 0 is `Default`, 1 is `Node`, then follow one number for each
/// rule, and one for each policy (`Isolated`).
#[derive(Debug)]
pub struct Reasons {
    /// The number of each policy's first rule.
    first: Vec<u32>,
    rules: u32,
}

impl Reasons {
    pub(crate) const RULES: u32 = 2;

    /// Numbers the reasons of an image.
    #[must_use]
    pub fn new(image: &Image) -> Self {
        let mut rules = 0;
        let first = image.policies.iter().map(|policy| {
            let first = Self::RULES + rules;
            rules += u32::try_from(policy.rules.len()).unwrap_or(u32::MAX);
            first
        });
        let first = first.collect();
        Self { first, rules }
    }

    /// The number of reasons.
    #[must_use]
    pub fn count(&self) -> u32 {
        Self::RULES + self.rules + u32::try_from(self.first.len()).unwrap_or(u32::MAX)
    }

    /// Returns the number of a reason.
    #[must_use]
    pub fn number(&self, reason: Reason) -> u32 {
        match reason {
            Reason::Default => 0,
            Reason::Node => 1,
            Reason::Rule { policy, rule } => self.first.get(policy as usize).map_or(0, |first| first + rule),
            Reason::Isolated { policy } => Self::RULES + self.rules + policy,
        }
    }

    /// Returns the reason with a number.
    #[must_use]
    pub fn reason(&self, number: u32) -> Reason {
        match number {
            0 => Reason::Default,
            1 => Reason::Node,
            _ if number >= Self::RULES + self.rules => {
                Reason::Isolated { policy: number - Self::RULES - self.rules }
            }
            _ => {
                // The last policy whose first rule is at or before the number. A policy without rules has the
                // same first number as the next one, so that it is never the last.
                let policy = self.first.partition_point(|first| *first <= number).saturating_sub(1);
                let first = self.first.get(policy).copied().unwrap_or(number);
                Reason::Rule { policy: u32::try_from(policy).unwrap_or(0), rule: number - first }
            }
        }
    }
}
