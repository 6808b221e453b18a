//! An index of pods by name, address and interface.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use npc_cluster::Pod;
use npc_node::Interface;
use smallvec::SmallVec;

use crate::interfaces::NotFound;

/// A pod's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) namespace: Arc<str>,
    pub(super) name: Arc<str>,
}

impl Key {
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of the pod's stored state.
    pub(super) fn identity(&self, pod: &Pod) -> String {
        format!("{self}/{}", pod.uid)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod, and the enforcer's state of it.
#[derive(Debug)]
pub(super) struct Known {
    /// Its number in the resolver.
    pub(super) number: u32,
    /// The pod as last reported by the source.
    pub(super) pod: Pod,
    /// Its addresses, if the CNI plugin reported them.
    own: Vec<IpAddr>,
    /// Its interface and the id of its conntrack records, if it is enforced.
    pub(super) placed: Option<(Interface, u32)>,
    /// Until when its packets may belong to connections that are older than its enforcement, in nanoseconds
    /// since boot.
    pub(super) taken_over: u64,
    /// Whether it had an interface that is gone. Another interface with its address may be another pod's, so
    /// that none is searched until the pod is updated.
    pub(super) had_place: bool,
    /// Why it is not enforced although it is on this node.
    pub(super) unplaced: Option<Box<NotFound>>,
}

impl Known {
    /// Its addresses, preferably those that the CNI plugin reported.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        if self.own.is_empty() { &self.pod.addresses } else { &self.own }
    }
}

/// All known pods.
#[derive(Debug, Default)]
pub(super) struct Pods {
    by_key: BTreeMap<Key, Box<Known>>,
    /// The pods that have an address, in the order in which they acquired it.
    by_address: HashMap<IpAddr, SmallVec<[Key; 1]>>,
    /// The pods that are enforced, by ifindex.
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

    /// The pods of a namespace.
    pub(super) fn of_namespace(&self, name: &str) -> impl Iterator<Item = &Key> {
        let own = self.by_key.range(Key::new(name, "")..).map(|(key, _)| key);
        own.take_while(move |key| *key.namespace == *name)
    }

    /// The pods that are enforced.
    pub(super) fn placed(&self) -> impl Iterator<Item = (&Key, &Known)> {
        let of = |key| self.by_key.get_key_value(key).map(|(key, known)| (key, known.as_ref()));
        self.by_interface.values().filter_map(of)
    }

    /// The pod at an interface.
    pub(super) fn at(&self, interface: u32) -> Option<&Key> {
        self.by_interface.get(&interface)
    }

    /// The pod that has an address; of several, the one that acquired it last. Host-network pods have no
    /// addresses of their own.
    pub(super) fn with_address(&self, address: &IpAddr) -> Option<&Key> {
        self.by_address.get(address)?.last()
    }

    /// Adds or updates a pod.
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
            // Pods of the same namespace share the allocation of its name.
            let neighbour = self.by_key.range(..key).next_back().map(|(other, _)| &other.namespace);
            let namespace = neighbour.filter(|name| **name == key.namespace).unwrap_or(&key.namespace);
            let key = Key { namespace: Arc::clone(namespace), name: Arc::clone(&key.name) };
            self.by_key.insert(key, Box::new(known));
        }
        self.follow_addresses(key, &before);
    }

    /// Sets the addresses that the CNI plugin reported. None restores those of the API server.
    pub(super) fn set_addresses(&mut self, key: &Key, addresses: Vec<IpAddr>) {
        let before = self.held(key);
        if let Some(known) = self.by_key.get_mut(key) {
            known.own = addresses;
        }
        self.follow_addresses(key, &before);
    }

    /// Sets or removes a pod's interface.
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

    /// Removes a pod's interface, which is gone.
    pub(super) fn lose_place(&mut self, key: &Key) {
        self.set_place(key, None);
        if let Some(known) = self.by_key.get_mut(key) {
            known.had_place = true;
        }
    }

    /// Sets until when a pod's packets may belong to connections that are older than its enforcement.
    pub(super) fn set_taken_over(&mut self, key: &Key, until: u64) {
        if let Some(known) = self.by_key.get_mut(key) {
            known.taken_over = until;
        }
    }

    /// Updates the name of an interface.
    pub(super) fn renamed(&mut self, now: &Interface) {
        let known = self.by_interface.get(&now.index).and_then(|key| self.by_key.get_mut(key));
        if let Some((interface, _)) = known.and_then(|known| known.placed.as_mut()) {
            interface.name.clone_from(&now.name);
        }
    }

    /// Sets why a pod has no interface.
    pub(super) fn set_unplaced(&mut self, key: &Key, why: NotFound) {
        if let Some(known) = self.by_key.get_mut(key) {
            known.unplaced = Some(Box::new(why));
        }
    }

    /// Removes a pod.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Known> {
        let before = self.held(key);
        self.set_place(key, None);
        let known = self.by_key.remove(key);
        self.follow_addresses(key, &before);
        known.map(|known| *known)
    }

    /// The addresses that a pod has of its own. Empty for host-network pods.
    fn held(&self, key: &Key) -> Vec<IpAddr> {
        let known = self.by_key.get(key).filter(|known| !known.pod.host_network);
        known.map(|known| known.addresses().to_vec()).unwrap_or_default()
    }

    /// Updates the address index after a change. An address that the pod had `before` keeps its order among
    /// the owners.
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
        // An address of two pods belongs to the one that acquired it last, even when the other is updated or
        // removed.
        pods.set(&b, with(&[three]));
        pods.set(&a, with(&[three]));
        assert_eq!(pods.with_address(&three), Some(&b));
        pods.remove(&a);
        assert_eq!(pods.with_address(&three), Some(&b));
        // Addresses from the CNI plugin take precedence over reported ones.
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
