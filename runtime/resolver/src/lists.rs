//! Decision lists: what rules that name a peer say of each port.

use npc_image::{Action, Policy, Protocol, Rule, Tier};

use crate::reason::{Reason, Reasons};

/// Ports that no rule tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// Protocols without ports.
    Other,
    /// A class of ports in the image.
    Class(u32),
    /// One port that pods name, and the class that it would be of otherwise.
    Named { class: u32, protocol: Protocol, port: u16 },
}

/// What a decision list is made of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ListKey {
    /// The node reaches its pods.
    Node,
    /// Rules.
    Rules {
        /// Those that name the peer, in the order in which they are asked.
        rules: Box<[u32]>,
        /// The first plain policy that isolates the subject, without and with audit policies.
        isolating: [Option<u32>; 2],
        /// Whether the address may be translated to another, for which the policies decide.
        deferred: bool,
        /// The ports that the destination names, where a rule asks for them.
        ports: Box<[(Protocol, u32, u16)]>,
    },
}

/// A decision, as it stands in a list: in its lower half what is in force, in its upper half what would
/// be if audit policies were in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision(pub u64);

impl Decision {
    /// The connection is allowed.
    pub const ALLOW: u32 = 1 << 31;
    /// It is to be reported.
    pub const LOG: u32 = 1 << 30;
    /// The other half differs: audit policies would decide otherwise.
    pub const AUDIT: u32 = 1 << 29;
    /// The address may stand for pods that it is translated to: what is denied here is decided at delivery.
    pub const DEFER: u32 = 1 << 28;
    /// The number of the reason.
    pub const REASON: u32 = Self::DEFER - 1;

    /// What is in force.
    #[must_use]
    pub const fn enforced(self) -> u32 {
        self.0 as u32
    }

    /// What would be if audit policies were in force.
    #[must_use]
    pub const fn audited(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Whether the connection is allowed.
    #[must_use]
    pub const fn allows(self) -> bool {
        self.enforced() & Self::ALLOW != 0
    }
}

/// The decision of a list. `rule` gives a rule and its policy, where it is for the ports that are asked
/// for.
pub(crate) fn decide<'i>(
    key: &ListKey,
    reasons: &Reasons,
    rule: impl Fn(u32, &[(Protocol, u32, u16)]) -> Option<(Option<&'i Policy>, &'i Rule)>,
) -> u64 {
    let ListKey::Rules { rules, isolating, deferred, ports } = key else {
        let node = u64::from(Decision::ALLOW | reasons.number(Reason::Node));
        return node | node << 32;
    };
    let of = |isolating: Option<u32>, with_audit: bool| {
        let isolated = isolating.map(|policy| reasons.number(Reason::Isolated { policy }));
        let mut passed = false;
        for number in rules {
            let Some((Some(policy), rule)) = rule(*number, ports) else { continue };
            if policy.audit && !with_audit {
                continue;
            }
            match (policy.tier, rule.action) {
                (Tier::Admin, _) if passed => continue,
                (Tier::Admin, Action::Pass) => {
                    passed = true;
                    continue;
                }
                // No plain policy allows it.
                (Tier::Baseline, _) if isolated.is_some() => break,
                _ => {}
            }
            let allow = if rule.action == Action::Allow { Decision::ALLOW } else { 0 };
            let log = if rule.log { Decision::LOG } else { 0 };
            return allow | log | (number + Reasons::RULES);
        }
        isolated.unwrap_or_else(|| Decision::ALLOW | reasons.number(Reason::Default))
    };
    let [without, with] = *isolating;
    let (enforced, audited) = (of(without, false), of(with, true));
    let differs = if enforced & Decision::ALLOW == audited & Decision::ALLOW { 0 } else { Decision::AUDIT };
    let deferred = if *deferred { Decision::DEFER } else { 0 };
    u64::from(enforced | differs | deferred) | u64::from(audited) << 32
}
