//! Sets: names for values that occur several times.

use std::sync::Arc;

use npc_program::values::address::{Block, IpNet};
use npc_program::values::name::is_label;
use npc_program::values::port::looks_like_port;
use npc_program::{Peer, PodTerm, ScopeBase};
use npc_syntax::TokenKind;
use npc_vocabulary::{Operator, Port, Which};
use rustc_hash::{FxHashMap, FxHashSet};

use super::term::{block_text, pods_text};
use crate::Printed;

/// The sets of a program: the name of each set, by the text of its value.
#[derive(Default)]
pub(crate) struct Sets {
    by_text: FxHashMap<String, String>,
    /// Names and the texts of their values, in the order in which they are written.
    lets: Vec<(String, String)>,
}

/// How often a value must occur to become a set.
const OFTEN: usize = 2;

impl Sets {
    /// Finds the values that occur in several rules.
    pub(crate) fn find(policies: &[Printed]) -> Self {
        let mut found = Found::default();
        for rule in policies.iter().flat_map(|imported| &imported.policy.rules) {
            let ports: Vec<&Port> = rule.ports.iter().map(|term| &term.port).collect();
            if ports.len() > 1 {
                found.add(ports_key(&ports), Kind::Ports, || ports_name(&ports));
            }
            let mut blocks = Vec::new();
            for peer in &rule.peers {
                match peer {
                    Peer::Anywhere { .. } => {}
                    Peer::Block(term) => blocks.push(&term.block),
                    // Terms that are relative to the subject do not become sets.
                    Peer::Pods(term) => {
                        if let Some(name) = pods_name(term) {
                            found.add(pods_text(term, false), Kind::Pods, || name);
                        }
                    }
                }
            }
            if !blocks.is_empty() {
                found.add(blocks_key(&blocks), Kind::Addresses, || blocks_name(&blocks));
            }
        }
        let taken = policies.iter().map(|imported| imported.policy.name.to_string()).collect();
        found.sets(taken)
    }

    /// Writes the `let`s.
    pub(crate) fn write(&self, out: &mut String) {
        let width = self.lets.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, text) in &self.lets {
            out.push_str(&format!("let {name:width$} = {text}\n"));
        }
    }

    pub(crate) fn pods(&self, term: &PodTerm) -> Option<String> {
        self.by_text.get(&pods_text(term, false)).cloned()
    }

    pub(crate) fn blocks(&self, blocks: &[&Block]) -> Option<String> {
        if blocks.is_empty() { None } else { self.by_text.get(&blocks_key(blocks)).cloned() }
    }

    pub(crate) fn ports(&self, ports: &[&Port]) -> Option<String> {
        self.by_text.get(&ports_key(ports)).cloned()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Addresses,
    Ports,
    Pods,
}

/// The values that occur: the text, the kind, the number of occurrences, and the preferred name.
#[derive(Default)]
struct Found {
    index: FxHashMap<String, usize>,
    list: Vec<(String, Kind, usize, String)>,
}

impl Found {
    fn add(&mut self, text: String, kind: Kind, name: impl FnOnce() -> String) {
        match self.index.get(&text).and_then(|at| self.list.get_mut(*at)) {
            Some(entry) => entry.2 += 1,
            None => {
                self.index.insert(text.clone(), self.list.len());
                self.list.push((text, kind, 1, name()));
            }
        }
    }

    fn sets(self, taken: FxHashSet<String>) -> Sets {
        let mut taken = taken;
        let mut often: Vec<_> = self.list.into_iter().filter(|(_, _, uses, _)| *uses >= OFTEN).collect();
        often.sort_by_key(|(_, kind, ..)| *kind);
        let mut sets = Sets::default();
        for (text, _, _, name) in often {
            let mut wanted = name.clone();
            let mut number = 1;
            while !usable(&wanted) || !taken.insert(wanted.clone()) {
                number += 1;
                wanted = format!("{name}-{number}");
            }
            sets.by_text.insert(text.clone(), wanted.clone());
            sets.lets.push((wanted, text));
        }
        sets
    }
}

/// Whether a set may have the name.
fn usable(name: &str) -> bool {
    is_label(name)
        && !TokenKind::KEYWORDS.iter().any(|(keyword, _)| *keyword == name)
        && !looks_like_port(name)
        && !npc_program::values::address::looks_like_address(name)
}

fn ports_key(ports: &[&Port]) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn blocks_key(blocks: &[&Block]) -> String {
    blocks.iter().map(|block| block_text(block)).collect::<Vec<_>>().join(", ")
}

/// The name of a set of ports: `dns` for port 53, `web-ports` for ports 80 and 443, otherwise by the first
/// port's name or number.
fn ports_name(ports: &[&Port]) -> String {
    let number = |port: &Port, wanted: u16| port.which == Which::Range(wanted, wanted);
    if ports.iter().all(|port| number(port, 53)) {
        return "dns".to_owned();
    }
    if ports.iter().all(|port| number(port, 80) || number(port, 443)) {
        return "web-ports".to_owned();
    }
    match ports.first().map(|port| &port.which) {
        Some(Which::Named(name)) => format!("{name}-ports"),
        Some(Which::Range(first, _)) => format!("ports-{first}"),
        _ => "all-ports".to_owned(),
    }
}

/// The name of a set of CIDRs: `metadata` for the address of cloud metadata services, otherwise such as
/// `net-10-0-0-0`.
fn blocks_name(blocks: &[&Block]) -> String {
    let [block] = blocks else { return "networks".to_owned() };
    let metadata: Option<IpNet> = "169.254.169.254/32".parse().ok();
    if Some(block.net) == metadata {
        return "metadata".to_owned();
    }
    let text = block.net.addr().to_string().replace([':', '.'], "-");
    format!("net-{}", text.trim_matches('-').replace("--", "-"))
}

/// The name of a set of pods: the value of their first label, after the namespace if the scope is one
/// namespace.
fn pods_name(term: &PodTerm) -> Option<String> {
    let clean = |text: &Arc<str>| text.to_ascii_lowercase().replace(['_', '.'], "-");
    let label = term.selector.requirements.iter().find_map(|requirement| {
        match (requirement.operator, requirement.values.as_slice()) {
            (Operator::In, [value]) if is_label(&clean(value)) => Some(clean(value)),
            _ => None,
        }
    })?;
    match &term.scope.base {
        ScopeBase::Names(names) => match names.as_slice() {
            [name] if !label.contains(&**name) && &**name != "kube-system" => Some(format!("{name}-{label}")),
            _ => Some(label),
        },
        ScopeBase::Labels(_) | ScopeBase::All => Some(label),
        ScopeBase::Same | ScopeBase::Sharing(_) => None,
    }
}
