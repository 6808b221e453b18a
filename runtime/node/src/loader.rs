//! Loads the kernel program, with tables that are made of a resolver.

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
use npc_image::{Direction, Image, Traffic};
use npc_resolver::layout::{Endpoint, LayoutError, Room, Tables};
use npc_resolver::{Change, Resolver};

use crate::error::LoadError;
use crate::events::Events;
use crate::packet;
use crate::table::Table;

/// The kernel program, as `runtime/kernel/build` makes it.
static PROGRAM: &[u8] = include_bytes_aligned!("../../kernel/npc.bpf.o");

/// What the kernel returns of a packet that passes.
const PASS: u32 = u32::MAX;

/// The index of no interface: where a packet that another machine sent came in.
const OUTSIDE: u32 = i32::MAX as u32;

/// The index of the loopback device, which every network has.
const LOOPBACK: u32 = 1;

/// How to enforce, whatever is enforced.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Let pods send from, and be sent to, addresses that are not theirs.
    pub foreign_sources: bool,
    /// Evaluate egress policies where a packet is delivered. Takes [`Loaded::attach_arriving`]; without it, a
    /// packet that policies deny is dropped where the pod sends it, whatever it would be translated to.
    pub at_delivery: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { foreign_sources: false, at_delivery: true }
    }
}

/// Loads the program.
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

/// A generation: a program that is loaded, and its tables.
pub struct Loaded {
    pub(crate) ebpf: Ebpf,
    tables: Tables<Table>,
    pub(crate) node_addresses: HashSet<IpAddr>,
}

/// Packets that were dropped whatever the policies say, and reports that did not come through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Packets of isolated pods that cannot be read.
    pub unreadable: u64,
    /// Fragments of packets whose first fragment was not seen, or not allowed.
    pub fragments: u64,
    /// Reports for which there was no room.
    pub lost_events: u64,
    /// Packets of interfaces that are judged and no pod's.
    pub unknown_interface: u64,
    /// Packets of pods from addresses that are not theirs.
    pub foreign_source: u64,
    /// Packets that one generation let in, and the next would not have.
    pub between_generations: u64,
    /// Packets to pods, to addresses that are not theirs.
    pub foreign_destination: u64,
    /// Encapsulated packets of pods to a tunnel of the node.
    pub tunnelled: u64,
}

/// What the loaded program makes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it passes.
    pub passes: bool,
}

/// How long the loaded program takes for a packet.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// What it makes of it.
    pub verdict: Verdict,
    /// How long it takes, in the mean of all runs.
    pub time: Duration,
}

impl Loader {
    /// Of a generation. Records of connections that another one made are judged again.
    #[must_use]
    pub const fn new(generation: u32) -> Self {
        let settings = Settings { foreign_sources: false, at_delivery: true };
        Self { generation, pins: None, settings }
    }

    /// Shares with other generations the records of connections, and what is in force, which are pinned
    /// in this folder of a bpffs.
    #[must_use]
    pub fn pins(mut self, folder: &Path) -> Self {
        self.pins = Some(folder.to_owned());
        self
    }

    /// How to enforce.
    #[must_use]
    pub const fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Loads the program with the tables of a resolver, for these pods. It judges nothing until it is
    /// [put in force](Loaded::put_in_force).
    ///
    /// # Errors
    ///
    /// Where the kernel does not take it, with what its verifier says; or where there is too much.
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

/// One more than the highest number that a processor of this machine can have.
fn processors() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    // Ranges, as `0-3,8-11`.
    let last = text.trim().rsplit([',', '-']).next().and_then(|last| last.parse::<usize>().ok());
    last.map(|last| last + 1).ok_or_else(|| io::Error::other(format!("processors: `{}`", text.trim())))
}

/// What stands in the object for the size of the tables (`SIZE_OF_TABLES` in `runtime/kernel/tables.h`).
const SIZE: [u8; 4] = 0x4e50_4321_u32.to_le_bytes();

/// The program with tables of so many bytes: the size of a value is no property of a map that a loader can
/// change, as the number of values is.
fn sized(bytes: usize) -> Result<Vec<u8>, LoadError> {
    let size = u32::try_from(bytes).map_err(|_| LoadError::Layout(LayoutError::ProofError(bytes)))?;
    let mut object = PROGRAM.to_vec();
    let mut places = object.windows(SIZE.len()).enumerate().filter(|(_, word)| *word == SIZE);
    let (Some((place, _)), None) = (places.next(), places.next()) else {
        return Err(LoadError::Kernel("the program does not say how large its tables are".into()));
    };
    object.get_mut(place..place + SIZE.len()).unwrap_or_default().copy_from_slice(&size.to_le_bytes());
    Ok(object)
}

/// Puts a program in force.
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

/// A program of the interfaces', which is loaded where it was not yet: those that are only attached, or only
/// asked, need not be in every generation.
fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut SchedClassifier, LoadError> {
    let program: &mut SchedClassifier = find(ebpf, name)?;
    if program.fd().is_err() {
        program.load()?;
    }
    Ok(program)
}

/// The same of a program of the sockets'.
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
    let program = program.ok_or_else(|| LoadError::Kernel(format!("there is no program `{name}`").into()))?;
    Ok(program.try_into()?)
}

/// Whether this process may load the program into this kernel.
///
/// # Errors
///
/// Why not.
pub fn probe() -> Result<(), LoadError> {
    let nothing = Resolver::new(Arc::new(Image::default()), Vec::new());
    Loader::new(1).load(&nothing, &[]).map(drop)
}

impl Loaded {
    /// Writes what changed, in its order.
    ///
    /// # Errors
    ///
    /// Where a table has no room for it: what was written until then is whole, and the tables are to be
    /// loaded again.
    pub fn apply(&mut self, resolver: &Resolver, changes: &[Change]) -> Result<(), LoadError> {
        Ok(self.tables.apply(resolver, changes)?)
    }

    /// Judges by these tables from now on: all packets of all interfaces that the program is attached to,
    /// also by other generations that share its pins.
    ///
    /// # Errors
    ///
    /// Where the kernel does not take it.
    pub fn put_in_force(&mut self) -> Result<(), LoadError> {
        // Packets carry which generation judged them, so that what is between two hooks while these change
        // is judged again, as a whole, by the last of them.
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

    /// Judges what leaves by an interface that is no pod's, where a pod sent it.
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
        // Before all others, which may let a packet go for good.
        self.attach_entry(name, interface, TcAttachType::Egress, LinkOrder::first())
    }

    /// Judges what sockets of the node get, where a pod sent it. Takes the root of the second version of
    /// control groups.
    ///
    /// # Errors
    ///
    /// Where that is not the root of one.
    pub fn attach_arriving(&mut self, root: &File) -> Result<FdLink, LoadError> {
        let program = socket_program(&mut self.ebpf, "enter_arrive")?;
        let link = program.attach(root, CgroupSkbAttachType::Ingress, CgroupAttachMode::Single)?;
        let link = program.take_link(link)?;
        FdLink::try_from(link).map_err(|why| LoadError::Kernel(Box::new(why)))
    }

    /// Keeps for the next process which generation this is.
    pub(crate) fn set_last_generation(&mut self, generation: u32) -> Result<(), LoadError> {
        let map = self.ebpf.map_mut("last_generation").and_then(|map| Array::try_from(map).ok());
        let mut map =
            map.ok_or_else(|| LoadError::Kernel("the program has no map `last_generation`".into()))?;
        map.set(0, generation, 0).map_err(|why| LoadError::Kernel(Box::new(why)))
    }

    /// Attaches the program to one side of an interface, before any other program there: the host's side of
    /// a pod's. What the pod sends, or what it is sent, is judged by what is in force, as long as the link
    /// lives. `None` where it is attached there already. With `again` it is attached once more, to take the
    /// place of one that is no longer the first.
    ///
    /// # Errors
    ///
    /// Where there is no such interface, or the kernel does not take the program there.
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

    /// The number of the program that [`attach`](Self::attach) attaches; nothing where it was not loaded yet.
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

    /// What is reported from now on: packets that were dropped, and those of rules that say `log` or of
    /// which audit policies would decide otherwise.
    ///
    /// # Errors
    ///
    /// Where they were taken before.
    pub fn take_events(&mut self) -> Result<Events, LoadError> {
        let map = self.ebpf.take_map("events");
        let map = map.ok_or_else(|| LoadError::Kernel("the events are somebody else's".into()))?;
        let ring = RingBuf::try_from(map).map_err(|why| LoadError::Kernel(Box::new(why)))?;
        Ok(Events::new(ring))
    }

    /// A local pod is judged by what the resolver says of it from now on: new, on another interface, or
    /// under another number.
    ///
    /// # Errors
    ///
    /// Where its place in the table is taken: then the tables are to be loaded again.
    pub fn set_endpoint(&mut self, resolver: &Resolver, endpoint: Endpoint) -> Result<(), LoadError> {
        Ok(self.tables.set_endpoint(resolver, endpoint)?)
    }

    /// A pod is no longer on this node. What still comes by its interface, or goes there, is dropped.
    ///
    /// # Errors
    ///
    /// None that a caller could cause.
    pub fn remove_endpoint(&mut self, pod: u32) -> Result<(), LoadError> {
        Ok(self.tables.remove_endpoint(pod)?)
    }

    /// What was counted of each reason since this generation is in force, on all processors: packets and
    /// bytes, by the numbers of [`Resolver::reasons`].
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

    /// What went wrong, on all processors, since anything was put in force.
    ///
    /// # Errors
    ///
    /// Where the kernel does not give them.
    pub fn troubles(&self) -> Result<Troubles, LoadError> {
        let counters: PerCpuArray<_, u64> = self.map("troubles")?;
        let of = |which: u32| {
            let each = counters.get(&which, 0).map_err(|why| LoadError::Kernel(Box::new(why)))?;
            Ok::<u64, LoadError>(each.iter().sum())
        };
        Ok(Troubles {
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

    /// Runs the loaded program on a packet that a pod sends, or is sent, as if it were on the wire,
    /// `repeat` times. What a pod is sent comes from another machine.
    ///
    /// # Errors
    ///
    /// Where the kernel does not run it.
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

    /// Runs the loaded program on a packet that is delivered: to the pod behind the interface `to`, or, without
    /// one, to somebody outside of this node. It came by the interface `from`; 0 where the node itself sends
    /// it.
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
        // The context of a packet, `struct __sk_buff`: all that is set in it are the interface that the packet
        // came from, and that where it is.
        let mut context = [0; 192];
        context.get_mut(36..40).unwrap_or_default().copy_from_slice(&from.to_ne_bytes());
        context.get_mut(40..44).unwrap_or_default().copy_from_slice(&interface.to_ne_bytes());
        let options =
            TestRunOptions { data_in: Some(packet), ctx_in: Some(&context), repeat, ..TestRunOptions::new() };
        let result = program(&mut self.ebpf, name)?.test_run(options)?;
        Ok(Timed { verdict: Verdict { passes: result.return_value == PASS }, time: result.duration })
    }

    /// Asks the loaded tables of the packet that opens a connection: what the policies say, whatever
    /// connections there are, and without a trace. `None` where the addresses are not of one family.
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

    /// What the tables take of the kernel's memory, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.tables.bytes()
    }
}

/// Maps that the loader does not share with the program are read as they are.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("tables", &self.tables).finish()
    }
}
