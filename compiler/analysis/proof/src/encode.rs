//! Encodes programs as formulas: the decision of each side of a connection.
//!
//! This mirrors the interpreter of `npc-model`, with a formula in place of each Boolean.

use npc_program::{Peer, PodTerm, Policy, Program, Rule, Scope, ScopeBase};
use npc_vocabulary::{Action, Direction, Tier};

use crate::formula::Formula;
use crate::universe::{End, Holder, Said, Universe};

/// The decisions of both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides {
    pub(crate) egress: Formula,
    pub(crate) ingress: Formula,
}

/// Encodes the decisions of some policies, without audit policies.
pub(crate) fn sides<'p>(universe: &mut Universe, policies: impl Iterator<Item = &'p Policy>) -> Sides {
    let policies: Vec<&Policy> = policies.filter(|policy| policy.audit.is_none()).collect();
    Sides {
        egress: decide(universe, &policies, Direction::Egress),
        ingress: decide(universe, &policies, Direction::Ingress),
    }
}

pub(crate) fn program(universe: &mut Universe, program: &Program) -> Sides {
    sides(universe, program.policies.iter().map(|policy| &**policy))
}

/// Which end is the subject, and which the peer.
pub(crate) const fn ends(direction: Direction) -> (End, End) {
    match direction {
        Direction::Egress => (End::Source, End::Destination),
        Direction::Ingress => (End::Destination, End::Source),
    }
}

/// Encodes the decision of one side.
fn decide(universe: &mut Universe, policies: &[&Policy], direction: Direction) -> Formula {
    let (subject, _) = ends(direction);
    let default = Formula::TRUE;
    let baseline = tier(universe, policies, Tier::Baseline, direction, default, default);
    let plain = plain(universe, policies.iter().copied(), direction);
    let namespaced = universe.formulas.choose(plain.isolated, plain.allowed, baseline);
    let admin = tier(universe, policies, Tier::Admin, direction, namespaced, namespaced);
    // Only pods that policies can select have a decision: addresses and host-network pods allow everything.
    let judged = universe.is_pod(subject);
    universe.formulas.implies(judged, admin)
}

/// The result of the plain policies in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain {
    /// Some policy isolates the pod.
    pub(crate) isolated: Formula,
    /// Some rule allows the connection.
    pub(crate) allowed: Formula,
}

/// Encodes the plain policies among `policies`.
pub(crate) fn plain<'p>(
    universe: &mut Universe,
    policies: impl Iterator<Item = &'p Policy>,
    direction: Direction,
) -> Plain {
    let (mut isolated, mut allowed) = (Vec::new(), Vec::new());
    for policy in policies {
        if policy.tier != Tier::Namespaced || policy.audit.is_some() || !policy.covers(direction) {
            continue;
        }
        for term in &policy.subjects {
            let selected = selects(universe, term, direction, true);
            isolated.push(selected);
            let rules: Vec<Formula> = policy
                .rules
                .iter()
                .filter(|rule| rule.direction == direction)
                .map(|rule| matches(universe, rule, direction))
                .collect();
            let any = universe.formulas.or(rules);
            allowed.push(universe.formulas.and([selected, any]));
        }
    }
    Plain { isolated: universe.formulas.or(isolated), allowed: universe.formulas.or(allowed) }
}

/// Encodes a tier in which the first matching rule decides. The result is `otherwise` if no rule matches, and
/// `pass` if the matching rule passes.
pub(crate) fn tier(
    universe: &mut Universe,
    policies: &[&Policy],
    tier: Tier,
    direction: Direction,
    otherwise: Formula,
    pass: Formula,
) -> Formula {
    let mut ordered: Vec<&Policy> =
        policies.iter().copied().filter(|policy| policy.tier == tier && policy.audit.is_none()).collect();
    ordered.sort_by_key(|policy| policy.priority);
    let mut result = otherwise;
    // In reverse order: each policy takes precedence over the result so far.
    for policy in ordered.into_iter().rev() {
        let subjects: Vec<Formula> =
            policy.subjects.iter().map(|term| selects(universe, term, direction, true)).collect();
        let selected = universe.formulas.or(subjects);
        let mut inner = result;
        for rule in policy.rules.iter().rev().filter(|rule| rule.direction == direction) {
            let matches = matches(universe, rule, direction);
            let then = match rule.action {
                Action::Allow => Formula::TRUE,
                Action::Deny => Formula::FALSE,
                Action::Pass => pass,
            };
            inner = universe.formulas.choose(matches, then, inner);
        }
        result = universe.formulas.choose(selected, inner, result);
    }
    result
}

/// The rule matches, for a pod that its policy selects.
pub(crate) fn matches(universe: &mut Universe, rule: &Rule, direction: Direction) -> Formula {
    let peers: Vec<Formula> = rule.peers.iter().map(|peer| self::peer(universe, peer, direction)).collect();
    let peer = universe.formulas.or(peers);
    let ports = if rule.ports.is_empty() {
        Formula::TRUE
    } else {
        let ports: Vec<Formula> = rule.ports.iter().map(|term| universe.port_is(&term.port)).collect();
        let formula = universe.formulas.or(ports);
        universe.say(formula, || Said::Ports(rule.ports.iter().map(|term| term.port.clone()).collect()));
        formula
    };
    universe.formulas.and([peer, ports])
}

/// The other end is this peer.
pub(crate) fn peer(universe: &mut Universe, peer: &Peer, direction: Direction) -> Formula {
    let (_, end) = ends(direction);
    match peer {
        Peer::Anywhere { except, .. } => {
            let taken: Vec<Formula> = except.iter().map(|block| universe.in_block(end, block)).collect();
            let formula = universe.formulas.or(taken).not();
            universe.say(formula, || Said::AllBut(end, except.clone()));
            formula
        }
        Peer::Block(term) => {
            let formula = universe.in_block(end, &term.block);
            universe.say(formula, || Said::Block(end, term.block.clone()));
            formula
        }
        Peer::Pods(term) => selects(universe, term, direction, false),
    }
}

/// The term selects the subject, or the peer.
pub(crate) fn selects(
    universe: &mut Universe,
    term: &PodTerm,
    direction: Direction,
    as_subject: bool,
) -> Formula {
    let (subject, peer) = ends(direction);
    let end = if as_subject { subject } else { peer };
    let pod = universe.is_pod(end);
    let labels = universe.selector(end, Holder::Pod, &term.selector);
    let scope = scope(universe, &term.scope, end);
    let formula = universe.formulas.and([pod, labels, scope]);
    universe.say(formula, || Said::Pods(end, term.clone()));
    formula
}

/// The namespace of an end is in the scope, as seen from the other end.
fn scope(universe: &mut Universe, scope: &Scope, end: End) -> Formula {
    let base = match &scope.base {
        ScopeBase::All => Formula::TRUE,
        ScopeBase::Names(globs) => {
            let names: Vec<Formula> = globs.iter().map(|glob| universe.name_matches(end, glob)).collect();
            universe.formulas.or(names)
        }
        ScopeBase::Labels(selector) => universe.selector(end, Holder::Namespace, selector),
        ScopeBase::Same => universe.same_namespace,
        ScopeBase::Sharing(keys) => {
            let other = universe.is_pod(end.other());
            let shared: Vec<Formula> = keys.iter().map(|key| universe.shares(key)).collect();
            let formula = universe.formulas.and(shared);
            universe.say(formula, || Said::Sharing(keys.clone()));
            universe.formulas.and([formula, other])
        }
    };
    let mut parts = vec![base];
    for glob in &scope.except_names {
        parts.push(universe.name_matches(end, glob).not());
    }
    for selector in &scope.except_labels {
        parts.push(universe.selector(end, Holder::Namespace, selector).not());
    }
    universe.formulas.and(parts)
}
