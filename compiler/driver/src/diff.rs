//! Changes in meaning, in words.

use npc_import::{selector_text, word};
use npc_program::{Operator, Requirement, Selector};
use npc_proof::{Kind, KindEnd};

/// A kind of connections, as nearly as a program would say it: `pods { app = web } in namespace shop
/// -> pods in same namespace on tcp/80`.
#[must_use]
pub fn kind_text(kind: &Kind) -> String {
    let mut text = format!("{} -> {}", end_text(&kind.source, None), end_text(&kind.destination, Some(kind)));
    let ports: Vec<String> =
        kind.ports.iter().filter(|(_, is)| *is).map(|(port, _)| port.to_string()).collect();
    let not: Vec<String> =
        kind.ports.iter().filter(|(_, is)| !is).map(|(port, _)| port.to_string()).collect();
    if !ports.is_empty() {
        text.push_str(&format!(" on {}", ports.join(" and ")));
    } else if let Some((protocol, _)) = kind.protocols.iter().find(|(_, is)| *is) {
        text.push_str(&format!(" on {protocol}"));
    }
    if !not.is_empty() {
        text.push_str(&format!(" but not on {}", not.join(", ")));
    }
    let no_protocol: Vec<&str> =
        kind.protocols.iter().filter(|(_, is)| !is).map(|(protocol, _)| *protocol).collect();
    if !no_protocol.is_empty() {
        text.push_str(&format!(" but not on {}", no_protocol.join(", ")));
    }
    for (key, same) in &kind.shared {
        let how = if *same { "that share" } else { "that do not share" };
        text.push_str(&format!(", in namespaces {how} {}", word(key)));
    }
    match kind.v6 {
        Some(true) => text.push_str(", over IPv6"),
        Some(false) => text.push_str(", over IPv4"),
        None => {}
    }
    text
}

fn end_text(end: &KindEnd, kind: Option<&Kind>) -> String {
    let same = kind.and_then(|kind| kind.same_namespace);
    let asks_pod = !end.labels.is_empty()
        || !end.namespace_labels.is_empty()
        || !end.names.is_empty()
        || same == Some(true)
        || end.host.is_some();
    let mut text = match end.pod {
        Some(false) => "addresses outside".to_owned(),
        None if !asks_pod => "anything".to_owned(),
        _ if end.labels.is_empty() => "pods".to_owned(),
        _ => format!("pods {}", labels(&end.labels)),
    };
    if end.pod != Some(false) {
        text.push_str(&namespaces(end, same));
        match end.host {
            Some(true) => text.push_str(" on their node's network"),
            Some(false) | None => {}
        }
    }
    let inside: Vec<String> = end.nets.iter().filter(|(_, is)| *is).map(|(net, _)| net.to_string()).collect();
    let outside: Vec<String> =
        end.nets.iter().filter(|(_, is)| !is).map(|(net, _)| net.to_string()).collect();
    // The smallest block says what the larger ones do.
    let smallest = end.nets.iter().filter(|(_, is)| *is).max_by_key(|(net, _)| net.prefix_len());
    if let Some((net, _)) = smallest {
        text.push_str(&format!(" at {net}"));
    }
    debug_assert!(smallest.is_some() != inside.is_empty());
    if !outside.is_empty() {
        let at = if smallest.is_some() { " except" } else { " at anything but" };
        text.push_str(&format!("{at} {}", outside.join(", ")));
    }
    text
}

fn labels(requirements: &[Requirement]) -> String {
    selector_text(&Selector { requirements: requirements.to_vec() })
}

fn namespaces(end: &KindEnd, same: Option<bool>) -> String {
    let mut parts = Vec::new();
    if same == Some(true) {
        parts.push("the same namespace".to_owned());
    }
    let names: Vec<&str> = end.names.iter().filter(|(_, is)| *is).map(|(name, _)| &**name).collect();
    let not: Vec<&str> = end.names.iter().filter(|(_, is)| !is).map(|(name, _)| &**name).collect();
    match names.as_slice() {
        [] => {}
        [name] if !name.contains(['*', '?']) => parts.push(format!("namespace {name}")),
        names => parts.push(format!("namespaces ({})", names.join(" and "))),
    }
    if !end.namespace_labels.is_empty() {
        let (has, lacks): (Vec<&Requirement>, Vec<&Requirement>) =
            end.namespace_labels.iter().partition(|one| one.operator != Operator::DoesNotExist);
        let all: Vec<Requirement> = has.into_iter().chain(lacks).cloned().collect();
        parts.push(format!("namespaces {}", labels(&all)));
    }
    let mut text = if parts.is_empty() { String::new() } else { format!(" in {}", parts.join(" and ")) };
    if same == Some(false) {
        text.push_str(if parts.is_empty() { " in another namespace" } else { ", another namespace" });
    }
    if !not.is_empty() {
        let all = if text.is_empty() { " in all namespaces" } else { "" };
        text.push_str(&format!("{all} except ({})", not.join(", ")));
    }
    text
}
