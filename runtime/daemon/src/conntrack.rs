//! Finds the connections that pods had before they were enforced: in the kernel's conntrack table, and among
//! the sockets in the pods' network namespaces.

use std::collections::HashSet;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use npc_node::OpenConnection;
use npc_vocabulary::Direction;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tracing::debug;

/// Where container runtimes mount the network namespaces of pods.
const NETWORKS: &str = "/run/netns";

/// The connections of pods with these addresses. Unreadable ones are omitted: such a connection continues
/// with the first packet of the side that opened it.
pub(crate) fn of(addresses: &[IpAddr], services: &[IpNet]) -> Vec<OpenConnection> {
    let tracked = fs::read_to_string("/proc/net/nf_conntrack").unwrap_or_default();
    let mut all: Vec<OpenConnection> =
        tracked.lines().flat_map(|line| of_tracked(line, addresses)).flatten().collect();
    let known: HashSet<(SocketAddr, SocketAddr)> = all.iter().map(|own| (own.local, own.remote)).collect();
    all.extend(of_sockets(addresses).filter(|own| !known.contains(&(own.local, own.remote))));
    for connection in &mut all {
        let to = connection.remote.ip();
        connection.to_service =
            connection.opened == Direction::Egress && services.iter().any(|net| net.contains(&to));
    }
    all
}

/// Parses a line of the kernel's conntrack table. Returns the connection as the opening and as the answering
/// side see it, after translation.
fn of_tracked(line: &str, addresses: &[IpAddr]) -> [Option<OpenConnection>; 2] {
    let mut words = line.split_ascii_whitespace().skip(2);
    let protocol = match words.next() {
        Some("tcp") if line.contains(" ESTABLISHED ") => 6,
        Some("udp") if !line.contains("[UNREPLIED]") => 17,
        Some("sctp") if line.contains(" ESTABLISHED ") => 132,
        _ => return [None, None],
    };
    let values = |name: &str| -> Vec<&str> {
        line.split_ascii_whitespace()
            .filter_map(|word| word.split_once('='))
            .filter_map(|(key, value)| (key == name).then_some(value))
            .collect()
    };
    let (sources, destinations) = (values("src"), values("dst"));
    let (source_ports, destination_ports) = (values("sport"), values("dport"));
    let end = |addresses: &[&str], ports: &[&str], place: usize| {
        Some(SocketAddr::new(addresses.get(place)?.parse().ok()?, ports.get(place)?.parse().ok()?))
    };
    let of = |local: Option<SocketAddr>, remote: Option<SocketAddr>, opened: Direction| {
        let (local, remote) = (local?, remote?);
        addresses.contains(&local.ip()).then_some(OpenConnection {
            opened,
            protocol,
            local,
            remote,
            to_service: false,
        })
    };
    [
        // As the opening side sees it, and as the answering side does.
        of(end(&sources, &source_ports, 0), end(&destinations, &destination_ports, 0), Direction::Egress),
        of(end(&sources, &source_ports, 1), end(&destinations, &destination_ports, 1), Direction::Ingress),
    ]
}

/// The connections of sockets in the pods' network namespaces.
fn of_sockets(addresses: &[IpAddr]) -> impl Iterator<Item = OpenConnection> {
    let networks = fs::read_dir(NETWORKS).into_iter().flatten();
    networks.filter_map(|entry| Some(entry.ok()?.path())).flat_map(|network| in_network(&network, addresses))
}

/// Reads the socket tables of a network namespace in a new thread, which enters the namespace.
fn in_network(network: &Path, addresses: &[IpAddr]) -> Vec<OpenConnection> {
    let (network, addresses): (PathBuf, Vec<IpAddr>) = (network.to_owned(), addresses.to_vec());
    let read = std::thread::spawn(move || {
        let entered = File::open(&network).and_then(|file| {
            move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))?;
            Ok(())
        });
        if let Err(why) = entered {
            debug!(network = %network.display(), %why, "cannot read the sockets of this network namespace");
            return Vec::new();
        }
        let tables = [("tcp", 6), ("tcp6", 6), ("udp", 17), ("udp6", 17)];
        let mut found = Vec::new();
        for (name, protocol) in tables {
            let text = fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
            found.extend(of_table(&text, protocol, &addresses));
        }
        found
    });
    read.join().unwrap_or_default()
}

/// Parses a table of sockets in the format of `/proc/net/tcp`.
fn of_table(text: &str, protocol: u8, addresses: &[IpAddr]) -> Vec<OpenConnection> {
    /// `TCP_ESTABLISHED` and `TCP_LISTEN`. A connected UDP socket also has the state `TCP_ESTABLISHED`.
    const ESTABLISHED: &str = "01";
    const LISTEN: &str = "0A";
    let rows: Vec<(SocketAddr, SocketAddr, &str)> = text
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace().skip(1);
            Some((socket(words.next()?)?, socket(words.next()?)?, words.next()?))
        })
        .collect();
    let listening: HashSet<u16> =
        rows.iter().filter(|(_, _, state)| *state == LISTEN).map(|(local, ..)| local.port()).collect();
    rows.into_iter()
        .filter(|(local, _, state)| *state == ESTABLISHED && addresses.contains(&local.ip()))
        .map(|(local, remote, _)| {
            let opened =
                if listening.contains(&local.port()) { Direction::Ingress } else { Direction::Egress };
            OpenConnection { opened, protocol, local, remote, to_service: false }
        })
        .collect()
}

/// Parses `0100007F:0050`, in which each 32-bit word of the address is in native byte order.
fn socket(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words: Vec<u32> = (0..address.len() / 8)
        .map(|word| u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok())
        .collect::<Option<_>>()?;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let address = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        // An IPv4-mapped address in an IPv6 socket is an IPv4 address.
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn tracked_connections() {
        let line = "ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.96.0.1 sport=40000 dport=80 src=10.0.0.2 dst=10.0.0.1 sport=8080 dport=40000 [ASSURED] mark=0 zone=0 use=2";
        let [Some(opener), None] = of_tracked(line, &[at("10.0.0.1:1").ip()]) else { panic!("the opener's") };
        assert_eq!((opener.local, opener.remote), (at("10.0.0.1:40000"), at("10.96.0.1:80")));
        assert_eq!(opener.opened, Direction::Egress);
        let [None, Some(server)] = of_tracked(line, &[at("10.0.0.2:1").ip()]) else { panic!("the server's") };
        assert_eq!((server.local, server.remote), (at("10.0.0.2:8080"), at("10.0.0.1:40000")));
        assert_eq!(server.opened, Direction::Ingress);
        let closing = line.replace("ESTABLISHED", "TIME_WAIT");
        assert_eq!(of_tracked(&closing, &[at("10.0.0.1:1").ip()]), [None, None]);
        let question = "ipv6     10 udp      17 29 src=fd00::1 dst=fd00::2 sport=9 dport=53 [UNREPLIED] src=fd00::2 dst=fd00::1 sport=53 dport=9 mark=0 use=2";
        assert_eq!(of_tracked(question, &["fd00::1".parse().unwrap()]), [None, None]);
        let icmp = "ipv4     2 icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=1 mark=0 use=2";
        assert_eq!(of_tracked(icmp, &[at("10.0.0.1:1").ip()]), [None, None]);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn sockets() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
                     0: 00000000:0050 00000000:0000 0A 00000000:00000000\n\
                     1: 0100000A:0050 0200000A:9C40 01 00000000:00000000\n\
                     2: 0100000A:9C41 0300000A:01BB 01 00000000:00000000\n\
                     3: 0100007F:9C42 0100007F:01BB 01 00000000:00000000\n\
                     4: bad\n";
        let found = of_table(table, 6, &[at("10.0.0.1:1").ip()]);
        let ends: Vec<_> = found.iter().map(|own| (own.opened, own.local, own.remote)).collect();
        let expected = [
            (Direction::Ingress, at("10.0.0.1:80"), at("10.0.0.2:40000")),
            (Direction::Egress, at("10.0.0.1:40001"), at("10.0.0.3:443")),
        ];
        assert_eq!(ends, expected);
        assert_eq!(socket("0000000000000000FFFF00000100000A:0050"), Some(at("10.0.0.1:80")));
        assert_eq!(socket("000000FD000000000000000001000000:0035"), Some(at("[fd00::1]:53")));
    }
}
