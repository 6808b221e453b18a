//! The axioms: what holds in every cluster.

use std::sync::Arc;

use npc_cluster::Namespace;
use npc_program::values::address::{IpNet, is_reserved};
use npc_program::values::name::glob_matches;
use rustc_hash::{FxHashMap, FxHashSet};

use super::{End, Holder, Universe};
use crate::ProofError;
use crate::formula::{Formula, Formulas};
use crate::names::classes;

impl Universe {
    /// The axioms. `pod_cidrs` are the CIDRs that pods have their addresses from; if empty, they are
    /// unknown. Must be called after all formulas are encoded.
    ///
    /// # Errors
    ///
    /// If there are too many name patterns.
    pub(crate) fn axioms(&mut self, pod_cidrs: &[IpNet]) -> Result<Vec<Formula>, ProofError> {
        let mut axioms = Vec::new();
        self.port_axioms(&mut axioms);
        self.address_axioms(pod_cidrs, &mut axioms);
        self.name_axioms(&mut axioms)?;
        self.label_axioms(&mut axioms);
        Ok(axioms)
    }

    fn port_axioms(&mut self, axioms: &mut Vec<Formula>) {
        let protocols = self.protocols;
        at_most_one(&mut self.formulas, &protocols, axioms);
        // Port 0 does not exist.
        let some = self.formulas.or(self.port);
        let with_port = self.formulas.or(protocols);
        axioms.push(self.formulas.implies(with_port, some));
        // Only a pod has named ports. A name may denote any port of its protocol.
        let pod = self.is_pod(End::Destination);
        for (_, atom) in &self.named_ports.clone() {
            axioms.push(self.formulas.implies(*atom, pod));
        }
    }

    fn address_axioms(&mut self, pod_cidrs: &[IpNet], axioms: &mut Vec<Formula>) {
        let reserved = ["169.254.0.0/16", "127.0.0.0/8", "224.0.0.0/4", "fe80::/10", "::1/128", "ff00::/8"];
        let reserved: Vec<IpNet> = reserved.iter().filter_map(|net| net.parse().ok()).collect();
        // Copied, because `in_net` below changes it.
        let distinguished = self.distinguished;
        for end in End::BOTH {
            let pod = self.is_pod(end);
            for net in &reserved {
                debug_assert!(is_reserved(net));
                let v6 = matches!(net, IpNet::V6(_));
                let is_distinguished = distinguished
                    .get(end.index())
                    .and_then(|is_distinguished| is_distinguished.get(usize::from(v6)));
                if is_distinguished != Some(&true) {
                    continue;
                }
                let inside = self.in_net(end, net);
                axioms.push(self.formulas.and([pod, inside]).not());
            }
            if !pod_cidrs.is_empty() {
                let blocks: Vec<Formula> = pod_cidrs.iter().map(|net| self.in_net(end, net)).collect();
                let inside = self.formulas.or(blocks);
                axioms.push(self.formulas.or([pod.not(), inside]));
            }
        }
        // The ends have different addresses. That matters only if every bit of both is used.
        for (width, family) in [(32, self.v6.not()), (128, self.v6)] {
            let [source, destination] = &self.bits;
            let bits: Option<Vec<(Formula, Formula)>> =
                source.iter().zip(destination).take(width).map(|(a, b)| (*a).zip(*b)).collect();
            let Some(bits) = bits else { continue };
            let differ: Vec<Formula> =
                bits.into_iter().map(|(a, b)| self.formulas.same(a, b).not()).collect();
            let differ = self.formulas.or(differ);
            axioms.push(self.formulas.implies(family, differ));
        }
    }

    fn name_axioms(&mut self, axioms: &mut Vec<Formula>) -> Result<(), ProofError> {
        // Both ends get atoms for the same names and patterns, so that their names can be compared.
        let mut named: Vec<Arc<str>> = Vec::new();
        let mut globs: Vec<Arc<str>> = Vec::new();
        for name in &self.names {
            named.extend(name.named.iter().map(|(name, _)| Arc::clone(name)));
            globs.extend(name.globs.iter().map(|(glob, _)| Arc::clone(glob)));
        }
        for list in [&mut named, &mut globs] {
            list.sort_unstable();
            list.dedup();
        }
        let known: FxHashSet<&str> = named.iter().map(|name| &**name).collect();
        let patterns: Vec<&str> = globs.iter().map(|glob| &**glob).collect();
        let found = classes(&patterns, &known)?;
        named.extend(found.alone.iter().map(|name| Arc::from(name.as_str())));
        let mut atoms: Vec<Vec<Formula>> = Vec::new();
        for end in End::BOTH {
            let names: Vec<Formula> = named.iter().map(|name| self.named(end, name)).collect();
            let classes: Vec<Formula> = found.classes.iter().map(|_| self.formulas.atom()).collect();
            for (index, glob) in globs.iter().enumerate() {
                let atom = self.name_matches(end, glob);
                for (name, is) in named.iter().zip(&names) {
                    let matches = glob_matches(glob, name);
                    axioms.push(self.formulas.implies(*is, if matches { atom } else { atom.not() }));
                }
                for (class, is) in found.classes.iter().zip(&classes) {
                    let matches = class.matches.get(index).copied().unwrap_or(false);
                    axioms.push(self.formulas.implies(*is, if matches { atom } else { atom.not() }));
                }
            }
            let all: Vec<Formula> = names.iter().chain(&classes).copied().collect();
            at_most_one(&mut self.formulas, &all, axioms);
            axioms.push(self.formulas.or(all.iter().copied()));
            self.name_mut(end).classes = classes;
            atoms.push(all);
        }
        self.name_classes = found.classes;
        // Ends in the same namespace agree in everything; different namespaces have different names.
        let same = self.same_namespace;
        let both_pods = self.formulas.and(self.pod);
        axioms.push(self.formulas.implies(same, both_pods));
        let [source, destination] = atoms.as_slice() else { return Ok(()) };
        for (index, (a, b)) in source.iter().zip(destination).enumerate() {
            let equal = self.formulas.same(*a, *b);
            axioms.push(self.formulas.implies(same, equal));
            if index < named.len() {
                let both = self.formulas.and([*a, *b, both_pods]);
                axioms.push(self.formulas.implies(both, same));
            }
        }
        Ok(())
    }

    /// Restricts each pod to these namespaces. Must be called after [`axioms`](Self::axioms).
    pub(crate) fn only(&mut self, namespaces: &[Namespace], axioms: &mut Vec<Formula>) {
        for end in End::BOTH {
            let mut ways: FxHashSet<Vec<Formula>> = FxHashSet::default();
            for namespace in namespaces {
                let name = self.name(end);
                let named = name.named.iter().find(|(name, _)| **name == *namespace.name);
                let mut way: Vec<Formula> = match named {
                    Some((_, atom)) => vec![*atom],
                    // If no formula uses the name itself, only the patterns that it matches matter.
                    None => name
                        .named
                        .iter()
                        .map(|(_, atom)| atom.not())
                        .chain(name.globs.iter().map(|(glob, atom)| {
                            if glob_matches(glob, &namespace.name) { *atom } else { atom.not() }
                        }))
                        .collect(),
                };
                for label in &self.labels {
                    if label.end != end || label.holder != Holder::Namespace {
                        continue;
                    }
                    let value = namespace.labels.get(&*label.key);
                    way.push(if value.is_some() { label.present } else { label.present.not() });
                    for (known, atom) in &label.values {
                        let is = value.is_some_and(|value| *value == **known);
                        way.push(if is { *atom } else { atom.not() });
                    }
                }
                ways.insert(way);
            }
            let mut ways: Vec<Vec<Formula>> = ways.into_iter().collect();
            ways.sort_unstable();
            let ways: Vec<Formula> = ways.into_iter().map(|way| self.formulas.and(way)).collect();
            let one = self.formulas.or(ways);
            let pod = self.is_pod(end);
            axioms.push(self.formulas.implies(pod, one));
        }
    }

    fn label_axioms(&mut self, axioms: &mut Vec<Formula>) {
        // Scopes compare labels of namespaces, so both ends get atoms for the same labels and values.
        let namespace_labels: Vec<(Arc<str>, Vec<Arc<str>>)> = self
            .labels
            .iter()
            .filter(|label| label.holder == Holder::Namespace)
            .map(|label| {
                (Arc::clone(&label.key), label.values.iter().map(|(value, _)| Arc::clone(value)).collect())
            })
            .collect();
        for (key, values) in &namespace_labels {
            for end in End::BOTH {
                self.has_label(end, Holder::Namespace, key);
                for value in values {
                    self.label_is(end, Holder::Namespace, key, value);
                }
            }
        }
        for index in 0..self.labels.len() {
            let Some(label) = self.labels.get(index) else { continue };
            let present = label.present;
            let values: Vec<Formula> = label.values.iter().map(|(_, atom)| *atom).collect();
            for value in &values {
                axioms.push(self.formulas.implies(*value, present));
            }
            at_most_one(&mut self.formulas, &values, axioms);
        }
        let same = self.same_namespace;
        let mut keys: Vec<Arc<str>> = namespace_labels.into_iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            let places = End::BOTH.map(|end| self.label(end, Holder::Namespace, &key));
            let [Some(a), Some(b)] = places.map(|place| self.labels.get(place)) else { continue };
            let (here, there) = (a.present, b.present);
            let theirs: FxHashMap<&Arc<str>, Formula> =
                b.values.iter().map(|(value, atom)| (value, *atom)).collect();
            let pairs: Vec<(Formula, Formula)> =
                a.values.iter().filter_map(|(value, atom)| Some((*atom, *theirs.get(value)?))).collect();
            let equal = self.equal_others.iter().find(|(other, _)| *other == key).map(|(_, atom)| *atom);
            // A namespace has one set of labels.
            let together = self.formulas.same(here, there);
            axioms.push(self.formulas.implies(same, together));
            for (a, b) in &pairs {
                let together = self.formulas.same(*a, *b);
                axioms.push(self.formulas.implies(same, together));
                if let Some(equal) = equal {
                    // If the values are equal, both are the same named value or neither is; if both are the
                    // same named value, they are equal.
                    axioms.push(self.formulas.implies(equal, together));
                    let both = self.formulas.and([*a, *b]);
                    axioms.push(self.formulas.implies(both, equal));
                }
            }
            if let Some(equal) = equal {
                let both = self.formulas.and([same, here]);
                axioms.push(self.formulas.implies(both, equal));
            }
        }
    }
}

/// At most one of the atoms holds. Many atoms are encoded as a ladder (Sinz, "Towards an Optimal CNF Encoding
/// of Boolean Cardinality Constraints", 2005), so that the number of clauses is linear.
fn at_most_one(formulas: &mut Formulas, atoms: &[Formula], axioms: &mut Vec<Formula>) {
    if atoms.len() <= 4 {
        for (index, a) in atoms.iter().enumerate() {
            for b in atoms.iter().skip(index + 1) {
                axioms.push(formulas.and([*a, *b]).not());
            }
        }
        return;
    }
    let mut before: Option<Formula> = None;
    for atom in atoms {
        // One of the atoms up to here holds.
        let reached = formulas.atom();
        axioms.push(formulas.implies(*atom, reached));
        if let Some(before) = before {
            axioms.push(formulas.implies(before, reached));
            axioms.push(formulas.and([*atom, before]).not());
        }
        before = Some(reached);
    }
}
