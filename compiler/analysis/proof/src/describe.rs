//! Describes kinds of connections by the conditions on their ends and ports.

use std::sync::Arc;

use npc_program::values::address::{Block, IpNet};
use npc_program::{PodTerm, Requirement};
use npc_vocabulary::{Operator, Port, Which};

use crate::formula::Formula;
use crate::universe::{End, Holder, Said, Universe};

/// A set of connections, as a conjunction of conditions. The flag of a condition says whether it holds or
/// does not hold for the connections.
#[derive(Clone, Debug, Default)]
pub struct Kind {
    /// The port is in the list, as the programs write it.
    pub port_lists: Vec<(Vec<Port>, bool)>,
    /// Both namespaces share these labels, as the programs write them.
    pub sharing: Vec<(Vec<Arc<str>>, bool)>,
    /// The conditions on the source.
    pub source: KindEnd,
    /// The conditions on the destination.
    pub destination: KindEnd,
    /// Whether both ends are in the same namespace, if it matters.
    pub same_namespace: Option<bool>,
    /// Both namespaces have the same value of the label.
    pub shared: Vec<(Arc<str>, bool)>,
    /// The port is this one.
    pub ports: Vec<(Port, bool)>,
    /// The protocol (`tcp`, `udp`, `sctp`), if no port implies it.
    pub protocols: Vec<(&'static str, bool)>,
    /// Whether the connection uses IPv6, if it matters.
    pub v6: Option<bool>,
}

/// The conditions on one end.
#[derive(Clone, Debug, Default)]
pub struct KindEnd {
    /// The end is one of these pods, as the programs write them.
    pub terms: Vec<(PodTerm, bool)>,
    /// The address is in one of these blocks, as the programs write them.
    pub blocks: Vec<(Vec<Block>, bool)>,
    /// Whether the end is a pod, if it matters.
    pub pod: Option<bool>,
    /// Requirements for the pod's labels.
    pub labels: Vec<Requirement>,
    /// Requirements for the labels of its namespace.
    pub namespace_labels: Vec<Requirement>,
    /// The name of its namespace is, or matches, this name or pattern.
    pub names: Vec<(Arc<str>, bool)>,
    /// The address is in this CIDR.
    pub nets: Vec<(IpNet, bool)>,
}

impl Kind {
    fn end(&mut self, end: End) -> &mut KindEnd {
        match end {
            End::Source => &mut self.source,
            End::Destination => &mut self.destination,
        }
    }
}

/// The propositions that may describe a kind: first those that the programs state, then everything that the
/// formulas depend on, the most specific first.
pub(crate) fn propositions(universe: &Universe) -> [Vec<Formula>; 2] {
    let said: Vec<Formula> = universe
        .said
        .iter()
        .flatten()
        .map(|(_, formula)| *formula)
        .chain([universe.same_namespace])
        .collect();
    let mut all = Vec::new();
    all.extend(universe.pod);
    all.push(universe.same_namespace);
    for end in End::BOTH {
        let name = universe.name(end);
        all.extend(name.named.iter().map(|(_, atom)| *atom));
    }
    for label in &universe.labels {
        all.extend(label.values.iter().map(|(_, atom)| *atom));
    }
    all.extend(universe.ports.iter().map(|(_, formula)| *formula));
    all.extend(universe.equal_others.iter().map(|(_, atom)| *atom));
    for label in &universe.labels {
        all.push(label.present);
    }
    for end in End::BOTH {
        all.extend(universe.name(end).globs.iter().map(|(_, atom)| *atom));
    }
    // A smaller CIDR is more specific.
    let mut nets: Vec<&(End, IpNet, Formula)> = universe.nets.iter().collect();
    nets.sort_by_key(|(_, net, _)| std::cmp::Reverse(net.prefix_len()));
    all.extend(nets.into_iter().map(|(_, _, formula)| *formula));
    all.extend(universe.protocols);
    all.extend(universe.named_ports.iter().map(|(_, atom)| *atom));
    all.push(universe.v6);
    // Several propositions may have the same formula.
    let mut seen = rustc_hash::FxHashSet::default();
    seen.extend(said.iter().copied());
    all.retain(|formula| *formula != Formula::TRUE && *formula != Formula::FALSE && seen.insert(*formula));
    [said, all]
}

/// The kind of connections for which each of these propositions, or negated propositions, holds.
pub(crate) fn kind(universe: &Universe, kept: &[Formula]) -> Kind {
    let said = |formula: Formula| {
        if kept.contains(&formula) {
            Some(true)
        } else if kept.contains(&formula.not()) {
            Some(false)
        } else {
            None
        }
    };
    let mut kind =
        Kind { same_namespace: said(universe.same_namespace), v6: said(universe.v6), ..Kind::default() };
    for (what, formula) in universe.said.iter().flatten() {
        let Some(holds) = said(*formula) else { continue };
        match what {
            Said::Pods(at, term) => kind.end(*at).terms.push((term.clone(), holds)),
            Said::Block(at, block) => kind.end(*at).blocks.push((vec![block.clone()], holds)),
            Said::AllBut(at, blocks) => kind.end(*at).blocks.push((blocks.clone(), !holds)),
            Said::Ports(ports) => kind.port_lists.push((ports.clone(), holds)),
            Said::Sharing(keys) => kind.sharing.push((keys.clone(), holds)),
        }
    }
    // Conditions in the words of the programs are not repeated in other words.
    let spoken: Vec<Formula> = universe.said.iter().flatten().map(|(_, formula)| *formula).collect();
    let said = |formula: Formula| {
        if spoken.contains(&formula) || spoken.contains(&formula.not()) { None } else { said(formula) }
    };
    for (key, atom) in &universe.equal_others {
        kind.shared.extend(said(*atom).map(|holds| (Arc::clone(key), holds)));
    }
    for (port, formula) in &universe.ports {
        kind.ports.extend(said(*formula).map(|holds| (port.clone(), holds)));
    }
    for (port, atom) in &universe.named_ports {
        if matches!(port.which, Which::Named(_)) && !kind.ports.iter().any(|(known, _)| known == port) {
            kind.ports.extend(said(*atom).map(|holds| (port.clone(), holds)));
        }
    }
    for (name, atom) in ["tcp", "udp", "sctp"].into_iter().zip(universe.protocols) {
        kind.protocols.extend(said(atom).map(|holds| (name, holds)));
    }
    for end in End::BOTH {
        let mut described = KindEnd { pod: said(universe.is_pod(end)), ..KindEnd::default() };
        let name = universe.name(end);
        for (name, atom) in name.named.iter().chain(&name.globs) {
            described.names.extend(said(*atom).map(|holds| (Arc::clone(name), holds)));
        }
        for label in universe.labels.iter().filter(|label| label.end == end) {
            let list = match label.holder {
                Holder::Pod => &mut described.labels,
                Holder::Namespace => &mut described.namespace_labels,
            };
            let asked = |operator, values: Vec<Arc<str>>| Requirement {
                key: Arc::clone(&label.key),
                operator,
                values,
            };
            let mut not = Vec::new();
            for (value, atom) in &label.values {
                match said(*atom) {
                    Some(true) => list.push(asked(Operator::In, vec![Arc::clone(value)])),
                    Some(false) => not.push(Arc::clone(value)),
                    None => {}
                }
            }
            match said(label.present) {
                Some(true) => list.push(asked(Operator::Exists, Vec::new())),
                Some(false) => list.push(asked(Operator::DoesNotExist, Vec::new())),
                None => {}
            }
            if !not.is_empty() {
                not.sort_unstable();
                list.push(asked(Operator::NotIn, not));
            }
        }
        for (at, net, formula) in &universe.nets {
            if *at == end {
                described.nets.extend(said(*formula).map(|holds| (*net, holds)));
            }
        }
        let end = kind.end(end);
        described.terms = std::mem::take(&mut end.terms);
        described.blocks = std::mem::take(&mut end.blocks);
        *end = described;
    }
    kind
}
