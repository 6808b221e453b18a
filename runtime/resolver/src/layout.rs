//! The tables as the kernel program reads them: which cell stands where (`runtime/kernel/tables.h`).

use std::fmt;
use std::net::IpAddr;

use crate::trie::{self, Referred};
use crate::{Change, Compare, PORTS, Resolver};

/// The bytes of a comparison in its table.
const COMPARE: usize = 40;

/// The bytes that the tables may take: as far as the kernel lets a program reach from one address
/// (`BPF_MAX_VAR_OFF`).
const MOST: usize = 1 << 29;

/// The bytes of a counter: packets and bytes.
const COUNTER: usize = 16;

/// The bytes of an endpoint in its table.
const ENDPOINT: usize = 64;

/// The bits of [`Endpoint::id`] that a packet carries from the hook where it is sent to the one where it leaves.
const SENDER: u32 = (1 << 13) - 1;

/// A pod whose packets are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The pod, by its number in the resolver.
    pub pod: u32,
    /// The index of the host's side of its interface.
    pub interface: u32,
    /// What its records of connections are kept under. No two pods ever have the same; and the last 13 bits
    /// are those of no other pod that is judged now, and not all zero. 0 of a [bridge](Self::bridge).
    pub id: u32,
    /// Until when a packet that no record is known for may belong to a connection that is older than the
    /// enforcement of this pod, in nanoseconds since the machine started.
    pub taken_over: u64,
}

impl Endpoint {
    /// A pod, by its number in the resolver, the index of its interface, and the number of its records.
    #[must_use]
    pub const fn new(pod: u32, interface: u32, id: u32) -> Self {
        Self { pod, interface, id, taken_over: 0 }
    }

    /// The same, where the pod may have connections that are older than its enforcement, until then.
    #[must_use]
    pub const fn taken_over(self, until: u64) -> Self {
        Self { taken_over: until, ..self }
    }

    /// A bridge that pods are behind, by its index: what the node receives by it may be a pod's.
    #[must_use]
    pub const fn bridge(interface: u32) -> Self {
        // The numbers of pods are counted from 0.
        Self::new(u32::MAX - interface, interface, 0)
    }
}

/// Why tables cannot be laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// They have no room for it: they are to be made again, larger.
    Full(&'static str),
    /// There are more of something than a table can number.
    TooMany(&'static str),
    /// They would take so many bytes.
    ProofError(usize),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(what) => write!(f, "the tables have no room for more {what}"),
            Self::TooMany(what) => write!(f, "there are too many {what} for one node"),
            Self::ProofError(bytes) => {
                let of = |bytes: usize| bytes.div_ceil(1 << 20);
                write!(
                    f,
                    "the tables would take {} MiB, and the kernel reads at most {}",
                    of(*bytes),
                    of(MOST)
                )
            }
        }
    }
}

impl std::error::Error for LayoutError {}

/// A table's memory. Cells are numbered by their own size; each is written with one store. False where a
/// cell is outside.
pub trait Memory {
    /// Stores 16 bits.
    fn set_u16(&self, index: usize, value: u16) -> bool;
    /// Stores 32 bits.
    fn set_u32(&self, index: usize, value: u32) -> bool;
    /// Stores 64 bits.
    fn set_u64(&self, index: usize, value: u64) -> bool;
}

/// How much room the tables have.
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
    /// For what there is, and a quarter more, on a machine that has so many processors.
    ///
    /// # Errors
    ///
    /// Where there is more of something than can be numbered.
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
            // No two processors write to one line of memory.
            counters: (resolver.reasons().count() as usize).next_multiple_of(64 / COUNTER),
            processors,
        };
        // The kernel program numbers cells with 32 bits, and columns with 16.
        let fits = |cells: Option<usize>| cells.is_some_and(|cells| u32::try_from(cells).is_ok());
        if !fits(room.classes.checked_mul(room.rows)) {
            return Err(LayoutError::TooMany("kinds of pods"));
        }
        if !fits(room.columns.checked_mul(room.lists)) {
            return Err(LayoutError::TooMany("different decisions"));
        }
        if room.columns > usize::from(u16::MAX) {
            return Err(LayoutError::TooMany("different ports"));
        }
        if room.bytes() > MOST {
            return Err(LayoutError::ProofError(room.bytes()));
        }
        Ok(room)
    }

    /// The tables that take so much, in the order in which they lie behind each other.
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

    /// How many counters each processor has: one of each reason, and some that are nobody's.
    #[must_use]
    pub const fn counters(&self) -> usize {
        self.counters
    }

    /// What all of them take, in bytes: from where any cell begins, the largest could be read.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let [.., last] = self.shapes();
        last.at + last.bytes() + 64
    }

    /// What the program is told of them (`layout` in `runtime/kernel/maps.h`).
    #[must_use]
    pub fn layout(&self) -> [u32; 8] {
        let [_, _, port_columns, _, _, endpoints, senders, epoch, counters] = self.shapes();
        let places = [port_columns, endpoints, senders, epoch, counters].map(|shape| shape.at);
        let [a, b, c, d, e] = places;
        [a, b, c, d, e, self.bytes() - ENDPOINT.max(COMPARE), self.slots - 1, self.counters]
            .map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    }
}

/// A table of the kernel program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its name.
    pub name: &'static str,
    /// Where it begins, in bytes.
    pub at: usize,
    /// The bytes of a cell.
    pub cell: usize,
    /// How many cells it has.
    pub cells: usize,
    /// How many of them belong together: those of a branch, a row, a list.
    pub together: usize,
}

impl Shape {
    /// The bytes of all cells.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.cell * self.cells
    }
}

/// A table of endpoints in which each finds its own place by the last bits of its interface's index.
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

/// Where tables begin that others refer to.
#[derive(Clone, Copy, Debug)]
struct At {
    compares: usize,
    rows: usize,
    lists: usize,
}

/// The tables, in some memory.
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
    /// The pods in them.
    local: Vec<Endpoint>,
    /// How often they changed.
    changes: u32,
}

impl<M: Memory> Tables<M> {
    /// In the memory that is given for each, which holds zeros.
    ///
    /// # Errors
    ///
    /// Where the memory cannot be had.
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

    /// What processors count, each in its own part; how many counters each has.
    pub const fn counters(&self) -> (&M, usize) {
        (&self.counters, self.room.counters)
    }

    /// Writes all that a resolver says.
    ///
    /// # Errors
    ///
    /// Where there is no room for it.
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

    /// Writes what changed, in its order.
    ///
    /// # Errors
    ///
    /// Where a table has no room for it: what was written until then is whole, and the tables are to be made
    /// again, larger.
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
        // Connections that were allowed before are judged again when something answers them.
        self.changes = self.changes.wrapping_add(1);
        self.epoch.set_u32(0, self.changes);
        Ok(())
    }

    /// A pod is new, or on another interface, or under another number.
    ///
    /// # Errors
    ///
    /// Where its place is taken.
    pub fn set_endpoint(&mut self, resolver: &Resolver, endpoint: Endpoint) -> Result<(), LayoutError> {
        self.remove_endpoint(endpoint.pod)?;
        let slot = |interface: u32| interface as usize & (self.room.slots - 1);
        let taken = self.local.iter().any(|other| slot(other.interface) == slot(endpoint.interface));
        room(!taken, "interfaces")?;
        self.write_endpoint(resolver, &endpoint)?;
        self.local.push(endpoint);
        Ok(())
    }

    /// A pod is gone.
    ///
    /// # Errors
    ///
    /// None that a caller could cause.
    pub fn remove_endpoint(&mut self, pod: u32) -> Result<(), LayoutError> {
        let Some(place) = self.local.iter().position(|endpoint| endpoint.pod == pod) else {
            return Ok(());
        };
        let endpoint = self.local.swap_remove(place);
        self.set_sender(endpoint.id, 0);
        let slot = endpoint.interface as usize & (self.room.slots - 1);
        room(self.endpoints.set_u32(slot * (ENDPOINT / 4), 0), "pods")
    }

    /// What they take, in bytes.
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

    /// A cell of the trie, as the kernel program reads it: what refers to a comparison says where that begins,
    /// in steps of eight bytes. What it refers to lies within the tables.
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
                room((class as usize) < self.room.classes, "kinds of peers")?;
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
        room(list.len() <= self.room.columns, "different ports")?;
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
        room(row < self.room.rows && class < self.room.classes, "kinds of pods")?;
        room((list as usize) < self.room.lists, "different decisions")?;
        // What stands there is where the list begins.
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
            // First it is nobody's, then what was its own goes.
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
        room(rows.iter().all(|row| (*row as usize) < self.room.rows), "kinds of pods")?;
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

    /// Sets which slot belongs to the pod whose packets carry this number, counted from 1; 0 for none.
    fn set_sender(&self, id: u32, place: u32) {
        self.senders.set_u32((id & SENDER) as usize, place);
    }
}

fn room(fits: bool, what: &'static str) -> Result<(), LayoutError> {
    if fits { Ok(()) } else { Err(LayoutError::Full(what)) }
}
