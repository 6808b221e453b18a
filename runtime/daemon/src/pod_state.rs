//! State of this node's pods that outlives the daemon: the id of each pod's conntrack records, which no other
//! pod gets, and its interface.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use npc_node::Interface;
use serde::{Deserialize, Serialize};

use crate::atomic_file::put;

/// The bits of an id that a packet's mark can carry from one hook to the next.
const CARRIED: u32 = (1 << 13) - 1;

/// The interface of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) index: u32,
    pub(crate) interface: String,
    /// Its addresses, if a CNI plugin reported them. The API server may not know them yet, or report those of
    /// a previous pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) addresses: Vec<IpAddr>,
}

impl Place {
    pub(crate) fn new(interface: &Interface, addresses: &[IpAddr]) -> Self {
        Self { index: interface.index, interface: interface.name.clone(), addresses: addresses.to_vec() }
    }

    pub(crate) fn interface(&self) -> Interface {
        Interface { index: self.index, name: self.interface.clone() }
    }
}

/// A pod that is starting and is not known from the API server yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Starting {
    /// Its UID, if the container runtime passes it. It excludes other pods of the same name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<String>,
    pub(crate) place: Place,
}

#[derive(Debug, Serialize, Deserialize)]
struct Own {
    number: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// The boot and the network namespace to which the ifindexes belong.
    network: String,
    /// The last id that was assigned.
    last: u32,
    pods: BTreeMap<String, Own>,
    /// By namespace and name.
    starting: BTreeMap<String, Starting>,
}

/// The state, stored in a file.
#[derive(Debug)]
pub(crate) struct PodState {
    file: PathBuf,
    state: State,
}

/// Identifies the boot and the network namespace. Ifindexes are not valid in others.
fn network() -> String {
    let start = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let own = fs::read_link("/proc/self/ns/net").unwrap_or_default();
    format!("{} {}", start.trim(), own.display())
}

impl PodState {
    /// Reads the file. A missing or corrupt file gives an empty state.
    pub(crate) fn open(file: &Path) -> Self {
        Self::of_network(file, network())
    }

    fn of_network(file: &Path, network: String) -> Self {
        let state = fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut state: State = state.unwrap_or_default();
        if state.network != network {
            state.starting.clear();
            state.pods.values_mut().for_each(|own| own.place = None);
            state.network = network;
        }
        Self { file: file.to_owned(), state }
    }

    /// The stored interface of a pod.
    pub(crate) fn place(&self, pod: &str) -> Option<&Place> {
        self.state.pods.get(pod)?.place.as_ref()
    }

    /// Stores the interface of a pod. Returns the pod's id, which is assigned if it has none.
    pub(crate) fn set(&mut self, pod: &str, place: Place) -> io::Result<u32> {
        if let Some(own) = self.state.pods.get_mut(pod) {
            let number = own.number;
            if own.place.as_ref() != Some(&place) {
                own.place = Some(place);
                self.save()?;
            }
            return Ok(number);
        }
        let mut taken = vec![false; CARRIED as usize + 1];
        let numbers = self.state.pods.values().map(|own| own.number);
        for number in numbers.chain([0]) {
            taken.get_mut((number & CARRIED) as usize).into_iter().for_each(|taken| *taken = true);
        }
        let free = |number: &u32| taken.get((number & CARRIED) as usize) == Some(&false);
        let mut after = (1..=CARRIED + 1).map(|step| self.state.last.wrapping_add(step));
        let number = after
            .find(free)
            .ok_or_else(|| io::Error::other(format!("a node can have at most {CARRIED} enforced pods")))?;
        self.state.last = number;
        self.state.pods.insert(pod.to_owned(), Own { number, place: Some(place) });
        self.save()?;
        Ok(number)
    }

    /// Stores a pod that is starting and not known yet.
    pub(crate) fn start(&mut self, name: &str, starting: Starting) -> io::Result<()> {
        self.state.starting.insert(name.to_owned(), starting);
        self.save()
    }

    /// The interface of a pod that started before it was known.
    pub(crate) fn starting(&self, name: &str, uid: &str) -> Option<&Place> {
        let starting = self.state.starting.get(name)?;
        starting.uid.as_ref().is_none_or(|own| own == uid).then_some(&starting.place)
    }

    /// Whether an interface belongs to a pod that is starting.
    pub(crate) fn is_starting(&self, index: u32) -> bool {
        self.state.starting.values().any(|starting| starting.place.index == index)
    }

    /// Removes a starting pod, because it is known now.
    pub(crate) fn started(&mut self, name: &str) -> io::Result<()> {
        if self.state.starting.remove(name).is_some() { self.save() } else { Ok(()) }
    }

    /// Removes the interface of a pod, because it was not the pod's.
    pub(crate) fn lost(&mut self, pod: &str) -> io::Result<()> {
        let place = self.state.pods.get_mut(pod).and_then(|own| own.place.take());
        if place.is_some() { self.save() } else { Ok(()) }
    }

    /// Updates the names of the interfaces, and forgets those that no longer exist.
    pub(crate) fn interfaces(&mut self, name: impl Fn(u32) -> Option<String>) -> io::Result<()> {
        let mut changed = false;
        let mut is_there = |place: &mut Place| match name(place.index) {
            Some(name) if name == place.interface => true,
            Some(name) => {
                place.interface = name;
                changed = true;
                true
            }
            None => {
                changed = true;
                false
            }
        };
        self.state.starting.retain(|_, starting| is_there(&mut starting.place));
        for own in self.state.pods.values_mut() {
            if own.place.as_mut().is_some_and(|place| !is_there(place)) {
                own.place = None;
            }
        }
        if changed { self.save() } else { Ok(()) }
    }

    /// Forgets all pods for which `is_there` is false.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) -> io::Result<()> {
        let before = self.state.pods.len();
        self.state.pods.retain(|pod, _| is_there(pod));
        if self.state.pods.len() == before { Ok(()) } else { self.save() }
    }

    fn save(&self) -> io::Result<()> {
        fs::create_dir_all(self.file.parent().unwrap_or(Path::new(".")))?;
        put(&self.file, serde_json::to_vec(&self.state)?.as_slice(), 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u32) -> Place {
        Place { index, interface: format!("veth{index}"), addresses: Vec::new() }
    }

    #[test]
    fn numbers_stay_and_are_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pods.json");
        let mut first = PodState::open(&file);
        let a = first.set("a", at(1)).unwrap();
        let b = first.set("b", at(2)).unwrap();
        assert_ne!(a, b);
        first.retain(|pod| pod == "b").unwrap();
        let mut next = PodState::open(&file);
        assert_eq!(next.set("b", at(2)).unwrap(), b);
        assert!(![a, b].contains(&next.set("a", at(1)).unwrap()), "a number is given once");
        fs::write(&file, "{").unwrap();
        assert_eq!(PodState::open(&file).set("c", at(3)).unwrap(), 1);
    }

    #[test]
    fn places_stay_while_the_interface_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pods.json");
        let mut first = PodState::open(&file);
        first.set("a", at(1)).unwrap();
        first.set("b", at(2)).unwrap();
        let new = Starting { uid: Some("n1".to_owned()), place: at(3) };
        first.start("x/new", new).unwrap();
        first.start("x/gone", Starting { uid: None, place: at(4) }).unwrap();
        let mut next = PodState::open(&file);
        next.interfaces(|index| [1, 3].contains(&index).then(|| format!("own{index}"))).unwrap();
        assert_eq!(next.place("a").unwrap().interface, "own1", "one that has another name");
        assert_eq!(next.place("b"), None);
        assert_eq!(next.starting("x/gone", ""), None);
        assert_eq!(next.starting("x/new", "n2"), None, "another of the same name");
        assert_eq!(next.starting("x/new", "n1").unwrap().index, 3);
        assert!(next.is_starting(3));
        next.started("x/new").unwrap();
        assert_eq!(PodState::open(&file).starting("x/new", "n1"), None);
        // In another network namespace, the same ifindexes are other interfaces. The ids of the pods stay.
        let mut other = PodState::of_network(&file, "other".to_owned());
        assert_eq!(other.place("a"), None);
        assert_eq!(other.starting("x/new", "n1"), None);
        assert_eq!(other.set("a", at(7)).unwrap(), 1);
    }

    #[test]
    fn packets_tell_all_pods_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut numbers = PodState { file: folder.path().join("x"), state: State::default() };
        // Ids wrap around.
        numbers.state.last = CARRIED - 2;
        let held: Vec<u32> =
            (0..5).map(|pod| numbers.set(&format!("p{pod}"), at(pod)).unwrap() & CARRIED).collect();
        assert_eq!(held, [CARRIED - 1, CARRIED, 1, 2, 3]);
        let own = |number| Own { number, place: None };
        numbers.state.pods = (0..=CARRIED).map(|pod| (format!("q{pod}"), own(pod))).collect();
        assert!(numbers.set("one more", at(0)).is_err());
    }
}
