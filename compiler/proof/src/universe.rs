//! Everything that a verdict can depend on, as atoms, and what holds between them in every cluster.
//!
//! A connection has two ends. Of each it is asked whether it is a pod that selectors can match (a pod on
//! its node's network is an address like any other), what labels it and its
//! namespace have, what its namespace is called, and its address, bit by bit; and of both, whether
//! they are in one namespace. A label has one of the values that the programs name, or another one, or
//! is not there: other values are all alike.

mod axioms;

use std::net::IpAddr;
use std::sync::Arc;

use npc_program::values::address::{Block, IpNet};
use npc_program::values::label::NAMESPACE_NAME;
use npc_program::values::port::{Port, Protocol, Which};
use npc_program::{Operator, PodTerm, Requirement, Selector};
use rustc_hash::FxHashMap;

use crate::formula::{Formula, Formulas};
use crate::names::Class;

/// An end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum End {
    Source,
    Destination,
}

impl End {
    pub(crate) const BOTH: [Self; 2] = [Self::Source, Self::Destination];

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Source => 0,
            Self::Destination => 1,
        }
    }
}

/// Something that a program says.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// Pods, at one end.
    Pods(End, PodTerm),
    /// Addresses, at one end.
    Block(End, Block),
    /// Every address but these, at one end.
    AllBut(End, Vec<Block>),
    /// Ports.
    Ports(Vec<Port>),
    /// Namespaces that share the labels.
    Sharing(Vec<Arc<str>>),
}

/// Whose label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Pod,
    Namespace,
}

/// A label of one end: whether it is there, and which of the named values it has.
#[derive(Debug)]
pub(crate) struct Label {
    pub(crate) end: End,
    pub(crate) holder: Holder,
    pub(crate) key: Arc<str>,
    pub(crate) present: Formula,
    pub(crate) values: Vec<(Arc<str>, Formula)>,
}

/// The name of an end's namespace.
#[derive(Debug, Default)]
pub(crate) struct Name {
    pub(crate) named: Vec<(Arc<str>, Formula)>,
    pub(crate) globs: Vec<(Arc<str>, Formula)>,
    /// The atoms of the classes of names that are not named; known once all is asked.
    pub(crate) classes: Vec<Formula>,
}

/// The atoms.
#[derive(Debug)]
pub(crate) struct Universe {
    pub(crate) formulas: Formulas,
    pub(crate) pod: [Formula; 2],
    pub(crate) v6: Formula,
    /// Whether some formula tells addresses of a family apart: of the source (IPv4, IPv6), and of the
    /// destination.
    told_apart: [[bool; 2]; 2],
    pub(crate) bits: [Vec<Option<Formula>>; 2],
    pub(crate) protocols: [Formula; 3],
    pub(crate) port: [Formula; 16],
    /// The blocks that were asked for, at each end.
    pub(crate) nets: Vec<(End, IpNet, Formula)>,
    /// The ports that were asked for.
    pub(crate) ports: Vec<(Port, Formula)>,
    /// What the programs say of ends and ports, in their own words, with the formula that it is. Kept
    /// only where it is to be described.
    pub(crate) said: Option<Vec<(Said, Formula)>>,
    /// That the connection's port is the one of this name and protocol at the destination.
    pub(crate) named_ports: Vec<(Port, Formula)>,
    pub(crate) same_namespace: Formula,
    pub(crate) labels: Vec<Label>,
    net_index: FxHashMap<(End, IpNet), Formula>,
    label_index: FxHashMap<(End, Holder, Arc<str>), usize>,
    value_index: FxHashMap<(usize, Arc<str>), usize>,
    pub(crate) names: [Name; 2],
    name_index: FxHashMap<(End, Arc<str>), Formula>,
    /// For keys that are compared: that both namespaces have the same value where neither is named.
    pub(crate) equal_others: Vec<(Arc<str>, Formula)>,
    /// What the classes of names are, the same for both ends.
    pub(crate) name_classes: Vec<Class>,
}

impl Default for Universe {
    fn default() -> Self {
        let mut formulas = Formulas::default();
        let mut two = || [formulas.atom(), formulas.atom()];
        let pod = two();
        let (v6, same_namespace) = (formulas.atom(), formulas.atom());
        let protocols = [(); 3].map(|()| formulas.atom());
        let port = [(); 16].map(|()| formulas.atom());
        Self {
            formulas,
            pod,
            v6,
            told_apart: [[false; 2]; 2],
            bits: [vec![None; 128], vec![None; 128]],
            protocols,
            port,
            nets: Vec::new(),
            ports: Vec::new(),
            said: None,
            net_index: FxHashMap::default(),
            named_ports: Vec::new(),
            same_namespace,
            labels: Vec::new(),
            label_index: FxHashMap::default(),
            value_index: FxHashMap::default(),
            names: [Name::default(), Name::default()],
            name_index: FxHashMap::default(),
            equal_others: Vec::new(),
            name_classes: Vec::new(),
        }
    }
}

impl Universe {
    /// Keeps what a program says, where that is wanted.
    pub(crate) fn say(&mut self, formula: Formula, said: impl FnOnce() -> Said) {
        if let Some(all) = &mut self.said
            && formula != Formula::TRUE
            && formula != Formula::FALSE
            && !all.iter().any(|(_, known)| *known == formula || *known == formula.not())
        {
            all.push((said(), formula));
        }
    }

    pub(crate) fn is_pod(&self, end: End) -> Formula {
        let [source, destination] = self.pod;
        match end {
            End::Source => source,
            End::Destination => destination,
        }
    }

    pub(crate) fn name(&self, end: End) -> &Name {
        let [source, destination] = &self.names;
        match end {
            End::Source => source,
            End::Destination => destination,
        }
    }

    fn name_mut(&mut self, end: End) -> &mut Name {
        let [source, destination] = &mut self.names;
        match end {
            End::Source => source,
            End::Destination => destination,
        }
    }

    /// A label, by its place in `labels`.
    fn label(&mut self, end: End, holder: Holder, key: &Arc<str>) -> usize {
        if let Some(place) = self.label_index.get(&(end, holder, Arc::clone(key))) {
            return *place;
        }
        let present = self.formulas.atom();
        let place = self.labels.len();
        self.labels.push(Label { end, holder, key: Arc::clone(key), present, values: Vec::new() });
        self.label_index.insert((end, holder, Arc::clone(key)), place);
        place
    }

    /// That a label is there.
    pub(crate) fn has_label(&mut self, end: End, holder: Holder, key: &Arc<str>) -> Formula {
        if holder == Holder::Namespace && **key == *NAMESPACE_NAME {
            return Formula::TRUE;
        }
        let place = self.label(end, holder, key);
        self.labels.get(place).map_or(Formula::FALSE, |label| label.present)
    }

    /// That a label has a value.
    fn label_is(&mut self, end: End, holder: Holder, key: &Arc<str>, value: &Arc<str>) -> Formula {
        if holder == Holder::Namespace && **key == *NAMESPACE_NAME {
            return self.named(end, value);
        }
        let place = self.label(end, holder, key);
        let Some(label) = self.labels.get_mut(place) else { return Formula::FALSE };
        if let Some(found) = self.value_index.get(&(place, Arc::clone(value))) {
            return label.values.get(*found).map_or(Formula::FALSE, |(_, atom)| *atom);
        }
        let atom = self.formulas.atom();
        self.value_index.insert((place, Arc::clone(value)), label.values.len());
        label.values.push((Arc::clone(value), atom));
        atom
    }

    /// That the namespace is called so.
    fn named(&mut self, end: End, name: &Arc<str>) -> Formula {
        // No namespace can have another kind of name.
        if !npc_program::values::name::is_label(name) {
            return Formula::FALSE;
        }
        if let Some(atom) = self.name_index.get(&(end, Arc::clone(name))) {
            return *atom;
        }
        let atom = self.formulas.atom();
        self.name_index.insert((end, Arc::clone(name)), atom);
        self.name_mut(end).named.push((Arc::clone(name), atom));
        atom
    }

    /// That the namespace's name matches a pattern.
    pub(crate) fn name_matches(&mut self, end: End, glob: &Arc<str>) -> Formula {
        if !glob.contains(['*', '?']) {
            return self.named(end, glob);
        }
        if glob.bytes().all(|byte| byte == b'*') {
            return Formula::TRUE;
        }
        if let Some(atom) = self.name_index.get(&(end, Arc::clone(glob))) {
            return *atom;
        }
        let atom = self.formulas.atom();
        self.name_index.insert((end, Arc::clone(glob)), atom);
        self.name_mut(end).globs.push((Arc::clone(glob), atom));
        atom
    }

    /// That a requirement holds.
    pub(crate) fn requirement(&mut self, end: End, holder: Holder, requirement: &Requirement) -> Formula {
        let Requirement { key, operator, values } = requirement;
        match operator {
            Operator::Exists => self.has_label(end, holder, key),
            Operator::DoesNotExist => self.has_label(end, holder, key).not(),
            Operator::In | Operator::NotIn => {
                let values: Vec<Formula> =
                    values.iter().map(|value| self.label_is(end, holder, key, value)).collect();
                let one = self.formulas.or(values);
                if *operator == Operator::In { one } else { one.not() }
            }
        }
    }

    /// That all requirements of a selector hold.
    pub(crate) fn selector(&mut self, end: End, holder: Holder, selector: &Selector) -> Formula {
        let parts: Vec<Formula> =
            selector.requirements.iter().map(|one| self.requirement(end, holder, one)).collect();
        self.formulas.and(parts)
    }

    /// That both namespaces have the label, with the same value.
    pub(crate) fn shares(&mut self, key: &Arc<str>) -> Formula {
        if **key == *NAMESPACE_NAME {
            return self.same_namespace;
        }
        let both = End::BOTH.map(|end| self.has_label(end, Holder::Namespace, key));
        let equal = match self.equal_others.iter().find(|(other, _)| other == key) {
            Some((_, atom)) => *atom,
            None => {
                let atom = self.formulas.atom();
                self.equal_others.push((Arc::clone(key), atom));
                atom
            }
        };
        // That the values are equal: which ones are named is known later, and the atom is bound then.
        self.formulas.and(both.into_iter().chain([equal]))
    }

    /// A bit of an address, counted from its most significant.
    fn bit(&mut self, end: End, index: usize) -> Formula {
        let known = self.bits.get(end.index()).and_then(|bits| bits.get(index)).copied().flatten();
        match known {
            Some(atom) => atom,
            None => {
                let atom = self.formulas.atom();
                if let Some(bit) = self.bits.get_mut(end.index()).and_then(|bits| bits.get_mut(index)) {
                    *bit = Some(atom);
                }
                atom
            }
        }
    }

    /// That an address is in a block without exceptions.
    pub(crate) fn in_net(&mut self, end: End, net: &IpNet) -> Formula {
        if let Some(known) = self.net_index.get(&(end, *net)) {
            return *known;
        }
        let formula = self.prefix(end, net);
        self.net_index.insert((end, *net), formula);
        self.nets.push((end, *net, formula));
        formula
    }

    fn prefix(&mut self, end: End, net: &IpNet) -> Formula {
        let (family, bits, width) = match net.network() {
            IpAddr::V4(address) => (self.v6.not(), u128::from(u32::from(address)), 32),
            IpAddr::V6(address) => (self.v6, u128::from(address), 128),
        };
        if net.prefix_len() > 0
            && let Some(told) = self.told_apart.get_mut(end.index())
            && let Some(told) = told.get_mut(usize::from(width == 128))
        {
            *told = true;
        }
        let mut prefix = family;
        for index in 0..usize::from(net.prefix_len()) {
            let bit = self.bit(end, index);
            let set = bits >> (width - 1 - index) & 1 == 1;
            prefix = self.formulas.and([prefix, if set { bit } else { bit.not() }]);
        }
        prefix
    }

    /// That an address is in a block.
    pub(crate) fn in_block(&mut self, end: End, block: &Block) -> Formula {
        let net = self.in_net(end, &block.net);
        let except: Vec<Formula> = block.except.iter().map(|net| self.in_net(end, net).not()).collect();
        self.formulas.and(except.into_iter().chain([net]))
    }

    /// That the connection is to this port.
    pub(crate) fn port_is(&mut self, port: &Port) -> Formula {
        let [tcp, udp, sctp] = self.protocols;
        let protocol = match port.protocol {
            Protocol::Tcp => tcp,
            Protocol::Udp => udp,
            Protocol::Sctp => sctp,
        };
        let which = match &port.which {
            Which::All => Formula::TRUE,
            Which::Range(first, last) => {
                let least = self.port_at_least(*first);
                let most = match last.checked_add(1) {
                    Some(above) => self.port_at_least(above).not(),
                    None => Formula::TRUE,
                };
                self.formulas.and([least, most])
            }
            Which::Named(_) => match self.named_ports.iter().find(|(other, _)| other == port) {
                Some((_, atom)) => *atom,
                None => {
                    let atom = self.formulas.atom();
                    self.named_ports.push((port.clone(), atom));
                    atom
                }
            },
        };
        let formula = self.formulas.and([protocol, which]);
        if !self.ports.iter().any(|(known, _)| known == port) {
            self.ports.push((port.clone(), formula));
        }
        formula
    }

    /// That the port's number is at least this one.
    fn port_at_least(&mut self, number: u16) -> Formula {
        // From the least significant bit: equal so far is enough.
        let mut least = Formula::TRUE;
        for (index, bit) in self.port.into_iter().enumerate().rev() {
            let set = number >> (15 - index) & 1 == 1;
            least = if set { self.formulas.and([bit, least]) } else { self.formulas.or([bit, least]) };
        }
        least
    }
}
