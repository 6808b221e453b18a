//! What is enforced on a machine, and outlives whoever enforces it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData};
use aya::programs::links::FdLink;
use npc_image::Direction;
use npc_resolver::layout::Endpoint;
use npc_resolver::{Change, Resolver};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};

use crate::error::LoadError;
use crate::loader::{Loaded, Loader, Settings};
use crate::order::{self, Side};

/// What is enforced on a machine. Programs, links and records of connections are pinned in a folder of a
/// bpffs: when the process ends, in whatever way, all goes on as it is, and the next one takes it up.
#[derive(Debug)]
pub struct Node {
    pins: PathBuf,
    generation: u32,
    settings: Settings,
    addresses: HashSet<IpAddr>,
    tunnel_ports: BTreeSet<u16>,
    /// The root of control groups.
    sockets: Option<PathBuf>,
    /// The programs that this process attached, by interface and direction, and whether it was the one for the
    /// place of another.
    entries: HashMap<(u32, Direction), (u32, bool)>,
    loaded: Option<Loaded>,
}

/// An interface of this machine. Of two that had one name, one after the other, each has an index of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name, as it is now.
    pub name: String,
}

/// A side of an interface on which the program is not the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// What passes there: what the pod sends, or what it is sent.
    pub direction: Direction,
    /// Whether the program is there behind others, and not gone.
    pub is_attached: bool,
}

/// The folder of the maps, by the version of what is in them: it changes with the maps and the structures in
/// `runtime/kernel/tables.h` and `maps.h`, so that a process finds only maps that it knows. Links are not in it:
/// whoever starts next replaces them one by one.
pub(crate) const VERSION: &str = "2";

/// The maps that the version before had, which were in no folder. Of them the records and the number of the
/// generation stay, for a return to it.
const PREVIOUS: [&str; 7] =
    ["fragment_verdicts", "events", "budgets", "tickets", "troubles", "in_force", "in_force_for_sockets"];

/// The two sides of an interface, as their links are named.
const SIDES: [&str; 2] = ["from", "to"];

/// The map of the number of the last generation that is pinned in a folder.
fn last_generation(folder: &Path) -> Option<Array<MapData, u32>> {
    Array::try_from(Map::Array(MapData::from_pin(folder.join("last_generation")).ok()?)).ok()
}

/// How the link of an interface that is no pod's is named.
const LEAVING: &str = "leaving";

/// How the link of the sockets is named. No interface has such a name.
const ARRIVING: &str = "%arriving";

fn failed(why: io::Error) -> LoadError {
    LoadError::Pins(why)
}

impl Node {
    /// Takes up what is pinned in a folder, which is made where it is not there.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be made: no bpffs is mounted there, or the process may not.
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

    /// Enforces in this way from now on.
    #[must_use]
    pub const fn with(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The root of the second version of control groups, where what pods send to sockets of this machine is
    /// judged. Without one, what pods may not send is dropped where they send it, before translation.
    pub fn set_sockets(&mut self, root: Option<PathBuf>) {
        self.sockets = root;
    }

    /// The generation that was made last; 0 before the first.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Puts the tables of a resolver in force: built aside, whole before the first packet is judged by
    /// them, and then for all interfaces at once. Where that fails, what was in force stays. Gives what this
    /// process had put in force before.
    ///
    /// # Errors
    ///
    /// As for [`Loader::load`].
    pub fn enforce(
        &mut self,
        resolver: &Resolver,
        endpoints: &[Endpoint],
    ) -> Result<Option<Loaded>, LoadError> {
        // Zero is no generation, so that no record is of none.
        let generation = self.generation.checked_add(1).unwrap_or(1);
        let at_delivery = self.settings.at_delivery && self.sockets.is_some();
        let settings = Settings { at_delivery, ..self.settings };
        let loader = Loader::new(generation).pins(&self.pins.join(VERSION)).settings(settings);
        let mut loaded = loader.load(resolver, endpoints)?;
        // First the number, so that no other generation ever has it.
        loaded.set_last_generation(generation)?;
        // Of the version before, too, which may come back: it counts on from there.
        if let Some(mut map) = last_generation(&self.pins) {
            map.set(0, generation, 0).map_err(|why| LoadError::Kernel(Box::new(why)))?;
        }
        loaded.set_node_addresses(&self.addresses)?;
        loaded.set_tunnel_ports(&self.tunnel_ports)?;
        // Before anything is left for it to decide.
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

    /// Writes what changed in the tables that this process put in force.
    ///
    /// # Errors
    ///
    /// Where a table has no room for it: then they are to be [enforced](Self::enforce) anew.
    pub fn apply(&mut self, resolver: &Resolver, changes: &[Change]) -> Result<(), LoadError> {
        match &mut self.loaded {
            Some(loaded) => loaded.apply(resolver, changes),
            None => Ok(()),
        }
    }

    /// The addresses of this machine, of all scopes and with the broadcasts of its networks.
    ///
    /// # Errors
    ///
    /// As for [`Loaded::set_node_addresses`].
    pub fn set_addresses(&mut self, addresses: HashSet<IpAddr>) -> Result<(), LoadError> {
        self.addresses = addresses;
        let addresses = &self.addresses;
        self.loaded.as_mut().map_or(Ok(()), |loaded| loaded.set_node_addresses(addresses))
    }

    /// The UDP ports at which this machine takes packets out of tunnels.
    ///
    /// # Errors
    ///
    /// As for [`Loaded::set_tunnel_ports`].
    pub fn set_tunnel_ports(&mut self, ports: BTreeSet<u16>) -> Result<(), LoadError> {
        self.tunnel_ports = ports;
        let ports = &self.tunnel_ports;
        self.loaded.as_mut().map_or(Ok(()), |loaded| loaded.set_tunnel_ports(ports))
    }

    /// A local pod is new, or is on another interface.
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

    /// A pod is no longer on this node: its interface lets nothing through, while it is there.
    ///
    /// # Errors
    ///
    /// None that a caller could cause.
    pub fn remove_endpoint(&mut self, pod: u32) -> Result<(), LoadError> {
        self.loaded.as_mut().map_or(Ok(()), |loaded| loaded.remove_endpoint(pod))
    }

    /// The interfaces that are judged: also those that are gone since.
    ///
    /// # Errors
    ///
    /// Where the folder of pins cannot be read.
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

    /// What this process put in force.
    #[must_use]
    pub const fn loaded(&mut self) -> Option<&mut Loaded> {
        self.loaded.as_mut()
    }

    fn link(&self, interface: &Interface, side: &str) -> PathBuf {
        // No name in a bpffs has a full stop.
        let name = interface.name.replace('%', "%25").replace('.', "%2e");
        self.pins.join("links").join(format!("{name}-{}-{side}", interface.index))
    }

    /// Judges the packets of an interface from now on, until it is [detached](Self::detach). One that is
    /// judged already is judged on without a gap.
    ///
    /// # Errors
    ///
    /// Where nothing was put in force yet, or there is no such interface.
    pub fn attach(&mut self, interface: &Interface) -> Result<(), LoadError> {
        let Some(loaded) = &mut self.loaded else { return Err(LoadError::Nothing) };
        let name = &interface.name;
        let directions = [Direction::Egress, Direction::Ingress];
        let mut links = Vec::new();
        for direction in directions {
            let link = loaded.attach(name, direction, false)?;
            links.push((link, loaded.entry(direction, false)));
        }
        // The kernel attaches by name: it must still have been that of this interface.
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
                        "{} is not there",
                        place.display()
                    ))));
                }
            }
        }
        Ok(())
    }

    /// Takes over the records of connections that the version before kept.
    ///
    /// # Errors
    ///
    /// Where they cannot be read.
    pub fn take_over_records(&mut self) -> Result<(), LoadError> {
        let place = self.pins.join("records");
        match &mut self.loaded {
            // Not once the version before is retired: what it knew is old by then.
            Some(loaded) if place.exists() && self.pins.join("in_force").exists() => {
                loaded.take_over_records(&place)
            }
            _ => Ok(()),
        }
    }

    /// Removes what the version before kept and nobody uses any more. To be called once all links are this
    /// process' own: before that, they judge by it.
    pub fn retire_previous(&self) {
        for name in PREVIOUS {
            // Where it stays it takes memory, and does nothing.
            let _ = remove(&self.pins.join(name));
        }
    }

    /// Whether the program is still the first on both sides of an interface that this process attached it to.
    ///
    /// # Errors
    ///
    /// Where the kernel does not tell.
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

    /// Puts the program in front of those that took its place. Until it is there, the one behind goes on.
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

    /// Judges what pods send where it leaves by an interface that is no pod's, from now on: one whose packets
    /// begin with a header of Ethernet's, or with that of IP.
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

    /// An interface that is judged has another name from now on.
    ///
    /// # Errors
    ///
    /// Where its links cannot be kept under the new one.
    pub fn renamed(&self, before: &Interface, now: &Interface) -> Result<(), LoadError> {
        SIDES.iter().chain([&LEAVING]).try_for_each(|side| {
            match fs::rename(self.link(before, side), self.link(now, side)) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => Err(failed(why)),
                _ => Ok(()),
            }
        })
    }

    /// Pins a link in the place of another, which ends only then.
    fn pin(&self, link: FdLink, place: &Path) -> Result<(), LoadError> {
        let mut beside = place.as_os_str().to_owned();
        beside.push("-new");
        let beside = PathBuf::from(beside);
        remove(&beside)?;
        link.pin(&beside).map_err(|why| LoadError::Kernel(Box::new(why)))?;
        remove(place)?;
        fs::rename(&beside, place).map_err(failed)
    }

    /// Judges the packets of an interface no more.
    ///
    /// # Errors
    ///
    /// Where its links cannot be removed.
    pub fn detach(&mut self, interface: &Interface) -> Result<(), LoadError> {
        self.entries.retain(|(index, _), _| *index != interface.index);
        SIDES.iter().chain([&LEAVING]).try_for_each(|side| remove(&self.link(interface, side)))
    }

    /// Undoes everything: no interface is judged, and nothing is kept.
    ///
    /// # Errors
    ///
    /// Where something cannot be removed.
    pub fn detach_all(mut self) -> Result<(), LoadError> {
        self.loaded = None;
        let links = self.pins.join("links");
        // First what judges, then what it judges by.
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

/// Whether an interface has the name that is known.
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
