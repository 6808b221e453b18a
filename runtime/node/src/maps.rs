//! Writes to the maps that all generations share.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::IpAddr;
use std::path::Path;

use aya::maps::{Array, HashMap, Map, MapData, MapError};

use crate::connections::{KEY, OpenConnection, RECORD, halves};
use crate::error::LoadError;
use crate::loader::Loaded;

/// The flag `BPF_NOEXIST`: insert only if the key is absent.
const NO_OTHER: u64 = 1;

/// A bit for each port, in words of 64 bits.
const PORT_WORDS: usize = 65_536 / 64;

impl Loaded {
    /// Sets the addresses of this machine: of all scopes, and the broadcast addresses of its networks. A
    /// packet for one of them is delivered to a socket of the node. Only differences are written.
    ///
    /// # Errors
    ///
    /// Fails if the kernel rejects a write.
    pub fn set_node_addresses(&mut self, addresses: &HashSet<IpAddr>) -> Result<(), LoadError> {
        let map = self.ebpf.map_mut("node_addresses").and_then(|map| HashMap::try_from(map).ok());
        let mut map: HashMap<_, [u64; 2], u8> =
            map.ok_or_else(|| LoadError::Kernel("the program has no map `node_addresses`".into()))?;
        let failed = |why: MapError| LoadError::Kernel(Box::new(why));
        // The map is pinned and may contain addresses that an earlier process wrote.
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

    /// Sets the UDP ports at which this machine decapsulates tunnel packets.
    ///
    /// # Errors
    ///
    /// Fails if the kernel rejects a write.
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

    /// Adds conntrack records for connections that a pod had open before its packets were evaluated. Existing
    /// records are kept. A record does not let packets pass that the policies deny: the verdict is evaluated
    /// again. `now` is in nanoseconds since boot.
    ///
    /// # Errors
    ///
    /// Fails if the kernel rejects a write.
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

    /// Copies the records of a map that is pinned at `place`, unless a record exists for the same connection.
    /// Their verdicts are evaluated again by the tables in force.
    pub(crate) fn take_over_records(&mut self, place: &Path) -> Result<(), LoadError> {
        let failed = |why: MapError| LoadError::Kernel(Box::new(why));
        let before = Map::LruHashMap(MapData::from_pin(place).map_err(failed)?);
        let before: HashMap<_, [u8; KEY], [u8; RECORD]> = HashMap::try_from(before).map_err(failed)?;
        let map = self.ebpf.map_mut("records").and_then(|map| HashMap::try_from(map).ok());
        let mut records: HashMap<_, [u8; KEY], [u8; RECORD]> =
            map.ok_or_else(|| LoadError::Kernel("the program has no map `records`".into()))?;
        // Entries may disappear during the iteration; missing one is harmless.
        for (key, record) in before.iter().flatten() {
            let _ = records.insert(key, record, NO_OTHER);
        }
        Ok(())
    }
}
