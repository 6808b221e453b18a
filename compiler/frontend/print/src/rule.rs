//! Writes rules.

use npc_program::{Peer, PortTerm, Rule};
use npc_vocabulary::{Action, Direction, Port};

use crate::sets::Sets;
use crate::term::{anywhere_text, block_text, pods_text};

/// A rule, in one line.
#[must_use]
pub fn rule_text(rule: &Rule) -> String {
    let mut text = String::new();
    write_rule(&mut text, rule, &Sets::default());
    text.trim().to_owned()
}

pub(crate) fn write_rule(out: &mut String, rule: &Rule, sets: &Sets) {
    let action = match rule.action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Pass => "pass",
    };
    let words = match rule.direction {
        Direction::Ingress => "ingress from ",
        Direction::Egress => "egress to ",
    };
    let (peers, ports) = (peers_text(&rule.peers, sets), ports_text(&rule.ports, sets));
    out.push_str(&format!("  {action} {words}{}{}\n", peers.join(", "), on(&ports.join(", "))));
}

fn on(ports: &str) -> String {
    if ports.is_empty() { String::new() } else { format!(" on {ports}") }
}

/// The peers of a rule, or the names of sets in their place.
fn peers_text(peers: &[Peer], sets: &Sets) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut blocks = Vec::new();
    for peer in peers {
        let text = match peer {
            Peer::Anywhere { except, .. } => anywhere_text(except),
            Peer::Block(term) => {
                blocks.push(&term.block);
                continue;
            }
            Peer::Pods(term) => sets.pods(term).unwrap_or_else(|| pods_text(term, false)),
        };
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match sets.blocks(&blocks) {
        Some(name) => texts.push(name),
        None => {
            for block in blocks {
                let text = block_text(block);
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
        }
    }
    texts
}

/// The ports of a rule, or the name of a set in their place.
fn ports_text(ports: &[PortTerm], sets: &Sets) -> Vec<String> {
    let ports: Vec<&Port> = ports.iter().map(|term| &term.port).collect();
    match sets.ports(&ports) {
        Some(name) => vec![name],
        None => {
            let mut texts: Vec<String> = Vec::new();
            for port in ports {
                let text = port.to_string();
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            texts
        }
    }
}
