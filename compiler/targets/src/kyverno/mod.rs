//! Target `kyverno`: `kyverno.io/v1` ClusterPolicy with a generate rule each.

mod types;

use std::collections::BTreeMap;

use npc_diagnostics::Diagnostic;
use npc_program::{FailurePolicy, Scope, ScopeBase, Selector};

use crate::kyverno_common::{self, Kind, Made, Resolved, annotations, object_annotations};
use crate::manifest;
use crate::options::{KyvernoVersion, Options};
use crate::target::Target;
use crate::template::{Names, Template, label_selector};
use types::{
    Any, ClusterPolicy, Data, DataMetadata, Generate, Metadata, Resources, ResourcesOf, Rule, Spec,
    WebhookConfiguration,
};

npc_diagnostics::codes! {
    /// # This version of Kyverno is too old for the target `kyverno`
    ///
    /// The output uses `generateExisting` of a rule and `webhookConfiguration` with its timeout and
    /// failure policy, which Kyverno has since 1.13.
    VERSION_TOO_OLD = "NP0610" "version-too-old" Error;

    /// # This version of Kyverno may not have ClusterPolicy
    ///
    /// ClusterPolicy is deprecated since Kyverno 1.17; its removal is planned for 1.20 and later.
    /// The target `kyverno-cel` writes its successor, GeneratingPolicy. `docs/kyverno.md` says how
    /// to move from one to the other without a moment in which a namespace lacks its policies.
    VERSION_REMOVES = "NP0611" "version-removes" Warning;

    /// # A description that Kyverno would change
    ///
    /// Three opening braces in a row cannot be written so that Kyverno leaves them as they are: it
    /// takes two of them for the start of a variable. Nor can `$(a$(b)`, a reference in a
    /// reference. The NetworkPolicies go without the description; the ClusterPolicy has it.
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

    /// # The object does not follow the namespace's label
    ///
    /// With `synchronize = false` Kyverno writes the label's value into the NetworkPolicy when it is
    /// made, and never again: a namespace that moves to another tenant stays open to the old one.
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

/// The first version that knows every field that is written.
const FIRST: KyvernoVersion = KyvernoVersion { minor: 13, patch: 0 };
/// The first version that may not have the kind any more.
const REMOVAL: KyvernoVersion = KyvernoVersion { minor: 20, patch: 0 };

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

/// Text that Kyverno is to take as it is; `None` where there is no way to write it.
///
/// `{{` begins a variable and is written `\{{`. With three braces, the second and third would
/// begin one again. `$(x)` is a reference and is written `\$(x)`; only where it is one, since
/// Kyverno leaves the backslash elsewhere (its `pkg/engine/variables/regex`). A reference that begins
/// in another is escaped and read back in different ways.
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

/// Whether Kyverno takes the `$(` at the start of the text for a reference: one character that is
/// no line break, then no space up to a `)`.
fn is_reference(text: &str) -> bool {
    let mut inner = text.chars().skip(2);
    inner.next().is_some_and(|first| first != '\n') && inner.find(|c| matches!(c, ' ' | ')')) == Some(')')
}

pub(crate) struct ClusterPolicies;

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
                .note("it does not know `generateExisting` of a rule, nor `webhookConfiguration.timeoutSeconds`")
                .help(format!("use Kyverno {FIRST} or later")),
            );
        }
        if version >= REMOVAL {
            diagnostics.push(
                Diagnostic::without_place(
                    &VERSION_REMOVES,
                    format!("Kyverno {version} may not have ClusterPolicy any more"),
                )
                .note("it is deprecated since 1.17, and its removal is planned for 1.20 and later")
                .help("use the target `kyverno-cel`"),
            );
        }
        let policy = template.policy;
        if !template.reads.is_empty() && !settings.synchronize {
            let keys: Vec<String> = template.reads.iter().map(|key| format!("`{key}`")).collect();
            diagnostics.push(
                Diagnostic::new(
                    &STALE_LABEL,
                    format!("the NetworkPolicies of `{}` do not follow {}", policy.name, keys.join(", ")),
                    policy.location,
                    "the value is read once, since `synchronize` is off",
                )
                .help("leave `synchronize` on, or use the target `kyverno-cel`"),
            );
        }
        if policy.docs.iter().any(|line| escape(line).is_none()) {
            diagnostics.push(
                Diagnostic::new(
                    &TEXT_LEFT_OUT,
                    format!("the NetworkPolicies of `{}` go without their description", policy.name),
                    policy.location,
                    "its documentation holds `{{{` or `$(…$(`, which Kyverno would read as a variable",
                )
                .help("write it in another way"),
            );
        }
    }

    fn policy(&self, made: Made<'_, '_>) -> ClusterPolicy {
        let Made { template, settings, source, name } = made;
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

/// Namespaces that any of the scopes holds. A selector that would be empty is left out: Kyverno
/// refuses it.
fn matched(template: &Template<'_>) -> Vec<ResourcesOf> {
    let mut any = Vec::new();
    for subject in &template.scopes {
        let (names, mut selector) = match &subject.scope.base {
            ScopeBase::Names(names) => {
                (Some(names.iter().map(ToString::to_string).collect()), Selector::default())
            }
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
