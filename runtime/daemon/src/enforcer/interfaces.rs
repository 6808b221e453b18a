//! Finds the interfaces of pods, and attaches the kernel program to them and to all other interfaces by which
//! packets of pods leave.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use npc_node::{Endpoint, Interface, LoadError, OpenConnection};
use npc_resolver::layout::LayoutError;
use rustix::time::{ClockId, clock_gettime};
use tracing::{debug, error, info, warn};

use super::pods::{Key, Known, Pods};
use super::{Added, Answered, Enforcer};
use crate::conntrack;
use crate::interfaces::{Link, NotFound};
use crate::pod_state::{Place, Starting};

/// How long after the first attachment to a pod's interface its packets may belong to older connections, in
/// nanoseconds.
const TAKEN_OVER: u64 = 30_000_000_000;

/// The time since boot (`CLOCK_BOOTTIME`), in nanoseconds.
pub(super) fn now() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

impl Enforcer {
    /// Attaches to all interfaces by which packets of pods may leave.
    pub(super) fn attach_other_interfaces(&mut self) {
        match self.runtime.block_on(self.interfaces.all()) {
            Ok(links) => self.guard(&links),
            Err(why) => self.cannot_list(&why),
        }
    }

    pub(super) fn guard(&mut self, links: &HashMap<u32, Link>) {
        if self.node.loaded().is_none() {
            return;
        }
        let ports = links.values().filter_map(|link| link.tunnel_port).collect();
        if let Err(why) = self.node.set_tunnel_ports(ports) {
            error!(%why, "cannot write the ports of this node's tunnels");
        }
        self.leaving.retain(|own| links.get(&own.index).is_some_and(|link| link.name == own.name));
        for (index, link) in links.iter().filter(|(_, link)| link.is_exit) {
            let own = Interface { index: *index, name: link.name.clone() };
            if self.attached.contains_key(index) || self.leaving.contains(&own) {
                continue;
            }
            match self.node.attach_leaving(&own, link.has_ethernet) {
                Ok(()) => {
                    self.leaving.insert(own);
                }
                Err(why) => {
                    error!(interface = %own.name, %why, "packets that pods send by it are not evaluated");
                }
            }
        }
    }

    /// Updates the set of bridges whose ports are interfaces of pods.
    fn follow_bridges(&mut self, links: &HashMap<u32, Link>) {
        let ports = links.values().filter(|link| link.may_be_pod);
        let now: BTreeSet<u32> = ports.filter_map(|link| link.bridge).collect();
        let before = std::mem::replace(&mut self.bridges, now);
        let Some(resolver) = &self.resolver else { return };
        for gone in before.difference(&self.bridges) {
            if let Err(why) = self.node.remove_endpoint(Endpoint::bridge(*gone).pod) {
                error!(%why, "cannot remove a bridge from the tables");
            }
        }
        let mut has_room = true;
        for new in self.bridges.difference(&before) {
            match self.node.set_endpoint(resolver, Endpoint::bridge(*new)) {
                Ok(()) => {}
                Err(LoadError::Layout(LayoutError::Full(_))) => has_room = false,
                Err(why) => error!(%why, "cannot write a bridge to the tables"),
            }
        }
        if !has_room {
            self.try_enforce();
        }
    }

    /// Attaches the kernel program to the interfaces of these pods.
    pub(super) fn attach(&mut self, keys: &[Key]) {
        // Open connections continue if the policies allow them. They are read once for all pods whose packets
        // were not evaluated before.
        let known = keys.iter().filter_map(|key| self.pods.as_ref()?.get(key));
        let is_new = |known: &&Known| {
            known.placed.as_ref().is_some_and(|(interface, _)| !self.attached.contains_key(&interface.index))
        };
        let addresses: Vec<IpAddr> =
            known.filter(is_new).flat_map(|known| known.addresses().iter().copied()).collect();
        let open = if addresses.is_empty() || self.node.loaded().is_none() {
            Vec::new()
        } else {
            conntrack::of(&addresses, &self.config.services)
        };
        for key in keys {
            self.attach_one(key, &open);
        }
    }

    fn attach_one(&mut self, key: &Key, open: &[OpenConnection]) {
        let Some(known) = self.pods.as_ref().and_then(|pods| pods.get(key)) else { return };
        let Some((interface, id)) = &known.placed else { return };
        let Some(loaded) = self.node.loaded() else { return };
        let interface = interface.clone();
        let before = self.attached.get(&interface.index);
        if before.is_some_and(|(_, by_this_process)| *by_this_process) {
            return;
        }
        let is_new = before.is_none();
        if is_new {
            let is_own = |own: &&OpenConnection| known.addresses().contains(&own.local.ip());
            let open: Vec<OpenConnection> = open.iter().filter(is_own).copied().collect();
            debug!(pod = %key, connections = open.len(), "open connections found");
            let now = now();
            if let Err(why) = loaded.remember(*id, &open, now) {
                warn!(%why, "cannot store the open connections");
            }
        }
        match self.node.attach(&interface) {
            Ok(()) => {
                if is_new {
                    info!(pod = %key, interface = %interface.name, "enforced from now on");
                }
                self.attached.insert(interface.index, (interface.name, true));
            }
            Err(why) => {
                error!(pod = %key, interface = %interface.name, %why, "not enforced");
                if let Some(pods) = &mut self.pods {
                    pods.set_place(key, None);
                    pods.set_unplaced(key, NotFound::Kernel(why.to_string()));
                }
            }
        }
    }

    /// Searches the interfaces of all pods that have none and may be on this node.
    pub(super) fn place_all(&mut self) {
        let Some(pods) = &self.pods else { return };
        if self.config.node.is_none() {
            self.last_relocation = Some(Instant::now());
        }
        let keys: Vec<Key> =
            pods.iter().filter(|(_, known)| known.placed.is_none()).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.place(&key);
        }
    }

    /// Searches the interface of a pod, if it has none and may be on this node, and enforces the pod.
    pub(super) fn place(&mut self, key: &Key) {
        let Some(known) = self.pods.as_ref().and_then(|pods| pods.get(key)) else { return };
        let may_be_here = self.config.node.as_ref().is_none_or(|node| **node == *known.pod.node);
        if known.placed.is_some() || known.pod.host_network || !may_be_here {
            return;
        }
        let identity = key.identity(&known.pod);
        let starting = self.kept.starting(&key.to_string(), &known.pod.uid).cloned();
        // The stored interface is valid as long as it exists.
        if let Some(place) = starting.or_else(|| self.kept.place(&identity).cloned()) {
            match self.started(key, &place.interface(), place.addresses) {
                Ok(()) => {
                    let kept = self.kept.started(&key.to_string());
                    self.log_state_error(kept);
                }
                Err(why) => self.set_unenforced(key, &why),
            }
            return;
        }
        let found = self.runtime.block_on(self.interfaces.find(known.addresses()));
        match found {
            // The API server may still report an address of the new pod for the previous one.
            Ok(interface) if self.kept.is_starting(interface.index) => {
                self.set_unenforced(
                    key,
                    &format!("its interface {} belongs to a pod that is starting", interface.name),
                );
            }
            Ok(interface) if known.had_place => self.hold(key, &interface),
            Ok(interface) => {
                if let Err(why) = self.placed(key, interface) {
                    self.set_unenforced(key, &why);
                }
            }
            Err(why) => {
                if known.unplaced.as_deref() != Some(&why) && !why.is_elsewhere() {
                    warn!(pod = %key, %why, "its interface is not found");
                }
                if let Some(pods) = &mut self.pods {
                    pods.set_unplaced(key, why);
                }
            }
        }
    }

    /// A pod's interface is gone, and another interface has its address. That interface may belong to a new
    /// pod that is not known yet. The kernel program is attached, so that nothing passes there until one of
    /// the pods is updated.
    fn hold(&mut self, key: &Key, interface: &Interface) {
        if !self.attached.contains_key(&interface.index) {
            match self.node.attach(interface) {
                Ok(()) => {
                    info!(pod = %key, interface = %interface.name, "held: it has the address of a pod whose interface is gone");
                    self.attached.insert(interface.index, (interface.name.clone(), true));
                }
                Err(why) => error!(interface = %interface.name, %why, "not enforced"),
            }
        }
        self.set_unenforced(
            key,
            &format!(
                "its interface is gone, and {} has its address: waiting for an update of either pod",
                interface.name
            ),
        );
    }

    /// Records why a pod cannot be enforced. The attempt is repeated.
    fn set_unenforced(&mut self, key: &Key, why: &str) {
        let why = NotFound::Another(why.to_owned());
        let Some(pods) = &mut self.pods else { return };
        // The error is logged once, not every second.
        if pods.get(key).is_some_and(|known| known.unplaced.as_deref() != Some(&why)) {
            error!(pod = %key, %why, "not enforced");
        }
        pods.set_unplaced(key, why);
    }

    /// Takes an interface from another pod, because the CNI plugin reported it for `key`. The other pod was
    /// found by an address that it no longer has.
    fn evict(&mut self, interface: u32, key: &Key) {
        let Some(pods) = &mut self.pods else { return };
        let Some(other) = pods.at(interface).filter(|other| *other != key).cloned() else { return };
        let Some(known) = pods.get(&other).filter(|known| known.addresses() == known.pod.addresses) else {
            return;
        };
        let identity = other.identity(&known.pod);
        info!(pod = %other, by = %key, "its interface belongs to another pod");
        let lost = self.kept.lost(&identity);
        self.log_state_error(lost);
        self.remove_interface(&other);
    }

    /// Removes a pod's interface. Its packets no longer pass.
    fn remove_interface(&mut self, key: &Key) {
        let Some(pods) = &mut self.pods else { return };
        let Some(number) = pods.get(key).map(|known| known.number) else { return };
        pods.set_place(key, None);
        if let Err(why) = self.node.remove_endpoint(number) {
            error!(%why, "cannot remove a pod from the tables");
        }
        self.resolve(key);
    }

    /// Enforces a pod at its interface.
    fn placed(&mut self, key: &Key, interface: Interface) -> Answered<()> {
        let Some(pods) = &mut self.pods else { return Ok(()) };
        if let Some(other) = pods.at(interface.index).filter(|other| *other != key) {
            return Err(format!("its interface {} belongs to the pod {other}", interface.name));
        }
        if !self.attached.contains_key(&interface.index) {
            pods.set_taken_over(key, now() + TAKEN_OVER);
        }
        let Some(known) = pods.get(key) else { return Ok(()) };
        // Addresses from the API server are not stored, because they may change.
        let own = if known.addresses() == known.pod.addresses { &[] } else { known.addresses() };
        let place = Place::new(&interface, own);
        let id = self
            .kept
            .set(&key.identity(&known.pod), place)
            .map_err(|why| format!("cannot store the pod's id in {}: {why}", self.config.kept.display()))?;
        let endpoint = Endpoint::new(known.number, interface.index, id).taken_over(known.taken_over);
        pods.set_place(key, Some((interface, id)));
        if self.config.node.is_none() {
            // The pod is now known to be on this node.
            self.resolve(key);
            self.flush();
        }
        if self.stale {
            // Nothing is written to outdated tables. The new ones include the pod.
            self.try_enforce();
        } else if let Some(resolver) = &self.resolver {
            match self.node.set_endpoint(resolver, endpoint) {
                Ok(()) => self.attach(std::slice::from_ref(key)),
                Err(LoadError::Layout(LayoutError::Full(_))) => self.try_enforce(),
                Err(why) => return Err(why.to_string()),
            }
        }
        Ok(())
    }

    /// Handles a change of the machine's interfaces, routes or addresses.
    pub(super) fn links(&mut self) {
        let links = match self.runtime.block_on(self.interfaces.all()) {
            Ok(links) => links,
            Err(why) => return self.cannot_list(&why),
        };
        self.rename(&links);
        let is_lost = |known: &Known| {
            known.placed.as_ref().is_some_and(|(interface, _)| !links.contains_key(&interface.index))
        };
        let placed = self.pods.iter().flat_map(Pods::placed);
        let lost: Vec<Key> = placed.filter(|(_, known)| is_lost(known)).map(|(key, _)| key.clone()).collect();
        for key in &lost {
            debug!(pod = %key, "its interface is gone");
            if let Some(pods) = &mut self.pods {
                pods.set_addresses(key, Vec::new());
            }
            self.remove_interface(key);
            if let Some(pods) = &mut self.pods {
                pods.lose_place(key);
            }
        }
        let kept = self.kept.interfaces(|index| links.get(&index).map(|link| link.name.clone()));
        self.log_state_error(kept);
        let gone = self.attached.iter().filter(|(index, _)| !links.contains_key(index));
        let gone: Vec<Interface> =
            gone.map(|(index, (name, _))| Interface { index: *index, name: name.clone() }).collect();
        for interface in gone {
            if let Err(why) = self.node.detach(&interface) {
                warn!(%why, interface = %interface.name, "cannot remove its pins");
            }
            self.attached.remove(&interface.index);
        }
        self.follow_bridges(&links);
        self.guard(&links);
        self.flush();
        self.update_node_addresses();
        if self.config.node.is_some() {
            self.place_all();
        } else {
            for key in &lost {
                self.place(key);
            }
            self.last_relocation = None;
        }
    }

    /// Updates the addresses of this machine. Only those that changed are written to the map.
    pub(super) fn update_node_addresses(&mut self) {
        match self.runtime.block_on(self.interfaces.own_addresses()) {
            Ok((addresses, every)) => {
                self.own_addresses = addresses;
                if let Err(why) = self.node.set_addresses(every) {
                    error!(%why, "cannot write the addresses of this machine");
                    self.unlisted = true;
                }
            }
            Err(why) => {
                warn!(%why, "cannot list the addresses of this machine");
                self.unlisted = true;
            }
        }
    }

    /// The interfaces are listed again on the next tick.
    fn cannot_list(&mut self, why: &NotFound) {
        error!(%why, "cannot list the interfaces");
        self.unlisted = true;
    }

    /// Follows interfaces that were renamed.
    fn rename(&mut self, links: &HashMap<u32, Link>) {
        for (index, (name, _)) in &mut self.attached {
            let Some(link) = links.get(index).filter(|link| link.name != *name) else { continue };
            let before = Interface { index: *index, name: std::mem::replace(name, link.name.clone()) };
            let now = Interface { index: *index, name: link.name.clone() };
            info!(interface = %now.name, before = %before.name, "the interface was renamed");
            if let Err(why) = self.node.renamed(&before, &now) {
                warn!(%why, interface = %now.name, "cannot rename its pins");
            }
            if let Some(pods) = &mut self.pods {
                pods.renamed(&now);
            }
        }
    }

    /// Logs a failure to store the state of pods.
    pub(super) fn log_state_error(&self, kept: io::Result<()>) {
        if let Err(why) = kept {
            warn!(%why, file = %self.config.kept.display(), "cannot store the state of the pods");
        }
    }

    /// Enforces a pod that is about to start. If the pod is not known yet, all its packets are dropped until
    /// it is.
    pub(super) fn add(&mut self, added: &Added) -> Answered<()> {
        let key = Key::new(&added.namespace, &added.name);
        if self.node.loaded().is_none() {
            return Err("no image is in force yet".to_owned());
        }
        let links = self.runtime.block_on(self.interfaces.all()).map_err(|why| why.to_string())?;
        self.follow_bridges(&links);
        let named = |link: &&Link| link.may_be_pod && added.interfaces.contains(&link.name);
        let mut own = links.iter().filter(|(_, link)| named(link));
        let interface = match (own.next(), own.next()) {
            (Some((index, link)), None) => Interface { index: *index, name: link.name.clone() },
            // The previous plugins do not report exactly one interface of a pod.
            _ => {
                let found = self.runtime.block_on(self.interfaces.find(&added.addresses));
                found.map_err(|why| format!("cannot find the pod's interface: {why}"))?
            }
        };
        // From here on, packets at this interface are dropped until it belongs to a known pod.
        self.node.attach(&interface).map_err(|why| why.to_string())?;
        self.attached.insert(interface.index, (interface.name.clone(), true));
        info!(pod = %key, interface = %interface.name, "enforced before its first packet");
        self.evict(interface.index, &key);
        let known = self.pods.as_ref().and_then(|pods| pods.get(&key));
        // A pod of the same name may be the previous one, which is not deleted yet.
        let is_it = |known: &Known| {
            let here = self.config.node.as_ref().is_none_or(|node| **node == *known.pod.node);
            here && added.uid.as_ref().is_none_or(|uid| *uid == known.pod.uid)
        };
        if known.is_some_and(is_it) {
            self.started(&key, &interface, added.addresses.clone())?;
        } else {
            let place = Place::new(&interface, &added.addresses);
            let starting = Starting { uid: added.uid.clone(), place };
            self.kept.start(&key.to_string(), starting).map_err(|why| {
                format!("cannot store the pod's interface in {}: {why}", self.config.kept.display())
            })?;
        }
        Ok(())
    }

    /// Enforces a known pod at a known interface. Addresses that the CNI plugin reported take precedence over
    /// those of the API server.
    fn started(&mut self, key: &Key, interface: &Interface, addresses: Vec<IpAddr>) -> Answered<()> {
        self.evict(interface.index, key);
        if let Some(pods) = &mut self.pods {
            pods.set_addresses(key, addresses);
        }
        self.resolve(key);
        self.flush();
        self.placed(key, interface.clone())
    }
}
