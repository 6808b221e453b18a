//! Packets as they stand on a wire, for asking the kernel program.

use std::net::IpAddr;

use npc_image::{Protocol, Traffic};

/// The number of IP in IP, which stands for all protocols without ports.
const OTHER: u8 = 4;

/// The packet that opens a connection: with an Ethernet header, without a checksum, which nothing that
/// judges looks at. `None` where the addresses are not of one family.
#[must_use]
pub fn opening(source: IpAddr, destination: IpAddr, traffic: Traffic) -> Option<Vec<u8>> {
    let (number, body) = match traffic {
        Traffic::Other => (OTHER, vec![0; 20]),
        Traffic::Port(protocol, port) => {
            let mut body = vec![0; 20];
            // A source port as clients have, the destination's, and of TCP the flag SYN.
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
