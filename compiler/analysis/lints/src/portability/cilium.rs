//! Differences of Cilium, as observed in the policy engine of version 1.20.

use npc_cluster::Cluster;
use npc_diagnostics::Diagnostic;
use npc_program::values::address::never_a_pod;
use npc_program::values::label::NAMESPACE_NAME;
use npc_program::{Peer, PodTerm, Policy, Rule, ScopeBase, Selector, policies_overlap};
use npc_proof::Fact;
use npc_vocabulary::{Action, Direction, Operator, Protocol, Tier};
use rustc_hash::FxHashSet;

use super::{Cni, Origin, cni_difference, decided_by, port_names, rules};
use crate::meaning::{Deciders, Overview};

pub(super) fn run(
    overview: &Overview<'_>,
    cni: &Cni,
    origin: Origin,
    cluster: Option<&Cluster>,
) -> Vec<Diagnostic> {
    let mut found = if cni.has("policy-cidr-match-mode=pods") {
        one_family(overview, cni)
    } else {
        blocks_and_pods(overview, cni, origin)
    };
    found.extend(identity_labels(overview, cni));
    found.extend(names_of_two_protocols(overview, cni, cluster));
    found.extend(sctp(overview, cni));
    if origin == Origin::Manifests {
        found.extend(negative_peers(overview, cni));
    }
    found.extend(baseline_accepts(overview, cni));
    found
}

/// Reports CIDR peers that would have to match pods: Cilium does not match pods by CIDR.
fn blocks_and_pods(overview: &Overview<'_>, cni: &Cni, origin: Origin) -> Vec<Diagnostic> {
    let is_block = |peer: &&Peer| match peer {
        Peer::Block(_) => true,
        Peer::Anywhere { except, .. } => !except.is_empty(),
        Peer::Pods(_) => false,
    };
    // For `anywhere except C`, the output of npc also selects all pods by namespace if no pod can have an
    // address in C. Cilium then matches those pods by the selector.
    let named_beside = |rule: &Rule| {
        let never = |net: &_| never_a_pod(net, overview.pod_cidrs);
        origin == Origin::Program && rule.all_but().is_some_and(|except| except.iter().all(never))
    };
    let only = |rule: &Rule, wanted: bool| Rule {
        peers: rule.peers.iter().filter(|peer| is_block(peer) == wanted).cloned().collect(),
        ..rule.clone()
    };
    // The part of a rule that Cilium applies to pods.
    let seen = |rule: &Rule| if named_beside(rule) { rule.clone() } else { only(rule, false) };
    overview.all(|reader, index, policy, found| {
        for (place, rule) in policy.rules.iter().enumerate() {
            let Some(first) = rule.peers.iter().find(is_block) else { continue };
            let all = |peer: &Peer| matches!(peer, Peer::Anywhere { except, .. } if except.is_empty());
            if rule.peers.iter().any(all) || named_beside(rule) {
                continue;
            }
            let (blocks, pods) = (only(rule, true), only(rule, false));
            let Some(Deciders { rules, isolating, .. }) = reader.competing_rules(index, place) else { continue };
            let others: Vec<(&Policy, Rule)> =
                rules.into_iter().map(|(policy, rule)| (policy, seen(rule))).collect();
            let mut none = vec![Fact::Matches(policy, &pods)];
            none.extend(others.iter().map(|(policy, rule)| Fact::Matches(policy, rule)));
            none.extend(isolating.iter().map(|other| Fact::Selects(other, rule.direction)));
            let all = [Fact::Matches(policy, &blocks), Fact::PeerIsPod(rule.direction)];
            if !overview.possible(&all, &none) || in_parallel(overview, policy, rule, &all, &none, &seen) {
                continue;
            }
            let what = match rule.action {
                Action::Allow => "does not match pods by CIDR, so this allows no pod",
                Action::Deny => "does not match pods by CIDR, so this denies no pod",
                Action::Pass => "does not match pods by CIDR, so this passes no pod",
            };
            let place = match first {
                Peer::Block(term) => term.location,
                Peer::Anywhere { location, .. } => *location,
                Peer::Pods(term) => term.location,
            };
            found.push(
                cni_difference(cni, "ipblock-pods", place, what, "pods may have addresses in it")
                    .help(if overview.pod_cidrs.is_empty() {
                        "select the pods by their labels, or set `pod-cidrs` in npc.toml to the CIDRs that pods have addresses in"
                    } else {
                        "select the pods by their labels"
                    }),
            );
        }
    })
}

/// The maximum number of policies that are compared with one rule.
const MOST: usize = 300;

/// Whether other policies, each for some of the pods, together allow by selectors everything that the CIDRs
/// of a rule allow.
fn in_parallel(
    overview: &Overview<'_>,
    policy: &Policy,
    rule: &Rule,
    all: &[Fact<'_>],
    none: &[Fact<'_>],
    seen: &(impl Fn(&Rule) -> Rule + Sync),
) -> bool {
    if policy.tier != Tier::Namespaced {
        return false;
    }
    let plain = decided_by(overview.program).filter(|other| other.tier == Tier::Namespaced);
    let overlapping: Vec<&Policy> = plain
        .filter(|other| !std::ptr::eq(*other, policy) && other.covers(rule.direction))
        .filter(|other| policies_overlap(policy, other))
        .take(MOST + 1)
        .collect();
    if overlapping.len() > MOST {
        return false;
    }
    let rules: Vec<(&Policy, Rule)> = overlapping
        .into_iter()
        .flat_map(|other| other.rules.iter().map(move |rule| (other, rule)))
        .filter(|(_, other)| other.direction == rule.direction)
        .map(|(policy, rule)| (policy, seen(rule)))
        .collect();
    let mut none = none.to_vec();
    none.extend(rules.iter().map(|(policy, rule)| Fact::Matches(policy, rule)));
    !overview.possible(all, &none)
}

/// With `policy-cidr-match-mode=pods`, Cilium matches a pod by all of its addresses if a CIDR contains one of
/// them.
fn one_family(overview: &Overview<'_>, cni: &Cni) -> Vec<Diagnostic> {
    let pod_cidrs = overview.pod_cidrs;
    // Pods of a single-stack cluster have no second address.
    let single = !pod_cidrs.is_empty()
        && [true, false].iter().any(|v4| pod_cidrs.iter().all(|net| net.addr().is_ipv4() == *v4));
    let mut found = Vec::new();
    for (_, rule) in rules(overview.program).filter(|_| !single) {
        let never = |net: &_| never_a_pod(net, pod_cidrs);
        let first = rule.peers.iter().find_map(|peer| match peer {
            Peer::Block(term) => (!never(&term.block.net)).then_some(term.location),
            Peer::Anywhere { except, location } => (!except.is_empty()).then_some(*location),
            Peer::Pods(_) => None,
        });
        // A rule for every address that a pod may have covers both addresses of a pod anyway.
        let all = rule.all_but().is_some_and(|except| except.iter().all(never));
        if let Some(place) = first.filter(|_| !all) {
            found.push(
                cni_difference(
                    cni,
                    "one-family",
                    place,
                    "matches a pod by all of its addresses if a CIDR contains one of them",
                    "also matches the pod's address of the other family",
                )
                .help("select the pods by their labels"),
            );
        }
    }
    found
}

/// Labels that Cilium leaves out of a pod's identity by default.
const OUTSIDE_IDENTITY: [&str; 8] = [
    "pod-template-hash",
    "pod-template-generation",
    "controller-revision-hash",
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
];
const OUTSIDE_BEGINNINGS: [&str; 6] =
    ["kubernetes.io", "k8s.io", "io.kubernetes", "topology.kubernetes.io", "annotation", "etcd_node"];

fn is_outside_identity(key: &str) -> bool {
    OUTSIDE_IDENTITY.contains(&key)
        || OUTSIDE_BEGINNINGS.iter().any(|begin| key.starts_with(begin))
        || key.contains("beta.kubernetes.io")
}

fn identity_labels(overview: &Overview<'_>, cni: &Cni) -> Vec<Diagnostic> {
    let mut seen = FxHashSet::default();
    let mut found = Vec::new();
    let mut look = |term: &PodTerm, as_subject: bool| {
        let key = term.selector.requirements.iter().map(|one| &one.key).find(|key| is_outside_identity(key));
        if let Some(key) = key
            && seen.insert(term.location)
        {
            let wants = term.selector.requirements.iter().any(|one| {
                is_outside_identity(&one.key) && matches!(one.operator, Operator::In | Operator::Exists)
            });
            let label = match (wants, as_subject) {
                (false, _) => "every pod counts as not having it",
                (true, true) => "the policy selects no pod",
                (true, false) => "matches no pod",
            };
            found.push(
                cni_difference(
                    cni,
                    "identity-labels",
                    term.location,
                    &format!("ignores the pod label `{key}`, which is not part of its identities"),
                    label,
                )
                .help("select the pods by another label"),
            );
        }
    };
    for policy in decided_by(overview.program) {
        policy.subjects.iter().for_each(|term| look(term, true));
        for peer in policy.rules.iter().flat_map(|rule| &rule.peers) {
            if let Peer::Pods(term) = peer {
                look(term, false);
            }
        }
    }
    found
}

fn names_of_two_protocols(overview: &Overview<'_>, cni: &Cni, cluster: Option<&Cluster>) -> Vec<Diagnostic> {
    let declared = |name: &str| {
        cluster.is_some_and(|cluster| {
            cluster.pods.iter().any(|pod| {
                let mut own = pod.ports.iter().filter(|port| port.name == name).map(|port| port.protocol);
                let first = own.next();
                first.is_some() && own.any(|other| Some(other) != first)
            })
        })
    };
    let names = port_names(overview.program);
    names
        .into_iter()
        .filter(|(name, protocols, _)| protocols.len() > 1 || declared(name))
        .map(|(name, _, place)| {
            cni_difference(
                cni,
                "port-names",
                place,
                &format!("uses only one protocol for each port name of a pod, but `{name}` has two"),
                "applies only to the protocol that the pod declares last",
            )
            .help("write the port numbers")
        })
        .collect()
}

fn sctp(overview: &Overview<'_>, cni: &Cni) -> Vec<Diagnostic> {
    if cni.has("enable-sctp") {
        return Vec::new();
    }
    let ports = rules(overview.program).filter(|(_, rule)| rule.action == Action::Allow);
    ports
        .flat_map(|(_, rule)| &rule.ports)
        .filter(|term| term.port.protocol == Protocol::Sctp)
        .map(|term| {
            cni_difference(cni, "sctp", term.location, "drops SCTP unless `enable-sctp` is set", "dropped")
                .help("set `enable-sctp` in Cilium's configuration, and the option `enable-sctp` in `cni`")
        })
        .collect()
}

/// Reports namespace selectors with only negative requirements.
fn negative_peers(overview: &Overview<'_>, cni: &Cni) -> Vec<Diagnostic> {
    let negative = |selector: &Selector| {
        !selector.requirements.is_empty()
            && selector
                .requirements
                .iter()
                .all(|one| matches!(one.operator, Operator::NotIn | Operator::DoesNotExist))
    };
    let mut found = Vec::new();
    for (policy, rule) in rules(overview.program) {
        if policy.tier == Tier::Namespaced && !cni.has("policy-default-local-cluster=false") {
            continue;
        }
        for peer in &rule.peers {
            let Peer::Pods(term) = peer else { continue };
            let excepts = !term.scope.except_names.is_empty() || !term.scope.except_labels.is_empty();
            let scope = match &term.scope.base {
                ScopeBase::Labels(selector) => negative(selector),
                ScopeBase::All => excepts,
                ScopeBase::Names(_) | ScopeBase::Same | ScopeBase::Sharing(_) => false,
            };
            let pods = term.selector.requirements.is_empty() || negative(&term.selector);
            if scope && pods {
                let opens = if rule.action == Action::Deny { "denied too" } else { "allowed too" };
                found.push(
                    cni_difference(
                        cni,
                        "negative-peer",
                        term.location,
                        "treats this as every pod and every address outside the cluster",
                        &format!("the excluded namespaces are {opens}"),
                    )
                    .help(format!(
                        "add the requirement `{NAMESPACE_NAME}` `Exists`, which does not change the meaning"
                    )),
                );
            }
        }
    }
    found
}

/// Reports baseline rules that allow connections of pods which plain policies isolate.
fn baseline_accepts(overview: &Overview<'_>, cni: &Cni) -> Vec<Diagnostic> {
    let plain: Vec<&Policy> =
        decided_by(overview.program).filter(|policy| policy.tier == Tier::Namespaced).collect();
    let mut found = Vec::new();
    for (policy, rule) in rules(overview.program) {
        if policy.tier != Tier::Baseline || rule.action != Action::Allow {
            continue;
        }
        let direction: Direction = rule.direction;
        let others: Vec<&Policy> = plain
            .iter()
            .copied()
            .filter(|other| other.covers(direction))
            .filter(|other| policies_overlap(other, policy))
            .collect();
        let mut none: Vec<Fact<'_>> = Vec::new();
        for other in &others {
            let own = other.rules.iter().filter(|rule| rule.direction == direction);
            none.extend(own.map(|rule| Fact::Matches(other, rule)));
        }
        let isolating = others.iter().find(|other| {
            overview.possible(&[Fact::Matches(policy, rule), Fact::Selects(other, direction)], &none)
        });
        if let Some(isolating) = isolating {
            found.push(
                cni_difference(
                    cni,
                    "baseline-accept",
                    rule.location,
                    "applies baseline allow rules even to pods that plain policies isolate",
                    "allows connections that no plain policy allows",
                )
                .label(isolating.location, "isolates some of the same pods")
                .help("exclude the pods that plain policies select from the baseline policy"),
            );
        }
    }
    found
}
