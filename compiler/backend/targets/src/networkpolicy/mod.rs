//! Target `networkpolicy`: NetworkPolicies, one for each namespace of a policy.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use npc_cluster::{Cluster, Namespace};
use npc_diagnostics::Diagnostic;
use npc_program::ScopeBase;
use npc_program::values::name::glob_matches;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::Output;
use crate::kyverno_common::{collision, is_expressible};
use crate::limits::{MAX_NAME, check_annotation_size, check_object_size, name_too_long};
use crate::manifest::Manifest;
use crate::metadata::object_annotations;
use crate::target::{
    AnyTarget, Capabilities, Emitted, Input, NEEDS_CLUSTER, ReadBack, Target, read_policies,
};
use crate::template::{Names, Template, templates};
use crate::yaml;

/// Placeholder for the name of the object's namespace, which [`fill`] replaces. A label value cannot contain NUL.
const OWN_NAME: &str = "\0name";
/// Placeholder, followed by a key, for the value of a label of the object's namespace.
const OWN_LABEL: &str = "\0label:";

/// Writes placeholders for the values that depend on the object's namespace; [`fill`] replaces them.
struct Later<'a> {
    cluster: Option<&'a Cluster>,
}

impl Names for Later<'_> {
    const TARGET: AnyTarget = AnyTarget::NETWORK_POLICY;

    fn own_name(&self) -> String {
        OWN_NAME.to_owned()
    }

    fn own_label(&self, key: &str) -> String {
        format!("{OWN_LABEL}{key}")
    }

    fn expand(&self, glob: &str) -> Option<Vec<String>> {
        Some(names_like(self.cluster?, glob))
    }
}

/// The names of the cluster's namespaces that match a pattern.
pub(crate) fn names_like(cluster: &Cluster, glob: &str) -> Vec<String> {
    let names = cluster.namespaces.iter().map(|namespace| &namespace.name);
    names.filter(|name| glob_matches(glob, name)).cloned().collect()
}

/// Target `networkpolicy`.
pub(crate) struct NetworkPolicies;

impl Target for NetworkPolicies {
    fn name(&self) -> &'static str {
        "networkpolicy"
    }

    fn nouns(&self) -> [&'static str; 2] {
        ["NetworkPolicy", "NetworkPolicies"]
    }

    fn extension(&self) -> &'static str {
        "networkpolicy.yaml"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { tiers: false, text: true, by_kyverno: false, per_cluster: true }
    }

    fn emit(&self, input: &Input<'_>) -> Emitted {
        compile(input)
    }

    fn read(&self, output: &Output) -> Result<ReadBack, String> {
        read_policies(output)
    }
}

/// Compiles a program to NetworkPolicies. The text is incomplete if a diagnostic is an error.
pub(crate) fn compile(input: &Input<'_>) -> Emitted {
    let Input { program, sources, options, cluster } = *input;
    let mut diagnostics = Vec::new();
    let mut text = String::new();
    let mut objects = 0;
    let mut taken = FxHashMap::default();
    for policy in &program.policies {
        if !is_expressible(policy, AnyTarget::NETWORK_POLICY, options, &mut diagnostics) {
            continue;
        }
        let source = sources.line_of(policy.location);
        for template in templates(policy, &Later { cluster }, &options.pod_cidrs, &mut diagnostics) {
            collision(template.name.clone(), policy, &mut taken, &mut diagnostics);
            if template.name.len() > MAX_NAME {
                diagnostics.push(name_too_long(&template, MAX_NAME));
            }
            check_annotation_size(policy, &source, &mut diagnostics);
            let Some(namespaces) = namespaces(&template, cluster, &mut diagnostics) else { continue };
            for namespace in namespaces {
                let object = NetworkPolicy {
                    metadata: ObjectMeta {
                        name: Some(template.name.clone()),
                        namespace: Some(namespace.name.clone()),
                        annotations: Some(
                            object_annotations(policy, &source)
                                .into_iter()
                                .map(|(key, text)| (key.to_owned(), text))
                                .collect(),
                        ),
                        ..Default::default()
                    },
                    spec: Some(fill(&template.spec, &namespace)),
                };
                let before = text.len();
                text.push_str("---\n");
                // A NetworkPolicy has no value that the YAML writer rejects.
                if let Err(error) = yaml::write_to(&mut text, &Manifest(&object)) {
                    debug_assert!(false, "{error}");
                }
                check_object_size(policy, text.len() - before, &mut diagnostics);
                objects += 1;
            }
        }
    }
    // Several objects of one policy can report the same error; keep the first.
    let mut reported = FxHashSet::default();
    diagnostics.retain(|diagnostic| reported.insert((diagnostic.code.id, diagnostic.location())));
    Emitted { text, objects, diagnostics, ..Emitted::default() }
}

/// The namespaces for which an object is written. Returns `None`, and reports an error, if they depend on a cluster
/// and none is given.
fn namespaces(
    template: &Template<'_>,
    cluster: Option<&Cluster>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Vec<Namespace>> {
    if let Some(cluster) = cluster {
        let mut found: BTreeMap<&str, Namespace> = cluster
            .namespaces
            .iter()
            .filter(|namespace| holds(template, namespace))
            .map(|namespace| (namespace.name.as_str(), namespace.clone()))
            .collect();
        // A namespace that the policy lists by name gets its object even if the cluster file lacks the namespace.
        for name in fixed(template).into_iter().flatten() {
            found.entry(name).or_insert_with(|| bare(name));
        }
        return Some(found.into_values().collect());
    }
    if let Some(names) = fixed(template) {
        return Some(names.into_iter().map(bare).collect());
    }
    let (why, place) = match template.scopes.first() {
        Some(subject) if !template.reads.is_empty() => (
            "a rule compares a label of the subject's namespace",
            subject.scope_location.unwrap_or(subject.location),
        ),
        Some(subject) => {
            ("these namespaces are not listed by name", subject.scope_location.unwrap_or(subject.location))
        }
        None => return Some(Vec::new()),
    };
    diagnostics.push(
        Diagnostic::new(
            &NEEDS_CLUSTER,
            format!(
                "target `{}` needs the cluster's namespaces for policy `{}`",
                AnyTarget::NETWORK_POLICY,
                template.policy.name
            ),
            place,
            why,
        )
        .help("pass the output of `kubectl get namespaces -o yaml` with `--cluster FILE`")
        .note("the targets `kyverno` and `kyverno-cel` need no such file"),
    );
    None
}

/// The namespaces, if every scope lists them by name (without patterns) and the object reads no label of its namespace.
fn fixed<'t>(template: &'t Template<'_>) -> Option<Vec<&'t str>> {
    let except = template.except;
    let names = |list: &'t [std::sync::Arc<str>]| {
        list.iter().map(|name| (!name.contains(['*', '?'])).then_some(&**name)).collect::<Option<Vec<&str>>>()
    };
    if !except.except_labels.is_empty() || !template.requires.is_empty() || !template.reads.is_empty() {
        return None;
    }
    let mut all = Vec::new();
    for subject in &template.scopes {
        match &subject.scope.base {
            ScopeBase::Names(list) => all.extend(names(list)?),
            _ => return None,
        }
    }
    all.retain(|name| !except.except_names.iter().any(|glob| glob_matches(glob, name)));
    all.sort_unstable();
    all.dedup();
    Some(all)
}

fn bare(name: &str) -> Namespace {
    Namespace { name: name.to_owned(), labels: BTreeMap::new() }
}

/// Whether an object is written for the namespace.
fn holds(template: &Template<'_>, namespace: &Namespace) -> bool {
    let label = |key: &str| namespace.labels.get(key).map(String::as_str);
    template.scopes.iter().any(|subject| subject.scope.holds(&namespace.name, label))
        && template.requires.iter().all(|key| label(key).is_some())
}

/// The spec for one namespace, with the placeholders replaced.
fn fill(spec: &NetworkPolicySpec, namespace: &Namespace) -> NetworkPolicySpec {
    let mut spec = spec.clone();
    let ingress = spec.ingress.iter_mut().flatten().flat_map(|rule| &mut rule.from);
    let egress = spec.egress.iter_mut().flatten().flat_map(|rule| &mut rule.to);
    for peer in ingress.chain(egress).flatten() {
        fill_peer(peer, namespace);
    }
    spec
}

fn fill_peer(peer: &mut NetworkPolicyPeer, namespace: &Namespace) {
    let Some(selector) = &mut peer.namespace_selector else { return };
    let labels = selector.match_labels.iter_mut().flat_map(BTreeMap::values_mut);
    let expressions =
        selector.match_expressions.iter_mut().flatten().filter_map(|one| one.values.as_mut()).flatten();
    for value in labels.chain(expressions) {
        if value == OWN_NAME {
            value.clone_from(&namespace.name);
        } else if let Some(key) = value.strip_prefix(OWN_LABEL) {
            *value = namespace.labels.get(key).cloned().unwrap_or_default();
        }
    }
}
