//! The answers of `npc query`, as text and JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use npc_cluster::Resolution;
use npc_driver::{Answer, side_text};
use npc_vocabulary::{Connection, Route, Traffic};
use serde::Serialize;

use crate::arguments::Way;

/// The answers to one query.
pub(crate) struct Answers {
    /// The queried Service, if the destination is one.
    service: Option<AskedService>,
    /// The answers for each connection. A query has one connection, or one for each endpoint of a
    /// Service.
    connections: Vec<Answered>,
}

/// A queried Service.
struct AskedService {
    name: String,
    address: Option<IpAddr>,
    traffic: Traffic,
}

/// The answers for one connection.
struct Answered {
    by_way: Vec<(Way, Answer)>,
    /// The number of further nodes that could masquerade the source, with the same verdict.
    more_nodes: usize,
}

/// The JSON of one connection: a single answer, or one per way of evaluation.
#[derive(Serialize)]
#[serde(untagged)]
enum Json<'a> {
    One(&'a Answer),
    #[serde(rename_all = "camelCase")]
    ByWay {
        allowed: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        denied_by: Option<&'static str>,
        via: BTreeMap<String, &'a Answer>,
    },
}

/// The JSON of a query for a Service.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceJson<'a> {
    service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_address: Option<IpAddr>,
    traffic: String,
    /// Whether every endpoint is allowed.
    allowed: bool,
    endpoints: Vec<Json<'a>>,
}

impl Answers {
    /// Evaluates the connections of a query with `ask`, which returns an answer for each way.
    pub(crate) fn new(
        resolution: &Resolution<'_>,
        ask: impl Fn(&Connection<'_>) -> Vec<(Way, Answer)>,
    ) -> Self {
        let of = |connection| Answered { by_way: ask(connection), more_nodes: 0 };
        match resolution {
            Resolution::Connection(connection) => Self { service: None, connections: vec![of(connection)] },
            Resolution::Service(asked) => {
                let mut connections: Vec<Answered> = Vec::new();
                for connection in &asked.connections {
                    let answered = of(connection);
                    // If several nodes can masquerade the source with the same verdict for an endpoint,
                    // keep one and count the rest.
                    let is_masqueraded = matches!(connection.route, Route::Masqueraded(_));
                    let known = connections.iter_mut().find(|known| known.is_like(&answered));
                    match known.filter(|_| is_masqueraded) {
                        Some(known) => known.more_nodes += 1,
                        None => connections.push(answered),
                    }
                }
                let service = AskedService {
                    name: asked.service.full_name(),
                    address: asked.address,
                    traffic: asked.traffic,
                };
                Self { service: Some(service), connections }
            }
        }
    }

    /// Whether the connection is allowed. For a Service: to every endpoint.
    pub(crate) fn allowed(&self) -> bool {
        self.connections.iter().all(Answered::allowed)
    }

    /// Whether a source or destination is a pod in the namespace.
    pub(crate) fn are_about(&self, namespace: &str) -> bool {
        let is_in = |name: &str| name.split_once('/').is_some_and(|(own, _)| own == namespace);
        let ends = self.connections.iter().flat_map(|answered| &answered.by_way);
        ends.into_iter().any(|(_, answer)| is_in(&answer.source) || is_in(&answer.destination))
    }

    /// Whether two ways of evaluation give different verdicts.
    pub(crate) fn differ(&self) -> bool {
        self.connections.iter().any(|answered| {
            answered.by_way.windows(2).any(|pair| match pair {
                [(_, a), (_, b)] => a.allowed != b.allowed || a.denied_by != b.denied_by,
                _ => false,
            })
        })
    }

    /// Appends the answers as JSON, on one line.
    pub(crate) fn write_json(&self, out: &mut Vec<u8>) {
        // Serialisation cannot fail: all keys are strings, and the output is in memory.
        let _ = match (&self.service, self.connections.as_slice()) {
            (Some(service), connections) => serde_json::to_writer(
                out,
                &ServiceJson {
                    service: &service.name,
                    service_address: service.address,
                    traffic: service.traffic.to_string(),
                    allowed: self.allowed(),
                    endpoints: connections.iter().filter_map(Answered::json).collect(),
                },
            ),
            (None, [only]) => serde_json::to_writer(out, &only.json()),
            (None, _) => Ok(()),
        };
    }

    /// The answers as text; `source` is the name that the user entered.
    pub(crate) fn human(&self, source: &str) -> String {
        let mut out = String::new();
        if let Some(AskedService { name, address, traffic }) = &self.service {
            let allowed = self.connections.iter().filter(|one| one.allowed()).count();
            let verdict = match (allowed, self.connections.len()) {
                (0, _) => "denied".to_owned(),
                (some, all) if some == all => "allowed".to_owned(),
                (some, all) => format!("denied in {} of {all} cases", all - some),
            };
            // Writing to a string cannot fail.
            let address = address.map(|address| format!(" ({address})")).unwrap_or_default();
            let _ = writeln!(out, "{verdict}: {source} -> {name}{address}, {traffic}");
        }
        for answered in &self.connections {
            let mut text = String::new();
            for (index, (way, answer)) in answered.by_way.iter().enumerate() {
                if answered.by_way.len() > 1 {
                    let gap = if index > 0 { "\n" } else { "" };
                    let _ = writeln!(text, "{gap}via {way}:");
                }
                human(&mut text, answer, answered.more_nodes);
            }
            let indent = if self.service.is_some() { "  " } else { "" };
            for line in text.lines() {
                let _ = writeln!(out, "{}{line}", if line.is_empty() { "" } else { indent });
            }
        }
        out
    }
}

impl Answered {
    fn allowed(&self) -> bool {
        self.by_way.iter().all(|(_, answer)| answer.allowed)
    }

    /// Whether both answers have the same destination and the same verdicts.
    fn is_like(&self, other: &Self) -> bool {
        self.by_way.iter().zip(&other.by_way).all(|((_, a), (_, b))| {
            (&a.destination, a.destination_address, &a.traffic, a.allowed, a.denied_by)
                == (&b.destination, b.destination_address, &b.traffic, b.allowed, b.denied_by)
        })
    }

    fn json(&self) -> Option<Json<'_>> {
        match self.by_way.as_slice() {
            [(_, only)] => Some(Json::One(only)),
            [(_, first), ..] => Some(Json::ByWay {
                allowed: first.allowed,
                denied_by: first.denied_by,
                via: self.by_way.iter().map(|(way, answer)| (way.to_string(), answer)).collect(),
            }),
            [] => None,
        }
    }
}

/// Appends one answer as text; `more_nodes` as in [`Answered`].
fn human(out: &mut String, answer: &Answer, more_nodes: usize) {
    let end = |name: &str, note: &str, address: Option<IpAddr>| match address {
        Some(address) if address.to_string() != name => format!("{name} ({address}){note}"),
        _ => format!("{name}{note}"),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{}: {} -> {}, {}",
        if answer.allowed { "allowed" } else { "denied" },
        end(&answer.source, &answer.source_note, answer.source_address),
        end(&answer.destination, &answer.destination_note, answer.destination_address),
        answer.traffic,
    );
    if let Some(always) = answer.always {
        let _ = writeln!(out, "  {always}");
    }
    if let Some(node) = answer.masqueraded_as {
        let _ = writeln!(
            out,
            "  the destination sees the source as {node}{}: the forwarding node replaces the source address with its own (externalTrafficPolicy: Cluster)",
            match more_nodes {
                0 => String::new(),
                1 => ", or as 1 other node".to_owned(),
                more => format!(", or as one of {more} other nodes"),
            }
        );
    }
    for (word, name, side) in
        [("egress", &answer.source, &answer.egress), ("ingress", &answer.destination, &answer.ingress)]
    {
        if let Some(side) = side {
            side_text(out, word, name, side);
        }
    }
}
