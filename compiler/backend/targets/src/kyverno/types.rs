//! The fields of `kyverno.io/v1` ClusterPolicy that the target writes.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;

use crate::manifest;
use crate::metadata::Metadata;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterPolicy {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) webhook_configuration: WebhookConfiguration,
    pub(super) rules: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WebhookConfiguration {
    pub(super) failure_policy: &'static str,
    pub(super) timeout_seconds: u8,
}

#[derive(Serialize)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) r#match: Any,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) exclude: Option<Any>,
    pub(super) generate: Generate,
}

#[derive(Serialize)]
pub(super) struct Any {
    pub(super) any: Vec<ResourcesOf>,
}

#[derive(PartialEq, Serialize)]
pub(super) struct ResourcesOf {
    pub(super) resources: Resources,
}

#[derive(PartialEq, Serialize)]
pub(super) struct Resources {
    pub(super) kinds: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) selector: Option<LabelSelector>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Generate {
    pub(super) generate_existing: bool,
    pub(super) synchronize: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) orphan_downstream_on_policy_delete: Option<bool>,
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) namespace: &'static str,
    pub(super) data: Data,
}

#[derive(Serialize)]
pub(super) struct Data {
    pub(super) metadata: DataMetadata,
    pub(super) spec: manifest::Spec<NetworkPolicySpec>,
}

#[derive(Serialize)]
pub(super) struct DataMetadata {
    pub(super) annotations: BTreeMap<&'static str, String>,
}
