//! Target `clusternetworkpolicy`: admin and baseline policies as ClusterNetworkPolicies. [`crate::compile`] adds the
//! plain policies as NetworkPolicies, unless another target of the same compilation writes them.

mod types;

use std::sync::Arc;

use npc_cluster::Cluster;
use npc_diagnostics::Diagnostic;
use npc_program::values::address::{Block, IpNet, subtract};
use npc_program::{Peer, PodTerm, Policy, PortTerm, Rule, Scope, ScopeBase};
use npc_vocabulary::{Action, Direction, Port, Protocol, Tier, Which};
use rustc_hash::{FxHashMap, FxHashSet};

use self::types::{
    Both, ClusterNetworkPolicy, DestinationPort, EgressRule, IngressRule, Pods, Ports, Range, Spec,
};
use crate::kyverno_common::{audit_omitted, collision};
use crate::limits::{MAX_NAME, check_annotation_size, check_object_size, too_long};
use crate::metadata::{Metadata, object_annotations};
use crate::networkpolicy::names_like;
use crate::options::Options;
use crate::target::{AnyTarget, Capabilities, Emitted, Input, ReadBack, Target, read_policies, unsupported};
use crate::template::{Lower, Names, hash, reject_log, subject_key};
use crate::yaml;
use crate::{Output, networkpolicy};

npc_diagnostics::codes! {
    /// # Too many rules for a ClusterNetworkPolicy
    ///
    /// A ClusterNetworkPolicy has at most 25 rules in each direction, and at most 25 peers, 25 ports and
    /// 25 networks for each peer in a rule. The compiler splits longer rules into several rules with the
    /// same meaning; this policy needs more than 25.
    ///
    /// Split the policy into two policies with consecutive priorities, use larger CIDRs, or select the
    /// pods by a label that they share. Target `ebpf` has no such limit.
    TOO_MANY = "NP0619" "too-many-rules" Error;
}

/// The maximum number of elements in each list (`+kubebuilder:validation:MaxItems` of the API).
const MOST: usize = 25;

/// A ClusterNetworkPolicy belongs to no namespace, so only name patterns are resolved, with the cluster.
struct Own<'a> {
    cluster: Option<&'a Cluster>,
}

impl Names for Own<'_> {
    const TARGET: AnyTarget = AnyTarget::CLUSTER_NETWORK_POLICY;

    // Not called: `absolute` rejects or replaces peers that depend on the subject's namespace.
    fn own_name(&self) -> String {
        String::new()
    }

    fn own_label(&self, _: &str) -> String {
        String::new()
    }

    fn expand(&self, glob: &str) -> Option<Vec<String>> {
        Some(names_like(self.cluster?, glob))
    }
}

/// Target `clusternetworkpolicy`: the admin and baseline policies as ClusterNetworkPolicies, and the plain policies as
/// NetworkPolicies unless another target of the compilation writes them.
pub(crate) struct ClusterNetworkPolicies;

impl Target for ClusterNetworkPolicies {
    fn name(&self) -> &'static str {
        "clusternetworkpolicy"
    }

    fn nouns(&self) -> [&'static str; 2] {
        ["policy", "policies"]
    }

    fn extension(&self) -> &'static str {
        "clusternetworkpolicy.yaml"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { tiers: true, text: true, by_kyverno: false, per_cluster: true }
    }

    fn emit(&self, input: &Input<'_>) -> Emitted {
        let mut emitted = compile(input);
        if !input.options.plain_elsewhere {
            let options = Options { tiers_elsewhere: true, ..input.options.clone() };
            let plain = networkpolicy::compile(&Input { options: &options, ..*input });
            emitted.text.push_str(&plain.text);
            emitted.objects += plain.objects;
            emitted.diagnostics.extend(plain.diagnostics);
        }
        emitted
    }

    fn read(&self, output: &Output) -> Result<ReadBack, String> {
        read_policies(output)
    }
}

/// Compiles the admin and baseline policies. The text is incomplete if a diagnostic is an error.
fn compile(input: &Input<'_>) -> Emitted {
    let Input { program, sources, options, cluster } = *input;
    let mut diagnostics = Vec::new();
    let mut text = String::new();
    let mut objects = 0;
    let mut taken = FxHashMap::default();
    for policy in program.policies.iter().filter(|policy| policy.tier != Tier::Namespaced) {
        if let Some(audit) = policy.audit {
            diagnostics.push(audit_omitted(policy, AnyTarget::CLUSTER_NETWORK_POLICY, audit));
            continue;
        }
        let source = sources.line_of(policy.location);
        check_annotation_size(policy, &source, &mut diagnostics);
        reject_log(policy, AnyTarget::CLUSTER_NETWORK_POLICY, &mut diagnostics);
        let mut policies = Policies { policy, cluster, options, diagnostics: &mut diagnostics };
        let ingress = policies.rules(Direction::Ingress, |action, from, protocols| IngressRule {
            action,
            from,
            protocols,
        });
        let egress =
            policies.rules(Direction::Egress, |action, to, protocols| EgressRule { action, to, protocols });
        for (subject, name) in policies.subjects() {
            collision(name.clone(), policy, &mut taken, &mut diagnostics);
            if name.len() > MAX_NAME {
                diagnostics.push(too_long(policy, &name, MAX_NAME));
            }
            let object = ClusterNetworkPolicy {
                api_version: "policy.networking.k8s.io/v1alpha2",
                kind: "ClusterNetworkPolicy",
                metadata: Metadata { name, annotations: object_annotations(policy, &source) },
                spec: Spec {
                    tier: if policy.tier == Tier::Admin { "Admin" } else { "Baseline" },
                    priority: policy.priority,
                    subject,
                    ingress: &ingress,
                    egress: &egress,
                },
            };
            let before = text.len();
            text.push_str("---\n");
            // These types have no value that the YAML writer rejects.
            if let Err(error) = yaml::write_to(&mut text, &object) {
                debug_assert!(false, "{error}");
            }
            check_object_size(policy, text.len() - before, &mut diagnostics);
            objects += 1;
        }
    }
    // Several rules of one policy can report the same error; keep the first.
    let mut reported = FxHashSet::default();
    diagnostics.retain(|diagnostic| reported.insert((diagnostic.code.id, diagnostic.location())));
    Emitted { text, objects, diagnostics, ..Emitted::default() }
}

/// The lowering of one policy.
struct Policies<'a> {
    policy: &'a Policy,
    cluster: Option<&'a Cluster>,
    options: &'a Options,
    diagnostics: &'a mut Vec<Diagnostic>,
}

/// The peers of a rule. They are kept apart because the API allows named ports only with pods.
#[derive(Default)]
struct Peers {
    pods: Vec<types::Peer>,
    networks: Vec<IpNet>,
}

impl Policies<'_> {
    /// The subjects, each with the name of its object. If two subjects select the same pod, their order does not
    /// matter, because their objects have the same rules.
    fn subjects(&mut self) -> Vec<(Pods, String)> {
        let mut subjects: Vec<(Pods, String)> = Vec::new();
        for term in &self.policy.subjects {
            for pods in self.pods(term) {
                if subjects.iter().any(|(other, _)| *other == pods) {
                    continue;
                }
                let name = if subjects.is_empty() {
                    self.policy.name.to_string()
                } else {
                    // A term with exceptions by several labels gives several selectors, so they are part of the key.
                    let key = format!("{}{:?}", subject_key(term), selector_key(&pods));
                    format!("{}-{}", self.policy.name, hash(&key))
                };
                subjects.push((pods, name));
            }
        }
        subjects
    }

    fn pods(&mut self, term: &PodTerm) -> Vec<Pods> {
        let mut lower = Lower {
            names: &Own { cluster: self.cluster },
            pod_cidrs: &self.options.pod_cidrs,
            diagnostics: self.diagnostics,
        };
        let peers = lower.pods(term);
        let all = term.selector.requirements.is_empty();
        peers
            .into_iter()
            .map(|peer| {
                let namespaces = peer.namespace_selector.unwrap_or_default();
                match peer.pod_selector {
                    Some(pod_selector) if !all => {
                        Pods::Pods(Both { namespace_selector: namespaces, pod_selector })
                    }
                    _ => Pods::Namespaces(namespaces),
                }
            })
            .collect()
    }

    /// Lowers the rules of a direction. `make` constructs the rule type of the direction from an action, peers and
    /// ports. Reports an error if the result has more than [`MOST`] rules.
    fn rules<R>(
        &mut self,
        direction: Direction,
        make: impl Fn(&'static str, Vec<types::Peer>, Vec<types::Protocol>) -> R,
    ) -> Vec<R> {
        let mut rules = Vec::new();
        let mut last = None;
        for rule in self.policy.rules.iter().filter(|rule| rule.direction == direction) {
            let action = match rule.action {
                Action::Allow => "Accept",
                Action::Deny => "Deny",
                Action::Pass => "Pass",
            };
            let peers = self.peers(rule);
            let (numbers, names) = self.protocols(rule);
            // The API rejects named ports in a rule with networks, so such a rule is split.
            let mut lists = Vec::new();
            let every_port = rule.ports.is_empty();
            if !peers.pods.is_empty() && (every_port || !numbers.is_empty() || !names.is_empty()) {
                let mut protocols = numbers.clone();
                protocols.extend(names);
                lists.push((peers.pods, protocols));
            }
            if !peers.networks.is_empty() && (every_port || !numbers.is_empty()) {
                let networks = peers.networks.chunks(MOST).map(|share| types::Peer::Networks {
                    networks: share.iter().map(ToString::to_string).collect(),
                });
                lists.push((networks.collect(), numbers));
            }
            // If both lists have the same ports, one rule can contain both.
            if let [(_, first), (_, second)] = lists.as_slice()
                && first == second
                && let Some((networks, _)) = lists.pop()
                && let Some((pods, _)) = lists.first_mut()
            {
                pods.extend(networks);
            }
            for (peers, protocols) in lists {
                for peers in peers.chunks(MOST) {
                    let shares: Vec<&[types::Protocol]> =
                        if protocols.is_empty() { vec![&[]] } else { protocols.chunks(MOST).collect() };
                    for protocols in shares {
                        rules.push(make(action, peers.to_vec(), protocols.to_vec()));
                        last = (rules.len() > MOST).then_some(rule).or(last);
                    }
                }
            }
        }
        if let Some(rule) = last {
            let word = match direction {
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            };
            self.diagnostics.push(
                Diagnostic::new(
                    &TOO_MANY,
                    format!(
                        "`{}` needs {} {word} rules in a ClusterNetworkPolicy",
                        self.policy.name,
                        rules.len()
                    ),
                    rule.location,
                    format!("the API allows at most {MOST} rules, with at most {MOST} peers, networks and ports each"),
                )
                .help("split the policy into two with consecutive priorities, or use larger CIDRs")
                .note(format!("target `{}` has no such limit", AnyTarget::EBPF)),
            );
        }
        rules
    }

    fn peers(&mut self, rule: &Rule) -> Peers {
        let mut peers = Peers::default();
        // Some CNIs do not match pods by address. If no pod can have an excluded address, also match all pods by
        // namespace selector.
        let never = |net: &_| self.options.pod_cidrs.never_a_pod(net);
        if rule.direction == Direction::Egress && rule.all_but().is_some_and(|nets| nets.iter().all(never)) {
            peers.pods.push(types::Peer::Pods(Pods::Namespaces(Default::default())));
        }
        for peer in &rule.peers {
            let (blocks, place): (Vec<Block>, _) = match peer {
                Peer::Pods(term) => {
                    let Some(term) = self.absolute(term) else { continue };
                    for pods in self.pods(&term) {
                        let peer = types::Peer::Pods(pods);
                        if !peers.pods.contains(&peer) {
                            peers.pods.push(peer);
                        }
                    }
                    continue;
                }
                Peer::Anywhere { except, location } => (subtract(&Block::everything(), except), *location),
                Peer::Block(term) => (vec![term.block.clone()], term.location),
            };
            if rule.direction == Direction::Ingress {
                self.diagnostics.push(
                    unsupported(
                        AnyTarget::CLUSTER_NETWORK_POLICY,
                        "addresses as ingress peers",
                        place,
                        "the ingress peers of a ClusterNetworkPolicy are pods: it does not apply to traffic from outside the cluster",
                        &[AnyTarget::EBPF],
                    )
                    .help("to match only pods, write `all pods in all namespaces`"),
                );
                continue;
            }
            let named = rule.ports.iter().find(|term| matches!(term.port.which, Which::Named(_)));
            if let (Some(port), Peer::Block(_)) = (named, peer) {
                self.diagnostics.push(
                    unsupported(
                        AnyTarget::CLUSTER_NETWORK_POLICY,
                        "a named port with addresses",
                        port.location,
                        "only pods have named ports, and the API rejects them in rules with networks",
                        &[AnyTarget::KYVERNO, AnyTarget::NETWORK_POLICY, AnyTarget::EBPF],
                    )
                    .label(place, "these addresses")
                    .help("write the port's number, or select pods instead of addresses"),
                );
                continue;
            }
            peers.networks.extend(blocks.iter().flat_map(prefixes));
        }
        // The API rejects duplicate networks.
        let mut seen = FxHashSet::default();
        peers.networks.retain(|net| seen.insert(*net));
        peers
    }

    /// Replaces a scope that is relative to the subject's namespace with an absolute one. `same namespace` can be
    /// replaced if all subjects are in one namespace that is given by name; otherwise returns `None` and reports an
    /// error.
    fn absolute(&mut self, term: &Arc<PodTerm>) -> Option<Arc<PodTerm>> {
        let place = term.scope_location.unwrap_or(term.location);
        let what = match &term.scope.base {
            ScopeBase::Same => "a peer in the subject's own namespace",
            ScopeBase::Sharing(_) => "a peer in namespaces that share a label",
            _ => return Some(Arc::clone(term)),
        };
        if term.scope.base == ScopeBase::Same
            && let Some(name) = one_namespace(self.policy)
        {
            let scope = Scope { base: ScopeBase::Names(vec![name]), ..term.scope.clone() };
            return Some(Arc::new(PodTerm { scope, ..PodTerm::clone(term) }));
        }
        self.diagnostics.push(
            unsupported(
                AnyTarget::CLUSTER_NETWORK_POLICY,
                what,
                place,
                "a ClusterNetworkPolicy selects namespaces by label, and cannot compare labels with the subject's namespace",
                &[AnyTarget::EBPF],
            )
            .help("name the namespaces, or write one policy for each namespace"),
        );
        None
    }

    /// The ports of a rule: numeric ports, and named ports.
    fn protocols(&mut self, rule: &Rule) -> (Vec<types::Protocol>, Vec<types::Protocol>) {
        let (mut numbers, mut names) = (Vec::new(), Vec::new());
        for term in &rule.ports {
            let protocol = match self.protocol(term, &rule.ports) {
                Some(protocol) => protocol,
                None => continue,
            };
            let list = match protocol {
                types::Protocol::DestinationNamedPort(_) => &mut names,
                _ => &mut numbers,
            };
            if !list.contains(&protocol) {
                list.push(protocol);
            }
        }
        (numbers, names)
    }

    fn protocol(&mut self, term: &PortTerm, all: &[PortTerm]) -> Option<types::Protocol> {
        let destination_port = match &term.port.which {
            // The API has no syntax for every port of a protocol.
            Which::All => DestinationPort::Range(Range { start: 1, end: u16::MAX }),
            Which::Range(first, last) if first == last => DestinationPort::Number(*first),
            Which::Range(first, last) => DestinationPort::Range(Range { start: *first, end: *last }),
            Which::Named(name) => {
                let has = |protocol: Protocol| {
                    all.iter()
                        .any(|other| other.port == Port { protocol, which: Which::Named(Arc::clone(name)) })
                };
                if !Protocol::ALL.into_iter().all(has) {
                    let missing: Vec<String> = Protocol::ALL
                        .into_iter()
                        .map(|protocol| format!("{}/{name}", protocol.as_str()))
                        .collect();
                    self.diagnostics.push(
                        unsupported(
                            AnyTarget::CLUSTER_NETWORK_POLICY,
                            "a named port of one protocol",
                            term.location,
                            "in this API, a port name matches the ports with that name of every protocol",
                            &[AnyTarget::KYVERNO, AnyTarget::NETWORK_POLICY, AnyTarget::EBPF],
                        )
                        .help(format!("write the port's number, or all of {}", missing.join(", "))),
                    );
                    return None;
                }
                return Some(types::Protocol::DestinationNamedPort(name.to_string()));
            }
        };
        let ports = Ports { destination_port };
        Some(match term.port.protocol {
            Protocol::Tcp => types::Protocol::Tcp(ports),
            Protocol::Udp => types::Protocol::Udp(ports),
            Protocol::Sctp => types::Protocol::Sctp(ports),
        })
    }
}

/// The namespace of all subjects, if every subject names the same single namespace.
fn one_namespace(policy: &Policy) -> Option<Arc<str>> {
    let mut names = policy.subjects.iter().map(|term| match &term.scope.base {
        ScopeBase::Names(list) => match list.as_slice() {
            [name] if !name.contains(['*', '?']) => Some(name),
            _ => None,
        },
        _ => None,
    });
    let first = names.next()??;
    names.all(|name| name == Some(first)).then(|| Arc::clone(first))
}

/// A key that distinguishes the selectors of one term. Object names contain a hash of it.
fn selector_key(pods: &Pods) -> String {
    let mut text = String::new();
    // These types have no value that the YAML writer rejects.
    if let Err(error) = yaml::write_to(&mut text, pods) {
        debug_assert!(false, "{error}");
    }
    text
}

/// Splits a CIDR with exceptions into CIDRs without exceptions.
fn prefixes(block: &Block) -> Vec<IpNet> {
    if block.except.is_empty() {
        return vec![block.net];
    }
    let mut left = vec![block.net];
    for except in &block.except {
        left = left
            .into_iter()
            .flat_map(|net| if net.contains(except) { around(&net, except) } else { vec![net] })
            .collect();
    }
    left
}

/// The CIDRs that cover `net` without `hole`, which `net` contains.
fn around(net: &IpNet, hole: &IpNet) -> Vec<IpNet> {
    let mut found = Vec::new();
    let mut current = *net;
    while current.prefix_len() < hole.prefix_len() {
        let Ok(halves) = current.subnets(current.prefix_len() + 1) else { break };
        let (mut within, mut beside) = (None, None);
        for half in halves {
            if half.contains(hole) { within = Some(half) } else { beside = Some(half) }
        }
        found.extend(beside);
        match within {
            Some(half) => current = half,
            None => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let block = Block { net: net("10.0.0.0/8"), except: vec![net("10.0.0.0/10"), net("10.128.0.0/9")] };
        assert_eq!(prefixes(&block), [net("10.64.0.0/10")]);
        let block = Block { net: net("::/0"), except: vec![net("fd00::1/128")] };
        assert_eq!(prefixes(&block).len(), 128);
        assert_eq!(prefixes(&Block::from(net("::/0"))), [net("::/0")]);
    }
}
