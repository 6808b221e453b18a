//! Decision lists: the decision for each column of ports, computed from the rules that match a peer.

use npc_image::{Policy, Rule};
use npc_vocabulary::{Action, Protocol, Tier};

use crate::reason::{Reason, Reasons};

/// A set of ports that no rule tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// Protocols that have no ports.
    Other,
    /// A port class of the image.
    Class(u32),
    /// A port that some pod names, and the port class that contains it by number.
    Named { class: u32, protocol: Protocol, port: u16 },
}

/// The inputs that determine a decision list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ListKey {
    /// The peer is the pod's own node, which is always allowed.
    Node,
    /// The peer is matched by rules.
    Rules {
        /// The rules that match the peer, in order of evaluation.
        rules: Box<[u32]>,
        /// The first plain policy that isolates the subject: without audit policies, and with them.
        isolating: [Option<u32>; 2],
        /// Whether the address may be translated, so that a denial is deferred until delivery.
        deferred: bool,
        /// The named ports of the destination as (protocol, name, port), if a rule uses a named port.
        ports: Box<[(Protocol, u32, u16)]>,
    },
}

/// A decision, as stored in a list. The lower half is enforced. The upper half is the decision that would be
/// made if audit policies were enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision(pub u64);

impl Decision {
    /// The connection is allowed.
    pub const ALLOW: u32 = 1 << 31;
    /// The connection is to be reported.
    pub const LOG: u32 = 1 << 30;
    /// Only one of the two halves allows the connection.
    pub const AUDIT: u32 = 1 << 29;
    /// The address may be translated to a pod's, so that a denial is deferred to the hook that delivers the
    /// packet.
    pub const DEFER: u32 = 1 << 28;
    /// The bits that hold the number of the [`Reason`].
    pub const REASON: u32 = Self::DEFER - 1;

    /// The enforced half.
    #[must_use]
    pub const fn enforced(self) -> u32 {
        self.0 as u32
    }

    /// The half that includes audit policies.
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

/// Computes the decision of a list for one column. `rule` returns a rule and its policy if the rule matches
/// the column; it receives the rule's number and the destination's named ports.
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
                // No plain rule has matched, and the subject is isolated: baseline policies do not apply.
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
