//! Announcements of pods on a shared link, packets delivered to the wrong pod, and packets that pods
//! encapsulate for the node's tunnels.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use npc_tests::net::{ip, mac_of, node_reaches, python, reaches};

use crate::daemon::Daemon;
use crate::world::address;

fn dropped(daemon: &Daemon, why: &str) -> u64 {
    daemon.status()["dropped"][why].as_u64().unwrap()
}

pub(crate) fn links(daemon: &Daemon) {
    node_addresses(daemon);
    neighbours(daemon);
    forged_announcements(daemon);
    misdirected_packets(daemon);
    forged_tunnel_packets(daemon);
}

fn flush() {
    for pod in ["d", "e"] {
        ip(&format!("-n {pod} neigh flush all"));
        ip(&format!("-n {pod} -6 neigh flush all"));
    }
    ip("neigh flush dev br0");
    ip("-6 neigh flush dev br0");
}

/// Its neighbours and the node can resolve the address of a pod that may only connect to `b`.
fn neighbours(daemon: &Daemon) {
    let mut count = 0;
    for to in ["10.1.0.4", "fd01::4"] {
        flush();
        assert!(
            reaches("e", "tcp", address(to), 81),
            "e -> {to}: {:#?}",
            daemon.flows().split_off(daemon.flows().len().saturating_sub(4))
        );
        flush();
        assert!(
            node_reaches("tcp", address(to), 81),
            "node -> {to}: {:#?}",
            daemon.flows().split_off(daemon.flows().len().saturating_sub(4))
        );
        assert!(
            node_reaches("tcp", address(to), 80),
            "node -> {to}: {:#?}",
            daemon.flows().split_off(daemon.flows().len().saturating_sub(4))
        );
        flush();
        assert!(!reaches("e", "tcp", address(to), 80), "e -> {to}");
        count += 4;
    }
    println!(
        "node: {count} connections behind a bridge after all forgot each other, 0 otherwise than expected"
    );
}

/// Claims the addresses of `d` thirty times by ARP and neighbour discovery, and once claims to be a router.
const CLAIMS: &str = r"
import socket, struct, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
mac = s.getsockname()[4]
ip = socket.inet_aton('10.1.0.4')
arp = struct.pack('!HHBBH', 1, 0x0800, 6, 4, 2) + mac + ip + mac + ip
def message(source, to, body):
    source, to = socket.inet_pton(socket.AF_INET6, source), socket.inet_pton(socket.AF_INET6, to)
    words = source + to + struct.pack('!II', len(body), 58) + body
    total = sum(struct.unpack('!%dH' % (len(words) // 2), words))
    while total >> 16: total = (total >> 16) + (total & 0xffff)
    body = body[:2] + struct.pack('!H', ~total & 0xffff) + body[4:]
    return b'\x33\x33\0\0\0\1' + mac + b'\x86\xdd' + struct.pack('!IHBB', 0x60000000, len(body), 58, 255) + source + to + body
target = socket.inet_pton(socket.AF_INET6, 'fd01::4')
claim = message('fd01::5', 'ff02::1', struct.pack('!BBHI', 136, 0, 0, 0x20000000) + target + bytes([2, 1]) + mac)
link = 'fe80::' + ':'.join('%02x%02x' % p for p in ((mac[0] ^ 2, mac[1]), (mac[2], 255), (254, mac[3]), (mac[4], mac[5])))
router = message(link, 'ff02::1', struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0) + bytes([1, 1]) + mac)
for _ in range(30):
    s.send(b'\xff' * 6 + mac + b'\x08\x06' + arp)
    s.send(claim)
    time.sleep(0.01)
s.send(router)
";

/// The node gets addresses, as for each Service with kube-proxy in ipvs mode: they take effect at once, and
/// the tables are not rebuilt.
fn node_addresses(daemon: &Daemon) {
    let before = daemon.status()["generation"].as_u64().unwrap();
    ip("link add services type veth peer name nobody");
    ip("link set services up");
    for number in 1..=100 {
        ip(&format!("addr add 203.0.113.{number}/32 dev services"));
    }
    // `a` may connect to these addresses by their CIDR, and `d` only to `b`.
    daemon.wait("the last address is known", |_| reaches("a", "tcp", address("203.0.113.100"), 80));
    assert!(!reaches("d", "tcp", address("203.0.113.100"), 80));
    assert!(!reaches("a", "udp", address("203.0.113.100"), 53));
    ip("link del services");
    assert_eq!(daemon.status()["generation"].as_u64().unwrap(), before, "the tables were made anew");
    println!("node: 100 addresses of the node came and went, and no tables were made anew");
}

/// A pod claims another pod's addresses, and claims to be a router: the claims have no effect.
fn forged_announcements(daemon: &Daemon) {
    let before = dropped(daemon, "foreignSource");
    let mut claims = python("e", CLAIMS, &[]).spawn().unwrap();
    let mut count = 0;
    while claims.try_wait().unwrap().is_none() || count < 4 {
        for to in ["10.1.0.4", "fd01::4"] {
            assert!(node_reaches("tcp", address(to), 81), "node -> {to}, which another claims");
            count += 1;
        }
    }
    assert!(claims.wait().unwrap().success());
    assert_eq!(dropped(daemon, "foreignSource"), before + 61);
    let routes = Command::new("ip").args(["-n", "d", "-6", "route", "show", "default"]).output().unwrap();
    let routes = String::from_utf8(routes.stdout).unwrap();
    assert!(!routes.contains("fe80"), "{routes}");
    println!(
        "node: 60 claims of another pod's addresses and one of being a router: 61 dropped, {count} connections to that pod reached it"
    );
}

/// The node's neighbour table maps the address of `e` to the MAC address of `d`.
fn misdirected_packets(daemon: &Daemon) {
    let mac = mac_of(Some("d"), "eth0");
    let before = dropped(daemon, "foreignDestination");
    ip(&format!("neigh replace 10.1.0.5 lladdr {mac} dev br0 nud permanent"));
    ip(&format!("neigh replace fd01::5 lladdr {mac} dev br0 nud permanent"));
    let send = "import socket, sys
for host in ('10.1.0.5', 'fd01::5'):
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    for _ in range(10): socket.socket(family, socket.SOCK_DGRAM).sendto(b'x', (host, 53))";
    assert!(Command::new("python3").args(["-c", send]).status().unwrap().success());
    ip("neigh del 10.1.0.5 dev br0");
    ip("neigh del fd01::5 dev br0");
    assert_eq!(dropped(daemon, "foreignDestination"), before + 20);
    println!("node: 20 packets to an address that is not the pod's, 20 dropped and counted");
}

/// Sends a VXLAN packet to this machine that contains a packet from `a` to `b`.
const SEND: &str = r"
import socket, struct, sys
mac = bytes.fromhex(sys.argv[1].replace(':', ''))
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total >> 16) + (total & 0xffff)
    return ~total & 0xffff
body = struct.pack('!HHHH', 4444, 53, 16, 0) + b'FORGED!!'
head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0, socket.inet_aton('10.0.0.1'), socket.inet_aton('10.0.0.2'))
head = head[:10] + struct.pack('!H', checksum(head)) + head[12:]
frame = mac + b'\x02\0\0\0\0\x09\x08\0' + head + body
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(10): s.sendto(struct.pack('!II', 0x08000000, 1 << 8) + frame, ('192.0.2.1', 8472))
";

/// Prints a line for each such packet that `b` receives.
const SNIFF: &str = r"
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
print('ready', flush=True)
while True:
    data, where = s.recvfrom(2000)
    if where[2] != 4 and b'FORGED' in data: print('forged', flush=True)
";

/// A pod sends the node encapsulated packets that pretend to be from another pod.
fn forged_tunnel_packets(daemon: &Daemon) {
    ip("link add vx1 type vxlan id 1 local 192.0.2.1 dev up0 dstport 8472 nolearning");
    ip("link set vx1 up");
    for name in ["all", "vx1"] {
        npc_tests::net::setting(&format!("ipv4/conf/{name}/rp_filter"), "0");
    }
    let mac = mac_of(None, "vx1");
    let before = dropped(daemon, "tunnelled");
    // Wait until the daemon knows the tunnel.
    daemon.wait("packets for the tunnel are dropped", |_| {
        assert!(python("c", SEND, &[&mac]).status().unwrap().success());
        dropped(daemon, "tunnelled") > before
    });
    let mut sniff = python("b", SNIFF, &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(sniff.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let known = dropped(daemon, "tunnelled");
    assert!(python("c", SEND, &[&mac]).status().unwrap().success());
    assert_eq!(dropped(daemon, "tunnelled"), known + 10);
    // Packets that the node sends itself arrive, so nothing else dropped those of the pod.
    assert!(Command::new("python3").args(["-c", SEND, &mac]).status().unwrap().success());
    assert_eq!(lines.next().unwrap().unwrap(), "forged", "the tunnel of the test does not work");
    std::thread::sleep(std::time::Duration::from_millis(200));
    sniff.kill().unwrap();
    sniff.wait().unwrap();
    assert_eq!(1 + lines.count(), 10, "what the node sent, and nothing else");
    ip("link del vx1");
    println!(
        "node: 10 packets in VXLAN from a pod to the node, 10 dropped, and 10 of the node's own came out"
    );
}
