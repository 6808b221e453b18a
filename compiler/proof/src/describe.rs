//! Kinds of connections, by what they ask of their ends.

use std::sync::Arc;

use npc_program::values::address::{Block, IpNet};
use npc_program::values::port::{Port, Which};
use npc_program::{Operator, PodTerm, Requirement};

use crate::formula::Formula;
use crate::universe::{End, Holder, Said, Universe};

/// A kind of connections: all that are as it says.
#[derive(Clone, Debug, Default)]
pub struct Kind {
    /// Lists of ports of which it is one, or is none, as the programs name them.
    pub port_lists: Vec<(Vec<Port>, bool)>,
    /// Labels that both namespaces share, or do not, as the programs name them.
    pub sharing: Vec<(Vec<Arc<str>>, bool)>,
    /// The source.
    pub source: KindEnd,
    /// The destination.
    pub destination: KindEnd,
    /// Whether both are in one namespace, where that matters.
    pub same_namespace: Option<bool>,
    /// Labels of which both namespaces have the same value, or not.
    pub shared: Vec<(Arc<str>, bool)>,
    /// Ports of which it is one, or is not.
    pub ports: Vec<(Port, bool)>,
    /// The protocol or its contrary, where no port says it: `tcp`, `udp`, `sctp`.
    pub protocols: Vec<(&'static str, bool)>,
    /// Whether IPv6 is spoken, where that matters.
    pub v6: Option<bool>,
}

/// What a kind asks of one end.
#[derive(Clone, Debug, Default)]
pub struct KindEnd {
    /// Pods that it is one of, or is not, as the programs name them.
    pub terms: Vec<(PodTerm, bool)>,
    /// Addresses that it has, or has not, as the programs name them.
    pub blocks: Vec<(Vec<Block>, bool)>,
    /// Whether it is a pod, where that matters.
    pub pod: Option<bool>,
    /// What is asked of the pod's labels.
    pub labels: Vec<Requirement>,
    /// What is asked of its namespace's labels.
    pub namespace_labels: Vec<Requirement>,
    /// Names and patterns that its namespace's name matches, or does not.
    pub names: Vec<(Arc<str>, bool)>,
    /// Blocks in which its address is, or is not.
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

/// What the programs say themselves, and then everything on which the formulas depend, the most
/// telling first.
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
    // The smaller a block, the more it tells.
    let mut nets: Vec<&(End, IpNet, Formula)> = universe.nets.iter().collect();
    nets.sort_by_key(|(_, net, _)| std::cmp::Reverse(net.prefix_len()));
    all.extend(nets.into_iter().map(|(_, _, formula)| *formula));
    all.extend(universe.protocols);
    all.extend(universe.named_ports.iter().map(|(_, atom)| *atom));
    all.push(universe.v6);
    // One formula may stand for several things; once is enough.
    let mut seen = rustc_hash::FxHashSet::default();
    seen.extend(said.iter().copied());
    all.retain(|formula| *formula != Formula::TRUE && *formula != Formula::FALSE && seen.insert(*formula));
    [said, all]
}

/// The kind of connections for which all these propositions, or their contraries, hold.
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
    // What is said in the programs' words is not said again.
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
