//! Target `kyverno-cel`: `policies.kyverno.io/v1` GeneratingPolicy.

pub(crate) mod expression;
mod types;

use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use npc_diagnostics::Diagnostic;
use npc_program::{FailurePolicy, ScopeBase};

use crate::kyverno_common::{Kind, Resolved, TemplateContext};
use crate::manifest::Manifest;
use crate::metadata::{Metadata, annotations, object_annotations};
use crate::options::{KyvernoVersion, Options};
use crate::target::{AnyTarget, Capabilities, Emitted, Input, ReadBack, Target, read_policies, unsupported};
use crate::template::{Names, Template};
use crate::yaml;
use crate::{Output, kyverno_common};
use expression::{OBJECT, conditions, label, variable};
use types::{
    Enabled, Evaluation, GeneratingPolicy, Generation, MatchConstraints, Named, ResourceRule, Spec,
    WebhookConfiguration,
};

npc_diagnostics::codes! {
    /// # The object's name depends on the namespace's label
    ///
    /// If a GeneratingPolicy of Kyverno 1.19 with `synchronize` copies a namespace label into its
    /// objects, Kyverno can permanently restore the old value after the label changes. The safe way
    /// that still reverts edits and deletes old objects is to include the value in the object's name: a
    /// new value gives a new object, and Kyverno deletes the old object after that.
    ///
    /// So with `namespaces sharing LABEL`, target `kyverno-cel` names the object `POLICY-HASH`, where
    /// the hash is the SHA-256 of the value. With a hash, a user who may label namespaces cannot choose
    /// a name that another policy's object has. Target `kyverno` does not have this problem. With
    /// `kyverno { synchronize = false }` the name contains no hash, but then Kyverno reverts no edits
    /// and deletes no objects.
    ///
    /// ```np fails target=kyverno-cel
    /// policy tenant for all pods in namespaces { tenant } {
    ///   allow ingress from all pods in namespaces sharing tenant
    /// }
    /// ```
    ///
    /// ```np target=kyverno-cel
    /// policy tenant for all pods in namespaces { tenant } {
    ///   allow ingress from all pods in namespaces sharing tenant
    ///   kyverno { synchronize = false }
    /// }
    /// ```
    VALUE_IN_NAME = "NP0608" "value-in-name" Note;

    /// # This version of Kyverno is too old for target `kyverno-cel`
    ///
    /// GeneratingPolicies with templates need Kyverno 1.19. Kyverno 1.19.0 deletes and recreates every
    /// object of a policy with `synchronize` once an hour; 1.19.1 does not.
    KYVERNO_TOO_OLD = "NP0609" "kyverno-too-old" Error;
}

/// The maximum length of an expression that Kyverno evaluates, in code points (a limit of cel-go).
const MAX_EXPRESSION: usize = 100_000;

/// Writes values that depend on the namespace as CEL expressions in `(( … ))`.
pub(crate) struct Cel;

impl Names for Cel {
    const TARGET: AnyTarget = AnyTarget::KYVERNO_CEL;

    fn own_name(&self) -> String {
        "(( object.metadata.name ))".to_owned()
    }

    fn own_label(&self, key: &str) -> String {
        format!("(( variables.{} ))", variable(key))
    }
}

/// Escapes text that Kyverno must copy literally: `((` would begin an expression.
fn escape(text: &str) -> String {
    text.replace("((", "\\((")
}

/// Target `kyverno-cel`.
pub(crate) struct GeneratingPolicies;

impl Target for GeneratingPolicies {
    fn name(&self) -> &'static str {
        "kyverno-cel"
    }

    fn nouns(&self) -> [&'static str; 2] {
        ["GeneratingPolicy", "GeneratingPolicies"]
    }

    fn extension(&self) -> &'static str {
        "kyverno-cel.yaml"
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

impl Kind for GeneratingPolicies {
    type Policy = GeneratingPolicy;
    type Names = Cel;

    fn names(&self) -> Cel {
        Cel
    }

    fn policy(&self, made: TemplateContext<'_, '_>) -> GeneratingPolicy {
        let TemplateContext { template, settings, source, name } = made;
        let match_conditions = conditions(&template);
        GeneratingPolicy {
            api_version: "policies.kyverno.io/v1",
            kind: "GeneratingPolicy",
            metadata: Metadata { name, annotations: annotations(template.policy, source) },
            spec: Spec {
                evaluation: Evaluation {
                    generate_existing: Enabled { enabled: settings.generate_existing },
                    synchronize: Enabled { enabled: settings.synchronize },
                    orphan_downstream_on_policy_delete: settings
                        .orphan_on_delete
                        .then_some(Enabled { enabled: true }),
                },
                webhook_configuration: WebhookConfiguration { timeout_seconds: settings.webhook_timeout },
                match_constraints: MatchConstraints {
                    resource_rules: [ResourceRule {
                        api_groups: [""],
                        api_versions: ["v1"],
                        operations: ["CREATE", "UPDATE"],
                        resources: ["namespaces"],
                    }],
                },
                match_conditions,
                variables: template
                    .reads
                    .iter()
                    .map(|key| Named {
                        name: variable(key),
                        expression: format!("{}.orValue('')", label(OBJECT, key)),
                    })
                    .collect(),
                generate: [Generation {
                    template: types::Template {
                        interpolate: "cel",
                        value: yaml::Embedded(Manifest(object(template, settings, source))),
                    },
                }],
            },
        }
    }

    fn check(
        &self,
        template: &Template<'_>,
        settings: &Resolved,
        options: &Options,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        if settings.failure_policy == FailurePolicy::Fail
            && let Some(place) = settings.failure_policy_location
        {
            diagnostics.push(unsupported(
                AnyTarget::KYVERNO_CEL,
                "`failure-policy = fail`",
                place,
                "a GeneratingPolicy cannot reject namespaces while Kyverno is unavailable",
                &[AnyTarget::KYVERNO],
            ));
        }
        let place = template.policy.location;
        if !template.reads.is_empty() && settings.synchronize {
            let keys: Vec<String> = template.reads.iter().map(|key| format!("`{key}`")).collect();
            diagnostics.push(
                Diagnostic::new(
                    &VALUE_IN_NAME,
                    format!(
                        "the names of the NetworkPolicies of `{}` contain a hash of {}",
                        template.policy.name,
                        keys.join(", ")
                    ),
                    place,
                    format!("named `{}-HASH`", template.name),
                )
                .note("with a constant name, Kyverno can permanently restore an old value"),
            );
        }
        let names = template.scopes.iter().map(|subject| match &subject.scope.base {
            ScopeBase::Names(names) => names.len(),
            _ => 0,
        });
        // Only policies with many names can exceed the limit, so the conditions of others are not built here.
        if names.sum::<usize>() + template.except.except_names.len() > 1_000 {
            let longest = conditions(template).iter().map(|one| one.expression.chars().count()).max();
            if longest.is_some_and(|length| length > MAX_EXPRESSION) {
                let place = template.scopes.first().and_then(|subject| subject.scope_location);
                diagnostics.push(
                    unsupported(
                        AnyTarget::KYVERNO_CEL,
                        "so many namespace names",
                        place.unwrap_or(template.policy.location),
                        &format!("Kyverno evaluates expressions of at most {MAX_EXPRESSION} characters"),
                        &[AnyTarget::KYVERNO, AnyTarget::NETWORK_POLICY],
                    )
                    .help("select the namespaces by a label that they share"),
                );
            }
        }
        let version = options.kyverno_version;
        let needed = KyvernoVersion { minor: 19, patch: u32::from(settings.synchronize) };
        if version < needed {
            let why = if version.minor < 19 {
                "its GeneratingPolicy has no templates"
            } else {
                "with `synchronize` it deletes and recreates every object once an hour"
            };
            diagnostics.push(
                Diagnostic::without_place(
                    &KYVERNO_TOO_OLD,
                    format!("target `kyverno-cel` does not work with Kyverno {version}: {why}"),
                )
                .help(format!("use Kyverno {needed} or later, or the target `kyverno`")),
            );
        }
    }
}

/// The NetworkPolicy inside the GeneratingPolicy's template.
fn object(template: Template<'_>, settings: &Resolved, source: &str) -> NetworkPolicy {
    let mut name = template.name;
    if settings.synchronize && !template.reads.is_empty() {
        name.push_str(&format!("-(( {} ))", expression::name_suffix(&template.reads)));
    }
    let annotations = object_annotations(template.policy, source)
        .into_iter()
        .map(|(key, text)| (key.to_owned(), escape(&text)))
        .collect();
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some("(( object.metadata.name ))".to_owned()),
            annotations: Some(annotations),
            ..Default::default()
        },
        spec: Some(template.spec),
    }
}
