//! Real packets other than plain TCP and UDP: ICMP echo, fragments, extension headers, SCTP.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use npc_tests::net::python;

/// Sends a packet, and prints `yes` if it is answered.
const ASK: &str = r"
import os, socket, struct, sys
kind, host = sys.argv[1], sys.argv[2]
six = ':' in host
family = socket.AF_INET6 if six else socket.AF_INET
def checksum(data):
    total = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while total >> 16: total = (total >> 16) + (total & 0xffff)
    return ~total & 0xffff
if kind == 'echo':
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    s = socket.socket(family, socket.SOCK_RAW, protocol); s.settimeout(0.6)
    request = struct.pack('!BBHHH', 128 if six else 8, 0, 0, os.getpid() & 0xffff, 1) + b'12345678'
    if not six: request = request[:2] + struct.pack('!H', checksum(request)) + request[4:]
    s.sendto(request, (host, 0))
    try:
        while True:
            data = s.recv(2000)
            body = data if six else data[20:]
            if body[0] == (129 if six else 0) and body[4:6] == request[4:6]: print('yes'); break
    except OSError: print('no')
else:
    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(0.6)
    message = b'x' * 10
    if kind == 'large': message = b'x' * 6000
    if kind == 'options': s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, b'\0\0\1\4\0\0\0\0')
    if kind == 'hops': s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, b'\0\0\1\4\0\0\0\0')
    try:
        s.sendto(message, (host, 53))
        print('yes' if s.recv(65535) == message else 'other')
    except OSError: print('no')
";

/// Sends a packet of a protocol without sockets here: the start of an SCTP association, or a GRE packet.
const SEND: &str = r"
import socket, struct, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ':' in host else socket.AF_INET
s = socket.socket(family, socket.SOCK_RAW, 132 if kind == 'sctp' else 47)
s.sendto(struct.pack('!HHII', 7, port, 0, 0) + b'\1\0\0\4' if kind == 'sctp' else b'\0' * 8, (host, 0))
";

/// Prints the sources of such packets.
const GET: &str = r"
import select, socket
sockets = [socket.socket(family, socket.SOCK_RAW, protocol)
    for family in (socket.AF_INET, socket.AF_INET6) for protocol in (132, 47)]
print('ready', flush=True)
while True:
    for s in select.select(sockets, [], [])[0]:
        print(s.proto, s.recvfrom(2000)[1][0], flush=True)
";

pub(crate) fn packets() {
    // `c` may send anything to `a` and nothing to `b`; `a` may send nothing to `c`.
    let cases = [
        ("c", "echo", "10.0.0.1", true),
        ("c", "echo", "fd00::1", true),
        ("c", "echo", "10.0.0.2", false),
        ("c", "echo", "fd00::2", false),
        ("a", "echo", "10.0.0.3", false),
        ("a", "echo", "10.0.0.2", false),
        ("e", "echo", "10.0.0.3", true),
        ("c", "large", "10.0.0.1", true),
        ("c", "large", "fd00::1", true),
        ("c", "large", "10.0.0.2", false),
        ("c", "large", "fd00::2", false),
        ("a", "large", "10.0.0.2", true),
        ("a", "large", "fd00::2", true),
        ("a", "large", "10.96.0.1", true),
        ("c", "large", "10.96.0.1", false),
        ("c", "options", "fd00::1", true),
        ("c", "options", "fd00::2", false),
        ("c", "hops", "fd00::1", true),
        ("c", "hops", "fd00::2", false),
        ("a", "options", "fd00::2", true),
    ];
    for (pod, kind, host, expected) in cases {
        let output = python(pod, ASK, &[kind, host]).output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        let found = match answer.as_str() {
            "yes\n" => true,
            "no\n" => false,
            _ => panic!("{pod} {kind} {host}: {answer} {}", String::from_utf8_lossy(&output.stderr)),
        };
        assert_eq!(found, expected, "{pod}: {kind} to {host}");
    }
    let mut receivers = Vec::new();
    for pod in ["a", "b"] {
        let mut receiver = python(pod, GET, &[]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(receiver.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        receivers.push((receiver, lines));
    }
    let hosts = [["10.0.0.1", "fd00::1"], ["10.0.0.2", "fd00::2"]];
    for (kind, port) in [("sctp", "9"), ("gre", "0")] {
        for host in hosts.iter().flatten() {
            assert!(python("c", SEND, &[kind, host, port]).status().unwrap().success());
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let got: Vec<Vec<String>> = receivers
        .into_iter()
        .map(|(mut receiver, lines)| {
            receiver.kill().unwrap();
            receiver.wait().unwrap();
            lines.map(Result::unwrap).collect()
        })
        .collect();
    assert_eq!(got[0], ["132 10.0.0.3", "132 fd00::3", "47 10.0.0.3", "47 fd00::3"], "a gets what c sends");
    assert!(got[1].is_empty(), "b gets nothing: {:?}", got[1]);
    println!(
        "node: {} echoes, fragments and packets behind extension headers, 8 of SCTP and GRE: 0 otherwise than expected",
        cases.len()
    );
}
