//! What the kernel program reports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use npc_image::Direction;
use npc_resolver::Decision;

/// Why a packet was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// What policies say of it.
    Policy,
    /// It could not be read, and was dropped.
    Unreadable,
    /// It came from an address that is not the pod's, and was dropped.
    ForeignSource,
    /// It went to an address that is not the pod's, and was dropped.
    ForeignDestination,
    /// It was an encapsulated packet to a tunnel of the node, and was dropped.
    Tunnelled,
}

/// A packet that was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds since the machine started.
    pub time: u64,
    /// The host's side of the pod's interface.
    pub interface: u32,
    /// The pod, by [`Endpoint::id`](crate::Endpoint::id).
    pub endpoint: u32,
    /// What policies decided. It is allowed where the packet passed, if only as an answer.
    pub decision: Decision,
    /// Under which generation.
    pub generation: u32,
    /// Whether the pod sent it, or was sent it.
    pub direction: Direction,
    /// Why it was reported.
    pub cause: Cause,
    /// The IP protocol.
    pub protocol: u8,
    /// Where it came from.
    pub source: IpAddr,
    /// Where it went.
    pub destination: IpAddr,
    /// The ports of both, of a protocol that has some.
    pub ports: (u16, u16),
    /// Its length in bytes.
    pub length: u32,
}

/// How long an event is in the ring (`struct event` in `runtime/kernel/tables.h`).
const EVENT: usize = 72;

/// The events of a loaded program.
pub struct Events {
    ring: RingBuf<MapData>,
}

impl Events {
    pub(crate) const fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }
}

/// To wait until there is something.
impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Gives what is there, and does not wait.
impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let item = self.ring.next()?;
            if let Some(event) = read(&item) {
                return Some(event);
            }
        }
    }
}

fn read(bytes: &[u8]) -> Option<Event> {
    if bytes.len() < EVENT {
        return None;
    }
    let u32_at = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let u64_at = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let u16_at = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let is_v4 = bytes.get(30) == Some(&4);
    let address = |at: usize| {
        let (hi, lo) = (u64_at(at)?, u64_at(at + 8)?);
        Some(if is_v4 {
            IpAddr::V4(Ipv4Addr::from((hi >> 32) as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from(u128::from(hi) << 64 | u128::from(lo)))
        })
    };
    Some(Event {
        time: u64_at(0)?,
        interface: u32_at(8)?,
        endpoint: u32_at(12)?,
        decision: Decision(u64::from(u32_at(16)?) | u64::from(u32_at(20)?) << 32),
        generation: u32_at(24)?,
        direction: if bytes.get(28) == Some(&0) { Direction::Egress } else { Direction::Ingress },
        protocol: *bytes.get(29)?,
        cause: match bytes.get(31) {
            Some(0) => Cause::Policy,
            Some(2) => Cause::ForeignSource,
            Some(3) => Cause::ForeignDestination,
            Some(4) => Cause::Tunnelled,
            _ => Cause::Unreadable,
        },
        source: address(32)?,
        destination: address(48)?,
        ports: (u16_at(64)?, u16_at(66)?),
        length: u32_at(68)?,
    })
}
