//! Connections that were open before anything was judged.

use std::net::{IpAddr, SocketAddr};

use npc_image::Direction;

/// A connection of a pod, as it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenConnection {
    /// Who opened it: the pod (`Egress`), or the other side.
    pub opened: Direction,
    /// The IP protocol: TCP, UDP or SCTP.
    pub protocol: u8,
    /// The pod's address and port.
    pub local: SocketAddr,
    /// The other side's, as the pod sees it.
    pub remote: SocketAddr,
    /// Whether that is what stands for pods.
    pub to_service: bool,
}

/// The bytes of `struct connection` and `struct record` in `runtime/kernel/tables.h`.
pub(crate) const KEY: usize = 48;
pub(crate) const RECORD: usize = 40;

/// An address as the kernel program keeps it: 128 bits, those of IPv4 in front of zeros.
pub(crate) fn halves(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => [u64::from(address.to_bits()) << 32, 0],
        IpAddr::V6(address) => [(address.to_bits() >> 64) as u64, address.to_bits() as u64],
    }
}

impl OpenConnection {
    /// Its key, for the pod of that [`Endpoint::id`](crate::Endpoint::id).
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

    /// Its record: seen now, of no tables, so that it is judged by those in force when something answers it.
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
