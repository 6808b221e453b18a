//! The fields of `policy.networking.k8s.io/v1alpha2` ClusterNetworkPolicy that the target writes.
//!
//! `k8s-openapi` contains only built-in kinds of Kubernetes. The Network Policy API project defines this one
//! (kubernetes-sigs/network-policy-api, `apis/v1alpha2`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;

use crate::metadata::Metadata;
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClusterNetworkPolicy<'a> {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec<'a>,
}

#[derive(Serialize)]
pub(super) struct Spec<'a> {
    pub(super) tier: &'static str,
    pub(super) priority: u16,
    pub(super) subject: Pods,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) ingress: &'a [IngressRule],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) egress: &'a [EgressRule],
}

#[derive(Serialize)]
pub(super) struct IngressRule {
    pub(super) action: &'static str,
    pub(super) from: Vec<Peer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) protocols: Vec<Protocol>,
}

#[derive(Serialize)]
pub(super) struct EgressRule {
    pub(super) action: &'static str,
    pub(super) to: Vec<Peer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) protocols: Vec<Protocol>,
}

/// A selector of pods, for a subject or a peer.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Pods {
    /// All pods of the namespaces that match.
    Namespaces(LabelSelector),
    /// The pods that match, in the namespaces that match.
    Pods(Both),
}

#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Both {
    pub(super) namespace_selector: LabelSelector,
    pub(super) pod_selector: LabelSelector,
}

#[derive(Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Peer {
    Pods(Pods),
    Networks { networks: Vec<String> },
}

#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Protocol {
    Tcp(Ports),
    Udp(Ports),
    Sctp(Ports),
    DestinationNamedPort(String),
}

#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ports {
    pub(super) destination_port: DestinationPort,
}

#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum DestinationPort {
    Number(u16),
    Range(Range),
}

/// A range of ports, both ends included. The API requires `start < end`.
#[derive(Clone, PartialEq, Serialize)]
pub(super) struct Range {
    pub(super) start: u16,
    pub(super) end: u16,
}
