//! Explains a denied connection: finds the rule that is nearest to allowing it, and the conditions that fail.

use std::fmt;
use std::sync::Arc;

use npc_program::{Peer, PodTerm, Policy, Requirement, Rule, ScopeBase};
use npc_vocabulary::{Action, Connection, Direction, Endpoint, Operator, Port, Tier, Traffic, Which};

use crate::interpreter::{is_peer, matches, ports_match, selects};

/// A rule that does not match the connection, and the conditions that fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nearest<'a> {
    /// The index of its policy in the program.
    pub policy: usize,
    /// Its index in the policy.
    pub rule: usize,
    /// The conditions that fail: those of the peer, then those of the port. Never empty.
    pub unmet: Vec<UnmetCondition<'a>>,
}

/// A condition of a rule that the connection does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnmetCondition<'a> {
    /// A label of the peer: the requirement, and the value that the pod has.
    Label(&'a Requirement, Option<&'a str>),
    /// A label of the peer's namespace: the requirement, and the value that the namespace has.
    NamespaceLabel(&'a Requirement, Option<&'a str>),
    /// The scope does not contain the peer's namespace, whose name this is.
    Namespace(&'a str),
    /// The peer must be in the subject's own namespace, and is in this one.
    SameNamespace(&'a str),
    /// The two namespaces do not have the same value of this label.
    Shared(&'a str),
    /// The rule selects pods, and the peer is an address outside the cluster.
    NoPod,
    /// The rule selects pods, and the peer is a node or a host-network pod, which no selector matches.
    OnHost,
    /// The peer's address is not in the CIDRs that the rule names.
    Address,
    /// The rule does not cover the connection's port.
    Port,
    /// The destination's port of this name has another number, or does not exist.
    PortName(&'a Port),
}

impl fmt::Display for UnmetCondition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn label(
            f: &mut fmt::Formatter<'_>,
            whose: &str,
            asked: &Requirement,
            has: Option<&str>,
        ) -> fmt::Result {
            let has = match has {
                Some("") => "has an empty value".to_owned(),
                Some(value) => format!("has `{value}`"),
                None => "does not have it".to_owned(),
            };
            write!(f, "the rule requires a {whose} with {}; this {whose} {has}", Asked(asked))
        }
        match self {
            Self::Label(asked, has) => label(f, "pod", asked, *has),
            Self::NamespaceLabel(asked, has) => label(f, "namespace", asked, *has),
            Self::Namespace(has) => write!(f, "the rule does not cover the namespace `{has}`"),
            Self::SameNamespace(has) => write!(f, "the rule covers only the policy's namespace, not `{has}`"),
            Self::Shared(key) => write!(f, "the namespaces do not have the same value of the label `{key}`"),
            Self::NoPod => f.write_str("the rule selects pods, and this is an address outside the cluster"),
            Self::OnHost => f.write_str(
                "no selector matches a node or a pod on its node's network: allow the node's address",
            ),
            Self::Address => f.write_str("the rule does not name this address"),
            Self::Port => f.write_str("the rule does not cover this port or protocol"),
            Self::PortName(port) => write!(f, "the destination has no port `{port}` with this number"),
        }
    }
}

struct Asked<'a>(&'a Requirement);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requirement { key, operator, values } = self.0;
        let values = values.join("` or `");
        match operator {
            Operator::In => write!(f, "the label `{key}` = `{values}`"),
            Operator::NotIn => write!(f, "a label `{key}` other than `{values}`"),
            Operator::Exists => write!(f, "the label `{key}`"),
            Operator::DoesNotExist => write!(f, "no label `{key}`"),
        }
    }
}

/// Finds the rule that is nearest to allowing the connection: the `allow` rule of these plain policies for
/// which the fewest conditions fail.
#[must_use]
pub fn nearest<'a>(
    policies: impl Iterator<Item = (usize, &'a Policy)>,
    direction: Direction,
    connection: &Connection<'a>,
) -> Option<Nearest<'a>> {
    let (subject, peer) = match direction {
        Direction::Egress => (&connection.source, &connection.destination),
        Direction::Ingress => (&connection.destination, connection.seen_source()),
    };
    let mut best: Option<Nearest<'a>> = None;
    for (index, policy) in policies {
        debug_assert!(policy.tier == Tier::Namespaced);
        for (at, rule) in policy.rules.iter().enumerate() {
            if rule.direction != direction || rule.action != Action::Allow {
                continue;
            }
            let unmet = unmet(rule, subject, peer, connection);
            if !unmet.is_empty() && best.as_ref().is_none_or(|best| unmet.len() < best.unmet.len()) {
                // No rule can be nearer: at least one condition fails.
                if unmet.len() == 1 {
                    return Some(Nearest { policy: index, rule: at, unmet });
                }
                best = Some(Nearest { policy: index, rule: at, unmet });
            }
        }
    }
    best
}

fn unmet<'a>(
    rule: &'a Rule,
    subject: &Endpoint<'a>,
    peer: &Endpoint<'a>,
    connection: &Connection<'_>,
) -> Vec<UnmetCondition<'a>> {
    debug_assert!(!matches(rule, subject, peer, connection));
    let mut unmet = Vec::new();
    if !rule.peers.iter().any(|term| is_peer(term, subject, peer)) {
        let ways = rule.peers.iter().map(|term| peer_lacks(term, subject, peer));
        unmet.extend(ways.min_by_key(Vec::len).unwrap_or_default());
    }
    if !ports_match(rule, connection) {
        unmet.push(port_lack(rule, connection));
    }
    unmet
}

fn peer_lacks<'a>(term: &'a Peer, subject: &Endpoint<'a>, peer: &Endpoint<'a>) -> Vec<UnmetCondition<'a>> {
    match term {
        Peer::Anywhere { .. } | Peer::Block(_) => vec![UnmetCondition::Address],
        Peer::Pods(term) => pod_lacks(term, subject, peer),
    }
}

fn pod_lacks<'a>(term: &'a PodTerm, subject: &Endpoint<'a>, peer: &Endpoint<'a>) -> Vec<UnmetCondition<'a>> {
    debug_assert!(!selects(term, subject, peer));
    let Some((pod, namespace)) = peer.selectable() else {
        return vec![if matches!(peer, Endpoint::Outside(_)) {
            UnmetCondition::NoPod
        } else {
            UnmetCondition::OnHost
        }];
    };
    let mut unmet: Vec<UnmetCondition<'a>> = Vec::new();
    for requirement in &term.selector.requirements {
        let value = pod.labels.get(&*requirement.key).map(String::as_str);
        if !requirement.matches(value) {
            unmet.push(UnmetCondition::Label(requirement, value));
        }
    }
    let label = |key: &str| namespace.labels.get(key).map(String::as_str);
    let own = match subject {
        Endpoint::Pod { namespace, .. } => Some(*namespace),
        Endpoint::Node { .. } | Endpoint::Outside(_) => None,
    };
    let before = unmet.len();
    match &term.scope.base {
        ScopeBase::Labels(selector) => {
            unmet.extend(
                selector
                    .requirements
                    .iter()
                    .filter(|requirement| !requirement.matches(label(&requirement.key)))
                    .map(|requirement| UnmetCondition::NamespaceLabel(requirement, label(&requirement.key))),
            );
        }
        ScopeBase::Same if own.is_none_or(|own| own.name != namespace.name) => {
            unmet.push(UnmetCondition::SameNamespace(&namespace.name));
        }
        ScopeBase::Sharing(keys) => {
            let same = |key: &&Arc<str>| {
                let value = own.and_then(|own| own.labels.get(&***key));
                value.is_none() || value.map(String::as_str) != label(key)
            };
            unmet.extend(keys.iter().filter(same).map(|key| UnmetCondition::Shared(key)));
        }
        ScopeBase::All | ScopeBase::Names(_) | ScopeBase::Same => {}
    }
    if unmet.len() == before && !term.scope.holds(&namespace.name, label) {
        unmet.push(UnmetCondition::Namespace(&namespace.name));
    }
    unmet
}

fn port_lack<'a>(rule: &'a Rule, connection: &Connection<'_>) -> UnmetCondition<'a> {
    let Traffic::Port(protocol, _) = connection.traffic else { return UnmetCondition::Port };
    match rule.ports.as_slice() {
        [only] if matches!(only.port.which, Which::Named(_)) && only.port.protocol == protocol => {
            UnmetCondition::PortName(&only.port)
        }
        _ => UnmetCondition::Port,
    }
}
