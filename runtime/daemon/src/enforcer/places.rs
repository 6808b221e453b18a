//! Where the pods' packets are judged: their interfaces, and where else they leave.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::time::Instant;

use npc_node::{Endpoint, LoadError, OpenConnection};
use npc_resolver::layout::LayoutError;
use rustix::time::{ClockId, clock_gettime};
use tracing::{debug, error, info, warn};

use super::{Added, Answered, Enforcer, Key, Known, identity};
use crate::interfaces::{Interface, Link, NotFound};
use crate::open;

impl Enforcer {
    /// Judges what pods send to services wherever it may leave.
    pub(super) fn guard_ways_out(&mut self) {
        if let Some(root) = self.config.cgroup.clone()
            && let Err(why) = self.node.attach_arriving(&root)
        {
            error!(%why, root = %root.display(), "what pods send to services of this node is not judged");
        }
        match self.runtime.block_on(self.interfaces.all()) {
            Ok(links) => self.guard(&links),
            Err(why) => error!(%why, "the interfaces cannot be listed"),
        }
    }

    pub(super) fn guard(&mut self, links: &HashMap<u32, Link>) {
        if self.node.loaded().is_none() {
            return;
        }
        self.leaving.retain(|(index, name)| links.get(index).is_some_and(|link| link.name == *name));
        for (index, link) in links.iter().filter(|(_, link)| link.is_end) {
            let own = (*index, link.name.clone());
            if self.attached.contains(&link.name) || self.leaving.contains(&own) {
                continue;
            }
            match self.node.attach_leaving(&link.name, link.has_ethernet) {
                Ok(()) => {
                    self.leaving.insert(own);
                }
                Err(why) => {
                    error!(interface = %link.name, %why, "what pods send to services by it is not judged");
                }
            }
        }
    }

    /// Judges the packets of pods that have their places.
    pub(super) fn attach(&mut self, keys: &[Key]) {
        // What is open goes on, where it is allowed: it is read once for all whose packets were not judged.
        let known = keys.iter().filter_map(|key| self.pods.as_ref()?.get(key));
        let is_new = |known: &&Known| {
            known.placed.as_ref().is_some_and(|(interface, _)| !self.attached.contains(&interface.name))
        };
        let addresses: Vec<IpAddr> =
            known.filter(is_new).flat_map(|known| known.pod.addresses.iter().copied()).collect();
        let open = if addresses.is_empty() || self.node.loaded().is_none() {
            Vec::new()
        } else {
            open::of(&addresses, &self.config.services)
        };
        for key in keys {
            self.attach_one(key, &open);
        }
    }

    fn attach_one(&mut self, key: &Key, open: &[OpenConnection]) {
        let Some(known) = self.pods.as_mut().and_then(|pods| pods.get_mut(key)) else { return };
        let Some((interface, id)) = &known.placed else { return };
        let Some(loaded) = self.node.loaded() else { return };
        let name = interface.name.clone();
        let is_new = !self.attached.contains(&name);
        if is_new {
            let is_own = |own: &&OpenConnection| known.pod.addresses.contains(&own.local.ip());
            let open: Vec<OpenConnection> = open.iter().filter(is_own).copied().collect();
            debug!(pod = %key, connections = open.len(), "were open before");
            let now = clock_gettime(ClockId::Boottime);
            let now = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
            if let Err(why) = loaded.remember(*id, &open, now) {
                warn!(%why, "connections that were open before are not known");
            }
        }
        match self.node.attach(&name) {
            Ok(()) => {
                if is_new {
                    info!(pod = %key, interface = %name, "judged from now on");
                }
                self.attached.insert(name);
            }
            Err(why) => {
                error!(pod = %key, interface = %name, %why, "not judged");
                known.unplaced = Some(NotFound::Kernel(why.to_string()));
                known.placed = None;
            }
        }
    }

    /// Finds the interfaces of all pods that have none and may be here.
    pub(super) fn place_all(&mut self) {
        let Some(pods) = &self.pods else { return };
        if self.config.node.is_none() {
            self.stale_elsewhere = Some(Instant::now());
        }
        let keys: Vec<Key> =
            pods.iter().filter(|(_, known)| known.placed.is_none()).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.place(&key);
        }
    }

    /// Finds the interface of a pod, where it has none and may be here, and judges its packets.
    pub(super) fn place(&mut self, key: &Key) {
        let Some(known) = self.pods.as_ref().and_then(|pods| pods.get(key)) else { return };
        let may_be_here = self.config.node.as_ref().is_none_or(|node| *node == known.pod.node);
        if known.placed.is_some() || known.pod.host_network || !may_be_here {
            return;
        }
        if let Some((interface, addresses)) = self.starting.remove(key) {
            self.started(key, interface, addresses);
            return;
        }
        let found = self.runtime.block_on(self.interfaces.find(&known.pod.addresses));
        match found {
            Ok(interface) => self.placed(key, interface),
            Err(why) => {
                if let Some(known) = self.pods.as_mut().and_then(|pods| pods.get_mut(key)) {
                    if known.unplaced.as_ref() != Some(&why) && !why.is_elsewhere() {
                        warn!(pod = %key, %why, "its interface is not found");
                    }
                    known.unplaced = Some(why);
                }
                Ok(())
            }
        }
        .unwrap_or_else(|why: String| error!(pod = %key, %why, "not judged"));
    }

    /// A pod's interface is known.
    pub(super) fn placed(&mut self, key: &Key, interface: Interface) -> Answered<()> {
        if let Some((other, _)) = self.pods.iter().flatten().find(|(other, known)| {
            *other != key && known.placed.as_ref().is_some_and(|(own, _)| own.index == interface.index)
        }) {
            return Err(format!("its interface {} is that of the pod {other}", interface.name));
        }
        let Some(known) = self.pods.as_mut().and_then(|pods| pods.get_mut(key)) else { return Ok(()) };
        let id = self.identities.of(&identity(key, &known.pod)).map_err(|why| {
            format!("{}: the number of the pod cannot be kept: {why}", self.config.identities.display())
        })?;
        let endpoint = Endpoint { pod: known.number, interface: interface.index, id };
        known.placed = Some((interface, id));
        known.unplaced = None;
        if self.config.node.is_none() {
            // Now it is known to be here.
            self.resolve(key);
            self.flush();
        }
        if let Some(resolver) = &self.resolver {
            match self.node.set_endpoint(resolver, endpoint) {
                Ok(()) => self.attach(std::slice::from_ref(key)),
                Err(LoadError::Layout(LayoutError::Full(_))) => self.enforce_or_say(),
                Err(why) => return Err(why.to_string()),
            }
        }
        Ok(())
    }

    /// Something of the machine's interfaces, routes or addresses changed.
    pub(super) fn links(&mut self) {
        let links = match self.runtime.block_on(self.interfaces.all()) {
            Ok(links) => links,
            Err(why) => return warn!(%why, "the interfaces cannot be listed"),
        };
        let is_there = |interface: &Interface| {
            links.get(&interface.index).is_some_and(|link| link.name == interface.name)
        };
        let mut lost = Vec::new();
        for (key, known) in self.pods.iter_mut().flatten() {
            let Some((interface, _)) = &known.placed else { continue };
            if !is_there(interface) {
                lost.push((key.clone(), known.number));
                known.placed = None;
            }
        }
        for (key, number) in &lost {
            debug!(pod = %key, "its interface is gone");
            if let Err(why) = self.node.remove_endpoint(*number) {
                error!(%why, "a pod cannot be removed from the tables");
            }
            if self.config.node.is_none() {
                self.resolve(key);
            }
        }
        let names: HashSet<&String> = links.values().map(|link| &link.name).collect();
        self.starting.retain(|_, (interface, _)| is_there(interface));
        let gone: Vec<String> = self.attached.iter().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            if let Err(why) = self.node.detach(&name) {
                warn!(%why, interface = %name, "its pins cannot be removed");
            }
            self.attached.remove(&name);
        }
        self.guard(&links);
        self.flush();
        let addresses = self.runtime.block_on(self.interfaces.own_addresses());
        if self.resolver.is_some() && addresses.is_ok_and(|addresses| addresses != self.own_addresses) {
            self.enforce_or_say();
        }
        if self.config.node.is_some() {
            self.place_all();
        } else {
            let keys: Vec<Key> = lost.into_iter().map(|(key, _)| key).collect();
            for key in &keys {
                self.place(key);
            }
            self.stale_elsewhere = None;
        }
    }

    /// A pod is about to start. Its packets are judged before it has sent one: by its policies where it
    /// is known by then; where not, all are dropped until it is.
    pub(super) fn add(&mut self, added: &Added) -> Answered<()> {
        let key = Key { namespace: added.namespace.clone(), name: added.name.clone() };
        if self.node.loaded().is_none() {
            return Err("no image is in force yet".to_owned());
        }
        let links = self.runtime.block_on(self.interfaces.all()).map_err(|why| why.to_string())?;
        let named = |link: &&Link| link.is_pods && added.interfaces.contains(&link.name);
        let mut own = links.iter().filter(|(_, link)| named(link));
        let interface = match (own.next(), own.next()) {
            (Some((index, link)), None) => Interface { index: *index, name: link.name.clone() },
            // The plugins before do not say which it is.
            _ => {
                let found = self.runtime.block_on(self.interfaces.find(&added.addresses));
                found.map_err(|why| format!("the interface of the pod is not found: {why}"))?
            }
        };
        // From here on nothing passes that is nobody's.
        self.node.attach(&interface.name).map_err(|why| why.to_string())?;
        self.attached.insert(interface.name.clone());
        info!(pod = %key, interface = %interface.name, "judged before its first packet");
        if self.pods.as_ref().is_some_and(|pods| pods.contains_key(&key)) {
            self.started(&key, interface, added.addresses.clone());
        } else {
            self.starting.insert(key, (interface, added.addresses.clone()));
        }
        Ok(())
    }

    /// A pod that starts is known, and where it is.
    pub(super) fn started(&mut self, key: &Key, interface: Interface, addresses: Vec<IpAddr>) {
        let Some(known) = self.pods.as_mut().and_then(|pods| pods.get_mut(key)) else { return };
        if known.pod.addresses.is_empty() {
            known.pod.addresses = addresses;
        }
        self.resolve(key);
        self.flush();
        if let Err(why) = self.placed(key, interface) {
            error!(pod = %key, %why, "nothing of it passes");
        }
    }
}
