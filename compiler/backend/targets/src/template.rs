//! Lowering of a policy to NetworkPolicies, shared by the three targets that produce them.
//!
//! A [`Template`] is one NetworkPolicy, to be created in every namespace of its scopes. For values that depend on that
//! namespace, [`Names`] supplies the syntax of the target.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use npc_diagnostics::{Applicability, Diagnostic, Location};
use npc_program::values::address::{Block, IpNet, never_a_pod, subtract};
use npc_program::values::label::NAMESPACE_NAME;
use npc_program::values::name::glob_matches;
use npc_program::{Peer, PodTerm, Policy, Requirement, Rule, Scope, ScopeBase, Selector, scopes_overlap};
use npc_vocabulary::{Direction, Operator, Port, Which};
use rustc_hash::FxHashSet;
use sha2::{Digest, Sha256};

use crate::target::{AnyTarget, unsupported};

/// The prefix of the names of Kyverno policies.
pub(crate) const PREFIX: &str = "netpol-";
/// The maximum length of a label value, in characters.
pub(crate) const MAX_NAME: usize = 63;
/// The maximum length of a template's name, which [`PREFIX`] precedes in the name of the Kyverno policy.
pub(crate) const MAX_TEMPLATE_NAME: usize = MAX_NAME - PREFIX.len();

/// The syntax of a target for values that depend on the namespace in which the object is created.
pub(crate) trait Names {
    /// The target, for messages.
    const TARGET: AnyTarget;

    /// The name of the namespace.
    fn own_name(&self) -> String;

    /// The value of a label of the namespace. Templates are created only in namespaces that have the label.
    fn own_label(&self, key: &str) -> String;

    /// The namespace names that match a pattern; `None` if the target does not know the cluster.
    fn expand(&self, _glob: &str) -> Option<Vec<String>> {
        None
    }
}

/// One NetworkPolicy and the namespaces in which it is created.
#[derive(Clone, Debug)]
pub(crate) struct Template<'a> {
    /// The policy that the object comes from.
    pub(crate) policy: &'a Policy,
    /// The object's name.
    pub(crate) name: String,
    /// The object is created in the namespaces of these scopes, except those that `except` excludes. All scopes have
    /// the same exceptions.
    pub(crate) scopes: Vec<&'a PodTerm>,
    /// The scope whose exceptions apply to all scopes.
    pub(crate) except: &'a Scope,
    /// Labels that a namespace must have in addition to the scopes' requirements, since the object reads them.
    pub(crate) requires: Vec<Arc<str>>,
    /// Labels of the namespace whose values the object contains.
    pub(crate) reads: Vec<Arc<str>>,
    /// The spec of the object.
    pub(crate) spec: NetworkPolicySpec,
}

/// Lowers a plain policy to NetworkPolicies.
///
/// Subjects with the same pod selector and the same exceptions share one object. Peers in `namespaces sharing LABEL` go
/// into a separate object if some namespaces of the subjects may lack the label. That object is created only in
/// namespaces that have the label; since NetworkPolicies are a union, it adds exactly these peers.
///
/// Reports constructs that a NetworkPolicy cannot express; the result is then incomplete.
pub(crate) fn templates<'a, N: Names>(
    policy: &'a Policy,
    names: &N,
    pod_cidrs: &PodCidrs,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<Template<'a>> {
    reject_log(policy, N::TARGET, diagnostics);
    let mut lower = Lower { names, pod_cidrs, diagnostics };
    let mut templates = Vec::new();
    for (index, group) in group(policy).into_iter().enumerate() {
        let Some(first) = group.first() else { continue };
        let implied = |key: &str| {
            group.iter().all(
                |subject| matches!(&subject.scope.base, ScopeBase::Labels(selector) if selector.implies(key)),
            )
        };
        let name = if index == 0 {
            policy.name.to_string()
        } else {
            format!("{}-{}", policy.name, hash(&subject_key(first)))
        };
        let mut parts = Parts::default();
        for rule in &policy.rules {
            lower.rule(rule, &implied, &mut parts);
        }
        let base_reads = std::mem::take(&mut parts.reads);
        let make = |name: String,
                    rules: Rules,
                    requires: Vec<Arc<str>>,
                    reads: Vec<Arc<str>>,
                    types: Vec<Direction>| Template {
            policy,
            name,
            scopes: group.clone(),
            except: &first.scope,
            requires,
            reads,
            spec: spec(&first.selector, rules, &types),
        };
        let directions = [Direction::Ingress, Direction::Egress];
        let spoken = directions.into_iter().filter(|direction| policy.covers(*direction)).collect();
        templates.push(make(name.clone(), parts.base, Vec::new(), base_reads, spoken));
        for (keys, rules) in parts.sharing {
            let types = directions
                .into_iter()
                .filter(|direction| match direction {
                    Direction::Ingress => !rules.ingress.is_empty(),
                    Direction::Egress => !rules.egress.is_empty(),
                })
                .collect();
            let name = sharing_name(&name, &keys);
            let mut template = make(name, rules, keys.clone(), keys, types);
            // Drop scopes whose namespaces cannot have the labels. Kyverno rejects a rule without a scope.
            let has_labels = with_labels(&template.requires);
            template.scopes.retain(|subject| scopes_overlap(&[&subject.scope, &has_labels]));
            if !template.scopes.is_empty() {
                templates.push(template);
            }
        }
    }
    templates
}

/// Reports rules with `log`, which no policy API of Kubernetes supports.
pub(crate) fn reject_log(policy: &Policy, target: AnyTarget, diagnostics: &mut Vec<Diagnostic>) {
    for log in policy.rules.iter().filter_map(|rule| rule.log) {
        let kind = if target.capabilities().tiers {
            "a ClusterNetworkPolicy cannot log"
        } else {
            "a NetworkPolicy cannot log"
        };
        let rejected = unsupported(target, "`log`", log, kind, &[AnyTarget::EBPF]);
        diagnostics.push(rejected.help("remove `log`").fix(Applicability::Maybe, "remove `log`", log, ""));
    }
}

/// The scope of namespaces that have all of the labels.
fn with_labels(keys: &[Arc<str>]) -> Scope {
    let requirements = keys
        .iter()
        .map(|key| Requirement { key: Arc::clone(key), operator: Operator::Exists, values: Vec::new() })
        .collect();
    Scope::of(ScopeBase::Labels(Selector { requirements }))
}

/// Groups the subjects that can share an object: those with the same pod selector and the same exceptions.
fn group(policy: &Policy) -> Vec<Vec<&PodTerm>> {
    let mut groups: Vec<Vec<&PodTerm>> = Vec::new();
    for subject in &policy.subjects {
        let same = |other: &&PodTerm| {
            other.selector == subject.selector
                && other.scope.except_names == subject.scope.except_names
                && other.scope.except_labels == subject.scope.except_labels
        };
        match groups.iter_mut().find(|group| group.first().is_some_and(same)) {
            Some(group) => group.push(subject),
            None => groups.push(vec![subject]),
        }
    }
    groups
}

/// A key that identifies a group of subjects. Object names contain a hash of it, so its format must not change.
pub(crate) fn subject_key(subject: &PodTerm) -> String {
    fn selector(out: &mut String, selector: &Selector) {
        for one in &selector.requirements {
            let values: Vec<&str> = one.values.iter().map(|value| &**value).collect();
            out.push_str(&format!("{} {} {}\n", one.key, operator(one.operator), values.join(",")));
        }
    }
    let mut key = String::new();
    selector(&mut key, &subject.selector);
    key.push('\n');
    for name in &subject.scope.except_names {
        key.push_str(&format!("{name}\n"));
    }
    key.push('\n');
    for (index, labels) in subject.scope.except_labels.iter().enumerate() {
        if index > 0 {
            key.push('\n');
        }
        selector(&mut key, labels);
    }
    key
}

/// The first eight hexadecimal digits of the SHA-256 of a text.
pub(crate) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The name of the object for peers that share labels. It ends in the label's key if there is one key that is valid in
/// a name and short enough, otherwise in a hash of the keys.
fn sharing_name(name: &str, keys: &[Arc<str>]) -> String {
    if let [key] = keys
        && npc_program::values::name::is_subdomain(key)
    {
        let readable = format!("{name}-sharing-{key}");
        if readable.len() <= MAX_TEMPLATE_NAME {
            return readable;
        }
    }
    format!("{name}-sharing-{}", hash(&keys.join(" ")))
}

#[derive(Clone, Debug, Default)]
struct Rules {
    ingress: Vec<NetworkPolicyIngressRule>,
    egress: Vec<NetworkPolicyEgressRule>,
}

impl Rules {
    fn add(
        &mut self,
        direction: Direction,
        peers: Option<Vec<NetworkPolicyPeer>>,
        ports: Option<Vec<NetworkPolicyPort>>,
    ) {
        match direction {
            Direction::Ingress => self.ingress.push(NetworkPolicyIngressRule { from: peers, ports }),
            Direction::Egress => self.egress.push(NetworkPolicyEgressRule { to: peers, ports }),
        }
    }
}

/// The rules of the main object with the labels that they read, and the rules of separate objects, by the labels that
/// their namespaces must have.
#[derive(Default)]
struct Parts {
    base: Rules,
    reads: Vec<Arc<str>>,
    sharing: BTreeMap<Vec<Arc<str>>, Rules>,
}

/// The maximum number of peers that one pod term is lowered to.
const MAX_PEERS: usize = 256;

/// Lowers rules and pod terms of a program to the types of the API.
pub(crate) struct Lower<'l, N> {
    pub(crate) names: &'l N,
    pub(crate) pod_cidrs: &'l PodCidrs,
    pub(crate) diagnostics: &'l mut Vec<Diagnostic>,
}

impl<N: Names> Lower<'_, N> {
    fn rule(&mut self, rule: &Rule, implied: &dyn Fn(&str) -> bool, parts: &mut Parts) {
        let ports: Vec<NetworkPolicyPort> = rule.ports.iter().map(|term| port(&term.port)).collect();
        let ports = (!ports.is_empty()).then_some(ports);
        let everything = |peer: &Peer| matches!(peer, Peer::Anywhere { except, .. } if except.is_empty());
        if rule.peers.iter().any(everything) {
            parts.base.add(rule.direction, None, ports);
            return;
        }
        let mut peers = Vec::new();
        let mut sharing: BTreeMap<Vec<Arc<str>>, Vec<NetworkPolicyPeer>> = BTreeMap::new();
        let mut blocks: FxHashSet<&Block> = FxHashSet::default();
        let mut terms: FxHashSet<(&Selector, &Scope)> = FxHashSet::default();
        for peer in &rule.peers {
            match peer {
                Peer::Anywhere { except, .. } => {
                    for left in subtract(&Block::everything(), except) {
                        add(&mut peers, block(&left));
                    }
                }
                Peer::Block(term) => {
                    if blocks.insert(&term.block) {
                        peers.push(block(&term.block));
                    }
                }
                Peer::Pods(pods) => {
                    if !terms.insert((&pods.selector, &pods.scope)) {
                        continue;
                    }
                    let needs: Vec<Arc<str>> = match &pods.scope.base {
                        ScopeBase::Sharing(keys) => {
                            for key in keys.iter().filter(|key| implied(key)) {
                                add(&mut parts.reads, Arc::clone(key));
                            }
                            if keys.iter().all(|key| implied(key)) { Vec::new() } else { keys.clone() }
                        }
                        _ => Vec::new(),
                    };
                    let list = if needs.is_empty() { &mut peers } else { sharing.entry(needs).or_default() };
                    for peer in self.pods(pods) {
                        // Different terms rarely give equal peers. Long lists keep duplicates, since the
                        // search would be quadratic.
                        if list.len() < 64 { add(list, peer) } else { list.push(peer) }
                    }
                }
            }
        }
        // Some CNIs do not match pods by address. If no pod can have an excluded address, also allow all pods by
        // namespace selector.
        if rule.all_but().is_some_and(|except| except.iter().all(|net| self.pod_cidrs.never_a_pod(net))) {
            let everyone = Some(LabelSelector::default());
            add(&mut peers, NetworkPolicyPeer { namespace_selector: everyone, ..Default::default() });
        }
        for (keys, peers) in sharing {
            parts.sharing.entry(keys).or_default().add(rule.direction, Some(peers), ports.clone());
        }
        // An empty list of peers would match everything, so a rule without peers is omitted.
        if !peers.is_empty() {
            parts.base.add(rule.direction, Some(peers), ports);
        }
    }

    /// Lowers a pod term to peers. Exceptions by labels can give several: "not (a and b)" is "not a, or not b".
    pub(crate) fn pods(&mut self, pods: &PodTerm) -> Vec<NetworkPolicyPeer> {
        let scope = &pods.scope;
        let place = pods.scope_location.unwrap_or(pods.location);
        let plain = scope.except_names.is_empty() && scope.except_labels.is_empty();
        let pod_selector = (!pods.selector.requirements.is_empty()).then(|| label_selector(&pods.selector));
        let mut namespaces = LabelSelector::default();
        let mut except_names = scope.except_names.as_slice();
        match &scope.base {
            ScopeBase::All => {}
            ScopeBase::Same if plain => {
                return vec![NetworkPolicyPeer {
                    pod_selector: Some(pod_selector.unwrap_or_default()),
                    ..Default::default()
                }];
            }
            ScopeBase::Same => equal(&mut namespaces, NAMESPACE_NAME, self.names.own_name()),
            // `*` matches every name.
            ScopeBase::Names(globs) if globs.iter().any(|glob| is_everything(glob)) => {}
            ScopeBase::Names(globs) => {
                let Some(mut names) = self.expand(globs, place) else { return Vec::new() };
                // Exceptions by name apply now, since all names are known.
                names.retain(|name| !except_names.iter().any(|glob| glob_matches(glob, name)));
                except_names = &[];
                match names.as_slice() {
                    [name] => equal(&mut namespaces, NAMESPACE_NAME, name.clone()),
                    // No name is left: every pattern matches no namespace of the cluster, or all names are excluded.
                    [] => return Vec::new(),
                    _ => expression(&mut namespaces, NAMESPACE_NAME, "In", names),
                }
            }
            ScopeBase::Labels(selector) => namespaces = label_selector(selector),
            ScopeBase::Sharing(keys) => {
                for key in keys {
                    equal(&mut namespaces, key, self.names.own_label(key));
                }
            }
        }
        if !except_names.is_empty() {
            let Some(names) = self.expand(except_names, place) else { return Vec::new() };
            if !names.is_empty() {
                expression(&mut namespaces, NAMESPACE_NAME, "NotIn", names);
            }
        }
        let peer = |mut namespaces: LabelSelector| {
            name_exists(&mut namespaces);
            NetworkPolicyPeer {
                namespace_selector: Some(namespaces),
                pod_selector: pod_selector.clone(),
                ip_block: None,
            }
        };
        // Distribute over the exceptions: each selector negates one requirement of every exception.
        let mut selectors = vec![namespaces];
        for except in &scope.except_labels {
            selectors = selectors
                .iter()
                .flat_map(|selector| {
                    except.requirements.iter().map(|requirement| {
                        let mut selector = selector.clone();
                        require(&mut selector, &requirement.negated());
                        selector
                    })
                })
                .collect();
            if selectors.len() > MAX_PEERS {
                self.diagnostics.push(
                    unsupported(
                        N::TARGET,
                        "so many exceptions by label",
                        place,
                        &format!(
                            "they expand to at least {} peers; the limit is {MAX_PEERS}",
                            selectors.len()
                        ),
                        &[AnyTarget::EBPF],
                    )
                    .help("use fewer exceptions, or select the namespaces by a label that only they have"),
                );
                return Vec::new();
            }
        }
        selectors.into_iter().map(peer).collect()
    }

    /// Replaces patterns with the namespace names that match them, since a label selector cannot contain patterns.
    /// Returns `None`, and reports an error, if the target does not know the cluster.
    fn expand(&mut self, globs: &[Arc<str>], place: Location) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for glob in globs {
            if !glob.contains(['*', '?']) {
                names.push(glob.to_string());
            } else if let Some(expanded) = self.names.expand(glob) {
                names.extend(expanded);
            } else {
                let mut diagnostic = unsupported(
                    N::TARGET,
                    "a name pattern in a peer",
                    place,
                    &format!(
                        "the API selects namespaces by label, and a label selector cannot match the pattern `{glob}`"
                    ),
                    &[AnyTarget::EBPF],
                );
                diagnostic = diagnostic.help(if N::TARGET == AnyTarget::NETWORK_POLICY {
                    "pass the cluster's namespaces with `--cluster FILE`, list the names one by one, or select the namespaces by label"
                } else {
                    "list the names one by one, or select the namespaces by a label that they share"
                });
                self.diagnostics.push(diagnostic);
                return None;
            }
        }
        names.sort_unstable();
        names.dedup();
        Some(names)
    }
}

/// The CIDRs that pods have their addresses from.
#[derive(Clone, Debug, Default)]
pub struct PodCidrs {
    blocks: Vec<IpNet>,
}

impl PodCidrs {
    /// Pods have addresses only in these CIDRs. Without CIDRs, pods may have any address that is not reserved.
    #[must_use]
    pub const fn new(blocks: Vec<IpNet>) -> Self {
        Self { blocks }
    }

    /// The CIDRs; empty if pods may have any address that is not reserved.
    #[must_use]
    pub fn blocks(&self) -> &[IpNet] {
        &self.blocks
    }

    /// Whether no pod can have an address in the CIDR.
    pub(crate) fn never_a_pod(&self, net: &IpNet) -> bool {
        never_a_pod(net, &self.blocks)
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

fn equal(selector: &mut LabelSelector, key: &str, value: String) {
    let labels = selector.match_labels.get_or_insert_default();
    // The selector may already require another value of this key, as in `namespaces { a = x }`. Keep both.
    if labels.get(key).is_some_and(|other| *other != value) {
        expression(selector, key, "In", vec![value]);
    } else {
        labels.insert(key.to_owned(), value);
    }
}

/// Adds the requirement that the name label exists to a selector that has only negative requirements. Every namespace
/// has this label, so the meaning does not change, but Cilium would otherwise also match addresses outside the cluster
/// (cilium issue 46949).
fn name_exists(selector: &mut LabelSelector) {
    let leaves_out =
        |one: &LabelSelectorRequirement| matches!(one.operator.as_str(), "NotIn" | "DoesNotExist");
    let only = selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector
            .match_expressions
            .as_ref()
            .is_some_and(|all| !all.is_empty() && all.iter().all(leaves_out));
    if only {
        expression(selector, NAMESPACE_NAME, "Exists", Vec::new());
    }
}

fn is_everything(glob: &str) -> bool {
    !glob.is_empty() && glob.bytes().all(|byte| byte == b'*')
}

fn expression(selector: &mut LabelSelector, key: &str, operator: &str, values: Vec<String>) {
    let values = (!values.is_empty()).then_some(values);
    let one = LabelSelectorRequirement { key: key.to_owned(), operator: operator.to_owned(), values };
    add(selector.match_expressions.get_or_insert_default(), one);
}

/// The name of the operator in the API.
const fn operator(operator: Operator) -> &'static str {
    match operator {
        Operator::In => "In",
        Operator::NotIn => "NotIn",
        Operator::Exists => "Exists",
        Operator::DoesNotExist => "DoesNotExist",
    }
}

fn require(selector: &mut LabelSelector, requirement: &Requirement) {
    let values = requirement.values.iter().map(ToString::to_string).collect::<Vec<_>>();
    match (requirement.operator, values.as_slice()) {
        (Operator::In, [value]) => equal(selector, &requirement.key, value.clone()),
        _ => expression(selector, &requirement.key, operator(requirement.operator), values),
    }
}

/// Converts a selector to the type of the API.
pub(crate) fn label_selector(selector: &Selector) -> LabelSelector {
    let mut out = LabelSelector::default();
    for requirement in &selector.requirements {
        require(&mut out, requirement);
    }
    out
}

fn block(block: &Block) -> NetworkPolicyPeer {
    let except: Vec<String> = block.except.iter().map(ToString::to_string).collect();
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: block.net.to_string(),
            except: (!except.is_empty()).then_some(except),
        }),
        ..Default::default()
    }
}

fn port(port: &Port) -> NetworkPolicyPort {
    let (number, end_port) = match &port.which {
        Which::All => (None, None),
        Which::Range(first, last) if first == last => (Some(IntOrString::Int(i32::from(*first))), None),
        Which::Range(first, last) => (Some(IntOrString::Int(i32::from(*first))), Some(i32::from(*last))),
        Which::Named(name) => (Some(IntOrString::String(name.to_string())), None),
    };
    NetworkPolicyPort { protocol: Some(port.protocol.api_name().to_owned()), port: number, end_port }
}

/// A spec that always lists its `policyTypes`, because the API server would infer missing ones.
fn spec(selector: &Selector, rules: Rules, directions: &[Direction]) -> NetworkPolicySpec {
    let types = directions
        .iter()
        .map(|direction| match direction {
            Direction::Ingress => "Ingress".to_owned(),
            Direction::Egress => "Egress".to_owned(),
        })
        .collect();
    NetworkPolicySpec {
        pod_selector: Some(label_selector(selector)),
        policy_types: Some(types),
        ingress: (!rules.ingress.is_empty()).then_some(rules.ingress),
        egress: (!rules.egress.is_empty()).then_some(rules.egress),
    }
}
