//! Text descriptions of sets of connections, for semantic diffs.

use npc_print::{block_text, pods_text, selector_text, word};
use npc_program::values::address::Block;
use npc_program::{Requirement, Selector};
use npc_proof::{Kind, KindEnd};
use npc_vocabulary::{Operator, Port};

/// Describes a kind of connections in a syntax close to that of programs:
/// `pods { app = web } in namespace shop -> pods in same namespace on tcp/80`.
#[must_use]
pub fn kind_text(kind: &Kind) -> String {
    let mut text = format!("{} -> {}", end_text(&kind.source, None), end_text(&kind.destination, Some(kind)));
    // Omit ports that another list excludes.
    let taken: Vec<&Port> =
        kind.port_lists.iter().filter(|(_, is)| !is).flat_map(|(ports, _)| ports).collect();
    let left = |ports: &[Port]| -> Vec<Port> {
        ports.iter().filter(|port| !taken.contains(port)).cloned().collect()
    };
    let list = |ports: &[Port]| ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let mut on: Vec<String> =
        kind.port_lists.iter().filter(|(_, is)| *is).map(|(ports, _)| list(&left(ports))).collect();
    on.extend(kind.ports.iter().filter(|(_, is)| *is).map(|(port, _)| port.to_string()));
    if on.is_empty() {
        on.extend(kind.protocols.iter().filter(|(_, is)| *is).map(|(protocol, _)| (*protocol).to_owned()));
    }
    let mut not: Vec<String> =
        kind.port_lists.iter().filter(|(_, is)| !is).map(|(ports, _)| list(ports)).collect();
    not.extend(kind.ports.iter().filter(|(_, is)| !is).map(|(port, _)| port.to_string()));
    not.extend(kind.protocols.iter().filter(|(_, is)| !is).map(|(protocol, _)| (*protocol).to_owned()));
    if !on.is_empty() {
        text.push_str(&format!(" on {}", on.join(" and also on ")));
    }
    if !not.is_empty() {
        text.push_str(&format!(", not on {}", not.join(", ")));
    }
    for (keys, same) in &kind.sharing {
        let keys: Vec<String> = keys.iter().map(|key| word(key)).collect();
        let how = if *same { "that share" } else { "that do not share" };
        text.push_str(&format!(", in namespaces {how} {}", keys.join(" and ")));
    }
    for (key, same) in &kind.shared {
        let how = if *same { "the same value" } else { "another value" };
        text.push_str(&format!(", in namespaces with {how} of {}", word(key)));
    }
    match kind.v6 {
        Some(true) => text.push_str(", over IPv6"),
        Some(false) => text.push_str(", over IPv4"),
        None => {}
    }
    text
}

/// Describes one end: the terms of the programs first, then the remaining conditions.
fn end_text(end: &KindEnd, kind: Option<&Kind>) -> String {
    let named: Vec<String> =
        end.terms.iter().filter(|(_, is)| *is).map(|(term, _)| pods_text(term, true)).collect();
    let not_named: Vec<String> =
        end.terms.iter().filter(|(_, is)| !is).map(|(term, _)| pods_text(term, true)).collect();
    let same = kind.and_then(|kind| kind.same_namespace);
    let rest = rest_text(end, if named.is_empty() { same } else { None });
    let mut text = match (named.is_empty(), rest.as_str()) {
        (true, _) => rest.clone(),
        (false, "anything" | "pods") => named.join(" that are also "),
        (false, rest) => format!("{} that are {rest}", named.join(" that are also ")),
    };
    if !named.is_empty() {
        match same {
            Some(true) if !text.contains("same namespace") => text.push_str(", in the same namespace"),
            Some(false) => text.push_str(", in another namespace"),
            _ => {}
        }
    }
    let blocks = |blocks: &[Block]| blocks.iter().map(block_text).collect::<Vec<_>>().join(", ");
    for (list, _) in end.blocks.iter().filter(|(_, is)| *is) {
        text.push_str(&format!(" at {}", blocks(list)));
    }
    for (list, _) in end.blocks.iter().filter(|(_, is)| !is) {
        text.push_str(&format!(" not at {}", blocks(list)));
    }
    if !not_named.is_empty() {
        text.push_str(&format!(" but not {}", not_named.join(", nor ")));
    }
    text
}

fn rest_text(end: &KindEnd, same: Option<bool>) -> String {
    let asks_pod = !end.labels.is_empty()
        || !end.namespace_labels.is_empty()
        || !end.names.is_empty()
        || same == Some(true);
    let mut text = match end.pod {
        Some(false) => "addresses outside".to_owned(),
        None if !asks_pod => "anything".to_owned(),
        _ if end.labels.is_empty() => "pods".to_owned(),
        _ => format!("pods {}", labels(&end.labels)),
    };
    if end.pod != Some(false) {
        text.push_str(&namespaces(end, same));
    }
    let outside: Vec<String> =
        end.nets.iter().filter(|(_, is)| !is).map(|(net, _)| net.to_string()).collect();
    // The smallest CIDR implies the larger ones.
    let smallest = end.nets.iter().filter(|(_, is)| *is).max_by_key(|(net, _)| net.prefix_len());
    if let Some((net, _)) = smallest {
        text.push_str(&format!(" at {net}"));
    }
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
        let (has, unmet): (Vec<&Requirement>, Vec<&Requirement>) =
            end.namespace_labels.iter().partition(|one| one.operator != Operator::DoesNotExist);
        let all: Vec<Requirement> = has.into_iter().chain(unmet).cloned().collect();
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
