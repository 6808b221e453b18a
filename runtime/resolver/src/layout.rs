//! The memory layout of the tables that the kernel program reads (`runtime/kernel/tables.h`).

use std::fmt;
use std::net::IpAddr;

use crate::trie::{self, Referred};
use crate::{Change, Compare, PORTS, Resolver};

/// The size of a comparison, in bytes.
const COMPARE: usize = 40;

/// The maximum size of the tables, in bytes: the verifier bounds the variable offset into a map value
/// (`BPF_MAX_VAR_OFF`).
const MOST: usize = 1 << 29;

/// The size of a counter, in bytes: packets and bytes, 64 bits each.
const COUNTER: usize = 16;

/// The size of an endpoint, in bytes.
const ENDPOINT: usize = 64;

/// The bits of [`Endpoint::id`] that a packet carries from the hook where it is sent to the one where it is
/// delivered.
const SENDER: u32 = (1 << 13) - 1;

/// A local pod whose packets are evaluated, or a [bridge](Self::bridge).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod's number in the resolver.
    pub pod: u32,
    /// The ifindex of the host end of its interface.
    pub interface: u32,
    /// Identifies the pod's conntrack records, and is never reused. The low 13 bits are unique among the
    /// local pods and not zero. 0 for a [bridge](Self::bridge).
    pub id: u32,
    /// Until this time, a packet without a conntrack record may belong to a connection that was opened before
    /// the pod's policies were enforced. In nanoseconds since boot.
    pub taken_over: u64,
}

impl Endpoint {
    /// An endpoint for a pod: its number in the resolver, the ifindex of its interface, and the id of its
    /// records.
    #[must_use]
    pub const fn new(pod: u32, interface: u32, id: u32) -> Self {
        Self { pod, interface, id, taken_over: 0 }
    }

    /// The same endpoint, which may have connections from before enforcement until the given time.
    #[must_use]
    pub const fn taken_over(self, until: u64) -> Self {
        Self { taken_over: until, ..self }
    }

    /// An endpoint for a bridge with pods behind it: a packet that the node receives by it may be a pod's.
    #[must_use]
    pub const fn bridge(interface: u32) -> Self {
        // The resolver's pods are numbered upward from 0, so that these numbers do not collide.
        Self::new(u32::MAX - interface, interface, 0)
    }
}

/// Why the tables cannot be laid out or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// The tables have no room for more of these. They must be rebuilt with more.
    Full(&'static str),
    /// There are more of these than the format can number.
    TooMany(&'static str),
    /// They would take so many bytes.
    TooLarge(usize),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(what) => write!(f, "the tables have no room for more {what}"),
            Self::TooMany(what) => write!(f, "there are too many {what} for one node"),
            Self::TooLarge(bytes) => {
                let of = |bytes: usize| bytes.div_ceil(1 << 20);
                write!(
                    f,
                    "the tables would take {} MiB, and the kernel program supports at most {} MiB",
                    of(*bytes),
                    of(MOST)
                )
            }
        }
    }
}

impl std::error::Error for LayoutError {}

/// The memory of one table. An index counts cells of the stored width, and each cell is written with one
/// store. Returns false if the cell is out of bounds.
pub trait Memory {
    /// Stores 16 bits.
    fn set_u16(&self, index: usize, value: u16) -> bool;
    /// Stores 32 bits.
    fn set_u32(&self, index: usize, value: u32) -> bool;
    /// Stores 64 bits.
    fn set_u64(&self, index: usize, value: u64) -> bool;
}

/// The capacity of each table.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    classes: usize,
    columns: usize,
    rows: usize,
    lists: usize,
    branches: usize,
    compares: usize,
    slots: usize,
    counters: usize,
    processors: usize,
}

impl Room {
    /// Takes the current sizes plus a quarter as spare room, for a machine with this many processors.
    ///
    /// # Errors
    ///
    /// Fails if the cells of a table cannot be numbered, or if the tables exceed the maximum size.
    pub fn new(resolver: &Resolver, endpoints: &[Endpoint], processors: usize) -> Result<Self, LayoutError> {
        let more = |count: usize, least: usize| count + count / 4 + least;
        let room = Self {
            classes: more(resolver.class_count(), 64),
            columns: more(resolver.columns(), 16),
            rows: more(resolver.row_count(), 64),
            lists: more(resolver.list_count(), 256),
            branches: more(resolver.trie().branches().len(), 256),
            compares: more(resolver.trie().compares().len(), 256),
            slots: slots(endpoints),
            // Aligned so that no two processors write to the same cache line.
            counters: (resolver.reasons().count() as usize).next_multiple_of(64 / COUNTER),
            processors,
        };
        // The kernel program uses 32-bit offsets of cells and 16-bit column numbers.
        let fits = |cells: Option<usize>| cells.is_some_and(|cells| u32::try_from(cells).is_ok());
        if !fits(room.classes.checked_mul(room.rows)) {
            return Err(LayoutError::TooMany("groups of pods that the same policies select"));
        }
        if !fits(room.columns.checked_mul(room.lists)) {
            return Err(LayoutError::TooMany("different decisions"));
        }
        if room.columns > usize::from(u16::MAX) {
            return Err(LayoutError::TooMany("groups of ports that no rule distinguishes"));
        }
        if room.bytes() > MOST {
            return Err(LayoutError::TooLarge(room.bytes()));
        }
        Ok(room)
    }

    /// The tables in the order in which they are laid out in memory.
    #[must_use]
    pub fn shapes(&self) -> [Shape; 9] {
        let Self { classes, columns, rows, lists, branches, compares, slots, counters, processors } = *self;
        let mut end: usize = 0;
        let mut of = |name, cell: usize, together: usize, count: usize| {
            let at = end.next_multiple_of(64);
            let cells = together * count;
            end = at + cell * cells;
            Shape { name, at, cell, cells, together }
        };
        [
            of("branches", 4, 256, branches),
            of("compares", COMPARE, 1, compares),
            of("port_columns", 2, PORTS, 3),
            of("rows", 4, classes, rows),
            of("lists", 8, columns, lists),
            of("endpoints", ENDPOINT, 1, slots),
            of("senders", 4, 1, SENDER as usize + 1),
            of("epoch", 4, 1, 1),
            of("counters", COUNTER, counters, processors),
        ]
    }

    /// The number of counters per processor: one for each reason, padded to whole cache lines.
    #[must_use]
    pub const fn counters(&self) -> usize {
        self.counters
    }

    /// The size of all tables in bytes, padded so that the largest cell can be read from the start of any
    /// cell.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let [.., last] = self.shapes();
        last.at + last.bytes() + 64
    }

    /// The layout that is set when the kernel program is loaded (`layout` in `runtime/kernel/maps.h`).
    #[must_use]
    pub fn layout(&self) -> [u32; 8] {
        let [_, _, port_columns, _, _, endpoints, senders, epoch, counters] = self.shapes();
        let places = [port_columns, endpoints, senders, epoch, counters].map(|shape| shape.at);
        let [a, b, c, d, e] = places;
        [a, b, c, d, e, self.bytes() - ENDPOINT.max(COMPARE), self.slots - 1, self.counters]
            .map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    }
}

/// The position and shape of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its name.
    pub name: &'static str,
    /// Its offset, in bytes.
    pub at: usize,
    /// The size of a cell, in bytes.
    pub cell: usize,
    /// The number of cells.
    pub cells: usize,
    /// The number of cells in one branch, row or list.
    pub together: usize,
}

impl Shape {
    /// The size of the table, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.cell * self.cells
    }
}

/// The number of slots of the endpoint table. An endpoint's slot is the low bits of its ifindex; the table
/// grows up to 2¹⁸ slots until no two endpoints collide.
fn slots(endpoints: &[Endpoint]) -> usize {
    let mut slots = 4096;
    loop {
        let mut taken = vec![false; slots];
        let apart = endpoints.iter().all(|endpoint| {
            let slot = taken.get_mut(endpoint.interface as usize & (slots - 1));
            slot.is_some_and(|taken| !std::mem::replace(taken, true))
        });
        if apart || slots >= 1 << 18 {
            return slots;
        }
        slots *= 2;
    }
}

/// The offsets of the tables that other tables refer to.
#[derive(Clone, Copy, Debug)]
struct At {
    compares: usize,
    rows: usize,
    lists: usize,
}

/// The tables, in memory of type `M`.
#[derive(Debug)]
pub struct Tables<M> {
    room: Room,
    at: At,
    branches: M,
    compares: M,
    ports: M,
    rows: M,
    lists: M,
    endpoints: M,
    senders: M,
    epoch: M,
    counters: M,
    /// The endpoints that are in the table.
    local: Vec<Endpoint>,
    /// The number of changes so far.
    changes: u32,
}

impl<M: Memory> Tables<M> {
    /// Creates the tables in the memory that `memory` returns for each, which must be zeroed.
    ///
    /// # Errors
    ///
    /// Fails if `memory` fails.
    pub fn new<E>(
        room: Room,
        endpoints: &[Endpoint],
        mut memory: impl FnMut(Shape) -> Result<M, E>,
    ) -> Result<Self, E> {
        let [branches, compares, ports, rows, lists, slots, senders, epoch, counters] = room.shapes();
        Ok(Self {
            at: At { compares: compares.at, rows: rows.at, lists: lists.at },
            branches: memory(branches)?,
            compares: memory(compares)?,
            ports: memory(ports)?,
            rows: memory(rows)?,
            lists: memory(lists)?,
            endpoints: memory(slots)?,
            senders: memory(senders)?,
            epoch: memory(epoch)?,
            counters: memory(counters)?,
            local: endpoints.to_vec(),
            changes: 0,
            room,
        })
    }

    /// Returns the counters of all processors, and the number of counters per processor.
    pub const fn counters(&self) -> (&M, usize) {
        (&self.counters, self.room.counters)
    }

    /// Writes the complete state of a resolver.
    ///
    /// # Errors
    ///
    /// Fails if a table has no room for it.
    pub fn write_all(&self, resolver: &Resolver) -> Result<(), LayoutError> {
        for number in 0..resolver.list_count() {
            self.write_list(resolver, number)?;
        }
        for number in 0..resolver.row_count() {
            self.write_row(resolver, number)?;
        }
        for (place, column) in resolver.ports().iter().enumerate() {
            self.ports.set_u16(place, *column);
        }
        for (number, compare) in resolver.trie().compares().iter().enumerate() {
            self.write_compare(number, compare)?;
        }
        for (number, cells) in resolver.trie().branches().iter().enumerate() {
            self.write_branch(number, cells)?;
        }
        for endpoint in &self.local {
            self.write_endpoint(resolver, endpoint)?;
        }
        Ok(())
    }

    /// Writes changes, in the given order.
    ///
    /// # Errors
    ///
    /// Fails if a table has no room. The changes up to that one have been written and are consistent; the
    /// tables must be rebuilt with more room.
    pub fn apply(&mut self, resolver: &Resolver, changes: &[Change]) -> Result<(), LayoutError> {
        for change in changes {
            match *change {
                Change::NewBranch { number } => {
                    if let Some(cells) = resolver.trie().branches().get(number as usize) {
                        self.write_branch(number as usize, cells)?;
                    }
                }
                Change::Branch { number, cell } => {
                    let cells = resolver.trie().branches().get(number as usize);
                    if let Some(value) = cells.and_then(|cells| cells.get(usize::from(cell))) {
                        let place = number as usize * 256 + usize::from(cell);
                        room(self.branches.set_u32(place, self.cell(*value)?), "addresses")?;
                    }
                }
                Change::Compare { number } => {
                    if let Some(compare) = resolver.trie().compares().get(number as usize) {
                        self.write_compare(number as usize, compare)?;
                    }
                }
                Change::List { number } => self.write_list(resolver, number as usize)?,
                Change::Row { number } => self.write_row(resolver, number as usize)?,
                Change::Cell { row, class } => {
                    let list = resolver.row(row).get(class as usize).copied().unwrap_or(0);
                    self.write_cell(row as usize, class as usize, list)?;
                }
                Change::Port { protocol, port } => {
                    let place = usize::from(protocol) * PORTS + usize::from(port);
                    if let Some(column) = resolver.ports().get(place) {
                        self.ports.set_u16(place, *column);
                    }
                }
                Change::Endpoint { pod } => {
                    for endpoint in self.local.iter().filter(|endpoint| endpoint.pod == pod) {
                        self.write_endpoint(resolver, endpoint)?;
                    }
                }
            }
        }
        // A new epoch invalidates the cached verdicts in conntrack records.
        self.changes = self.changes.wrapping_add(1);
        self.epoch.set_u32(0, self.changes);
        Ok(())
    }

    /// Adds an endpoint, or replaces the one of the same pod.
    ///
    /// # Errors
    ///
    /// Fails if another interface occupies its slot.
    pub fn set_endpoint(&mut self, resolver: &Resolver, endpoint: Endpoint) -> Result<(), LayoutError> {
        self.remove_endpoint(endpoint.pod)?;
        let slot = |interface: u32| interface as usize & (self.room.slots - 1);
        let taken = self.local.iter().any(|other| slot(other.interface) == slot(endpoint.interface));
        room(!taken, "interfaces")?;
        self.write_endpoint(resolver, &endpoint)?;
        self.local.push(endpoint);
        Ok(())
    }

    /// Removes the endpoint of a pod.
    ///
    /// # Errors
    ///
    /// Fails only if the endpoint's slot is out of bounds, which cannot happen.
    pub fn remove_endpoint(&mut self, pod: u32) -> Result<(), LayoutError> {
        let Some(place) = self.local.iter().position(|endpoint| endpoint.pod == pod) else {
            return Ok(());
        };
        let endpoint = self.local.swap_remove(place);
        self.set_sender(endpoint.id, 0);
        let slot = endpoint.interface as usize & (self.room.slots - 1);
        room(self.endpoints.set_u32(slot * (ENDPOINT / 4), 0), "pods")
    }

    /// The size of the tables, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.room.bytes()
    }

    fn write_branch(&self, number: usize, cells: &[u32]) -> Result<(), LayoutError> {
        let fits = number < self.room.branches;
        room(fits, "addresses")?;
        for (place, cell) in (number * 256..).zip(cells) {
            self.branches.set_u32(place, self.cell(*cell)?);
        }
        Ok(())
    }

    /// Converts a cell of the trie to the kernel program's format, in which a comparison is referred to by
    /// its offset in units of eight bytes. Fails if the cell refers beyond the tables.
    fn cell(&self, cell: u32) -> Result<u32, LayoutError> {
        match trie::referred(cell) {
            Referred::Comparison(number) => {
                room((number as usize) < self.room.compares, "addresses")?;
                let place = self.at.compares + number as usize * COMPARE;
                Ok(trie::COMPARE | u32::try_from(place / 8).unwrap_or(0))
            }
            Referred::Branch(number) => {
                room((number as usize) < self.room.branches, "addresses")?;
                Ok(cell)
            }
            Referred::Class(class) => {
                room((class as usize) < self.room.classes, "groups of peers that no rule distinguishes")?;
                Ok(cell)
            }
        }
    }

    fn write_compare(&self, number: usize, compare: &Compare) -> Result<(), LayoutError> {
        room(number < self.room.compares, "addresses")?;
        let table = &self.compares;
        let halves = [compare.mask >> 64, compare.mask, compare.prefix >> 64, compare.prefix];
        for (place, half) in (number * 5..).zip(halves) {
            table.set_u64(place, half as u64);
        }
        table.set_u32(number * 10 + 8, self.cell(compare.yes)?);
        table.set_u32(number * 10 + 9, self.cell(compare.no)?);
        Ok(())
    }

    fn write_list(&self, resolver: &Resolver, number: usize) -> Result<(), LayoutError> {
        let list = resolver.list(u32::try_from(number).unwrap_or(u32::MAX));
        room(number < self.room.lists, "different decisions")?;
        room(list.len() <= self.room.columns, "groups of ports that no rule distinguishes")?;
        for (place, decision) in (number * self.room.columns..).zip(list) {
            self.lists.set_u64(place, *decision);
        }
        Ok(())
    }

    fn write_row(&self, resolver: &Resolver, number: usize) -> Result<(), LayoutError> {
        let row = resolver.row(u32::try_from(number).unwrap_or(u32::MAX));
        for (class, list) in row.iter().enumerate() {
            self.write_cell(number, class, *list)?;
        }
        Ok(())
    }

    fn write_cell(&self, row: usize, class: usize, list: u32) -> Result<(), LayoutError> {
        room(
            row < self.room.rows && class < self.room.classes,
            "groups of pods that the same policies select",
        )?;
        room((list as usize) < self.room.lists, "different decisions")?;
        // A cell contains the offset of the list.
        let list = self.at.lists + list as usize * self.room.columns * 8;
        self.rows.set_u32(row * self.room.classes + class, u32::try_from(list).unwrap_or(0));
        Ok(())
    }

    fn write_endpoint(&self, resolver: &Resolver, endpoint: &Endpoint) -> Result<(), LayoutError> {
        let slot = endpoint.interface as usize & (self.room.slots - 1);
        let table = &self.endpoints;
        let cell =
            |index: usize, value: u32| room(table.set_u32(slot * (ENDPOINT / 4) + index, value), "pods");
        if endpoint.id == 0 {
            (1..ENDPOINT / 4).try_for_each(|index| cell(index, 0))?;
            return cell(0, endpoint.interface);
        }
        let Some(rows) = resolver.endpoint(endpoint.pod) else {
            // Clear the sender first, so that no packet is attributed to the slot while it is cleared.
            self.set_sender(endpoint.id, 0);
            return cell(0, 0);
        };
        let addresses = resolver.pod(endpoint.pod).map_or(&[][..], |pod| &pod.addresses);
        let v4 = addresses.iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(u64::from(address.to_bits()) << 32),
            IpAddr::V6(_) => None,
        });
        let v6 = addresses.iter().find_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address.to_bits()),
        });
        let v6 = v6.unwrap_or(0);
        let words = [v4.unwrap_or(0), (v6 >> 64) as u64, v6 as u64];
        for (place, word) in (slot * (ENDPOINT / 8) + 3..).zip(words) {
            room(table.set_u64(place, word), "pods")?;
        }
        let [egress, ingress] = resolver.isolation(endpoint.pod);
        room(
            rows.iter().all(|row| (*row as usize) < self.room.rows),
            "groups of pods that the same policies select",
        )?;
        let begins =
            |row: u32| u32::try_from(self.at.rows + row as usize * self.room.classes * 4).unwrap_or(0);
        cell(2, begins(rows[0]))?;
        cell(3, begins(rows[1]))?;
        cell(4, egress)?;
        cell(5, ingress)?;
        room(table.set_u64(slot * (ENDPOINT / 8) + 7, endpoint.taken_over), "pods")?;
        cell(1, endpoint.id)?;
        cell(0, endpoint.interface)?;
        self.set_sender(endpoint.id, u32::try_from(slot + 1).unwrap_or(0));
        Ok(())
    }

    /// Sets the slot of the endpoint whose low id bits packets carry. Slots are counted from 1; 0 means none.
    fn set_sender(&self, id: u32, place: u32) {
        self.senders.set_u32((id & SENDER) as usize, place);
    }
}

fn room(fits: bool, what: &'static str) -> Result<(), LayoutError> {
    if fits { Ok(()) } else { Err(LayoutError::Full(what)) }
}
