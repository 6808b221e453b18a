//! Loads the kernel program with the tables of a resolver.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aya::maps::{Array, Map, PerCpuArray, ProgramArray, RingBuf};
use aya::programs::links::FdLink;
use aya::programs::tc::TcAttachOptions;
use aya::programs::{
    CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, LinkOrder, Program, ProgramError, ProgramFd,
    SchedClassifier, TcAttachType, TestRun as _, TestRunOptions,
};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use npc_image::Image;
use npc_resolver::layout::{Endpoint, LayoutError, Room, Tables};
use npc_resolver::{Change, Resolver};
use npc_vocabulary::{Direction, Traffic};

use crate::error::LoadError;
use crate::events::Events;
use crate::packet;
use crate::table::Table;

/// The kernel program, built by `runtime/kernel/build`.
static PROGRAM: &[u8] = include_bytes_aligned!("../../kernel/npc.bpf.o");

/// The return value for a packet that passes (`TCX_NEXT`, -1).
const PASS: u32 = u32::MAX;

/// An ifindex that no interface has: stands for the interface by which packets from other machines arrive.
const OUTSIDE: u32 = i32::MAX as u32;

/// The ifindex of the loopback device, which is the same in every network namespace.
const LOOPBACK: u32 = 1;

/// How packets are evaluated, independently of the image.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Let pods send from, and receive for, addresses that are not theirs.
    pub foreign_sources: bool,
    /// Evaluate egress policies where a packet is delivered. Requires [`Loaded::attach_arriving`]. Without
    /// it, the policies are evaluated on the address before translation, where the pod sends the packet.
    pub at_delivery: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { foreign_sources: false, at_delivery: true }
    }
}

/// Loads the kernel program.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    generation: u32,
    pins: Option<PathBuf>,
    settings: Settings,
}

/// The maps that all generations share.
const SHARED: [&str; 13] = [
    "records",
    "shares",
    "next_places",
    "fragment_verdicts",
    "events",
    "budgets",
    "tickets",
    "node_addresses",
    "tunnels",
    "troubles",
    "in_force",
    "in_force_for_sockets",
    "last_generation",
];

/// A generation: a loaded kernel program and its tables.
pub struct Loaded {
    pub(crate) ebpf: Ebpf,
    tables: Tables<Table>,
    pub(crate) node_addresses: HashSet<IpAddr>,
}

/// Counts of packets that were dropped regardless of policies, and of lost reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounters {
    /// Packets that cannot be parsed, from any pod or to an isolated one.
    pub unreadable: u64,
    /// Fragments of packets whose first fragment was not seen or not allowed.
    pub fragments: u64,
    /// Reports over the rate limit, or for which the ring buffer had no room.
    pub lost_events: u64,
    /// Packets at an attached interface that belongs to no known pod.
    pub unknown_interface: u64,
    /// Packets from a pod with a source address that is not the pod's.
    pub foreign_source: u64,
    /// Packets that were allowed where they were sent and denied where they were delivered, because the
    /// tables changed in between.
    pub between_generations: u64,
    /// Packets to a pod with a destination address that is not the pod's.
    pub foreign_destination: u64,
    /// Packets from a pod that are encapsulated for a tunnel of the node.
    pub tunnelled: u64,
}

/// The result of the loaded program for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the packet passes.
    pub passes: bool,
}

/// The result of the loaded program for a packet, and its run time.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// The result.
    pub verdict: Verdict,
    /// The mean time of all runs.
    pub time: Duration,
}

impl Loader {
    /// A loader for this generation. Conntrack records of other generations are evaluated again.
    #[must_use]
    pub const fn new(generation: u32) -> Self {
        let settings = Settings { foreign_sources: false, at_delivery: true };
        Self { generation, pins: None, settings }
    }

    /// Shares conntrack records and the programs in force with other generations, by pinning them in this
    /// directory of a bpffs.
    #[must_use]
    pub fn pins(mut self, folder: &Path) -> Self {
        self.pins = Some(folder.to_owned());
        self
    }

    /// Sets how packets are evaluated.
    #[must_use]
    pub const fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Loads the program with the tables of a resolver, for these endpoints. It evaluates no packets until it
    /// is [put in force](Loaded::put_in_force).
    ///
    /// # Errors
    ///
    /// Fails if the kernel rejects the program, with the verifier's log, or if the tables cannot be laid out.
    pub fn load(&self, resolver: &Resolver, endpoints: &[Endpoint]) -> Result<Loaded, LoadError> {
        let room = Room::new(resolver, endpoints, processors().map_err(LoadError::Memory)?)?;
        let layout = room.layout();
        let foreign = u32::from(self.settings.foreign_sources);
        let at_delivery = u32::from(self.settings.at_delivery);
        let mut loader = EbpfLoader::new();
        loader
            .override_global("layout", layout.as_slice(), true)
            .override_global("generation", &self.generation, true)
            .override_global("foreign_sources", &foreign, true)
            .override_global("judges_at_delivery", &at_delivery, true);
        for name in SHARED {
            if let Some(pins) = &self.pins {
                loader.map_pin_path(name, pins.join(name));
            }
        }
        let mut ebpf = loader.load(&sized(room.bytes())?)?;
        let all = table(&ebpf, "tables", room.bytes())?;
        let tables = Tables::new(room, endpoints, |shape| Ok::<_, LoadError>(all.part(&shape)))?;
        for name in ["from_pod", "to_pod", "leave", "leave_network"] {
            program(&mut ebpf, name)?;
        }
        socket_program(&mut ebpf, "arrive")?;
        let loaded = Loaded { ebpf, tables, node_addresses: HashSet::new() };
        loaded.tables.write_all(resolver)?;
        Ok(loaded)
    }
}

/// One more than the highest processor number that this machine can have.
fn processors() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    // Ranges, for example `0-3,8-11`.
    let last = text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<usize>().ok());
    last.map(|last| last + 1).ok_or_else(|| io::Error::other(format!("processors: `{}`", text.trim())))
}

/// The placeholder for the size of the tables in the object (`SIZE_OF_TABLES` in `runtime/kernel/maps.h`).
const SIZE: [u8; 4] = 0x4e50_4321_u32.to_le_bytes();

/// Returns the program with the size of its tables set. A loader can change a map's number of entries, but
/// not the size of its values, so that the object itself is patched.
fn sized(bytes: usize) -> Result<Vec<u8>, LoadError> {
    let size = u32::try_from(bytes).map_err(|_| LoadError::Layout(LayoutError::TooLarge(bytes)))?;
    let mut object = PROGRAM.to_vec();
    let mut places = object.windows(SIZE.len()).enumerate().filter(|(_, word)| *word == SIZE);
    let (Some((place, _)), None) = (places.next(), places.next()) else {
        return Err(LoadError::Kernel("the program has no placeholder for the size of its tables".into()));
    };
    object.get_mut(place..place + SIZE.len()).unwrap_or_default().copy_from_slice(&size.to_le_bytes());
    Ok(object)
}

/// Puts a program into a program array.
fn set(ebpf: &mut Ebpf, name: &str, index: u32, program: &ProgramFd) -> Result<(), LoadError> {
    let map = ebpf.map_mut(name).and_then(|map| ProgramArray::try_from(map).ok());
    let mut map = map.ok_or_else(|| LoadError::Kernel(format!("the program has no map `{name}`").into()))?;
    map.set(index, program, 0).map_err(|why| LoadError::Kernel(Box::new(why)))
}

fn table(ebpf: &Ebpf, name: &'static str, bytes: usize) -> Result<Table, LoadError> {
    match ebpf.map(name) {
        Some(Map::Array(map)) => Table::new(map, bytes).map_err(LoadError::Memory),
        _ => Err(LoadError::Kernel(format!("the program has no table `{name}`").into())),
    }
}

/// Returns a classifier program, and loads it if it has not been loaded. Entry and test programs are not
/// needed in every generation.
fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut SchedClassifier, LoadError> {
    let program: &mut SchedClassifier = find(ebpf, name)?;
    if program.fd().is_err() {
        program.load()?;
    }
    Ok(program)
}

/// Returns a cgroup program, and loads it if it has not been loaded.
fn socket_program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut CgroupSkb, LoadError> {
    let program: &mut CgroupSkb = find(ebpf, name)?;
    if program.fd().is_err() {
        program.load()?;
    }
    Ok(program)
}

fn find<'e, P>(ebpf: &'e mut Ebpf, name: &str) -> Result<P, LoadError>
where
    P: TryFrom<&'e mut Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name);
    let program =
        program.ok_or_else(|| LoadError::Kernel(format!("the object has no program `{name}`").into()))?;
    Ok(program.try_into()?)
}

/// Checks whether this process may load the program into this kernel.
///
/// # Errors
///
/// Fails with the reason if it may not.
pub fn probe() -> Result<(), LoadError> {
    let nothing = Resolver::new(Arc::new(Image::default()), Vec::new());
    Loader::new(1).load(&nothing, &[]).map(drop)
}

impl Loaded {
    /// Writes changes of the resolver, in the given order.
    ///
    /// # Errors
    ///
    /// Fails if a table has no room. The changes up to that one have been written and are consistent; a new
    /// generation must be loaded.
    pub fn apply(&mut self, resolver: &Resolver, changes: &[Change]) -> Result<(), LoadError> {
        Ok(self.tables.apply(resolver, changes)?)
    }

    /// Puts this generation in force: it evaluates all packets at all interfaces with an entry program,
    /// including those that were attached by other generations with the same pins.
    ///
    /// # Errors
    ///
    /// Fails if the kernel rejects an update.
    pub fn put_in_force(&mut self) -> Result<(), LoadError> {
        // The entries are replaced one after the other. A packet that is between two hooks meanwhile is
        // evaluated again where it is delivered, by the program that is in force there.
        for (index, name) in [(0, "from_pod"), (1, "to_pod"), (2, "leave"), (3, "leave_network")] {
            let program = program(&mut self.ebpf, name)?.fd()?.try_clone();
            set(
                &mut self.ebpf,
                "in_force",
                index,
                &program.map_err(|why| LoadError::Kernel(Box::new(why)))?,
            )?;
        }
        let program = socket_program(&mut self.ebpf, "arrive")?.fd()?.try_clone();
        let program = program.map_err(|why| LoadError::Kernel(Box::new(why)))?;
        set(&mut self.ebpf, "in_force_for_sockets", 0, &program)
    }

    /// Attaches to an interface that is not a pod's, to evaluate the packets of pods that leave by it.
    ///
    /// # Errors
    ///
    /// As for [`attach`](Self::attach).
    pub fn attach_leaving(
        &mut self,
        interface: &str,
        has_ethernet: bool,
    ) -> Result<Option<FdLink>, LoadError> {
        let name = if has_ethernet { "enter_leave" } else { "enter_leave_network" };
        // Before all other programs, because one of them may accept a packet finally (`TCX_PASS`).
        self.attach_entry(name, interface, TcAttachType::Egress, LinkOrder::first())
    }

    /// Evaluates packets from pods to sockets of the node. `root` is the root directory of a cgroup2
    /// hierarchy.
    ///
    /// # Errors
    ///
    /// Fails if `root` is not one.
    pub fn attach_arriving(&mut self, root: &File) -> Result<FdLink, LoadError> {
        let program = socket_program(&mut self.ebpf, "enter_arrive")?;
        let link = program.attach(root, CgroupSkbAttachType::Ingress, CgroupAttachMode::Single)?;
        let link = program.take_link(link)?;
        FdLink::try_from(link).map_err(|why| LoadError::Kernel(Box::new(why)))
    }

    /// Stores the number of this generation for later processes.
    pub(crate) fn set_last_generation(&mut self, generation: u32) -> Result<(), LoadError> {
        let map = self.ebpf.map_mut("last_generation").and_then(|map| Array::try_from(map).ok());
        let mut map =
            map.ok_or_else(|| LoadError::Kernel("the program has no map `last_generation`".into()))?;
        map.set(0, generation, 0).map_err(|why| LoadError::Kernel(Box::new(why)))
    }

    /// Attaches the entry program to one side of the host end of a pod's interface, before all other programs
    /// there. The packets that the pod sends or receives are evaluated by the generation in force, as long as
    /// the link lives. Returns `None` if the program is already attached. With `again`, a second entry
    /// program is attached, to replace the first one when it is no longer the first in order.
    ///
    /// # Errors
    ///
    /// Fails if the interface does not exist or the kernel rejects the program.
    pub fn attach(
        &mut self,
        interface: &str,
        direction: Direction,
        again: bool,
    ) -> Result<Option<FdLink>, LoadError> {
        let (name, at) = match (direction, again) {
            (Direction::Egress, false) => ("enter_from_pod", TcAttachType::Ingress),
            (Direction::Egress, true) => ("enter_from_pod_again", TcAttachType::Ingress),
            (Direction::Ingress, false) => ("enter_to_pod", TcAttachType::Egress),
            (Direction::Ingress, true) => ("enter_to_pod_again", TcAttachType::Egress),
        };
        self.attach_entry(name, interface, at, LinkOrder::first())
    }

    /// The id of the program that [`attach`](Self::attach) attaches, or `None` if it cannot be loaded.
    pub(crate) fn entry(&mut self, direction: Direction, again: bool) -> Option<u32> {
        let name = match (direction, again) {
            (Direction::Egress, false) => "enter_from_pod",
            (Direction::Egress, true) => "enter_from_pod_again",
            (Direction::Ingress, false) => "enter_to_pod",
            (Direction::Ingress, true) => "enter_to_pod_again",
        };
        Some(program(&mut self.ebpf, name).ok()?.info().ok()?.id())
    }

    fn attach_entry(
        &mut self,
        name: &'static str,
        interface: &str,
        at: TcAttachType,
        order: LinkOrder,
    ) -> Result<Option<FdLink>, LoadError> {
        let program = program(&mut self.ebpf, name)?;
        let link = match program.attach_with_options(interface, at, TcAttachOptions::TcxOrder(order)) {
            Err(ProgramError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::AlreadyExists =>
            {
                return Ok(None);
            }
            link => program.take_link(link?)?,
        };
        FdLink::try_from(link).map(Some).map_err(|why| LoadError::Kernel(Box::new(why)))
    }

    /// Takes the ring buffer of reports: packets that were dropped, that a `log` rule decided, or that audit
    /// policies would have decided differently.
    ///
    /// # Errors
    ///
    /// Fails if it has already been taken.
    pub fn take_events(&mut self) -> Result<Events, LoadError> {
        let map = self.ebpf.take_map("events");
        let map = map.ok_or_else(|| LoadError::Kernel("the events have already been taken".into()))?;
        let ring = RingBuf::try_from(map).map_err(|why| LoadError::Kernel(Box::new(why)))?;
        Ok(Events::new(ring))
    }

    /// Evaluates the packets of a local pod from now on, or moves the pod to another interface or id.
    ///
    /// # Errors
    ///
    /// Fails if its slot is occupied. The tables must then be loaded again.
    pub fn set_endpoint(&mut self, resolver: &Resolver, endpoint: Endpoint) -> Result<(), LoadError> {
        Ok(self.tables.set_endpoint(resolver, endpoint)?)
    }

    /// Removes a pod that is no longer on this node. Packets by its interface are dropped.
    ///
    /// # Errors
    ///
    /// Fails only on an internal error.
    pub fn remove_endpoint(&mut self, pod: u32) -> Result<(), LoadError> {
        Ok(self.tables.remove_endpoint(pod)?)
    }

    /// The counters of this generation, summed over all processors: packets and bytes, indexed by the numbers
    /// of [`Resolver::reasons`].
    #[must_use]
    pub fn counters(&self) -> Vec<[u64; 2]> {
        let (table, each) = self.tables.counters();
        let sum = |reason: usize| {
            let mut sum = [0, 0];
            for first in (reason..).step_by(each.max(1)) {
                let [Some(packets), Some(bytes)] = [0, 1].map(|half| table.u64(first * 2 + half)) else {
                    break;
                };
                sum = [sum[0] + packets, sum[1] + bytes];
            }
            sum
        };
        (0..each).map(sum).collect()
    }

    /// The counts of drops and lost reports, summed over all processors, since the first generation.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot read them.
    pub fn troubles(&self) -> Result<DropCounters, LoadError> {
        let counters: PerCpuArray<_, u64> = self.map("troubles")?;
        let of = |which: u32| {
            let each = counters.get(&which, 0).map_err(|why| LoadError::Kernel(Box::new(why)))?;
            Ok::<u64, LoadError>(each.iter().sum())
        };
        Ok(DropCounters {
            unreadable: of(0)?,
            fragments: of(1)?,
            lost_events: of(2)?,
            unknown_interface: of(3)?,
            foreign_source: of(4)?,
            between_generations: of(5)?,
            foreign_destination: of(6)?,
            tunnelled: of(7)?,
        })
    }

    fn map<'m, M: TryFrom<&'m Map>>(&'m self, name: &str) -> Result<M, LoadError> {
        let map = self.ebpf.map(name).and_then(|map| M::try_from(map).ok());
        map.ok_or_else(|| LoadError::Kernel(format!("the program has no map `{name}`").into()))
    }

    /// Runs the loaded program `repeat` times on a packet that a pod sends or receives. A received packet
    /// comes from another machine.
    ///
    /// # Errors
    ///
    /// Fails if the kernel cannot run it.
    pub fn run(
        &mut self,
        direction: Direction,
        interface: u32,
        packet: &[u8],
        repeat: u32,
    ) -> Result<Timed, LoadError> {
        let name = match direction {
            Direction::Egress => "from_pod",
            Direction::Ingress => "to_pod",
        };
        self.run_program(name, OUTSIDE, interface, packet, repeat)
    }

    /// Runs the loaded program on a packet that is delivered: to the pod at interface `to`, or, if it is
    /// `None`, outside this node. `from` is the ifindex of the interface that the packet came from, or 0 if
    /// the node itself sends it.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub fn run_delivery(
        &mut self,
        from: u32,
        to: Option<u32>,
        packet: &[u8],
        repeat: u32,
    ) -> Result<Timed, LoadError> {
        let name = if to.is_some() { "to_pod" } else { "leave" };
        self.run_program(name, from, to.unwrap_or(LOOPBACK), packet, repeat)
    }

    fn run_program(
        &mut self,
        name: &str,
        from: u32,
        interface: u32,
        packet: &[u8],
        repeat: u32,
    ) -> Result<Timed, LoadError> {
        // The packet's context, `struct __sk_buff`, with `ingress_ifindex` and `ifindex` set.
        let mut context = [0; 192];
        context.get_mut(36..40).unwrap_or_default().copy_from_slice(&from.to_ne_bytes());
        context.get_mut(40..44).unwrap_or_default().copy_from_slice(&interface.to_ne_bytes());
        let options =
            TestRunOptions { data_in: Some(packet), ctx_in: Some(&context), repeat, ..TestRunOptions::new() };
        let result = program(&mut self.ebpf, name)?.test_run(options)?;
        Ok(Timed { verdict: Verdict { passes: result.return_value == PASS }, time: result.duration })
    }

    /// Evaluates the packet that opens a connection by the loaded policies, without looking up or changing
    /// conntrack records and counters. Returns `None` if the addresses are of different families.
    ///
    /// # Errors
    ///
    /// As for [`run`](Self::run).
    pub fn ask(
        &mut self,
        direction: Direction,
        interface: u32,
        [source, destination]: [IpAddr; 2],
        traffic: Traffic,
    ) -> Result<Option<Verdict>, LoadError> {
        let name = match direction {
            Direction::Egress => "ask_from_pod",
            Direction::Ingress => "ask_to_pod",
        };
        let from = if self.node_addresses.contains(&source) { 0 } else { OUTSIDE };
        match packet::opening(source, destination, traffic) {
            None => Ok(None),
            Some(packet) => Ok(Some(self.run_program(name, from, interface, &packet, 1)?.verdict)),
        }
    }

    /// The size of the tables in kernel memory, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.tables.bytes()
    }
}

/// Prints the tables only.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("tables", &self.tables).finish()
    }
}
