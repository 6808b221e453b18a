//! Target `kyverno`: `kyverno.io/v1` ClusterPolicy with a generate rule each.

mod types;

use std::collections::BTreeMap;

use npc_program::{FailurePolicy, Scope, ScopeBase, Selector};

use crate::kyverno_common::{self, Kind, Made, annotations, object_annotations};
use crate::target::Target;
use crate::template::{Names, Template, label_selector};
use types::{
    Any, ClusterPolicy, Data, DataMetadata, Generate, Metadata, Resources, ResourcesOf, Rule, Spec,
    WebhookConfiguration,
};

/// How ClusterPolicies say what depends on the namespace.
pub(crate) struct JmesPath;

impl Names for JmesPath {
    const TARGET: Target = Target::Kyverno;

    fn own_name(&self) -> String {
        "{{ request.object.metadata.name }}".to_owned()
    }

    /// The default is for a namespace that loses the label while it is looked at: a missing key
    /// would make the whole generation fail in silence.
    fn own_label(&self, key: &str) -> String {
        format!("{{{{ request.object.metadata.labels.{} || '' }}}}", identifier(key))
    }
}

/// A JMESPath identifier for a key: bare where the grammar allows it, else in quotes.
fn identifier(key: &str) -> String {
    let bare = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && key.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    // A label's key has no character that JSON would escape.
    if bare { key.to_owned() } else { format!("\"{key}\"") }
}

/// Text that Kyverno is to take as it is: `{{` begins a variable, `$(` a reference.
fn escape(text: &str) -> String {
    text.replace("{{", "\\{{").replace("$(", "\\$(")
}

pub(crate) struct ClusterPolicies;

impl Kind for ClusterPolicies {
    type Policy = ClusterPolicy;
    type Names = JmesPath;

    fn names(&self) -> JmesPath {
        JmesPath
    }

    fn policy(&self, made: Made<'_, '_>) -> ClusterPolicy {
        let Made { template, settings, source, name } = made;
        ClusterPolicy {
            api_version: "kyverno.io/v1",
            kind: "ClusterPolicy",
            metadata: Metadata { name, annotations: annotations(template.policy, source) },
            spec: Spec {
                webhook_configuration: WebhookConfiguration {
                    failure_policy: match settings.failure_policy {
                        FailurePolicy::Ignore => "Ignore",
                        FailurePolicy::Fail => "Fail",
                    },
                    timeout_seconds: settings.webhook_timeout,
                },
                rules: vec![Rule {
                    name: template.name.clone(),
                    r#match: Any { any: matched(template) },
                    exclude: excluded(template.except),
                    generate: Generate {
                        generate_existing: settings.generate_existing,
                        synchronize: settings.synchronize,
                        orphan_downstream_on_policy_delete: settings.orphan_on_delete.then_some(true),
                        api_version: "networking.k8s.io/v1",
                        kind: "NetworkPolicy",
                        name: template.name.clone(),
                        namespace: "{{request.object.metadata.name}}",
                        data: Data {
                            metadata: DataMetadata { annotations: data_annotations(template, source) },
                            spec: template.spec.clone(),
                        },
                    },
                }],
            },
        }
    }
}

fn data_annotations(template: &Template<'_>, source: &str) -> BTreeMap<&'static str, String> {
    let mut annotations = object_annotations(template.policy, source);
    for text in annotations.values_mut() {
        *text = escape(text);
    }
    annotations
}

/// Namespaces that any of the scopes holds. A selector that would be empty is left out: Kyverno
/// refuses it.
fn matched(template: &Template<'_>) -> Vec<ResourcesOf> {
    let mut any = Vec::new();
    for subject in &template.scopes {
        let (names, mut selector) = match &subject.scope.base {
            ScopeBase::Names(names) => (Some(names.iter().map(ToString::to_string).collect()), Selector::default()),
            ScopeBase::Labels(selector) => (None, selector.clone()),
            // A subject's scope is never relative to itself; the checks refuse that.
            ScopeBase::All | ScopeBase::Same | ScopeBase::Sharing(_) => (None, Selector::default()),
        };
        for key in &template.requires {
            kyverno_common::require_label(&mut selector, key);
        }
        let one = namespaces(names, &selector);
        if !any.contains(&one) {
            any.push(one);
        }
    }
    any
}

fn excluded(scope: &Scope) -> Option<Any> {
    let mut any = Vec::new();
    if !scope.except_names.is_empty() {
        let names = scope.except_names.iter().map(ToString::to_string).collect();
        any.push(namespaces(Some(names), &Selector::default()));
    }
    if let Some(labels) = &scope.except_labels {
        any.push(namespaces(None, labels));
    }
    (!any.is_empty()).then_some(Any { any })
}

fn namespaces(names: Option<Vec<String>>, selector: &Selector) -> ResourcesOf {
    let selector = (!selector.requirements.is_empty()).then(|| label_selector(selector));
    ResourcesOf { resources: Resources { kinds: ["Namespace"], names, selector } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_quoted_where_jmespath_needs_it() {
        assert_eq!(identifier("tenant"), "tenant");
        assert_eq!(identifier("_x1"), "_x1");
        for key in ["app.kubernetes.io/name", "a-b", "1st", "9"] {
            assert_eq!(identifier(key), format!("\"{key}\""));
        }
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a {{ b }} $(c) \\{{"), "a \\{{ b }} \\$(c) \\\\{{");
    }
}
