//! Why a packet is allowed or denied, as one number.

use npc_image::Image;

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No policy says anything.
    Default,
    /// The node that a pod runs on reaches it.
    Node,
    /// A rule, by the places of its policy and of itself in that policy.
    Rule {
        /// The policy.
        policy: u32,
        /// The rule.
        rule: u32,
    },
    /// The policy isolates the pod, maybe with others, and no rule of theirs matches.
    Isolated {
        /// The first such policy, by its place.
        policy: u32,
    },
}

/// The numbers of the reasons of an image: 0 and 1 for what no policy decides, then one for each rule,
/// then one for each policy that may isolate.
#[derive(Debug)]
pub struct Reasons {
    /// The number of the first rule of each policy.
    first: Vec<u32>,
    rules: u32,
}

impl Reasons {
    pub(crate) const RULES: u32 = 2;

    /// Of an image.
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

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        Self::RULES + self.rules + u32::try_from(self.first.len()).unwrap_or(u32::MAX)
    }

    /// The number of a reason.
    #[must_use]
    pub fn number(&self, reason: Reason) -> u32 {
        match reason {
            Reason::Default => 0,
            Reason::Node => 1,
            Reason::Rule { policy, rule } => self.first.get(policy as usize).map_or(0, |first| first + rule),
            Reason::Isolated { policy } => Self::RULES + self.rules + policy,
        }
    }

    /// The reason of a number.
    #[must_use]
    pub fn reason(&self, number: u32) -> Reason {
        match number {
            0 => Reason::Default,
            1 => Reason::Node,
            _ if number >= Self::RULES + self.rules => {
                Reason::Isolated { policy: number - Self::RULES - self.rules }
            }
            _ => {
                // The last policy that begins at or before it; those without rules begin where the next
                // does.
                let policy = self.first.partition_point(|first| *first <= number).saturating_sub(1);
                let first = self.first.get(policy).copied().unwrap_or(number);
                Reason::Rule { policy: u32::try_from(policy).unwrap_or(0), rule: number - first }
            }
        }
    }
}
