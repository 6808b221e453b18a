//! Everything that a verdict can depend on, as atoms, and the axioms that hold between them in every cluster.
//!
//! A connection has two ends. The atoms of an end state whether it is a pod that selectors can match (a
//! host-network pod counts as an address), the labels of the pod and of its namespace, the name of the
//! namespace, and the address bit by bit. Another atom states whether both ends are in the same namespace. A
//! label is absent, or has one of the values that the programs name, or another value; all other values are
//! equivalent.

mod axioms;

use std::net::IpAddr;
use std::sync::Arc;

use npc_program::values::address::{Block, IpNet};
use npc_program::values::label::NAMESPACE_NAME;
use npc_program::{PodTerm, Requirement, Selector};
use npc_vocabulary::{Operator, Port, Protocol, Which};
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

/// A statement of a program.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// The end is one of these pods.
    Pods(End, PodTerm),
    /// The end has an address in this block.
    Block(End, Block),
    /// The end has none of these addresses.
    AllBut(End, Vec<Block>),
    /// The port is one of these.
    Ports(Vec<Port>),
    /// Both namespaces share these labels.
    Sharing(Vec<Arc<str>>),
}

/// The object that has a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    Pod,
    Namespace,
}

/// A label of one end: whether it is present, and which of the named values it has.
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
    /// One atom for each class of names that programs do not name; set by [`axioms`](Universe::axioms).
    pub(crate) classes: Vec<Formula>,
}

/// The atoms.
#[derive(Debug)]
pub(crate) struct Universe {
    pub(crate) formulas: Formulas,
    pub(crate) pod: [Formula; 2],
    pub(crate) v6: Formula,
    /// Whether some formula distinguishes addresses of a family: of the source (IPv4, IPv6), and of the
    /// destination.
    distinguished: [[bool; 2]; 2],
    pub(crate) bits: [Vec<Option<Formula>>; 2],
    pub(crate) protocols: [Formula; 3],
    pub(crate) port: [Formula; 16],
    /// The CIDRs that formulas use, at each end.
    pub(crate) nets: Vec<(End, IpNet, Formula)>,
    /// The ports that formulas use.
    pub(crate) ports: Vec<(Port, Formula)>,
    /// What the programs state about ends and ports, with the formula of each statement. `None` if nothing
    /// will be described.
    pub(crate) said: Option<Vec<(Said, Formula)>>,
    /// The connection's port is the one with this name and protocol at the destination.
    pub(crate) named_ports: Vec<(Port, Formula)>,
    pub(crate) same_namespace: Formula,
    pub(crate) labels: Vec<Label>,
    net_index: FxHashMap<(End, IpNet), Formula>,
    label_index: FxHashMap<(End, Holder, Arc<str>), usize>,
    value_index: FxHashMap<(usize, Arc<str>), usize>,
    pub(crate) names: [Name; 2],
    name_index: FxHashMap<(End, Arc<str>), Formula>,
    /// For each label key that scopes compare: both namespaces have the same value.
    pub(crate) equal_others: Vec<(Arc<str>, Formula)>,
    /// The classes of names, the same for both ends.
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
            distinguished: [[false; 2]; 2],
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
    /// Records a statement of a program, if something will be described.
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

    /// The index in `labels` of a label.
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

    /// The label is present.
    pub(crate) fn has_label(&mut self, end: End, holder: Holder, key: &Arc<str>) -> Formula {
        if holder == Holder::Namespace && **key == *NAMESPACE_NAME {
            return Formula::TRUE;
        }
        let place = self.label(end, holder, key);
        self.labels.get(place).map_or(Formula::FALSE, |label| label.present)
    }

    /// The label has this value.
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

    /// The namespace has this name.
    fn named(&mut self, end: End, name: &Arc<str>) -> Formula {
        // Namespace names are DNS labels.
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

    /// The namespace's name matches a pattern.
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

    /// The requirement holds.
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

    /// All requirements of a selector hold.
    pub(crate) fn selector(&mut self, end: End, holder: Holder, selector: &Selector) -> Formula {
        let parts: Vec<Formula> =
            selector.requirements.iter().map(|one| self.requirement(end, holder, one)).collect();
        self.formulas.and(parts)
    }

    /// Both namespaces have the label, with the same value.
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
        // The axioms tie the atom to the named values, which are not all known yet.
        self.formulas.and(both.into_iter().chain([equal]))
    }

    /// A bit of an address, counted from the most significant.
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

    /// The address is in this CIDR.
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
            && let Some(is_distinguished) = self.distinguished.get_mut(end.index())
            && let Some(is_distinguished) = is_distinguished.get_mut(usize::from(width == 128))
        {
            *is_distinguished = true;
        }
        let mut prefix = family;
        for index in 0..usize::from(net.prefix_len()) {
            let bit = self.bit(end, index);
            let set = bits >> (width - 1 - index) & 1 == 1;
            prefix = self.formulas.and([prefix, if set { bit } else { bit.not() }]);
        }
        prefix
    }

    /// The address is in this block.
    pub(crate) fn in_block(&mut self, end: End, block: &Block) -> Formula {
        let net = self.in_net(end, &block.net);
        let except: Vec<Formula> = block.except.iter().map(|net| self.in_net(end, net).not()).collect();
        self.formulas.and(except.into_iter().chain([net]))
    }

    /// The connection is to this port.
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

    /// The port number is at least this one.
    fn port_at_least(&mut self, number: u16) -> Formula {
        // Built from the least significant bit: if no bit differs, the numbers are equal, which is enough.
        let mut least = Formula::TRUE;
        for (index, bit) in self.port.into_iter().enumerate().rev() {
            let set = number >> (15 - index) & 1 == 1;
            least = if set { self.formulas.and([bit, least]) } else { self.formulas.or([bit, least]) };
        }
        least
    }
}
