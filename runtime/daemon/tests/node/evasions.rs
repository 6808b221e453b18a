//! Attempts of a pod to send or receive more than the policies allow: ICMP errors, extension headers, and
//! segments of no connection. Each attempt uses real packets, and allowed packets are sent for comparison.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use npc_tests::net::{mac_of, python};

/// Counts packets with a marker that a pod receives, until standard input ends.
const COUNT: &str = r"
import select, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
print('ready', flush=True)
count = 0
while True:
    ready = select.select([s, sys.stdin], [], [])[0]
    if s in ready:
        data, where = s.recvfrom(4000)
        if where[2] != 4 and sys.argv[1].encode() in data: count += 1
    elif sys.stdin in ready: break
print(count)
";

/// Sends an ICMP error about a UDP packet with 600 bytes of data. Arguments: the receiver, and the packet's
/// source, destination and ports.
const ERROR: &str = r"
import socket, struct, sys
to, source, destination, source_port, port = sys.argv[1:6]
six = ':' in to
family = socket.AF_INET6 if six else socket.AF_INET
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total >> 16) + (total & 0xffff)
    return ~total & 0xffff
data = b'MARKER' * 100
body = struct.pack('!HHHH', int(source_port), int(port), 8 + len(data), 0) + data
ends = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
if six: inner = struct.pack('!IHBB', 0x60000000, len(body), 17, 64) + ends + body
else:
    inner = struct.pack('!BBHHHBBH', 0x45, 0, 20 + len(body), 1, 0, 64, 17, 0) + ends
    inner = inner[:10] + struct.pack('!H', checksum(inner)) + inner[12:] + body
error = struct.pack('!BBHI', 1 if six else 3, 3, 0, 0) + inner
if not six: error = error[:2] + struct.pack('!H', checksum(error)) + error[4:]
socket.socket(family, socket.SOCK_RAW, 58 if six else 1).sendto(error, (to, 0))
";

/// Sends a datagram from a given port to port 53, and waits for the reply.
const ASK: &str = r"
import socket, sys
source, to, port = sys.argv[1:4]
s = socket.socket(socket.AF_INET6 if ':' in to else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((source, int(port))); s.settimeout(5)
s.sendto(b'x', (to, 53)); s.recv(10)
";

/// Sends a UDP packet behind extension headers, with any source address, to the pod on the other machine.
const HEADERS: &str = r"
import socket, struct, sys
count, source, gateway = int(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3].replace(':', ''))
ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, 'fd02::9')
body, following = struct.pack('!HHHH', 4444, 53, 14, 0) + b'MARKER', 17
for _ in range(count): body, following = bytes([following, 0, 1, 4, 0, 0, 0, 0]) + body, 60
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
packet = struct.pack('!IHBB', 0x60000000, len(body), following, 64) + ends + body
s.send(gateway + s.getsockname()[4] + b'\x86\xdd' + packet)
";

/// Opens a connection from port 5000, loses it without notifying the server, and opens it again.
const RETURN: &str = r"
import os, socket, struct, sys
host = sys.argv[1]
family, ip = (socket.AF_INET6, 'ip6') if ':' in host else (socket.AF_INET, 'ip')
def connect():
    s = socket.socket(family); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((sys.argv[2], 5000)); s.settimeout(10); s.connect((host, 80)); s.sendall(b'x')
    assert s.recv(1) == b'x'
    return s
s = connect()
os.system(f'nft \'add table inet lose; add chain inet lose out {{ type filter hook output priority 0; }}; add rule inet lose out {ip} daddr {host} drop\'')
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); s.close()
os.system('nft delete table inet lose')
try: connect(); print('yes')
except OSError as error: print(error)
";

/// Opens a connection from port 5000, resets it when told on standard input, and then listens on the port.
const CLOSES: &str = r"
import socket, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('10.0.0.1', 5000)); s.connect(('10.0.0.2', 80)); s.sendall(b'x'); s.recv(1)
print('open', flush=True); sys.stdin.readline()
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0'); s.close()
listener = socket.socket(); listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(('10.0.0.1', 5000)); listener.listen()
print('listens', flush=True); sys.stdin.readline()
listener.settimeout(0.1)
try: listener.accept(); print('accepted')
except OSError: print('nobody')
";

/// Sends TCP segments from port 80 of `b` to port 5000 of `a`. Arguments: their number, their flags, and the
/// pause between them in seconds.
const SEGMENTS: &str = r"
import socket, struct, sys, time
count, flags, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
ends = socket.inet_aton('10.0.0.2') + socket.inet_aton('10.0.0.1')
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)
for number in range(count):
    segment = struct.pack('!HHIIBBHHH', 80, 5000, 1 + number, 0, 0x60, flags, 1000, 0, 0) + b'MARK'
    words = ends + struct.pack('!BBH', 0, 6, len(segment)) + segment
    total = sum(struct.unpack('!%dH' % (len(words) // 2), words))
    while total >> 16: total = (total >> 16) + (total & 0xffff)
    s.sendto(segment[:16] + struct.pack('!H', ~total & 0xffff) + segment[18:], ('10.0.0.1', 0)); time.sleep(pause)
";

pub(crate) fn evasions() {
    icmp_errors();
    extension_headers();
    reconnects();
    bare_segments();
}

/// Counts packets in a pod.
struct Counter {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Counter {
    fn start(pod: &str, marker: &str) -> Self {
        let mut command = python(pod, COUNT, &[marker]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { process, output }
    }

    fn end(mut self) -> usize {
        std::thread::sleep(Duration::from_millis(300));
        drop(self.process.stdin.take());
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        self.process.wait().unwrap();
        line.trim().parse().unwrap()
    }
}

fn run(pod: &str, script: &str, arguments: &[&str]) {
    assert!(python(pod, script, arguments).status().unwrap().success(), "{pod}: {arguments:?}");
}

/// An ICMP error passes only if it is about a packet that the pod received, and only to the sender of that
/// packet.
fn icmp_errors() {
    let families = [
        ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.1.0.4", "192.0.2.9"],
        ["fd00::1", "fd00::2", "fd00::3", "fd01::4", "fd02::9"],
    ];
    let mut denied = 0;
    for [a, b, c, d, far] in families {
        // The pod that sends the error, its receiver, and the source and destination of the packet. None of
        // these connections exists.
        for (pod, to, source, destination) in
            [("d", far, far, d), ("d", far, b, d), ("a", far, c, a), ("b", a, a, b), ("c", b, b, c)]
        {
            let receiver = if to == far {
                "far"
            } else if to == a {
                "a"
            } else {
                "b"
            };
            let counter = Counter::start(receiver, "MARKER");
            run(pod, ERROR, &[to, source, destination, "4000", "53"]);
            assert_eq!(counter.end(), 0, "{pod} -> {to}: an error about {source} -> {destination}");
            denied += 1;
        }
        run("a", ASK, &[a, b, "4444"]);
        let counter = Counter::start("a", "MARKER");
        run("b", ERROR, &[a, a, b, "4444", "53"]);
        assert_eq!(counter.end(), 1, "an error about {a} -> {b}, which b got");
        // The record of that connection allows no error to another address.
        let counter = Counter::start("far", "MARKER");
        run("a", ERROR, &[far, b, a, "53", "4444"]);
        assert_eq!(counter.end(), 0, "an error about {b} -> {a} to {far}");
        denied += 1;
    }
    println!("node: {denied} ICMP errors about no packet of their pod's, 0 passed; 2 about one, 2 passed");
}

/// A pod without egress policies that uses another pod's source address, or more headers than the kernel
/// program reads.
fn extension_headers() {
    let gateway = mac_of(None, "host-c");
    for (count, source, expected) in [
        (0, "fd00::3", 1),
        (1, "fd00::3", 1),
        (0, "fd00::1", 0),
        (1, "fd00::1", 0),
        (7, "fd00::1", 0),
        (8, "fd00::1", 0),
        (9, "fd00::1", 0),
        (20, "fd00::1", 0),
    ] {
        let counter = Counter::start("far", "MARKER");
        run("c", HEADERS, &[&count.to_string(), source, &gateway]);
        assert_eq!(counter.end(), expected, "{source} behind {count} headers");
    }
    println!("node: 6 packets from another pod's address behind 0 to 20 extension headers, 0 passed");
}

/// A server that still has the old connection answers a new SYN from the same port with a plain ACK (RFC
/// 5961).
fn reconnects() {
    for (to, from) in [("10.0.0.2", "10.0.0.1"), ("fd00::2", "fd00::1")] {
        let output = python("a", RETURN, &[to, from]).output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout);
        assert_eq!(answer, "yes\n", "{to}: {}", String::from_utf8_lossy(&output.stderr));
    }
    println!("node: 2 connections opened again from the same port, whose server had the old one");
}

/// The server of a connection cannot open one in the reverse direction, neither while it is open nor
/// afterwards.
fn bare_segments() {
    const SYN: &str = "2";
    const RST: &str = "4";
    let mut client = python("a", CLOSES, &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut input = client.stdin.take().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "open");
    let counter = Counter::start("a", "MARK");
    run("b", SEGMENTS, &["3", SYN, "0.01"]);
    assert_eq!(counter.end(), 0, "SYN within an open connection");
    input.write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "listens");
    // A record expires ten seconds after its connection, even if the other side keeps sending.
    run("b", SEGMENTS, &["6", RST, "2.2"]);
    let counter = Counter::start("a", "MARK");
    run("b", SEGMENTS, &["3", SYN, "0.01"]);
    assert_eq!(counter.end(), 0, "SYN after a connection");
    input.write_all(b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "nobody");
    client.wait().unwrap();
    println!("node: 6 SYN of the other side within and after a connection, 0 arrived");
}
