//! The pods that are known: by name, by address, by where they are.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use npc_cluster::Pod;
use npc_node::Interface;
use smallvec::SmallVec;

use crate::interfaces::NotFound;

/// A pod, by its namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
}

impl Key {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// What is kept of the pod is kept under.
    pub(super) fn identity(&self, pod: &Pod) -> String {
        format!("{self}/{}", pod.uid)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod that is known.
#[derive(Debug)]
pub(super) struct Known {
    /// Its number in the resolver.
    pub(super) number: u32,
    /// As it was told.
    pub(super) pod: Pod,
    /// Its addresses, where the node itself knows them.
    own: Vec<IpAddr>,
    /// Where its packets are judged, and the number of its records.
    pub(super) placed: Option<(Interface, u32)>,
    /// Until when its packets may be of connections that are older than its enforcement, in nanoseconds since
    /// the machine started.
    pub(super) taken_over: u64,
    /// Whether it had an interface that is gone. Another one with its address may be another pod's, so that it
    /// is not looked for until something new is told of it.
    pub(super) had_place: bool,
    /// Why they are not, though it is on this node.
    pub(super) unplaced: Option<Box<NotFound>>,
}

impl Known {
    /// Its addresses.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        if self.own.is_empty() { &self.pod.addresses } else { &self.own }
    }
}

/// All that are known.
#[derive(Debug, Default)]
pub(super) struct Pods {
    by_key: BTreeMap<Key, Box<Known>>,
    /// Whose an address is: those that have it, in the order in which they came by it.
    by_address: HashMap<IpAddr, SmallVec<[Key; 1]>>,
    /// Those that have a place, by the index of their interface.
    by_interface: HashMap<u32, Key>,
    next_number: u32,
}

impl Pods {
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Known> {
        self.by_key.get(key).map(Box::as_ref)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Known)> {
        self.by_key.iter().map(|(key, known)| (key, known.as_ref()))
    }

    /// Those of a namespace.
    pub(super) fn of_namespace(&self, name: &str) -> impl Iterator<Item = &Key> {
        let own = self.by_key.range(Key::new(name, "")..).map(|(key, _)| key);
        own.take_while(move |key| *key.namespace == *name)
    }

    /// Those that have a place.
    pub(super) fn placed(&self) -> impl Iterator<Item = (&Key, &Known)> {
        let of = |key| self.by_key.get_key_value(key).map(|(key, known)| (key, known.as_ref()));
        self.by_interface.values().filter_map(of)
    }

    /// Whose an interface is.
    pub(super) fn at(&self, interface: u32) -> Option<&Key> {
        self.by_interface.get(&interface)
    }

    /// Whose an address is: of several that have it, of the one that came by it last. Pods on their nodes'
    /// networks have none of their own.
    pub(super) fn with_address(&self, address: &IpAddr) -> Option<&Key> {
        self.by_address.get(address)?.last()
    }

    /// A pod is new, or has changed.
    pub(super) fn set(&mut self, key: &Key, pod: Pod) {
        let before = self.held(key);
        if let Some(known) = self.by_key.get_mut(key) {
            known.pod = pod;
            known.had_place = false;
        } else {
            let number = self.next_number;
            self.next_number = self.next_number.wrapping_add(1);
            let known = Known {
                number,
                pod,
                own: Vec::new(),
                placed: None,
                taken_over: 0,
                had_place: false,
                unplaced: None,
            };
            // Pods of one namespace share its name.
            let neighbour = self.by_key.range(..key).next_back().map(|(other, _)| &other.namespace);
            let namespace = neighbour.filter(|name| **name == key.namespace).unwrap_or(&key.namespace);
            let key = Key { namespace: Arc::clone(namespace), name: Arc::clone(&key.name) };
            self.by_key.insert(key, Box::new(known));
        }
        self.follow_addresses(key, &before);
    }

    /// The node itself knows a pod's addresses; none where it does not.
    pub(super) fn set_addresses(&mut self, key: &Key, addresses: Vec<IpAddr>) {
        let before = self.held(key);
        if let Some(known) = self.by_key.get_mut(key) {
            known.own = addresses;
        }
        self.follow_addresses(key, &before);
    }

    /// A pod's packets are judged there, or nowhere.
    pub(super) fn set_place(&mut self, key: &Key, place: Option<(Interface, u32)>) {
        let Some(known) = self.by_key.get_mut(key) else { return };
        if let Some((before, _)) = &known.placed {
            self.by_interface.remove(&before.index);
        }
        if let Some((now, _)) = &place {
            self.by_interface.insert(now.index, key.clone());
            known.unplaced = None;
        }
        known.placed = place;
    }

    /// A pod's interface is gone.
    pub(super) fn lose_place(&mut self, key: &Key) {
        self.set_place(key, None);
        if let Some(known) = self.by_key.get_mut(key) {
            known.had_place = true;
        }
    }

    /// A pod may have connections that are older than its enforcement.
    pub(super) fn set_taken_over(&mut self, key: &Key, until: u64) {
        if let Some(known) = self.by_key.get_mut(key) {
            known.taken_over = until;
        }
    }

    /// An interface has another name.
    pub(super) fn renamed(&mut self, now: &Interface) {
        let known = self.by_interface.get(&now.index).and_then(|key| self.by_key.get_mut(key));
        if let Some((interface, _)) = known.and_then(|known| known.placed.as_mut()) {
            interface.name.clone_from(&now.name);
        }
    }

    /// Why a pod has no place.
    pub(super) fn set_unplaced(&mut self, key: &Key, why: NotFound) {
        if let Some(known) = self.by_key.get_mut(key) {
            known.unplaced = Some(Box::new(why));
        }
    }

    /// A pod is gone.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Known> {
        let before = self.held(key);
        self.set_place(key, None);
        let known = self.by_key.remove(key);
        self.follow_addresses(key, &before);
        known.map(|known| *known)
    }

    /// The addresses that a pod has of its own.
    fn held(&self, key: &Key) -> Vec<IpAddr> {
        let known = self.by_key.get(key).filter(|known| !known.pod.host_network);
        known.map(|known| known.addresses().to_vec()).unwrap_or_default()
    }

    /// A pod had these addresses before. Those that it still has it keeps, and takes back from nobody.
    fn follow_addresses(&mut self, key: &Key, before: &[IpAddr]) {
        let now = self.held(key);
        for address in before.iter().filter(|address| !now.contains(address)) {
            if let Some(owners) = self.by_address.get_mut(address) {
                owners.retain(|owner| owner != key);
                if owners.is_empty() {
                    self.by_address.remove(address);
                }
            }
        }
        let Some((key, _)) = self.by_key.get_key_value(key) else { return };
        for address in now.iter().filter(|address| !before.contains(address)) {
            self.by_address.entry(*address).or_default().push(key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_by_address_and_by_interface() {
        let mut pods = Pods::default();
        let [a, b] = ["a", "b"].map(|name| Key::new("x", name));
        let [one, two, three]: [IpAddr; 3] =
            ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(|ip| ip.parse().unwrap());
        let with = |addresses: &[IpAddr]| Pod { addresses: addresses.to_vec(), ..Pod::default() };
        pods.set(&a, with(&[one]));
        pods.set(&b, with(&[two]));
        assert_eq!(pods.with_address(&one), Some(&a));
        pods.set(&a, with(&[three]));
        assert_eq!((pods.with_address(&one), pods.with_address(&three)), (None, Some(&a)));
        // One that is told of two is that of the last, also when something is told of the first, or it is gone.
        pods.set(&b, with(&[three]));
        pods.set(&a, with(&[three]));
        assert_eq!(pods.with_address(&three), Some(&b));
        pods.remove(&a);
        assert_eq!(pods.with_address(&three), Some(&b));
        // What the node knows counts, whatever is told.
        pods.set_addresses(&b, vec![one]);
        pods.set(&b, with(&[two]));
        assert_eq!((pods.with_address(&one), pods.with_address(&two)), (Some(&b), None));
        assert_eq!(pods.get(&b).unwrap().addresses(), [one]);
        pods.set_addresses(&b, Vec::new());
        assert_eq!(pods.with_address(&two), Some(&b));
        let at = |index| Interface { index, name: format!("veth{index}") };
        pods.set_place(&b, Some((at(1), 7)));
        pods.set_place(&b, Some((at(2), 7)));
        assert_eq!((pods.at(1), pods.at(2)), (None, Some(&b)));
        pods.remove(&b);
        assert_eq!(pods.at(2), None);
    }
}
