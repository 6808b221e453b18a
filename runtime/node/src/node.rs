//! What is enforced on a machine, and outlives whoever enforces it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aya::maps::{Array, Map, MapData};
use aya::programs::links::FdLink;
use npc_resolver::{Change, Resolver};

use crate::loader::{Endpoint, LoadError, Loaded, Loader};

/// What is enforced on a machine. Programs, links and records of connections are pinned in a folder of a
/// bpffs: when the process ends, in whatever way, all goes on as it is, and the next one takes it up.
#[derive(Debug)]
pub struct Node {
    pins: PathBuf,
    generation: u32,
    loaded: Option<Loaded>,
}

/// The two sides of an interface, as their links are named.
const SIDES: [&str; 2] = ["from", "to"];

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
        let known = MapData::from_pin(pins.join("last_generation")).ok();
        let known = known.and_then(|map| Array::<_, u32>::try_from(Map::Array(map)).ok());
        let generation = known.and_then(|map| map.get(&0, 0).ok()).unwrap_or(0);
        Ok(Self { pins: pins.to_owned(), generation, loaded: None })
    }

    /// The generation that was made last; 0 before the first.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Puts the tables of a resolver in force: built aside, whole before the first packet is judged by
    /// them, and then for all interfaces at once. Where that fails, what was in force stays.
    ///
    /// # Errors
    ///
    /// As for [`Loader::load`].
    pub fn enforce(&mut self, resolver: &Resolver, endpoints: &[Endpoint]) -> Result<(), LoadError> {
        // Zero is no generation, so that no record is of none.
        let generation = self.generation.checked_add(1).unwrap_or(1);
        let mut loaded = Loader::new(generation).pins(&self.pins).load(resolver, endpoints)?;
        loaded.put_in_force()?;
        loaded.set_last_generation(generation)?;
        self.generation = generation;
        self.loaded = Some(loaded);
        Ok(())
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

    /// What this process put in force.
    #[must_use]
    pub const fn loaded(&mut self) -> Option<&mut Loaded> {
        self.loaded.as_mut()
    }

    fn link(&self, interface: &str, side: &str) -> PathBuf {
        // No name in a bpffs has a full stop.
        let name = interface.replace('%', "%25").replace('.', "%2e");
        self.pins.join("links").join(format!("{name}-{side}"))
    }

    /// Judges the packets of an interface from now on, until it is [detached](Self::detach). One that is
    /// judged already is judged on without a gap.
    ///
    /// # Errors
    ///
    /// Where nothing was put in force yet, or there is no such interface.
    pub fn attach(&mut self, interface: &str) -> Result<(), LoadError> {
        let Some(loaded) = &mut self.loaded else { return Err(LoadError::Nothing) };
        let links = loaded.attach(interface)?;
        for (link, side) in links.into_iter().zip(SIDES) {
            self.pin(link, &self.link(interface, side))?;
        }
        Ok(())
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
    pub fn detach(&mut self, interface: &str) -> Result<(), LoadError> {
        SIDES.iter().try_for_each(|side| remove(&self.link(interface, side)))
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
        for folder in [&links, &self.pins] {
            for entry in fs::read_dir(folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if !entry.file_type().map_err(failed)?.is_dir() {
                    remove(&entry.path())?;
                }
            }
        }
        fs::remove_dir(&links).and_then(|()| fs::remove_dir(&self.pins)).map_err(failed)
    }
}

fn remove(path: &Path) -> Result<(), LoadError> {
    match fs::remove_file(path) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => Err(failed(why)),
        _ => Ok(()),
    }
}
