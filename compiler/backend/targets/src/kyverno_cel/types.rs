//! The fields of `policies.kyverno.io/v1` GeneratingPolicy that the target writes.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::Serialize;

use crate::manifest::Manifest;
use crate::metadata::Metadata;
use crate::yaml::Embedded;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GeneratingPolicy {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) evaluation: Evaluation,
    pub(super) webhook_configuration: WebhookConfiguration,
    pub(super) match_constraints: MatchConstraints,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) match_conditions: Vec<Named>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) variables: Vec<Named>,
    pub(super) generate: [Generation; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Evaluation {
    pub(super) generate_existing: Enabled,
    pub(super) synchronize: Enabled,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orphan_downstream_on_policy_delete: Option<Enabled>,
}

#[derive(Serialize)]
pub(super) struct Enabled {
    pub(super) enabled: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WebhookConfiguration {
    pub(super) timeout_seconds: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MatchConstraints {
    pub(super) resource_rules: [ResourceRule; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ResourceRule {
    pub(super) api_groups: [&'static str; 1],
    pub(super) api_versions: [&'static str; 1],
    pub(super) operations: [&'static str; 2],
    pub(super) resources: [&'static str; 1],
}

/// A match condition or a variable: a CEL expression with a name.
#[derive(Serialize)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) expression: String,
}

#[derive(Serialize)]
pub(super) struct Generation {
    pub(super) template: Template,
}

#[derive(Serialize)]
pub(super) struct Template {
    pub(super) interpolate: &'static str,
    /// A NetworkPolicy as YAML, with `(( … ))` for the values that Kyverno computes from CEL expressions.
    pub(super) value: Embedded<Manifest<NetworkPolicy>>,
}
