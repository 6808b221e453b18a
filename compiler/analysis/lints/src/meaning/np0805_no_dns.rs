//! Reports policies that restrict egress without allowing DNS.

use npc_diagnostics::{Applicability, Diagnostic};
use npc_program::values::label::NAMESPACE_NAME;
use npc_program::{Peer, PodTerm, Policy, Requirement, Rule, ScopeBase};
use npc_proof::Fact;
use npc_vocabulary::{Action, Direction, Operator, Protocol, Tier, Which};

use super::Overview;
use crate::portability::Origin;

npc_diagnostics::codes! {
    /// # Egress is restricted, but DNS is not allowed
    ///
    /// A policy with an egress rule isolates its pods for egress: they may send only what a rule
    /// allows. Without a rule for DNS they cannot resolve the names of their destinations.
    /// Connections then fail with a timeout that does not mention DNS. This is the most common
    /// mistake in network policies.
    ///
    /// ```np fails
    /// policy web for pods { app = web } in namespace shop {
    ///   allow egress to pods { app = db } in namespace data on tcp/5432
    /// }
    /// ```
    ///
    /// Allow DNS:
    ///
    /// ```np
    /// policy web for pods { app = web } in namespace shop {
    ///   allow egress to pods { app = db } in namespace data on tcp/5432
    ///   allow egress to pods { k8s-app = kube-dns } in namespace kube-system on udp/53, tcp/53
    /// }
    /// ```
    ///
    /// Another policy that selects the same pods may allow DNS instead, such as one for all
    /// namespaces. A policy that allows only fixed addresses is not reported, because its pods
    /// resolve no names. For pods that need no names, or whose resolver has another port, write `//
    /// npc: allow(NP0805)` above the policy.
    ///
    /// With a cluster that contains DNS pods, `npc check --cluster` checks whether each pod's
    /// policies let it reach one of them, on the port that they listen on. OpenShift's DNS pods
    /// listen on port 5353.
    NO_DNS = "NP0805" "no-dns" Warning;
}

/// The namespace of the cluster's DNS.
const NAMESPACE: &str = "kube-system";
const LABEL: (&str, &str) = ("k8s-app", "kube-dns");
/// The port of DNS, and the port on which some DNS pods listen behind a Service.
const PORTS: [u16; 2] = [53, 5353];

pub(crate) fn run(overview: &Overview<'_>, origin: Origin) -> Vec<Diagnostic> {
    overview.each(|reader, index, policy, found| {
        let Some(last) = policy.rules.iter().rfind(|rule| sends(rule)) else { return };
        if policy.tier != Tier::Namespaced
            || needs_no_names(policy)
            || allows_dns(policy)
            || policy.subjects.iter().any(|term| is_dns(term))
        {
            return;
        }
        let lacking = policy.subjects.iter().enumerate().any(|(place, subject)| {
            // Without an example pod, the lint reports nothing.
            let example = match place {
                0 => reader.first(index),
                _ => &reader.example(subject),
            };
            if example.example.is_none() {
                return false;
            }
            let others = example.policies.iter().filter(|other| **other != index);
            if !others.filter_map(|other| reader.policy(*other)).any(|other| allows_dns(other)) {
                return true;
            }
            // Several policies may together select all pods of this one.
            let others =
                reader.overlapping_term(subject, |other, policy| other != index && allows_dns(policy));
            let own = Policy { subjects: vec![subject.clone()], ..policy.clone() };
            let facts: Vec<Fact<'_>> =
                others.iter().map(|other| Fact::Selects(other, Direction::Egress)).collect();
            reader.find(&[Fact::Selects(&own, Direction::Egress)], &facts).is_some()
        });
        if lacking {
            found.push(report(policy, last, origin));
        }
    })
}

fn sends(rule: &Rule) -> bool {
    rule.direction == Direction::Egress && rule.action == Action::Allow
}

/// Whether a policy allows only fixed addresses, which need no DNS.
pub(crate) fn needs_no_names(policy: &Policy) -> bool {
    let is_fixed = |peer: &Peer| matches!(peer, Peer::Block(term) if term.block.net.prefix_len() > 0);
    policy.rules.iter().filter(|rule| sends(rule)).all(|rule| rule.peers.iter().all(is_fixed))
}

/// A rule that allows TCP but not UDP on a DNS port: it was probably written for DNS.
fn only_tcp(policy: &Policy) -> Option<&Rule> {
    policy.rules.iter().filter(|rule| sends(rule)).find(|rule| {
        let on = |protocol: Protocol| {
            rule.ports.iter().any(|term| {
                term.port.protocol == protocol
                    && matches!(term.port.which, Which::Range(first, last) if first == last && PORTS.contains(&first))
            })
        };
        on(Protocol::Tcp) && !on(Protocol::Udp)
    })
}

fn report(policy: &Policy, last: &Rule, origin: Origin) -> Diagnostic {
    let rule = format!(
        "allow egress to pods {{ {} = {} }} in namespace {NAMESPACE} on udp/53, tcp/53",
        LABEL.0, LABEL.1
    );
    let diagnostic = Diagnostic::new(
        &NO_DNS,
        format!("policy `{}` restricts egress but does not allow DNS", policy.name),
        last.location,
        "isolates the pods for egress, as every egress rule does",
    );
    if let Some(rule) = only_tcp(policy) {
        let place = rule.ports.first().map_or(rule.location, |term| term.location);
        let why = match origin {
            Origin::Manifests => "allows DNS over TCP only: `protocol` defaults to TCP",
            Origin::Program => "allows DNS over TCP only, but clients use UDP first",
        };
        let help = match origin {
            Origin::Manifests => "add `- {protocol: UDP, port: 53}`",
            Origin::Program => "add `udp/53`",
        };
        return diagnostic.label(place, why).help(help);
    }
    let peers = policy.rules.iter().filter(|rule| sends(rule)).flat_map(|rule| &rule.peers);
    let misplaced = peers.filter(|peer| is_misplaced(policy, peer)).find_map(|peer| match peer {
        Peer::Pods(term) => Some(term.location),
        Peer::Anywhere { .. } | Peer::Block(_) => None,
    });
    let diagnostic = match misplaced {
        Some(place) => diagnostic.label(
            place,
            format!("selects no DNS pod: DNS runs in namespace `{NAMESPACE}`, and a peer without a namespace means the policy's own"),
        ),
        None => diagnostic,
    };
    match origin {
        Origin::Program => diagnostic
            .help(format!("add `{rule}`"))
            .fix(Applicability::Maybe, "allow DNS", last.location.end(), format!("\n  {rule}")),
        Origin::Manifests => diagnostic.help(format!(
            "add to `egress`: `- {{to: [{{namespaceSelector: {{matchLabels: {{{NAMESPACE_NAME}: {NAMESPACE}}}}}, podSelector: {{matchLabels: {{{}: {}}}}}}}], ports: [{{protocol: UDP, port: 53}}, {{protocol: TCP, port: 53}}]}}`",
            LABEL.0, LABEL.1
        )),
    }
}

/// Whether a policy allows DNS to the pods that it selects.
fn allows_dns(policy: &Policy) -> bool {
    policy.rules.iter().any(|rule| {
        rule.direction == Direction::Egress && rule.action == Action::Allow && rule_allows_dns(policy, rule)
    })
}

/// Whether a rule may allow DNS: it covers UDP on a DNS port, with a peer that does not look for
/// the cluster's DNS in the wrong namespace; or it covers all ports, with a peer that may be a
/// resolver.
fn rule_allows_dns(policy: &Policy, rule: &Rule) -> bool {
    let on_port = rule.ports.iter().any(|term| {
        term.port.protocol == Protocol::Udp
            && match &term.port.which {
                Which::Range(first, last) => PORTS.iter().any(|port| (*first..=*last).contains(port)),
                Which::Named(_) => true,
                Which::All => false,
            }
    });
    let all_ports = rule.ports.is_empty()
        || rule.ports.iter().any(|term| term.port.protocol == Protocol::Udp && term.port.which == Which::All);
    (on_port && rule.peers.iter().any(|peer| !is_misplaced(policy, peer)))
        || (all_ports && rule.peers.iter().any(|peer| may_be_resolver(policy, peer)))
}

/// Whether a peer has the label of the cluster's DNS pods, but a scope that does not contain their
/// namespace.
fn is_misplaced(policy: &Policy, peer: &Peer) -> bool {
    let Peer::Pods(term) = peer else { return false };
    let is_label = |one: &Requirement| {
        *one.key == *LABEL.0
            && one.operator == Operator::In
            && one.values.iter().any(|value| **value == *LABEL.1)
    };
    term.selector.requirements.iter().any(is_label)
        && !may_be_resolver(policy, peer)
        && !speaks_of_dns_scope(term)
}

fn may_be_resolver(policy: &Policy, peer: &Peer) -> bool {
    match peer {
        // A resolver may have any address.
        Peer::Anywhere { .. } | Peer::Block(_) => true,
        Peer::Pods(term) => {
            let selector = &term.selector;
            let labelled = selector.matches(|key| (key == LABEL.0).then_some(LABEL.1));
            let own = || policy.subjects.iter().any(|subject| may_hold(subject));
            match &term.scope.base {
                ScopeBase::Same | ScopeBase::Sharing(_) => labelled && own(),
                _ => (labelled && may_hold(term)) || mentions_dns(term),
            }
        }
    }
}

/// Whether the scope may contain the namespace of the cluster's DNS. Labels of that namespace other
/// than its name are unknown and ignored.
fn may_hold(term: &PodTerm) -> bool {
    match &term.scope.base {
        ScopeBase::Labels(selector) => selector
            .requirements
            .iter()
            .all(|one| *one.key != *NAMESPACE_NAME || one.matches(Some(NAMESPACE))),
        _ => term.scope.holds(NAMESPACE, |key| (key == NAMESPACE_NAME).then_some(NAMESPACE)),
    }
}

/// Whether a namespace name or a label value of the term contains `dns`, such as `openshift-dns` or
/// `node-local-dns`.
fn mentions_dns(term: &PodTerm) -> bool {
    let says = |text: &str| text.contains("dns");
    speaks_of_dns_scope(term)
        || term.selector.requirements.iter().flat_map(|one| &one.values).any(|value| says(value))
}

/// Whether a namespace name or label value of the term's scope contains `dns`.
fn speaks_of_dns_scope(term: &PodTerm) -> bool {
    let says = |text: &str| text.contains("dns");
    match &term.scope.base {
        ScopeBase::Names(names) => names.iter().any(|name| says(name)),
        ScopeBase::Labels(selector) => {
            selector.requirements.iter().flat_map(|one| &one.values).any(|v| says(v))
        }
        _ => false,
    }
}

/// Whether a term selects the pods of the cluster's DNS.
fn is_dns(term: &PodTerm) -> bool {
    let labelled = term.selector.matches(|key| (key == LABEL.0).then_some(LABEL.1));
    labelled
        && term.scope.holds(NAMESPACE, |key| (key == NAMESPACE_NAME).then_some(NAMESPACE))
        && !matches!(term.scope.base, ScopeBase::Same | ScopeBase::Sharing(_))
}
