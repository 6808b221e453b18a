//! Pods that may send, and cannot resolve a name.

use npc_diagnostics::{Applicability, Diagnostic};
use npc_program::values::label::NAMESPACE_NAME;
use npc_program::values::port::{Protocol, Which};
use npc_program::{Action, Direction, Peer, PodTerm, Policy, Rule, ScopeBase, Tier, overlap};
use npc_proof::Fact;

use super::Overview;
use super::example::Example;

npc_diagnostics::codes! {
    /// # Egress isolated, and DNS not allowed
    ///
    /// Once a policy speaks of egress, its pods may send only what is allowed; without a rule for DNS
    /// they cannot resolve the names of what they may reach, and every connection fails with a timeout
    /// that looks like something else. It is the most common mistake there is.
    ///
    /// ```np fails
    /// policy web for pods { app = web } in namespace shop {
    ///   allow egress to pods { app = db } in namespace data on tcp/5432
    /// }
    /// ```
    ///
    /// ```np
    /// policy web for pods { app = web } in namespace shop {
    ///   allow egress to pods { app = db } in namespace data on tcp/5432
    ///   allow egress to pods { k8s-app = kube-dns } in namespace kube-system on udp/53, tcp/53
    /// }
    /// ```
    ///
    /// A policy for all namespaces that allows it everywhere does, too. Pods that use no names, or a
    /// resolver on another port, want `// npc: allow(NP0805)` above the policy.
    NO_DNS = "NP0805" "no-dns" Warning;
}

/// Where clusters have their DNS.
const NAMESPACE: &str = "kube-system";
const LABEL: (&str, &str) = ("k8s-app", "kube-dns");
/// The port of DNS, and the one that some resolvers listen on behind it.
const PORTS: [u16; 2] = [53, 5353];

pub(crate) fn run(overview: &Overview<'_>) -> Vec<Diagnostic> {
    overview.each(|index, policy, found| {
        let sends = |rule: &&Rule| rule.direction == Direction::Egress && rule.action == Action::Allow;
        let Some(last) = policy.rules.iter().rfind(sends) else { return };
        if policy.tier != Tier::Namespaced
            || allows_dns(policy)
            || policy.subjects.iter().any(|term| is_dns(term))
        {
            return;
        }
        let lacking = policy.subjects.iter().enumerate().any(|(place, subject)| {
            // Without an example nothing is said.
            let selecting = match place {
                0 => overview.first(index).example.is_some().then(|| overview.first(index).policies.clone()),
                _ => Example::of(subject, None).map(|example| overview.selecting(&example)),
            };
            let Some(selecting) = selecting else { return false };
            let others: Vec<&Policy> = selecting
                .into_iter()
                .filter(|other| *other != index)
                .filter_map(|other| overview.policy(other))
                .filter(|other| allows_dns(other))
                .collect();
            if others.is_empty() {
                return true;
            }
            // Several may share out the pods of this one.
            let others: Vec<&Policy> = overview
                .program
                .deciding()
                .filter(|(other, policy)| *other != index && allows_dns(policy))
                .map(|(_, policy)| policy)
                .filter(|policy| policy.subjects.iter().any(|other| overlap(other, subject)))
                .collect();
            let own = Policy { subjects: vec![subject.clone()], ..policy.clone() };
            let facts: Vec<Fact<'_>> =
                others.iter().map(|other| Fact::Selects(other, Direction::Egress)).collect();
            overview.find(&[Fact::Selects(&own, Direction::Egress)], &facts).is_some()
        });
        if !lacking {
            return;
        }
        let rule = format!(
            "allow egress to pods {{ {} = {} }} in namespace {NAMESPACE} on udp/53, tcp/53",
            LABEL.0, LABEL.1
        );
        let end = last.location.end();
        found.push(
            Diagnostic::new(
                &NO_DNS,
                format!("the pods of `{}` may send, and cannot ask DNS", policy.name),
                last.location,
                "isolates them, as every rule on egress does",
            )
            .help(format!("add `{rule}`"))
            .fix(Applicability::Maybe, "allow DNS", end, format!("\n  {rule}")),
        );
    })
}

/// Whether a policy allows DNS to the pods that it selects.
fn allows_dns(policy: &Policy) -> bool {
    policy.rules.iter().any(|rule| {
        rule.direction == Direction::Egress && rule.action == Action::Allow && rule_allows_dns(policy, rule)
    })
}

/// Whether a rule is for DNS: by its port, whoever it names; or it is for all ports and may name a
/// resolver.
fn rule_allows_dns(policy: &Policy, rule: &Rule) -> bool {
    let names_port = rule.ports.iter().any(|term| {
        term.port.protocol == Protocol::Udp
            && match &term.port.which {
                Which::All => false,
                Which::Range(first, last) => PORTS.iter().any(|port| (*first..=*last).contains(port)),
                Which::Named(_) => true,
            }
    });
    let all_ports = rule.ports.is_empty()
        || rule.ports.iter().any(|term| term.port.protocol == Protocol::Udp && term.port.which == Which::All);
    names_port || (all_ports && rule.peers.iter().any(|peer| may_be_resolver(policy, peer)))
}

fn may_be_resolver(policy: &Policy, peer: &Peer) -> bool {
    match peer {
        // Any address may be that of a resolver.
        Peer::Anywhere { .. } | Peer::Block(_) => true,
        Peer::Pods(term) => {
            let selector = &term.selector;
            let labelled = selector.matches(|key| (key == LABEL.0).then_some(LABEL.1));
            let own = || policy.subjects.iter().any(|subject| may_hold(subject));
            match &term.scope.base {
                ScopeBase::Same | ScopeBase::Sharing(_) => labelled && own(),
                _ => (labelled && may_hold(term)) || speaks_of_dns(term),
            }
        }
    }
}

/// Whether the namespace of the cluster's DNS may be in the scope: what other labels it has is not known.
fn may_hold(term: &PodTerm) -> bool {
    match &term.scope.base {
        ScopeBase::Labels(selector) => selector
            .requirements
            .iter()
            .all(|one| *one.key != *NAMESPACE_NAME || one.matches(Some(NAMESPACE))),
        _ => term.scope.holds(NAMESPACE, |key| (key == NAMESPACE_NAME).then_some(NAMESPACE)),
    }
}

/// Whether a name or a label's value says DNS, as in `openshift-dns` and `node-local-dns`.
fn speaks_of_dns(term: &PodTerm) -> bool {
    let says = |text: &str| text.contains("dns");
    let names = match &term.scope.base {
        ScopeBase::Names(names) => names.iter().any(|name| says(name)),
        ScopeBase::Labels(selector) => {
            selector.requirements.iter().flat_map(|one| &one.values).any(|v| says(v))
        }
        _ => false,
    };
    names || term.selector.requirements.iter().flat_map(|one| &one.values).any(|value| says(value))
}

/// Whether a term selects the pods of the cluster's DNS.
fn is_dns(term: &PodTerm) -> bool {
    let labelled = term.selector.matches(|key| (key == LABEL.0).then_some(LABEL.1));
    labelled
        && term.scope.holds(NAMESPACE, |key| (key == NAMESPACE_NAME).then_some(NAMESPACE))
        && !matches!(term.scope.base, ScopeBase::Same | ScopeBase::Sharing(_))
}
