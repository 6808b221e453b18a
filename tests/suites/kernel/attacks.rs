//! Packets with which a pod or an outside host tries to evade the policies.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use npc_node::{Endpoint, Loaded, Loader};
use npc_resolver::{Pod, Resolver};
use npc_targets::{AnyTarget, Options};
use npc_tests::memory::Memory;
use npc_vocabulary::Direction::{Egress, Ingress};

use crate::flows::{ACK, FIN, RST, SYN, ethernet, four, hops, icmp, six, sixteen, tcp, udp};

/// `closed` may send nothing and accepts udp/53; `client` may connect to 10.0.2.0/24 and accepts nothing; no
/// policy selects `free` for egress.
const PROGRAM: &str = r"
policy closed for pods { app = closed } in namespace x {
  isolate egress
  allow ingress from 10.0.1.0/24, fd01::/64 on udp/53
}
policy client for pods { app = client } in namespace x {
  allow egress to 10.0.2.0/24, fd02::/64 on tcp/443, udp/53
  isolate ingress
}
policy free for pods { app = free } in namespace x {
  isolate ingress
}
";

const PODS: [&str; 3] = ["closed", "client", "free"];

fn v4(pod: usize) -> [u8; 4] {
    [10, 0, 0, pod as u8 + 1]
}

fn v6(pod: usize) -> [u8; 16] {
    let mut address = six(0);
    address[15] = pod as u8 + 1;
    address
}

/// The link-local address that the interface derives from the MAC address of these packets.
const OWN_LINK: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 2];
const ROUTER_LINK: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

struct Node {
    loaded: Loaded,
    interfaces: Vec<u32>,
    packets: usize,
}

impl Node {
    fn new(interfaces: &[u32], loader: &Loader) -> Self {
        let checked = Memory::one(PROGRAM).check(None);
        assert!(!checked.report.has_errors());
        let options = Options::default();
        let output =
            npc_targets::compile(AnyTarget::EBPF, &checked.program, checked.sources(), &options, None);
        let mut resolver = Resolver::new(Arc::new(npc_image::read(&output.image).unwrap()), Vec::new());
        let mut endpoints = Vec::new();
        for (pod, name) in PODS.iter().enumerate() {
            let own = Pod {
                namespace: Arc::from("x"),
                labels: Arc::new([("app".to_owned(), (*name).to_owned())].into()),
                addresses: vec![v4(pod).into(), v6(pod).into()],
                ports: Vec::new(),
                host_network: false,
                local: true,
            };
            resolver.set_pod(pod as u32, own);
            endpoints.push(Endpoint::new(pod as u32, interfaces[pod], pod as u32 + 1));
        }
        let loaded = loader.load(&resolver, &endpoints).unwrap();
        Self { loaded, interfaces: interfaces.to_vec(), packets: 0 }
    }

    /// A packet from a pod to an outside host, or to the pod `to`.
    fn sends(&mut self, what: &str, pod: usize, to: Option<usize>, packet: &[u8], passes: bool) {
        let interface = self.interfaces[pod];
        let mut found = self.loaded.run(Egress, interface, packet, 1).unwrap().verdict.passes;
        if found {
            let to = to.map(|to| self.interfaces[to]);
            found = self.loaded.run_delivery(interface, to, packet, 1).unwrap().verdict.passes;
        }
        assert_eq!(found, passes, "{what}: {packet:02x?}");
        self.packets += 1;
    }

    /// A packet from another machine to a pod.
    fn gets(&mut self, what: &str, pod: usize, packet: &[u8], passes: bool) {
        let found = self.loaded.run(Ingress, self.interfaces[pod], packet, 1).unwrap().verdict.passes;
        assert_eq!(found, passes, "{what}: {packet:02x?}");
        self.packets += 1;
    }
}

pub(crate) fn attacks(interfaces: &[u32]) {
    let mut node = Node::new(interfaces, &Loader::new(1));
    icmp_errors(&mut node);
    replies(&mut node);
    unreadable(&mut node);
    neighbours(&mut node);
    destinations(&mut node);
    tunnels(&mut node);
    let dropped = node.loaded.troubles().unwrap();
    assert!(dropped.unreadable > 0 && dropped.foreign_source > 0, "{dropped:?}");
    assert!(dropped.foreign_destination > 0 && dropped.tunnelled > 0, "{dropped:?}");
    println!("kernel: {} packets of attacks, 0 judged otherwise than expected", node.packets);
}

/// A pod sends requests and gets replies on two processors at once: no reply is dropped, whichever processor
/// read the clock first.
pub(crate) fn many_replies(interfaces: &[u32]) {
    let count: u32 = npc_tests::settings::amount("NPC_TEST_REPLIES", 10_000_000, 10_000_000);
    let pins = Path::new("/sys/fs/bpf/npc-replies");
    std::fs::create_dir_all(pins).unwrap();
    let loader = Loader::new(1).pins(pins);
    let [mut asks, mut answers] = [(); 2].map(|()| Node::new(interfaces, &loader));
    let question = four(v4(1), [10, 0, 2, 1], 17, 0, &udp(4000, 53));
    let answer = four([10, 0, 2, 1], v4(1), 17, 0, &udp(53, 4000));
    let own = interfaces[1];
    assert!(asks.loaded.run(Egress, own, &question, 1).unwrap().verdict.passes);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert!(asks.loaded.run(Egress, own, &question, 10_000).unwrap().verdict.passes);
            }
        });
        let all = answers.loaded.run(Ingress, own, &answer, count);
        stop.store(true, Ordering::Relaxed);
        assert!(all.unwrap().verdict.passes);
    });
    // The kernel reports a packet that policies drop, or counts a lost report if there is no room.
    let lost = answers.loaded.troubles().unwrap().lost_events;
    let reported = answers.loaded.take_events().unwrap().count();
    assert_eq!((lost, reported), (0, 0), "answers dropped");
    drop((asks, answers));
    std::fs::remove_dir_all(pins).unwrap();
    println!("kernel: {count} answers by UDP on two processors, 0 dropped");
}

/// An ICMP error passes only to the peer of a connection that has a record.
fn icmp_errors(node: &mut Node) {
    let [asker, other] = [[10, 0, 1, 1], [10, 0, 9, 9]];
    let about = |packet: Vec<u8>| icmp(3, 0, &packet[14..]);
    let question = four(asker, v4(0), 17, 0, &udp(9, 53));
    let error = about(question.clone());
    node.sends("an error about nothing", 0, None, &four(v4(0), asker, 1, 0, &error), false);
    node.gets("a question", 0, &question, true);
    node.sends("an error about it, to another", 0, None, &four(v4(0), other, 1, 0, &error), false);
    node.sends("an error about it", 0, None, &four(v4(0), asker, 1, 0, &error), true);
    // Both directions are isolated: the error is about a packet that nobody sent.
    let forged = about(four(other, v4(0), 17, 0, &udp(5555, 80)));
    node.sends("an error about a packet that never came", 0, None, &four(v4(0), other, 1, 0, &forged), false);
    // Errors to the pod, about a connection that it opened.
    let router = [192, 0, 2, 1];
    let opening = four(v4(1), [10, 0, 2, 1], 6, 0, &tcp(4000, 443, SYN));
    let error = four(router, v4(1), 1, 0, &about(opening.clone()));
    node.sends("an opening", 1, None, &opening, true);
    node.gets("an error about it", 1, &error, true);
    let never = four(v4(1), other, 6, 0, &tcp(4000, 443, SYN));
    node.gets("about what it may not send", 1, &four(router, v4(1), 1, 0, &about(never)), false);
}

/// A SYN without ACK opens a connection, even on the ports of an existing one; a RST does not keep a record
/// alive; and a server that still has the previous connection answers a new SYN with a plain ACK.
fn replies(node: &mut Node) {
    let server = [10, 0, 2, 1];
    let to = |port, flags| four(v4(1), server, 6, 0, &tcp(port, 443, flags));
    let from = |port, flags| four(server, v4(1), 6, 0, &tcp(443, port, flags));
    node.sends("an opening", 1, None, &to(5000, SYN), true);
    node.gets("a forged ACK", 1, &from(5000, ACK), false);
    node.gets("its answer", 1, &from(5000, SYN | ACK), true);
    node.sends("an ACK", 1, None, &to(5000, ACK), true);
    node.gets("an opening the other way", 1, &from(5000, SYN), false);
    node.gets("what answers", 1, &from(5000, ACK), true);
    node.sends("the same ports again, without an end", 1, None, &to(5000, SYN), true);
    node.gets("a challenge", 1, &from(5000, ACK), true);
    node.gets("an opening the other way", 1, &from(5000, SYN), false);
    node.gets("a reset", 1, &from(5000, RST), true);
    node.gets("an opening after it", 1, &from(5000, SYN), false);
    node.gets("an end", 1, &from(5000, FIN | ACK), true);
}

/// The source of a malformed packet cannot be determined, so it is dropped even if no policy selects the pod
/// for egress.
fn unreadable(node: &mut Node) {
    let mut many = udp(9, 9);
    let mut next = 17;
    for count in 1..10 {
        many = [&[next, 0, 1, 4, 0, 0, 0, 0][..], &many].concat();
        next = 60;
        let spoofed = sixteen(v6(0), six(2), 60, &many);
        node.sends(&format!("as another, behind {count} headers"), 2, None, &spoofed, false);
        let own = sixteen(v6(2), six(2), 60, &many);
        node.sends(&format!("as itself, behind {count} headers"), 2, None, &own, count < 8);
    }
    node.sends("a protocol that is not IP", 2, None, &ethernet(0x88cc, &[0; 46]), false);
}

fn arp(operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mac = [2, 0, 0, 0, 0, 2];
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    ethernet(0x0806, &[&head[..], &mac, &sender, &[0; 6], &target].concat())
}

fn advertised(target: [u8; 16]) -> Vec<u8> {
    [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &target].concat()
}

/// In ARP and neighbour discovery a pod may only announce its own addresses, and may not act as a router.
fn neighbours(node: &mut Node) {
    let everyone = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    for pod in 0..3 {
        let other = (pod + 1) % 3;
        node.sends("who has another's address", pod, None, &arp(1, v4(pod), v4(other)), true);
        node.sends("a probe", pod, None, &arp(1, [0; 4], v4(pod)), true);
        node.sends("its address is here", pod, None, &arp(2, v4(pod), v4(other)), true);
        node.sends("another's address is here", pod, None, &arp(2, v4(other), v4(other)), false);
        node.sends("asked as another", pod, None, &arp(1, v4(other), [10, 0, 0, 254]), false);
        let link = |kind: u8, from, to, target| {
            let mut body = advertised(target);
            body[0] = kind;
            hops(255, from, to, 58, &body)
        };
        let [own, its] = [v6(pod), v6(other)];
        node.sends("a question", pod, None, &link(135, own, everyone, its), true);
        node.sends("a question to one", pod, None, &link(135, own, its, its), true);
        node.sends("a question as another", pod, None, &link(135, its, everyone, own), false);
        node.sends("a question as the router", pod, None, &link(135, ROUTER_LINK, everyone, own), false);
        node.sends("its address, to one", pod, None, &link(136, own, its, own), true);
        node.sends("its address, to all", pod, None, &link(136, own, everyone, own), true);
        node.sends("its link's address", pod, None, &link(136, OWN_LINK, its, OWN_LINK), true);
        node.sends("another's address", pod, None, &link(136, own, everyone, its), false);
        node.sends("the router's address", pod, None, &link(136, own, everyone, ROUTER_LINK), false);
        node.sends("it is a router", pod, None, &link(134, OWN_LINK, everyone, own), false);
        node.sends("a better way", pod, None, &link(137, OWN_LINK, its, own), false);
        node.gets("the node is a router", pod, &link(134, ROUTER_LINK, everyone, own), true);
    }
    // Neighbour discovery that a router has forwarded is invalid.
    let interface = node.interfaces[0];
    let passed_on = hops(254, v6(0), six(9), 58, &advertised(v6(0)));
    assert!(!node.loaded.run_delivery(interface, None, &passed_on, 1).unwrap().verdict.passes);
}

/// A pod only receives packets for its own addresses, broadcast and multicast.
fn destinations(node: &mut Node) {
    let from = [10, 0, 1, 1];
    for packet in [
        four(from, v4(1), 17, 0, &udp(9, 53)),
        four(from, v4(1), 6, 0, &tcp(9, 443, ACK)),
        sixteen(six(1), v6(1), 17, &udp(9, 53)),
    ] {
        node.gets("a packet for another", 0, &packet, false);
        let interface = node.interfaces[0];
        let nodes = node.loaded.run_delivery(0, Some(interface), &packet, 1).unwrap();
        assert!(!nodes.verdict.passes, "the node's packet for another");
    }
    node.gets("a packet for it", 0, &four(from, v4(0), 17, 0, &udp(9, 53)), true);
    node.gets("a packet for many", 0, &four(from, [224, 0, 0, 251], 17, 0, &udp(9, 53)), true);
    let interface = node.interfaces[1];
    let own = four([192, 0, 2, 1], v4(1), 6, 0, &tcp(9, 9, SYN));
    let passes = |node: &mut Node, from| {
        node.loaded.run_delivery(from, Some(interface), &own, 1).unwrap().verdict.passes
    };
    assert!(passes(node, 0), "what the node itself sends");
    assert!(!passes(node, 9999), "what is forwarded with the node's address");
}

/// Packets that a pod encapsulates for a tunnel of the node.
fn tunnels(node: &mut Node) {
    let own = [192, 0, 2, 1];
    node.loaded.set_node_addresses(&[own.into()].into()).unwrap();
    node.loaded.set_tunnel_ports(&[8472].into()).unwrap();
    let elsewhere = [192, 0, 2, 2];
    for (address, passes) in [(own, false), (elsewhere, true)] {
        node.sends("VXLAN", 2, None, &four(v4(2), address, 17, 0, &udp(9, 8472)), passes);
        node.sends("IP in IP", 2, None, &four(v4(2), address, 4, 0, &[0x45; 40]), passes);
        node.sends("GRE", 2, None, &four(v4(2), address, 47, 0, &[0; 40]), passes);
    }
    node.sends("another port of the node", 2, None, &four(v4(2), own, 17, 0, &udp(9, 53)), true);
    node.sends("VXLAN to all", 2, None, &four(v4(2), [255; 4], 17, 0, &udp(9, 8472)), false);
}
