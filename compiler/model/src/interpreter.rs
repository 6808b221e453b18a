//! The meaning of a program, as `docs/language.md` states it under "Meaning".
//!
//! This is the reference: written to be read beside that page, sentence by sentence, and not to be
//! fast. Whatever answers faster is tested against it.

use npc_cluster::{NamedPort, Namespace};
use npc_program::values::address::Block;
use npc_program::values::port::{Port, Which};
use npc_program::{Action, Direction, Peer, PodTerm, Policy, Program, Rule, Scope, ScopeBase, Tier};

use crate::connection::{Connection, Endpoint, Route, Traffic};
use crate::verdict::{Decision, Verdict};

/// The verdict of a program on a connection.
#[must_use]
pub fn verdict(program: &Program, connection: &Connection<'_>) -> Verdict {
    judge(connection, |direction, subject, peer| decide(program, direction, subject, peer, connection))
}

/// The verdict, from the decision of each side.
pub(crate) fn judge(
    connection: &Connection<'_>,
    decide: impl Fn(Direction, &Endpoint<'_>, &Endpoint<'_>) -> Decision,
) -> Verdict {
    let Connection { source, destination, .. } = connection;
    // A pod reaches itself, but not through a Service; the node that a pod runs on reaches it.
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
        // Where a node puts its own address in place of the source's, the destination decides on that.
        ingress: decide(Direction::Ingress, destination, connection.seen_source()),
    }
}

/// One decision, for one pod in one direction: what `subject` does about `peer`.
fn decide(
    program: &Program,
    direction: Direction,
    subject: &Endpoint<'_>,
    peer: &Endpoint<'_>,
    connection: &Connection<'_>,
) -> Decision {
    match subject {
        // An address outside the cluster decides nothing.
        Endpoint::Outside(_) => return Decision::Outside,
        // Nodes, and pods on their node's network, are never subjects.
        Endpoint::Node { .. } => return Decision::HostNetwork,
        Endpoint::Pod { pod, .. } if pod.host_network => return Decision::HostNetwork,
        Endpoint::Pod { .. } => {}
    }
    let rule_matches = |rule: &Rule| rule.direction == direction && matches(rule, subject, peer, connection);

    // 1. Admin policies.
    match first_match(program, Tier::Admin, subject, &rule_matches) {
        Some((policy, rule, Action::Allow)) => return Decision::by_rule(policy, rule, true),
        Some((policy, rule, Action::Deny)) => return Decision::by_rule(policy, rule, false),
        // `pass` goes on to 2.
        Some((_, _, Action::Pass)) | None => {}
    }
    // 2. Policies: those that select the pod and say anything of this direction isolate it.
    let mut isolating = Vec::new();
    for (index, policy) in policies(program, Tier::Namespaced, subject) {
        if !policy.speaks_of(direction) {
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
        // If nothing matches: allow.
        None => Decision::Default,
    }
}

/// The policies of a tier that select the pod, by priority, and by their order where that is the same.
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

/// Of a tier in which the first rule that matches decides: that rule.
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

/// Whether a rule matches a connection, of a policy that selects the subject of its direction.
#[must_use]
pub fn rule_matches(rule: &Rule, connection: &Connection<'_>) -> bool {
    let (subject, peer) = match rule.direction {
        Direction::Egress => (&connection.source, &connection.destination),
        Direction::Ingress => (&connection.destination, connection.seen_source()),
    };
    matches(rule, subject, peer, connection)
}

/// Whether a rule of a policy that selects `subject` matches.
pub(crate) fn matches(
    rule: &Rule,
    subject: &Endpoint<'_>,
    peer: &Endpoint<'_>,
    connection: &Connection<'_>,
) -> bool {
    rule.peers.iter().any(|term| is_peer(term, subject, peer)) && ports_match(rule, connection)
}

/// Whether an endpoint is among the peers that a term names, for this subject.
pub(crate) fn is_peer(term: &Peer, subject: &Endpoint<'_>, peer: &Endpoint<'_>) -> bool {
    match term {
        Peer::Anywhere { except, .. } => !except.iter().any(|block| in_block(block, peer)),
        // A CIDR matches by address, whether or not a pod has it.
        Peer::Block(term) => in_block(&term.block, peer),
        Peer::Pods(term) => selects(term, subject, peer),
    }
}

/// A rule without `on` matches every IP protocol; with `on`, only the ports named.
pub(crate) fn ports_match(rule: &Rule, connection: &Connection<'_>) -> bool {
    rule.ports.is_empty() || rule.ports.iter().any(|term| port_matches(&term.port, connection))
}

fn port_matches(port: &Port, connection: &Connection<'_>) -> bool {
    let Traffic::Port(protocol, number) = connection.traffic else { return false };
    port.protocol == protocol
        && match &port.which {
            Which::All => true,
            Which::Range(first, last) => (*first..=*last).contains(&number),
            // The destination pod's own container port of that name and protocol.
            Which::Named(name) => connection.destination.selectable().is_some_and(|(pod, _)| {
                let is_it =
                    |own: &NamedPort| *own.name == **name && own.protocol == protocol && own.port == number;
                pod.ports.iter().any(is_it)
            }),
        }
}

/// Whether the term selects the endpoint: a pod with these labels, in this scope as seen from
/// `subject`. No selector matches a pod on its node's network.
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

/// What a scope asks of two namespaces together: that of its subject, and another.
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

/// Whether the endpoint's address is in the block. An `except` takes away from its own block only.
fn in_block(block: &Block, endpoint: &Endpoint<'_>) -> bool {
    match endpoint.address() {
        Some(address) => block.contains(&address),
        None => block.net.prefix_len() == 0,
    }
}
