//! Reads the packets that the kernel program reports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{MapData, RingBuf};
use npc_resolver::Decision;
use npc_vocabulary::Direction;

/// Why a packet was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A policy decided on it, and the decision is reported.
    Policy,
    /// It could not be parsed, and was dropped.
    Unreadable,
    /// Its source is not an address of the sending pod. It was dropped.
    ForeignSource,
    /// Its destination is not an address of the receiving pod. It was dropped.
    ForeignDestination,
    /// It was encapsulated for a tunnel of the node, and was dropped.
    Tunnelled,
}

/// A reported packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The time, in nanoseconds since boot.
    pub time: u64,
    /// The ifindex of the host end of the pod's interface.
    pub interface: u32,
    /// The pod's [`Endpoint::id`](crate::Endpoint::id).
    pub endpoint: u32,
    /// The decision of the policies. It allows the packet if the packet passed, even if only as a reply.
    pub decision: Decision,
    /// The generation that decided.
    pub generation: u32,
    /// Whether the pod sent the packet (egress) or received it (ingress).
    pub direction: Direction,
    /// Why it was reported.
    pub cause: Cause,
    /// The IP protocol.
    pub protocol: u8,
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The source and destination ports, or 0 for protocols without ports.
    pub ports: (u16, u16),
    /// Its length in bytes.
    pub length: u32,
}

/// The size of an event in the ring buffer, in bytes (`struct event` in `runtime/kernel/tables.h`).
const EVENT: usize = 72;

/// Iterates over the events of a loaded program.
pub struct Events {
    ring: RingBuf<MapData>,
}

impl Events {
    pub(crate) const fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring }
    }
}

/// The file descriptor becomes readable when there are events.
impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// Returns the events that are in the ring buffer, without blocking.
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
