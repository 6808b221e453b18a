//! Answers: the verdict on a connection with its whole reason.

use std::net::IpAddr;
use std::sync::Arc;

use npc_model::{Connection, Endpoint, Route, Verdict};
use serde::Serialize;

/// The verdict on a connection, and why.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The source: `namespace/pod` or an address.
    pub source: String,
    /// The address that it uses, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_address: Option<IpAddr>,
    /// The destination.
    pub destination: String,
    /// The address that it uses, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_address: Option<IpAddr>,
    /// `tcp/80`, or `other`.
    pub traffic: String,
    /// Whether the connection is allowed.
    pub allowed: bool,
    /// Which side denies it: `egress`, `ingress` or `both`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_by: Option<&'static str>,
    /// Why it is allowed whatever the policies say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub always: Option<&'static str>,
    /// The address of a node that the destination sees in place of the source's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masqueraded_as: Option<IpAddr>,
    /// What the source is besides its name, for people: a node, or a pod on a node's network.
    #[serde(skip)]
    pub source_note: String,
    /// The same of the destination.
    #[serde(skip)]
    pub destination_note: String,
    /// What the source's side says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Side>,
    /// What the destination's side says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Side>,
}

impl Answer {
    /// The verdict on a connection alone, without what each side says.
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

/// What an end is besides its name: ` (node n1)`.
fn note(end: &Endpoint<'_>) -> String {
    match end {
        Endpoint::Node { name: Some(name), .. } => format!(" (node {name})"),
        Endpoint::Node { name: None, .. } => " (a node)".to_owned(),
        Endpoint::Pod { pod, .. } => pod.host_note().unwrap_or_default(),
        Endpoint::Outside(_) => String::new(),
    }
}

/// What one side says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// Whether it allows the connection.
    pub allowed: bool,
    /// What decided.
    pub reason: Reason,
    /// Where it denies since no rule matches, the rule that comes nearest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<NearestRule>,
}

/// What decided on one side.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Reason {
    /// A rule.
    Rule(Arc<RuleReference>),
    /// These policies isolate the pod, and no rule of theirs matches.
    Isolated {
        /// The policies.
        policies: Vec<Arc<PolicyReference>>,
    },
    /// No policy says anything of it.
    Default,
    /// An address outside the cluster decides nothing.
    Outside,
    /// No policy selects a node, or a pod on its node's network.
    HostNetwork,
}

/// A policy, by its name and place.
#[derive(Clone, Debug, Serialize)]
pub struct PolicyReference {
    /// `admin`, `policy` or `baseline`.
    pub tier: &'static str,
    /// Its name.
    pub policy: String,
    /// `file:line`.
    pub location: String,
}

/// A rule, by its policy and place.
#[derive(Clone, Debug, Serialize)]
pub struct RuleReference {
    /// Its policy.
    #[serde(flatten)]
    pub policy: Arc<PolicyReference>,
    /// Which rule of the policy, counted from one.
    pub rule: usize,
    /// `file:line` of the rule.
    #[serde(rename = "ruleLocation")]
    pub location: String,
    /// The rule, as a program says it.
    pub text: String,
}

/// The rule that comes nearest, and what is missing.
#[derive(Clone, Debug, Serialize)]
pub struct NearestRule {
    /// The rule.
    #[serde(flatten)]
    pub rule: Arc<RuleReference>,
    /// What is missing, in words.
    pub lacks: Vec<String>,
}
