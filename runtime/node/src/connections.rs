//! Connections that were open before a pod's packets were evaluated.

use std::net::{IpAddr, SocketAddr};

use npc_vocabulary::Direction;

/// A connection of a pod, as seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenConnection {
    /// Who opened it: the pod (`Egress`) or the peer (`Ingress`).
    pub opened: Direction,
    /// The IP protocol: TCP, UDP or SCTP.
    pub protocol: u8,
    /// The pod's address and port.
    pub local: SocketAddr,
    /// The peer's address and port, as seen from the pod.
    pub remote: SocketAddr,
    /// Whether the peer's address is a Service's, which is translated to a pod's.
    pub to_service: bool,
}

/// The sizes of `struct connection` and `struct record` in `runtime/kernel/tables.h`, in bytes.
pub(crate) const KEY: usize = 48;
pub(crate) const RECORD: usize = 40;

/// Converts an address to the kernel program's format: 128 bits in two halves. IPv4 addresses occupy the
/// upper 32 bits.
pub(crate) fn halves(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [u64::from(address.to_bits()) << 32, 0],
        IpAddr::V6(address) => [(address.to_bits() >> 64) as u64, address.to_bits() as u64],
    }
}

impl OpenConnection {
    /// Returns the map key, for the pod with this [`Endpoint::id`](crate::Endpoint::id).
    pub(crate) fn key(&self, endpoint: u32) -> [u8; KEY] {
        let ([remote_hi, remote_lo], [local_hi, local_lo]) =
            (halves(self.remote.ip()), halves(self.local.ip()));
        let family = if self.local.is_ipv4() { 4 } else { 6 };
        let mut key = [0; KEY];
        let parts: [&[u8]; 8] = [
            &remote_hi.to_ne_bytes(),
            &remote_lo.to_ne_bytes(),
            &local_hi.to_ne_bytes(),
            &local_lo.to_ne_bytes(),
            &endpoint.to_ne_bytes(),
            &self.remote.port().to_ne_bytes(),
            &self.local.port().to_ne_bytes(),
            &[self.protocol, family],
        ];
        for (place, byte) in key.iter_mut().zip(parts.concat()) {
            *place = byte;
        }
        key
    }

    /// Returns the record, last seen at `now`. Its stamp is 0, so that the next reply causes a new verdict.
    pub(crate) fn record(&self, now: u64) -> [u8; RECORD] {
        /// `OPEN` of `enum state`.
        const OPEN: u8 = 1;
        let mut record = [0; RECORD];
        let rest = [self.opened as u8, OPEN, u8::from(self.to_service)];
        let parts: [&[u8]; 3] = [&now.to_ne_bytes(), &0u64.to_ne_bytes(), &rest];
        for (place, byte) in record.iter_mut().zip(parts.concat()) {
            *place = byte;
        }
        record
    }
}
