//! Answers to queries: the verdict on a connection and its reason.

use std::net::IpAddr;
use std::sync::Arc;

use npc_vocabulary::{Connection, Endpoint, Route, Verdict};
use serde::Serialize;

/// The verdict on a connection and its reason.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The source: `namespace/pod` or an address.
    pub source: String,
    /// The source's address, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<IpAddr>,
    /// The destination.
    pub destination: String,
    /// The destination's address, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_address: Option<IpAddr>,
    /// `tcp/80`, or `other`.
    pub traffic: String,
    /// Whether the connection is allowed.
    pub allowed: bool,
    /// The side that denies it: `egress`, `ingress` or `both`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_by: Option<&'static str>,
    /// The reason why it is allowed regardless of the policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always: Option<&'static str>,
    /// The node address that the destination sees instead of the source's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masqueraded_as: Option<IpAddr>,
    /// A note on the source for text output: a node, or a host-network pod.
    #[serde(skip)]
    pub source_note: String,
    /// The same note on the destination.
    #[serde(skip)]
    pub destination_note: String,
    /// The decision of the source's egress policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Side>,
    /// The decision of the destination's ingress policies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Side>,
}

impl Answer {
    /// The answer without the decisions of the two sides.
    #[must_use]
    pub fn without_reasons(connection: &Connection<'_>, verdict: &Verdict) -> Self {
        Self {
            source: connection.source.to_string(),
            source_address: connection.source.address(),
            destination: connection.destination.to_string(),
            destination_address: connection.destination.address(),
            traffic: connection.traffic.to_string(),
            allowed: verdict.allowed(),
            denied_by: match verdict.denied() {
                (false, false) => None,
                (true, false) => Some("egress"),
                (false, true) => Some("ingress"),
                (true, true) => Some("both"),
            },
            always: match verdict {
                Verdict::Itself => Some("a pod reaches itself"),
                Verdict::Node => Some("the node that a pod runs on reaches it"),
                Verdict::Decided { .. } => None,
            },
            masqueraded_as: match connection.route {
                Route::Masqueraded(node) => node.address(),
                Route::Direct | Route::Service => None,
            },
            source_note: note(&connection.source),
            destination_note: note(&connection.destination),
            egress: None,
            ingress: None,
        }
    }
}

/// The note on an end, such as ` (node n1)`.
fn note(end: &Endpoint<'_>) -> String {
    match end {
        Endpoint::Node { name: Some(name), .. } => format!(" (node {name})"),
        Endpoint::Node { name: None, .. } => " (a node)".to_owned(),
        Endpoint::Pod { pod, .. } => pod.host_note().unwrap_or_default(),
        Endpoint::Outside(_) => String::new(),
    }
}

/// The decision of one side.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// Whether it allows the connection.
    pub allowed: bool,
    /// The reason for the decision.
    pub reason: Reason,
    /// If it denies because no rule matches: the rule with the fewest unmet conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<NearestRule>,
}

/// The reason for the decision of one side.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// A rule.
    Rule(Arc<RuleReference>),
    /// These policies isolate the pod, and none of their rules matches.
    Isolated {
        /// The policies.
        policies: Vec<Arc<PolicyReference>>,
    },
    /// No rule matches and no plain policy isolates the pod in this direction, so the connection is allowed.
    Default,
    /// The end is outside the cluster, so this side decides nothing.
    Outside,
    /// The end is a node or a host-network pod, which no policy selects.
    HostNetwork,
}

/// A reference to a policy.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyReference {
    /// `admin`, `policy` or `baseline`.
    pub tier: &'static str,
    /// Its name.
    pub policy: String,
    /// The location of the policy, as `file:line`.
    pub location: String,
}

/// A reference to a rule.
#[derive(Clone, Debug, Serialize)]
pub struct RuleReference {
    /// Its policy.
    #[serde(flatten)]
    pub policy: Arc<PolicyReference>,
    /// The number of the rule in the policy, from 1.
    pub rule: usize,
    /// The location of the rule, as `file:line`.
    #[serde(rename = "ruleLocation")]
    pub location: String,
    /// The rule in `.np` syntax.
    pub text: String,
}

/// The rule that is nearest to matching, and its unmet conditions.
#[derive(Clone, Debug, Serialize)]
pub struct NearestRule {
    /// The rule.
    #[serde(flatten)]
    pub rule: Arc<RuleReference>,
    /// The unmet conditions, as text.
    pub unmet: Vec<String>,
}
