//! Builds packets to run the kernel program on.

use std::net::IpAddr;

use npc_vocabulary::{Protocol, Traffic};

/// IP-in-IP, as an example of a protocol without ports.
const OTHER: u8 = 4;

/// Returns a packet that opens a connection, with an Ethernet header. It has no checksums, because the kernel
/// program does not check them. Returns `None` if the addresses are of different families.
#[must_use]
pub fn opening(source: IpAddr, destination: IpAddr, traffic: Traffic) -> Option<Vec<u8>> {
    let (number, body) = match traffic {
        Traffic::Other => (OTHER, vec![0; 20]),
        Traffic::Port(protocol, port) => {
            let mut body = vec![0; 20];
            // An ephemeral source port, the destination port, and for TCP the SYN flag.
            let ports = [40_000u16.to_be_bytes(), port.to_be_bytes()].concat();
            body.splice(0..4, ports);
            let number = match protocol {
                Protocol::Tcp => 6,
                Protocol::Udp => 17,
                Protocol::Sctp => 132,
            };
            if protocol == Protocol::Tcp {
                body.splice(12..14, [5 << 4, 0x02]);
            }
            (number, body)
        }
    };
    let length = u16::try_from(body.len()).ok()?;
    let mut packet = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet.extend([0x08, 0x00, 0x45, 0]);
            packet.extend((length + 20).to_be_bytes());
            packet.extend([0, 0, 0, 0, 64, number, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            packet.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            packet.extend(length.to_be_bytes());
            packet.extend([number, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
        }
        _ => return None,
    }
    packet.extend(body);
    Some(packet)
}
