//! Packets other than the first of a connection: replies, errors, fragments, headers of all kinds.

use std::sync::Arc;

use npc_node::{Endpoint, LoadError, Loaded, Loader};
use npc_resolver::{Pod, Resolver};
use npc_targets::{AnyTarget, Options};
use npc_tests::memory::Memory;
use npc_vocabulary::Direction::{self, Egress, Ingress};

/// The pod accepts tcp/80 and udp/53 from 10.0.1.0/24 and fd01::/64, and may connect to 10.0.2.0/24 and
/// fd02::/64 on every port. Everything else is denied.
const PROGRAM: &str = r"
policy p for pods { app = pod } in namespace x {
  allow ingress from 10.0.1.0/24, fd01::/64 on tcp/80, udp/53
  allow egress to 10.0.2.0/24, fd02::/64
}
";

const POD: [u8; 4] = [10, 0, 0, 1];
const CLIENT: [u8; 4] = [10, 0, 1, 1];
const SERVER: [u8; 4] = [10, 0, 2, 1];
const OTHER: [u8; 4] = [10, 0, 3, 1];

pub(crate) fn six(network: u8) -> [u8; 16] {
    let mut address = [0; 16];
    (address[0], address[1], address[15]) = (0xfd, network, 1);
    address
}

pub(crate) fn ethernet(kind: u16, body: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], &kind.to_be_bytes(), body].concat()
}

/// An IPv4 packet. `fragment` is the offset in units of 8 bytes, with the more-fragments bit.
pub(crate) fn four(
    source: [u8; 4],
    destination: [u8; 4],
    protocol: u8,
    fragment: u16,
    body: &[u8],
) -> Vec<u8> {
    let length = (20 + body.len() as u16).to_be_bytes();
    let fragment = fragment.to_be_bytes();
    let head = [0x45, 0, length[0], length[1], 0, 7, fragment[0], fragment[1], 64, protocol, 0, 0];
    ethernet(0x0800, &[&head[..], &source, &destination, body].concat())
}

pub(crate) fn sixteen(source: [u8; 16], destination: [u8; 16], next: u8, body: &[u8]) -> Vec<u8> {
    hops(64, source, destination, next, body)
}

pub(crate) fn hops(limit: u8, source: [u8; 16], destination: [u8; 16], next: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_be_bytes();
    let head = [0x60, 0, 0, 0, length[0], length[1], next, limit];
    ethernet(0x86dd, &[&head[..], &source, &destination, body].concat())
}

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

pub(crate) fn tcp(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut header = vec![0; 20];
    header[..2].copy_from_slice(&source.to_be_bytes());
    header[2..4].copy_from_slice(&destination.to_be_bytes());
    (header[12], header[13]) = (5 << 4, flags);
    header
}

pub(crate) fn udp(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes(), [0, 8], [0, 0]].concat()
}

pub(crate) fn icmp(kind: u8, id: u16, body: &[u8]) -> Vec<u8> {
    let id = id.to_be_bytes();
    [&[kind, 0, 0, 0, id[0], id[1], 0, 1][..], body].concat()
}

struct Asking<'a> {
    loaded: Loaded,
    interface: u32,
    asked: &'a mut usize,
}

impl Asking<'_> {
    /// Evaluates a packet. Packets from the pod go to an outside host.
    fn is(&mut self, what: &str, direction: Direction, packet: &[u8], passes: bool) {
        let mut found = self.loaded.run(direction, self.interface, packet, 1).unwrap().verdict.passes;
        if found && direction == Egress {
            found = self.loaded.run_delivery(self.interface, None, packet, 1).unwrap().verdict.passes;
        }
        assert_eq!(found, passes, "{what}: {packet:02x?}");
        *self.asked += 1;
    }

    fn passes(&mut self, what: &str, direction: Direction, packet: &[u8]) {
        self.is(what, direction, packet, true);
    }

    fn drops(&mut self, what: &str, direction: Direction, packet: &[u8]) {
        self.is(what, direction, packet, false);
    }
}

fn load(interface: u32) -> Result<Loaded, LoadError> {
    let checked = Memory::one(PROGRAM).check(None);
    assert!(!checked.report.has_errors());
    let output =
        npc_targets::compile(AnyTarget::EBPF, &checked.program, checked.sources(), &Options::default(), None);
    let mut resolver = Resolver::new(Arc::new(npc_image::read(&output.image).unwrap()), Vec::new());
    let pod = Pod {
        namespace: Arc::from("x"),
        labels: Arc::new([("app".to_owned(), "pod".to_owned())].into()),
        addresses: vec![POD.into(), six(0).into()],
        ports: Vec::new(),
        host_network: false,
        local: true,
    };
    resolver.set_pod(1, pod);
    Loader::new(1).load(&resolver, &[Endpoint::new(1, interface, 1)])
}

pub(crate) fn flows(interfaces: &[u32]) {
    let mut asked = 0;
    let mut ask =
        Asking { loaded: load(interfaces[0]).unwrap(), interface: interfaces[0], asked: &mut asked };
    connections(&mut ask);
    errors(&mut ask);
    fragments(&mut ask);
    headers(&mut ask);
    // On an interface without a pod, nothing passes.
    ask.interface = interfaces[1];
    ask.drops("another interface", Ingress, &four(OTHER, POD, 6, 0, &tcp(1, 22, SYN)));
    println!("kernel: {asked} packets of flows, 0 judged otherwise than expected");
}

fn connections(ask: &mut Asking<'_>) {
    let to = |port, flags| four(POD, SERVER, 6, 0, &tcp(port, 443, flags));
    let from = |port, flags| four(SERVER, POD, 6, 0, &tcp(443, port, flags));
    ask.drops("an answer to nothing", Ingress, &from(5000, SYN | ACK));
    ask.drops("a forged ACK", Ingress, &from(5000, ACK));
    ask.passes("an opening", Egress, &to(5000, SYN));
    ask.drops("a forged ACK before the answer", Ingress, &from(5000, ACK));
    ask.drops("an opening the other way", Ingress, &from(5000, SYN));
    ask.drops("an answer to another port", Ingress, &from(5001, SYN | ACK));
    ask.drops("an answer of another", Ingress, &four(OTHER, POD, 6, 0, &tcp(443, 5000, SYN | ACK)));
    ask.passes("the answer", Ingress, &from(5000, SYN | ACK));
    ask.passes("what follows", Egress, &to(5000, ACK));
    ask.passes("what answers that", Ingress, &from(5000, ACK));
    ask.passes("the end", Ingress, &from(5000, FIN | ACK));
    ask.passes("the end of the other side", Egress, &to(5000, FIN | ACK));
    ask.passes("what answers the end", Ingress, &from(5000, ACK));
    ask.passes("a refusal of what was opened", Egress, &to(5002, SYN));
    ask.passes("a refusal", Ingress, &from(5002, RST | ACK));
    // Connections that others open.
    let asks = |port, flags| four(CLIENT, POD, 6, 0, &tcp(port, 80, flags));
    let answers = |port, flags| four(POD, CLIENT, 6, 0, &tcp(80, port, flags));
    ask.drops("an answer that nobody asked for", Egress, &answers(6000, SYN | ACK));
    ask.passes("an opening by a client", Ingress, &asks(6000, SYN));
    ask.passes("the pod's answer", Egress, &answers(6000, SYN | ACK));
    ask.passes("the client's", Ingress, &asks(6000, ACK));
    ask.passes("the pod's", Egress, &answers(6000, ACK));
    ask.drops("another port", Ingress, &four(CLIENT, POD, 6, 0, &tcp(6000, 81, SYN)));
    ask.drops("the pod opens to the client", Egress, &four(POD, CLIENT, 6, 0, &tcp(7000, 80, SYN)));
    // UDP.
    ask.drops("an answer to nothing", Ingress, &four(SERVER, POD, 17, 0, &udp(53, 5000)));
    ask.passes("a question", Egress, &four(POD, SERVER, 17, 0, &udp(5000, 53)));
    ask.passes("its answer", Ingress, &four(SERVER, POD, 17, 0, &udp(53, 5000)));
    ask.drops("an answer of another port", Ingress, &four(SERVER, POD, 17, 0, &udp(54, 5000)));
    ask.passes("a client's question", Ingress, &four(CLIENT, POD, 17, 0, &udp(9, 53)));
    ask.passes("the pod's answer", Egress, &four(POD, CLIENT, 17, 0, &udp(53, 9)));
    ask.drops("an answer to another", Egress, &four(POD, CLIENT, 17, 0, &udp(53, 10)));
    // ICMP echo, and a protocol without ports.
    ask.drops("an echo to nothing", Ingress, &four(SERVER, POD, 1, 0, &icmp(0, 77, &[])));
    ask.passes("an echo request", Egress, &four(POD, SERVER, 1, 0, &icmp(8, 77, &[])));
    ask.passes("its reply", Ingress, &four(SERVER, POD, 1, 0, &icmp(0, 77, &[])));
    ask.drops("a request in answer to one", Ingress, &four(SERVER, POD, 1, 0, &icmp(8, 77, &[])));
    ask.drops("another's reply", Ingress, &four(SERVER, POD, 1, 0, &icmp(0, 78, &[])));
    ask.drops("GRE to nothing", Ingress, &four(SERVER, POD, 47, 0, &[0; 8]));
    ask.passes("GRE", Egress, &four(POD, SERVER, 47, 0, &[0; 8]));
    ask.passes("GRE in answer", Ingress, &four(SERVER, POD, 47, 0, &[0; 8]));
    // The pod's connection to itself.
    ask.drops("another's packet from its address", Ingress, &four(POD, POD, 6, 0, &tcp(1, 22, SYN)));
    let itself = four(POD, POD, 6, 0, &tcp(1, 22, SYN));
    let sent = ask.loaded.run(Egress, ask.interface, &itself, 1).unwrap();
    let delivered = ask.loaded.run_delivery(ask.interface, Some(ask.interface), &itself, 1).unwrap();
    assert!(sent.verdict.passes && delivered.verdict.passes, "its own packet to itself");
    // IPv6.
    let out = |flags| sixteen(six(0), six(2), 6, &tcp(5000, 443, flags));
    ask.passes("an opening by IPv6", Egress, &out(SYN));
    ask.passes("its answer", Ingress, &sixteen(six(2), six(0), 6, &tcp(443, 5000, SYN | ACK)));
    ask.drops("another's", Ingress, &sixteen(six(3), six(0), 6, &tcp(443, 5000, SYN | ACK)));
    ask.passes("a client", Ingress, &sixteen(six(1), six(0), 6, &tcp(9, 80, SYN)));
    ask.drops("another client", Ingress, &sixteen(six(3), six(0), 6, &tcp(9, 80, SYN)));
}

fn errors(ask: &mut Asking<'_>) {
    let router = [192, 0, 2, 1];
    let about = |packet: Vec<u8>| packet[14..].to_vec();
    let unreachable = |packet: Vec<u8>| four(router, POD, 1, 0, &icmp(3, 0, &about(packet)));
    ask.passes("an opening", Egress, &four(POD, SERVER, 6, 0, &tcp(5100, 443, SYN)));
    ask.passes("an error about it", Ingress, &unreachable(four(POD, SERVER, 6, 0, &tcp(5100, 443, SYN))));
    ask.drops(
        "about what is not allowed",
        Ingress,
        &unreachable(four(POD, OTHER, 6, 0, &tcp(5100, 443, SYN))),
    );
    ask.drops("about another's", Ingress, &unreachable(four(CLIENT, SERVER, 6, 0, &tcp(5100, 443, SYN))));
    ask.drops("about nothing", Ingress, &four(router, POD, 1, 0, &icmp(3, 0, &[])));
    ask.drops("not an error", Ingress, &four(router, POD, 1, 0, &icmp(8, 0, &[])));
    // Errors that the pod sends about packets that it received.
    ask.passes("a question", Ingress, &four(CLIENT, POD, 17, 0, &udp(9, 53)));
    let answer = icmp(3, 0, &about(four(CLIENT, POD, 17, 0, &udp(9, 53))));
    ask.passes("the pod's error about it", Egress, &four(POD, CLIENT, 1, 0, &answer));
    let other = icmp(3, 0, &about(four(OTHER, POD, 17, 0, &udp(9, 9))));
    ask.drops("the pod's error about another", Egress, &four(POD, OTHER, 1, 0, &other));
    let too_big = icmp(2, 0, &about(sixteen(six(0), six(2), 6, &tcp(5000, 443, ACK))));
    ask.passes("packet too big", Ingress, &sixteen(six(9), six(0), 58, &too_big));
    let mut everyone = [0; 16];
    (everyone[0], everyone[1], everyone[15]) = (0xff, 2, 0x16);
    for kind in 133..=137 {
        let message = icmp(kind, 0, &[0; 16]);
        ask.passes("neighbour discovery", Ingress, &hops(255, six(9), six(0), 58, &message));
        ask.drops("what a router passed on", Ingress, &hops(254, six(9), six(0), 58, &message));
    }
    let report = icmp(143, 0, &[0; 16]);
    ask.passes("a report to routers", Egress, &hops(1, six(0), everyone, 58, &report));
    ask.drops("a report to somebody", Egress, &hops(1, six(0), six(9), 58, &report));
    ask.drops("an echo by IPv6", Ingress, &sixteen(six(9), six(0), 58, &icmp(128, 0, &[])));
}

fn fragments(ask: &mut Asking<'_>) {
    const MORE: u16 = 0x2000;
    let body = [tcp(6100, 80, SYN), vec![0; 12]].concat();
    ask.drops("a later fragment of nothing", Ingress, &four(CLIENT, POD, 6, 4, &[0; 8]));
    ask.passes("a first fragment", Ingress, &four(CLIENT, POD, 6, MORE, &body));
    ask.passes("a later one", Ingress, &four(CLIENT, POD, 6, 4 | MORE, &[0; 8]));
    ask.passes("the last one", Ingress, &four(CLIENT, POD, 6, 5, &[0; 8]));
    ask.drops("one that overlaps the header", Ingress, &four(CLIENT, POD, 6, 1, &[0; 8]));
    ask.drops("one of another", Ingress, &four(OTHER, POD, 6, 4, &[0; 8]));
    let denied = [tcp(6100, 81, SYN), vec![0; 12]].concat();
    ask.drops("a first fragment that is denied", Ingress, &four(CLIENT, POD, 6, MORE, &denied));
    ask.drops("what follows it", Ingress, &four(CLIENT, POD, 6, 4, &[0; 8]));
    ask.drops("a first fragment without ports", Ingress, &four(CLIENT, POD, 6, MORE, &body[..2]));
    ask.drops("a first fragment without flags", Ingress, &four(CLIENT, POD, 6, MORE, &body[..8]));
    let six_fragment = |offset: u16, next: u8, body: &[u8]| {
        let offset = offset.to_be_bytes();
        [&[next, 0, offset[0], offset[1], 0, 0, 0, 9][..], body].concat()
    };
    let udp_body = [udp(9, 53), vec![0; 8]].concat();
    ask.drops("of IPv6, of nothing", Ingress, &sixteen(six(1), six(0), 44, &six_fragment(16, 17, &[0; 8])));
    ask.passes("the first", Ingress, &sixteen(six(1), six(0), 44, &six_fragment(1, 17, &udp_body)));
    ask.passes("the next", Ingress, &sixteen(six(1), six(0), 44, &six_fragment(16, 17, &[0; 8])));
    // A header between the fragment header and UDP.
    let mut behind = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp_body].concat();
    let other = |mut packet: Vec<u8>| {
        packet[14 + 40 + 7] = 10;
        packet
    };
    behind = other(sixteen(six(1), six(0), 44, &six_fragment(1, 60, &behind)));
    ask.passes("the first of another", Ingress, &behind);
    ask.passes("its next", Ingress, &other(sixteen(six(1), six(0), 44, &six_fragment(24, 60, &[0; 8]))));
}

fn headers(ask: &mut Asking<'_>) {
    let options = |next: u8, body: &[u8]| [&[next, 0, 1, 4, 0, 0, 0, 0][..], body].concat();
    let routing = |next: u8, left: u8, body: &[u8]| [&[next, 0, 4, left, 0, 0, 0, 0][..], body].concat();
    let segment = tcp(9, 80, SYN);
    let packet = options(43, &routing(60, 0, &options(6, &segment)));
    ask.passes("behind three headers", Ingress, &sixteen(six(1), six(0), 0, &packet));
    let denied = options(43, &routing(60, 0, &options(6, &tcp(9, 81, SYN))));
    ask.drops("the same, denied", Ingress, &sixteen(six(1), six(0), 0, &denied));
    let elsewhere = options(43, &routing(6, 1, &segment));
    ask.drops("what has a station left", Ingress, &sixteen(six(1), six(0), 0, &elsewhere));
    let mut many = segment.clone();
    many = options(6, &many);
    for _ in 0..12 {
        many = options(60, &many);
    }
    ask.drops("behind more headers than anyone sends", Ingress, &sixteen(six(1), six(0), 60, &many));
    // IPv4 with options.
    let mut with_options = four(CLIENT, POD, 6, 0, &[]);
    with_options[14] = 0x47;
    with_options.extend([1; 8]);
    with_options.extend(&segment);
    ask.passes("IPv4 with options", Ingress, &with_options);
    // VLAN tags, single and nested.
    let plain = four(CLIENT, POD, 6, 0, &segment);
    let tagged = [&plain[..12], &[0x81, 0, 0, 5], &plain[12..]].concat();
    ask.passes("with a tag", Ingress, &tagged);
    let twice = [&plain[..12], &[0x88, 0xa8, 0, 6, 0x81, 0, 0, 5], &plain[12..]].concat();
    ask.passes("with two", Ingress, &twice);
    let denied = four(OTHER, POD, 6, 0, &segment);
    ask.drops("with a tag, denied", Ingress, &[&denied[..12], &[0x81, 0, 0, 5], &denied[12..]].concat());
    // Malformed packets.
    ask.passes("ARP", Ingress, &ethernet(0x0806, &[0; 28]));
    ask.drops("another protocol", Ingress, &ethernet(0x8137, &[0; 46]));
    ask.drops("a header without ports", Ingress, &plain[..36]);
    let mut wrong = plain.clone();
    wrong[14] = 0x55;
    ask.drops("a version that is none", Ingress, &wrong);
    let mut short = plain;
    short[14] = 0x44;
    ask.drops("a header shorter than one", Ingress, &short);
}
