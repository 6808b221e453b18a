//! Target `kyverno`: `kyverno.io/v1` ClusterPolicies, each with one generate rule.

mod types;

use std::collections::BTreeMap;

use npc_diagnostics::Diagnostic;
use npc_program::{FailurePolicy, Scope, ScopeBase, Selector};

use crate::Output;
use crate::kyverno_common::{self, Kind, Resolved, TemplateContext};
use crate::manifest;
use crate::metadata::{Metadata, annotations, object_annotations};
use crate::options::{KyvernoVersion, Options};
use crate::target::{AnyTarget, Capabilities, Emitted, Input, ReadBack, Target, read_policies};
use crate::template::{Names, Template, label_selector};
use types::{
    Any, ClusterPolicy, Data, DataMetadata, Generate, Resources, ResourcesOf, Rule, Spec,
    WebhookConfiguration,
};

npc_diagnostics::codes! {
    /// # This version of Kyverno is too old for target `kyverno`
    ///
    /// The output uses `generateExisting` in rules, and `webhookConfiguration` with a timeout and a
    /// failure policy. Kyverno supports these fields since 1.13.
    VERSION_TOO_OLD = "NP0610" "version-too-old" Error;

    /// # This version of Kyverno may not support ClusterPolicy
    ///
    /// ClusterPolicy is deprecated since Kyverno 1.17, and its removal is planned for 1.20 or later.
    /// Target `kyverno-cel` writes its successor, GeneratingPolicy. `docs/kyverno.md` explains how to
    /// migrate without leaving a namespace unprotected.
    VERSION_REMOVES = "NP0611" "version-removes" Warning;

    /// # The description cannot be escaped for Kyverno
    ///
    /// Kyverno interprets `{{` as the start of a variable and `$(…)` as a reference. Neither three
    /// opening braces in a row nor a reference inside a reference, such as `$(a$(b)`, can be escaped so
    /// that Kyverno copies them literally. The target omits the description from the NetworkPolicies;
    /// the ClusterPolicy keeps it.
    ///
    /// ```np fails target=kyverno
    /// /// Written as {{{ name }}}.
    /// policy p for all pods in namespace shop { isolate ingress }
    /// ```
    ///
    /// ```np target=kyverno
    /// /// Written as {{ name }}.
    /// policy p for all pods in namespace shop { isolate ingress }
    /// ```
    TEXT_LEFT_OUT = "NP0612" "text-left-out" Warning;

    /// # The object does not follow changes of the namespace's label
    ///
    /// With `synchronize = false`, Kyverno copies the label's value into the NetworkPolicy when it
    /// creates the object, and never updates it. A namespace that moves to another tenant stays open to
    /// the old tenant.
    ///
    /// ```np fails target=kyverno
    /// policy tenant for all pods in namespaces { tenant } {
    ///   allow ingress from all pods in namespaces sharing tenant
    ///   kyverno { synchronize = false }
    /// }
    /// ```
    ///
    /// ```np target=kyverno
    /// policy tenant for all pods in namespaces { tenant } {
    ///   allow ingress from all pods in namespaces sharing tenant
    /// }
    /// ```
    STALE_LABEL = "NP0616" "stale-label" Warning;
}

/// The first version of Kyverno that supports every field of the output.
const FIRST: KyvernoVersion = KyvernoVersion { minor: 13, patch: 0 };
/// The first version of Kyverno that may lack ClusterPolicy.
const REMOVAL: KyvernoVersion = KyvernoVersion { minor: 20, patch: 0 };

/// Writes values that depend on the namespace as JMESPath expressions in `{{ … }}`.
pub(crate) struct JmesPath;

impl Names for JmesPath {
    const TARGET: AnyTarget = AnyTarget::KYVERNO;

    fn own_name(&self) -> String {
        "{{ request.object.metadata.name }}".to_owned()
    }

    /// The default covers a namespace that loses the label during the generation: a missing key would make the whole
    /// generation fail silently.
    fn own_label(&self, key: &str) -> String {
        format!("{{{{ request.object.metadata.labels.{} || '' }}}}", identifier(key))
    }
}

/// A JMESPath identifier for a label key, quoted if the grammar requires it.
fn identifier(key: &str) -> String {
    let bare = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && key.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    // A label key contains no character that JSON escapes.
    if bare { key.to_owned() } else { format!("\"{key}\"") }
}

/// Escapes text that Kyverno must copy literally; `None` if that is impossible.
///
/// `{{` begins a variable and is escaped as `\{{`. With three braces, the second and third would begin a variable
/// again. `$(x)` is a reference and is escaped as `\$(x)`. A `$(` that begins no reference must not be escaped, since
/// Kyverno keeps the backslash there (`pkg/engine/variables/regex`). Kyverno does not restore the text of a reference
/// that begins inside another one.
fn escape(text: &str) -> Option<String> {
    if text.contains("{{{") {
        return None;
    }
    let text = text.replace("{{", "\\{{");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find("$(") {
        let (before, behind) = rest.split_at(at);
        out.push_str(before);
        if is_reference(behind) {
            let inner = behind.get(2..).unwrap_or("");
            if inner.split([' ', ')']).next().unwrap_or("").contains("$(") {
                return None;
            }
            out.push('\\');
        }
        out.push_str("$(");
        rest = behind.get(2..).unwrap_or("");
    }
    out.push_str(rest);
    Some(out)
}

/// Whether Kyverno interprets the `$(` at the start of the text as a reference: one character that is not a line break,
/// then characters without a space, then `)`.
fn is_reference(text: &str) -> bool {
    let mut inner = text.chars().skip(2);
    inner.next().is_some_and(|first| first != '\n') && inner.find(|c| matches!(c, ' ' | ')')) == Some(')')
}

/// Target `kyverno`.
pub(crate) struct ClusterPolicies;

impl Target for ClusterPolicies {
    fn name(&self) -> &'static str {
        "kyverno"
    }

    fn nouns(&self) -> [&'static str; 2] {
        ["ClusterPolicy", "ClusterPolicies"]
    }

    fn extension(&self) -> &'static str {
        "kyverno.yaml"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { tiers: false, text: true, by_kyverno: true, per_cluster: false }
    }

    fn emit(&self, input: &Input<'_>) -> Emitted {
        kyverno_common::compile(self, input)
    }

    fn read(&self, output: &Output) -> Result<ReadBack, String> {
        read_policies(output)
    }
}

impl Kind for ClusterPolicies {
    type Policy = ClusterPolicy;
    type Names = JmesPath;

    fn names(&self) -> JmesPath {
        JmesPath
    }

    fn check(
        &self,
        template: &Template<'_>,
        settings: &Resolved,
        options: &Options,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        let version = options.kyverno_version;
        if version < FIRST {
            diagnostics.push(
                Diagnostic::without_place(
                    &VERSION_TOO_OLD,
                    format!("target `kyverno` does not work with Kyverno {version}"),
                )
                .note("it does not support `generateExisting` in rules, nor `webhookConfiguration.timeoutSeconds`")
                .help(format!("use Kyverno {FIRST} or later")),
            );
        }
        if version >= REMOVAL {
            diagnostics.push(
                Diagnostic::without_place(
                    &VERSION_REMOVES,
                    format!("Kyverno {version} may not support ClusterPolicy"),
                )
                .note("ClusterPolicy is deprecated since 1.17, and its removal is planned for 1.20 or later")
                .help("use the target `kyverno-cel`"),
            );
        }
        let policy = template.policy;
        if !template.reads.is_empty() && !settings.synchronize {
            let keys: Vec<String> = template.reads.iter().map(|key| format!("`{key}`")).collect();
            diagnostics.push(
                Diagnostic::new(
                    &STALE_LABEL,
                    format!(
                        "the NetworkPolicies of `{}` do not follow changes of the label {}",
                        policy.name,
                        keys.join(", ")
                    ),
                    policy.location,
                    "Kyverno reads the value once, because `synchronize` is off",
                )
                .help("set `synchronize = true`, or use the target `kyverno-cel`"),
            );
        }
        if policy.docs.iter().any(|line| escape(line).is_none()) {
            diagnostics.push(
                Diagnostic::new(
                    &TEXT_LEFT_OUT,
                    format!("the NetworkPolicies of `{}` get no description", policy.name),
                    policy.location,
                    "its documentation contains `{{{` or `$(…$(`, which Kyverno would interpret as a variable",
                )
                .help("rewrite the documentation without these characters"),
            );
        }
    }

    fn policy(&self, made: TemplateContext<'_, '_>) -> ClusterPolicy {
        let TemplateContext { template, settings, source, name } = made;
        let matched = matched(&template);
        let annotations_of_data = data_annotations(&template, source);
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
                    r#match: Any { any: matched },
                    exclude: excluded(template.except),
                    generate: Generate {
                        generate_existing: settings.generate_existing,
                        synchronize: settings.synchronize,
                        orphan_downstream_on_policy_delete: settings.orphan_on_delete.then_some(true),
                        api_version: "networking.k8s.io/v1",
                        kind: "NetworkPolicy",
                        name: template.name,
                        namespace: "{{request.object.metadata.name}}",
                        data: Data {
                            metadata: DataMetadata { annotations: annotations_of_data },
                            spec: manifest::Spec(template.spec),
                        },
                    },
                }],
            },
        }
    }
}

fn data_annotations(template: &Template<'_>, source: &str) -> BTreeMap<&'static str, String> {
    let mut annotations = object_annotations(template.policy, source);
    annotations.retain(|_, text| match escape(text) {
        Some(escaped) => {
            *text = escaped;
            true
        }
        None => false,
    });
    annotations
}

/// The filters for namespaces in any of the scopes. An empty selector is omitted because Kyverno rejects it.
fn matched(template: &Template<'_>) -> Vec<ResourcesOf> {
    let mut any = Vec::new();
    for subject in &template.scopes {
        let (names, mut selector) = match &subject.scope.base {
            ScopeBase::Names(names) => {
                (Some(names.iter().map(ToString::to_string).collect()), Selector::default())
            }
            ScopeBase::Labels(selector) => (None, selector.clone()),
            // The semantic checks reject a subject whose scope is relative to itself.
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
    any.extend(scope.except_labels.iter().map(|labels| namespaces(None, labels)));
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
        for (text, escaped) in [
            ("a {{ b }} $(c) \\{{", "a \\{{ b }} \\$(c) \\\\{{"),
            ("$(a b) $()) $() $", "$(a b) \\$()) $() $"),
            ("\\$(x)", "\\\\$(x)"),
            ("$$(x)", "$\\$(x)"),
            ("$(a) $(b)$(c)", "\\$(a) \\$(b)\\$(c)"),
        ] {
            assert_eq!(escape(text).as_deref(), Some(escaped), "{text}");
        }
        assert_eq!(escape("{{{"), None);
        assert_eq!(escape("$(a$(b)"), None);
    }
}
