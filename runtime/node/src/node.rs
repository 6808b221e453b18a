//! The enforcement on a machine, which outlives the process.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData};
use aya::programs::links::FdLink;
use npc_resolver::layout::Endpoint;
use npc_resolver::{Change, Resolver};
use npc_vocabulary::Direction;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

use crate::error::LoadError;
use crate::loader::{Loaded, Loader, Settings};
use crate::order::{self, Side};

/// The enforcement on a machine. Programs, links and conntrack records are pinned in a directory of a bpffs:
/// enforcement continues when the process ends for any reason, and the next process takes it over.
#[derive(Debug)]
pub struct Node {
    pins: PathBuf,
    generation: u32,
    settings: Settings,
    addresses: HashSet<IpAddr>,
    tunnel_ports: BTreeSet<u16>,
    /// The root of the cgroup2 hierarchy.
    sockets: Option<PathBuf>,
    /// The id of the entry program that this process attached, by ifindex and direction, and whether it is
    /// the second one (`again`).
    entries: HashMap<(u32, Direction), (u32, bool)>,
    loaded: Option<Loaded>,
}

/// An interface of this machine. Names are reused, indices are not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interface {
    /// Its ifindex.
    pub index: u32,
    /// Its current name.
    pub name: String,
}

/// A side of an interface on which another program is before the entry program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// The direction of the packets there, as seen from the pod.
    pub direction: Direction,
    /// Whether the entry program is still attached.
    pub is_attached: bool,
}

/// The directory of the maps, named after the version of their contents. The version changes with the maps
/// and the structures in `runtime/kernel/tables.h` and `maps.h`, so that a process opens only maps of its own
/// format. Links are not in it: the next process replaces them one by one.
pub(crate) const VERSION: &str = "2";

/// The maps of the previous version, which were directly in the pin directory. Its `records` and
/// `last_generation` are kept, so that a return to that version is possible.
const PREVIOUS: [&str; 7] =
    ["fragment_verdicts", "events", "budgets", "tickets", "troubles", "in_force", "in_force_for_sockets"];

/// The suffixes of the names of an interface's two links.
const SIDES: [&str; 2] = ["from", "to"];

/// Opens the map with the number of the last generation, if it is pinned in this directory.
fn last_generation(folder: &Path) -> Option<Array<MapData, u32>> {
    Array::try_from(Map::Array(MapData::from_pin(folder.join("last_generation")).ok()?)).ok()
}

/// The suffix of the name of the link of an interface that is not a pod's.
const LEAVING: &str = "leaving";

/// The name of the cgroup link. No interface has this name.
const ARRIVING: &str = "%arriving";

fn failed(why: io::Error) -> LoadError {
    LoadError::Pins(why)
}

impl Node {
    /// Opens the pin directory, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be created: no bpffs is mounted there, or the process lacks permission.
    pub fn open(pins: &Path) -> Result<Self, LoadError> {
        fs::create_dir_all(pins.join("links")).map_err(failed)?;
        fs::create_dir_all(pins.join(VERSION)).map_err(failed)?;
        let known = |folder: &Path| last_generation(folder)?.get(&0, 0).ok();
        let generation = known(&pins.join(VERSION)).max(known(pins)).unwrap_or(0);
        Ok(Self {
            pins: pins.to_owned(),
            generation,
            settings: Settings::default(),
            addresses: HashSet::new(),
            tunnel_ports: BTreeSet::new(),
            sockets: None,
            entries: HashMap::new(),
            loaded: None,
        })
    }

    /// Sets how packets are evaluated by the next generation.
    #[must_use]
    pub const fn with(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets the root of the cgroup2 hierarchy, where packets from pods to sockets of this machine are
    /// evaluated. Without it, egress policies are evaluated before translation, where the pod sends the
    /// packet.
    pub fn set_sockets(&mut self, root: Option<PathBuf>) {
        self.sockets = root;
    }

    /// The number of the last generation, or 0 if there was none.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Puts the tables of a resolver in force. They are built completely before the first packet is evaluated
    /// by them, and then put in force for all interfaces at once. On failure the previous generation stays in
    /// force. Returns the generation that this process had put in force before.
    ///
    /// # Errors
    ///
    /// As for [`Loader::load`].
    pub fn enforce(
        &mut self,
        resolver: &Resolver,
        endpoints: &[Endpoint],
    ) -> Result<Option<Loaded>, LoadError> {
        // 0 is not a generation: records with this stamp belong to none.
        let generation = self.generation.checked_add(1).unwrap_or(1);
        let at_delivery = self.settings.at_delivery && self.sockets.is_some();
        let settings = Settings { at_delivery, ..self.settings };
        let loader = Loader::new(generation).pins(&self.pins.join(VERSION)).settings(settings);
        let mut loaded = loader.load(resolver, endpoints)?;
        // Store the number first, so that no other generation gets it.
        loaded.set_last_generation(generation)?;
        // Also for the previous version, which continues from this number if it returns.
        if let Some(mut map) = last_generation(&self.pins) {
            map.set(0, generation, 0).map_err(|why| LoadError::Kernel(Box::new(why)))?;
        }
        loaded.set_node_addresses(&self.addresses)?;
        loaded.set_tunnel_ports(&self.tunnel_ports)?;
        // Attach before the first packet is deferred to this hook.
        if let Some(root) = &self.sockets {
            let attached = fs::File::open(root).map_err(failed).and_then(|root| {
                self.pin(loaded.attach_arriving(&root)?, &self.pins.join("links").join(ARRIVING))
            });
            attached.map_err(|why| LoadError::Sockets(Box::new(why)))?;
        }
        loaded.put_in_force()?;
        if self.sockets.is_none() {
            remove(&self.pins.join("links").join(ARRIVING))?;
        }
        self.generation = generation;
        Ok(self.loaded.replace(loaded))
    }

    /// Writes changes to the tables that this process put in force.
    ///
    /// # Errors
    ///
    /// Fails if a table has no room. The tables must then be [enforced](Self::enforce) anew.
    pub fn apply(&mut self, resolver: &Resolver, changes: &[Change]) -> Result<(), LoadError> {
        match &mut self.loaded {
            Some(loaded) => loaded.apply(resolver, changes),
            None => Ok(()),
        }
    }

    /// Sets the addresses of this machine: of all scopes, and the broadcast addresses of its networks.
    ///
    /// # Errors
    ///
    /// As for [`Loaded::set_node_addresses`].
    pub fn set_addresses(&mut self, addresses: HashSet<IpAddr>) -> Result<(), LoadError> {
        self.addresses = addresses;
        let addresses = &self.addresses;
        self.loaded.as_mut().map_or(Ok(()), |loaded| loaded.set_node_addresses(addresses))
    }

    /// Sets the UDP ports at which this machine decapsulates tunnel packets.
    ///
    /// # Errors
    ///
    /// As for [`Loaded::set_tunnel_ports`].
    pub fn set_tunnel_ports(&mut self, ports: BTreeSet<u16>) -> Result<(), LoadError> {
        self.tunnel_ports = ports;
        let ports = &self.tunnel_ports;
        self.loaded.as_mut().map_or(Ok(()), |loaded| loaded.set_tunnel_ports(ports))
    }

    /// Adds a local pod, or moves it to another interface.
    ///
    /// # Errors
    ///
    /// As for [`apply`](Self::apply).
    pub fn set_endpoint(&mut self, resolver: &Resolver, endpoint: Endpoint) -> Result<(), LoadError> {
        match &mut self.loaded {
            Some(loaded) => loaded.set_endpoint(resolver, endpoint),
            None => Ok(()),
        }
    }

    /// Removes a pod that is no longer on this node. Packets at its interface are dropped as long as the
    /// interface exists.
    ///
    /// # Errors
    ///
    /// Fails only on an internal error.
    pub fn remove_endpoint(&mut self, pod: u32) -> Result<(), LoadError> {
        self.loaded.as_mut().map_or(Ok(()), |loaded| loaded.remove_endpoint(pod))
    }

    /// Returns the interfaces that are attached, including those that no longer exist.
    ///
    /// # Errors
    ///
    /// Fails if the pin directory cannot be read.
    pub fn attached(&self) -> Result<Vec<Interface>, LoadError> {
        let mut interfaces = Vec::new();
        for entry in fs::read_dir(self.pins.join("links")).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let judged = name.to_str().and_then(|name| name.strip_suffix("-from"));
            if let Some((name, index)) = judged.and_then(|judged| judged.rsplit_once('-'))
                && let Ok(index) = index.parse()
            {
                interfaces.push(Interface { index, name: name.replace("%2e", ".").replace("%25", "%") });
            }
        }
        interfaces.sort_unstable();
        Ok(interfaces)
    }

    /// The generation that this process put in force.
    #[must_use]
    pub const fn loaded(&mut self) -> Option<&mut Loaded> {
        self.loaded.as_mut()
    }

    fn link(&self, interface: &Interface, side: &str) -> PathBuf {
        // A name in a bpffs cannot contain a full stop.
        let name = interface.name.replace('%', "%25").replace('.', "%2e");
        self.pins.join("links").join(format!("{name}-{}-{side}", interface.index))
    }

    /// Attaches to an interface: its packets are evaluated until it is [detached](Self::detach). If it is
    /// already attached, there is no gap.
    ///
    /// # Errors
    ///
    /// Fails if no generation is in force, or the interface does not exist.
    pub fn attach(&mut self, interface: &Interface) -> Result<(), LoadError> {
        let Some(loaded) = &mut self.loaded else { return Err(LoadError::Nothing) };
        let name = &interface.name;
        let directions = [Direction::Egress, Direction::Ingress];
        let mut links = Vec::new();
        for direction in directions {
            let link = loaded.attach(name, direction, false)?;
            links.push((link, loaded.entry(direction, false)));
        }
        // The kernel attaches by name. Check that the name still belongs to this interface.
        is_still(interface)?;
        for ((link, program), (direction, side)) in links.into_iter().zip(directions.into_iter().zip(SIDES)) {
            let place = self.link(interface, side);
            match link {
                Some(link) => {
                    self.pin(link, &place)?;
                    if let Some(program) = program {
                        self.entries.insert((interface.index, direction), (program, false));
                    }
                }
                None if place.exists() => {}
                None => {
                    return Err(LoadError::Pins(io::Error::other(format!(
                        "{} does not exist",
                        place.display()
                    ))));
                }
            }
        }
        Ok(())
    }

    /// Takes over the conntrack records of the previous version.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be read.
    pub fn take_over_records(&mut self) -> Result<(), LoadError> {
        let place = self.pins.join("records");
        match &mut self.loaded {
            // Not after the previous version has been retired, because its records are then outdated.
            Some(loaded) if place.exists() && self.pins.join("in_force").exists() => {
                loaded.take_over_records(&place)
            }
            _ => Ok(()),
        }
    }

    /// Removes maps of the previous version that are no longer used. Call it only when all links have been
    /// replaced by this process, because older links use these maps.
    pub fn retire_previous(&self) {
        for name in PREVIOUS {
            // A map that cannot be removed has no effect and only takes memory.
            let _ = remove(&self.pins.join(name));
        }
    }

    /// Returns the sides of an interface on which the entry program of this process is not the first program.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot be queried.
    pub fn displaced(&self, interface: u32) -> Result<Vec<Displaced>, LoadError> {
        let mut displaced = Vec::new();
        for (direction, side) in [(Direction::Egress, Side::Ingress), (Direction::Ingress, Side::Egress)] {
            let Some((own, _)) = self.entries.get(&(interface, direction)) else { continue };
            let programs = order::programs(interface, side).map_err(failed)?;
            match programs.iter().position(|program| program == own) {
                Some(0) => {}
                place => displaced.push(Displaced { direction, is_attached: place.is_some() }),
            }
        }
        Ok(displaced)
    }

    /// Moves the entry program to the front. The one that is attached behind stays until then.
    ///
    /// # Errors
    ///
    /// As for [`attach`](Self::attach).
    pub fn restore(&mut self, interface: &Interface, direction: Direction) -> Result<(), LoadError> {
        let Some(loaded) = &mut self.loaded else { return Err(LoadError::Nothing) };
        let key = (interface.index, direction);
        let again = self.entries.get(&key).is_none_or(|(_, again)| !again);
        let link = loaded.attach(&interface.name, direction, again)?;
        let program = loaded.entry(direction, again);
        is_still(interface)?;
        let (Some(link), Some(program)) = (link, program) else { return Ok(()) };
        let side = if direction == Direction::Egress { SIDES[0] } else { SIDES[1] };
        self.pin(link, &self.link(interface, side))?;
        self.entries.insert(key, (program, again));
        Ok(())
    }

    /// Attaches to an interface that is not a pod's, to evaluate the packets of pods that leave by it.
    /// `has_ethernet` is true if its packets begin with an Ethernet header, and false if they begin with the
    /// IP header.
    ///
    /// # Errors
    ///
    /// As for [`attach`](Self::attach).
    pub fn attach_leaving(&mut self, interface: &Interface, has_ethernet: bool) -> Result<(), LoadError> {
        let Some(loaded) = &mut self.loaded else { return Err(LoadError::Nothing) };
        let link = loaded.attach_leaving(&interface.name, has_ethernet)?;
        is_still(interface)?;
        match link {
            Some(link) => self.pin(link, &self.link(interface, LEAVING)),
            None => Ok(()),
        }
    }

    /// Renames the links of an attached interface.
    ///
    /// # Errors
    ///
    /// Fails if a link cannot be renamed.
    pub fn renamed(&self, before: &Interface, now: &Interface) -> Result<(), LoadError> {
        SIDES.iter().chain([&LEAVING]).try_for_each(|side| {
            match fs::rename(self.link(before, side), self.link(now, side)) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => Err(failed(why)),
                _ => Ok(()),
            }
        })
    }

    /// Pins a link in place of another one, which lives until then.
    fn pin(&self, link: FdLink, place: &Path) -> Result<(), LoadError> {
        let mut beside = place.as_os_str().to_owned();
        beside.push("-new");
        let beside = PathBuf::from(beside);
        remove(&beside)?;
        link.pin(&beside).map_err(|why| LoadError::Kernel(Box::new(why)))?;
        remove(place)?;
        fs::rename(&beside, place).map_err(failed)
    }

    /// Detaches from an interface.
    ///
    /// # Errors
    ///
    /// Fails if its links cannot be removed.
    pub fn detach(&mut self, interface: &Interface) -> Result<(), LoadError> {
        self.entries.retain(|(index, _), _| *index != interface.index);
        SIDES.iter().chain([&LEAVING]).try_for_each(|side| remove(&self.link(interface, side)))
    }

    /// Detaches from all interfaces, and removes everything that is pinned.
    ///
    /// # Errors
    ///
    /// Fails if something cannot be removed.
    pub fn detach_all(mut self) -> Result<(), LoadError> {
        self.loaded = None;
        let links = self.pins.join("links");
        // Remove the links before the maps that they use.
        let maps = self.pins.join(VERSION);
        for folder in [&links, &maps, &self.pins] {
            for entry in fs::read_dir(folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if !entry.file_type().map_err(failed)?.is_dir() {
                    remove(&entry.path())?;
                }
            }
        }
        [&links, &maps, &self.pins].into_iter().try_for_each(fs::remove_dir).map_err(failed)
    }
}

/// Checks that the interface's name still belongs to its index.
fn is_still(interface: &Interface) -> Result<(), LoadError> {
    let index = socket(AddressFamily::INET, SocketType::DGRAM, None)
        .and_then(|socket| name_to_index(&socket, &interface.name));
    match index {
        Ok(index) if index == interface.index => Ok(()),
        _ => Err(LoadError::Gone(interface.name.clone())),
    }
}

fn remove(path: &Path) -> Result<(), LoadError> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(failed(why)),
        _ => Ok(()),
    }
}
