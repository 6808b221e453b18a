//! The interpreter: computes the verdict of a program for a connection, as `docs/language.md` defines it
//! under "Policies".
//!
//! This is the reference implementation. It follows that section sentence by sentence and is not optimised.
//! Faster implementations are tested against it.

use npc_cluster::{NamedPort, Namespace};
use npc_program::values::address::Block;
use npc_program::{Peer, PodTerm, Policy, Program, Rule, Scope, ScopeBase};
use npc_vocabulary::{
    Action, Connection, Decision, Direction, Endpoint, Port, Route, Tier, Traffic, Verdict, Which,
};

/// The verdict of a program for a connection.
#[must_use]
pub fn verdict(program: &Program, connection: &Connection<'_>) -> Verdict {
    judge(connection, |direction, subject, peer| decide(program, direction, subject, peer, connection))
}

/// Computes the verdict from the decisions of both sides.
pub(crate) fn judge(
    connection: &Connection<'_>,
    decide: impl Fn(Direction, &Endpoint<'_>, &Endpoint<'_>) -> Decision,
) -> Verdict {
    let Connection { source, destination, .. } = connection;
    // A connection of a pod to itself is always allowed, except through a Service. So is a connection to a
    // pod from the node that it runs on.
    if source.is_same_pod(destination) && matches!(connection.route, Route::Direct) {
        return Verdict::Itself;
    }
    if let (Some(address), Endpoint::Pod { pod, .. }) = (source.address(), destination)
        && pod.node_addresses.contains(&address)
    {
        return Verdict::Node;
    }
    // It is allowed when the source's egress decision and the destination's ingress decision both
    // allow it.
    Verdict::Decided {
        egress: decide(Direction::Egress, source, destination),
        // If a node masquerades the source, the destination decides about the node's address.
        ingress: decide(Direction::Ingress, destination, connection.seen_source()),
    }
}

/// The decision of the policies of `subject` in one direction, for a connection with `peer`.
fn decide(
    program: &Program,
    direction: Direction,
    subject: &Endpoint<'_>,
    peer: &Endpoint<'_>,
    connection: &Connection<'_>,
) -> Decision {
    match subject {
        // An address outside the cluster has no policies.
        Endpoint::Outside(_) => return Decision::Outside,
        // No policy selects a node or a host-network pod.
        Endpoint::Node { .. } => return Decision::HostNetwork,
        Endpoint::Pod { pod, .. } if pod.host_network => return Decision::HostNetwork,
        Endpoint::Pod { .. } => {}
    }
    let rule_matches = |rule: &Rule| rule.direction == direction && matches(rule, subject, peer, connection);

    // 1. Admin policies.
    match first_match(program, Tier::Admin, subject, &rule_matches) {
        Some((policy, rule, Action::Allow)) => return Decision::by_rule(policy, rule, true),
        Some((policy, rule, Action::Deny)) => return Decision::by_rule(policy, rule, false),
        // `pass` continues with step 2.
        Some((_, _, Action::Pass)) | None => {}
    }
    // 2. Plain policies: those that select the pod and cover this direction isolate it.
    let mut isolating = Vec::new();
    for (index, policy) in policies(program, Tier::Namespaced, subject) {
        if !policy.covers(direction) {
            continue;
        }
        if let Some(rule) = policy.rules.iter().position(rule_matches) {
            return Decision::by_rule(index, rule, true);
        }
        isolating.push(index);
    }
    if !isolating.is_empty() {
        return Decision::Isolated { policies: isolating };
    }
    // 3. Baseline policies.
    match first_match(program, Tier::Baseline, subject, &rule_matches) {
        Some((policy, rule, action)) => Decision::by_rule(policy, rule, action == Action::Allow),
        // If nothing matches, the connection is allowed.
        None => Decision::Default,
    }
}

/// The policies of a tier that select the pod, by priority, then by the order in the program.
fn policies<'p>(program: &'p Program, tier: Tier, subject: &Endpoint<'_>) -> Vec<(usize, &'p Policy)> {
    let mut policies: Vec<(usize, &Policy)> = program
        // Audit policies decide nothing.
        .deciding()
        .filter(|(_, policy)| policy.tier == tier)
        .filter(|(_, policy)| policy.subjects.iter().any(|term| selects(term, subject, subject)))
        .collect();
    policies.sort_by_key(|(_, policy)| policy.priority);
    policies
}

/// The first matching rule of a tier: the index of its policy, its index in the policy, and its action.
fn first_match(
    program: &Program,
    tier: Tier,
    subject: &Endpoint<'_>,
    rule_matches: &impl Fn(&Rule) -> bool,
) -> Option<(usize, usize, Action)> {
    policies(program, tier, subject).into_iter().find_map(|(index, policy)| {
        let (rule, found) = policy.rules.iter().enumerate().find(|(_, rule)| rule_matches(rule))?;
        Some((index, rule, found.action))
    })
}

/// Whether a rule matches a connection, given that its policy selects the subject: the source for egress, the
/// destination for ingress.
#[must_use]
pub fn rule_matches(rule: &Rule, connection: &Connection<'_>) -> bool {
    let (subject, peer) = match rule.direction {
        Direction::Egress => (&connection.source, &connection.destination),
        Direction::Ingress => (&connection.destination, connection.seen_source()),
    };
    matches(rule, subject, peer, connection)
}

/// Whether a rule matches, given that its policy selects `subject`.
pub(crate) fn matches(
    rule: &Rule,
    subject: &Endpoint<'_>,
    peer: &Endpoint<'_>,
    connection: &Connection<'_>,
) -> bool {
    rule.peers.iter().any(|term| is_peer(term, subject, peer)) && ports_match(rule, connection)
}

/// Whether a peer term matches the endpoint `peer`, as seen from `subject`.
pub(crate) fn is_peer(term: &Peer, subject: &Endpoint<'_>, peer: &Endpoint<'_>) -> bool {
    match term {
        Peer::Anywhere { except, .. } => !except.iter().any(|block| in_block(block, peer)),
        // A CIDR matches by address, whether or not a pod has it.
        Peer::Block(term) => in_block(&term.block, peer),
        Peer::Pods(term) => selects(term, subject, peer),
    }
}

/// Whether a rule's ports match. A rule without `on` matches every IP protocol; with `on`, only the ports
/// named.
pub(crate) fn ports_match(rule: &Rule, connection: &Connection<'_>) -> bool {
    rule.ports.is_empty() || rule.ports.iter().any(|term| port_matches(&term.port, connection))
}

fn port_matches(port: &Port, connection: &Connection<'_>) -> bool {
    let Traffic::Port(protocol, number) = connection.traffic else { return false };
    port.protocol == protocol
        && match &port.which {
            Which::All => true,
            Which::Range(first, last) => (*first..=*last).contains(&number),
            // The port must be a container port of the destination pod with this name and protocol.
            Which::Named(name) => connection.destination.selectable().is_some_and(|(pod, _)| {
                let is_it =
                    |own: &NamedPort| *own.name == **name && own.protocol == protocol && own.port == number;
                pod.ports.iter().any(is_it)
            }),
        }
}

/// Whether the term selects the endpoint: a pod with these labels, in this scope as seen from `subject`. No
/// selector matches a host-network pod.
pub(crate) fn selects(term: &PodTerm, subject: &Endpoint<'_>, endpoint: &Endpoint<'_>) -> bool {
    let Some((pod, _)) = endpoint.selectable() else { return false };
    term.selector.matches(|key| pod.labels.get(key).map(String::as_str))
        && in_scope(&term.scope, subject, endpoint)
}

fn in_scope(scope: &Scope, subject: &Endpoint<'_>, endpoint: &Endpoint<'_>) -> bool {
    let (Endpoint::Pod { namespace: own, .. }, Endpoint::Pod { namespace, .. }) = (subject, endpoint) else {
        return false;
    };
    related(scope, own, namespace)
        && scope.holds(&namespace.name, |key| namespace.labels.get(key).map(String::as_str))
}

/// Whether two namespaces, the subject's and another, have the relation that a scope requires.
pub(crate) fn related(scope: &Scope, own: &Namespace, other: &Namespace) -> bool {
    match &scope.base {
        ScopeBase::Same => own.name == other.name,
        // Both have all of the labels, with the same values.
        ScopeBase::Sharing(keys) => keys.iter().all(|key| {
            let value = own.labels.get(&**key);
            value.is_some() && value == other.labels.get(&**key)
        }),
        ScopeBase::All | ScopeBase::Names(_) | ScopeBase::Labels(_) => true,
    }
}

/// Whether the endpoint's address is in the CIDR. An `except` applies to its own CIDR only.
fn in_block(block: &Block, endpoint: &Endpoint<'_>) -> bool {
    match endpoint.address() {
        Some(address) => block.contains(&address),
        None => block.net.prefix_len() == 0,
    }
}
