//! What is written to the maps that all generations share.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::{Array, HashMap, Map, MapData, MapError};

use crate::connections::{KEY, OpenConnection, RECORD, halves};
use crate::error::LoadError;
use crate::loader::Loaded;

/// Only where there is none (`BPF_NOEXIST`).
const NO_OTHER: u64 = 1;

/// A bit for each port, in words of 64.
const PORT_WORDS: usize = 65_536 / 64;

impl Loaded {
    /// The addresses of this machine, of all scopes and with the broadcasts of its networks: what a socket of
    /// the node gets is for one of them. Only those that are new, or are no longer, are written.
    ///
    /// # Errors
    ///
    /// Where the kernel does not take them.
    pub fn set_node_addresses(&mut self, addresses: &HashSet<IpAddr>) -> Result<(), LoadError> {
        let map = self.ebpf.map_mut("node_addresses").and_then(|map| HashMap::try_from(map).ok());
        let mut map: HashMap<_, [u64; 2], u8> =
            map.ok_or_else(|| LoadError::Kernel("the program has no map `node_addresses`".into()))?;
        let failed = |why: MapError| LoadError::Kernel(Box::new(why));
        // The map outlives whoever wrote it.
        let wanted: HashSet<[u64; 2]> = addresses.iter().copied().map(halves).collect();
        let known: HashSet<[u64; 2]> = map.keys().collect::<Result<_, _>>().map_err(failed)?;
        for gone in known.difference(&wanted) {
            map.remove(gone).map_err(failed)?;
        }
        for new in wanted.difference(&known) {
            map.insert(new, 1, 0).map_err(failed)?;
        }
        self.node_addresses.clone_from(addresses);
        Ok(())
    }

    /// The UDP ports at which this machine takes packets out of tunnels.
    ///
    /// # Errors
    ///
    /// Where the kernel does not take them.
    pub fn set_tunnel_ports(&mut self, ports: &BTreeSet<u16>) -> Result<(), LoadError> {
        let map = self.ebpf.map_mut("tunnels").and_then(|map| Array::try_from(map).ok());
        let mut map: Array<_, [u64; PORT_WORDS]> =
            map.ok_or_else(|| LoadError::Kernel("the program has no map `tunnels`".into()))?;
        let mut bits = [0; PORT_WORDS];
        for port in ports {
            if let Some(word) = bits.get_mut(usize::from(port / 64)) {
                *word |= 1 << (port % 64);
            }
        }
        map.set(0, bits, 0).map_err(|why| LoadError::Kernel(Box::new(why)))
    }

    /// Remembers connections of a pod that were open before its packets were judged, where none is remembered
    /// of them. Those that policies do not allow are not let through for that. `now` is in nanoseconds since
    /// the machine started.
    ///
    /// # Errors
    ///
    /// Where the kernel does not take them.
    pub fn remember(
        &mut self,
        endpoint: u32,
        connections: &[OpenConnection],
        now: u64,
    ) -> Result<(), LoadError> {
        let map = self.ebpf.map_mut("records").and_then(|map| HashMap::try_from(map).ok());
        let mut records: HashMap<_, [u8; KEY], [u8; RECORD]> =
            map.ok_or_else(|| LoadError::Kernel("the program has no map `records`".into()))?;
        for connection in connections {
            match records.insert(connection.key(endpoint), connection.record(now), NO_OTHER) {
                Ok(()) => {}
                Err(MapError::SyscallError(error))
                    if error.io_error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(why) => return Err(LoadError::Kernel(Box::new(why))),
            }
        }
        Ok(())
    }

    /// Copies the records that are pinned there, where there is none of a connection yet. They are judged again
    /// by the tables in force.
    pub(crate) fn take_over_records(&mut self, place: &Path) -> Result<(), LoadError> {
        let failed = |why: MapError| LoadError::Kernel(Box::new(why));
        let before = Map::LruHashMap(MapData::from_pin(place).map_err(failed)?);
        let before: HashMap<_, [u8; KEY], [u8; RECORD]> = HashMap::try_from(before).map_err(failed)?;
        let map = self.ebpf.map_mut("records").and_then(|map| HashMap::try_from(map).ok());
        let mut records: HashMap<_, [u8; KEY], [u8; RECORD]> =
            map.ok_or_else(|| LoadError::Kernel("the program has no map `records`".into()))?;
        // One that is removed meanwhile is nobody's loss.
        for (key, record) in before.iter().flatten() {
            let _ = records.insert(key, record, NO_OTHER);
        }
        Ok(())
    }
}
