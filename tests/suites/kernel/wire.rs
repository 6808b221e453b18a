//! Real packets between pods in network namespaces behind veth pairs, over IPv4 and IPv6. Packets arrive if
//! and only if the interpreter allows them.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use npc_cluster::Cluster;
use npc_node::{Endpoint, Node};
use npc_resolver::{Decision, Reason, Resolver};
use npc_tests::memory::Memory;
use npc_tests::net::{STEADY, Servers, index_of, interface, network, python, reaches, setting};
use npc_tests::tables;
use npc_vocabulary::{Connection, Direction, Protocol, Traffic};

const PROGRAM: &str = r"admin policy no-c priority 1 for pods { app = b } in namespace x {
  deny ingress from pods { app = c } in namespace x on tcp/81 log
}
policy b for pods { app = b } in namespace x {
  allow ingress from pods { app = a } in same namespace on tcp/80, udp/53
  allow ingress from 10.0.0.3/32, fd00::3/128 on tcp/81
  isolate egress
}
policy a for pods { app = a } in namespace x {
  allow egress to pods { app in (b, c) } in same namespace on tcp/80-90, udp/53
  allow ingress from pods { app = c } in same namespace
}
";

const PODS: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, labels: {app: a}}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x, labels: {app: b}}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}, {ip: 'fd00::2'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: c, namespace: x, labels: {app: c}}
status: {phase: Running, podIPs: [{ip: 10.0.0.3}, {ip: 'fd00::3'}]}
";

pub(crate) fn packets() {
    let cluster = Cluster::parse(PODS).unwrap();
    let checked = Memory::one(PROGRAM).check(None);
    assert!(!checked.report.has_errors(), "{:?}", checked.report);
    let resolver = resolved(PROGRAM, &cluster);
    let image = Arc::clone(resolver.image());
    setting("ipv4/ip_forward", "1");
    setting("ipv6/conf/all/forwarding", "1");
    let (mut endpoints, mut hosts, mut servers) = (Vec::new(), Vec::new(), Servers::default());
    for (place, pod) in cluster.pods.iter().enumerate() {
        let host = network(&pod.name, &pod.addresses);
        let interface = index_of(&host);
        endpoints.push(Endpoint::new(place as u32, interface, place as u32 + 1));
        hosts.push(host);
        servers.start(&pod.name);
    }
    // Without the program everything arrives, so later drops are its effect.
    assert!(reaches("c", "tcp", cluster.pods[1].addresses[1], 81), "the network of the test does not work");
    let pins = Path::new("/sys/fs/bpf/npc-test");
    let mut node = Node::open(pins).unwrap();
    node.set_sockets(Some(Path::new("/run/cgroup").to_owned()));
    assert!(node.attach(&interface(&hosts[0])).is_err(), "there is nothing to judge by yet");
    node.enforce(&resolver, &endpoints).unwrap();
    hosts.iter().for_each(|host| node.attach(&interface(host)).unwrap());
    let mut events = node.loaded().unwrap().take_events().unwrap();
    let (mut sent, mut arrived) = (0, 0);
    for (from, source) in cluster.pods.iter().enumerate() {
        for (to, destination) in cluster.pods.iter().enumerate() {
            if from == to {
                continue;
            }
            for (kind, protocol, port) in
                [("tcp", Protocol::Tcp, 80), ("tcp", Protocol::Tcp, 81), ("udp", Protocol::Udp, 53)]
            {
                for family in 0..2 {
                    let address = destination.addresses[family];
                    let connection = Connection::direct(
                        cluster.endpoint(from, Some(source.addresses[family])).unwrap(),
                        cluster.endpoint(to, Some(address)).unwrap(),
                        Traffic::Port(protocol, port),
                    );
                    let expected = npc_model::verdict(&checked.program, &connection).allowed();
                    let found = reaches(&source.name, kind, address, port);
                    assert_eq!(found, expected, "{} -> {address} {kind}/{port}", source.name);
                    sent += 1;
                    arrived += usize::from(found);
                }
            }
        }
    }
    // A denial is reported with the rule that denies and its location.
    let denial = events.by_ref().find(|event| {
        let reason = resolver.reasons().reason(event.decision.enforced() & Decision::REASON);
        reason == Reason::Rule { policy: 0, rule: 0 } && event.ports.1 == 81
    });
    let denial = denial.expect("the denial of c's connection to b is told");
    let rule = image.policies[0].rules[0].place;
    assert_eq!((rule.line, denial.direction), (2, Direction::Ingress));
    assert_eq!((denial.endpoint, denial.decision.allows()), (2, false));
    println!(
        "kernel: {sent} connections over veths, {arrived} arrived, 0 otherwise than the interpreter says"
    );
    assert!(arrived > 10 && arrived < sent);
    swaps(node, &cluster, &endpoints, &hosts);
}

/// A resolver for a program and the pods of the cluster.
fn resolved(program: &str, cluster: &Cluster) -> Resolver {
    let checked = Memory::one(program).check(None);
    assert!(!checked.report.has_errors(), "{:?}", checked.report);
    let mut resolver = Resolver::new(tables::image(&checked.program, checked.sources()), Vec::new());
    for (place, pod) in cluster.pods.iter().enumerate() {
        resolver.set_pod(place as u32, npc_resolver::Pod::new("x", pod, true));
    }
    resolver
}

/// Continuously sends packets that both programs deny, one at the source and the other at the destination.
const FLOOD: &str = r"
import socket, select, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sent = 0
while not select.select([sys.stdin], [], [], 0.001)[0]:
    for _ in range(50):
        try: s.sendto(b'x', ('10.0.0.2', 99))
        except OSError: pass
    sent += 50
print(sent)
";

/// Prints a line for each of these packets that arrives.
const LEAK: &str = r"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.0.0.2', 99))
print('ready', flush=True)
while True:
    s.recv(9); print('leak', flush=True)
";

/// Allows `c` to send, and not `b` to receive.
const ONE: &str = "policy c for pods { app = c } in namespace x {
  allow egress to pods { app = b } in same namespace on udp/99
}
";

/// Allows `b` to receive, and not `c` to send.
const OTHER: &str = "policy c for pods { app = c } in namespace x {
  isolate egress
}
policy from-c for pods { app = b } in namespace x {
  allow ingress from pods { app = c } in same namespace on udp/99
}
";

/// Programs replace each other under traffic: a connection that both allow continues, and a packet that
/// neither allows never arrives, although each half of it is allowed by one of them. A connection that the
/// last program denies is cut. Enforcement continues when the process ends.
fn swaps(mut node: Node, cluster: &Cluster, endpoints: &[Endpoint], hosts: &[String]) {
    let other = PROGRAM.replace("tcp/80, udp/53", "tcp/80-90").replace("policy b for", "policy other for");
    let programs =
        [resolved(&format!("{other}{ONE}"), cluster), resolved(&format!("{PROGRAM}{OTHER}"), cluster)];
    let address = cluster.pods[1].addresses[0].to_string();
    let mut steady = python("a", STEADY, &[&address]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(steady.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "open");
    // Read continuously, so that the client never blocks.
    let reader = std::thread::spawn(move || lines.map(Result::unwrap).collect::<Vec<String>>());
    node.enforce(&programs[1], endpoints).unwrap();
    let mut leak = python("b", LEAK, &[]).stdout(Stdio::piped()).spawn().unwrap();
    let mut leaks = BufReader::new(leak.stdout.take().unwrap()).lines();
    assert_eq!(leaks.next().unwrap().unwrap(), "ready");
    let mut flood = python("c", FLOOD, &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let before = node.generation();
    let swaps: u32 = npc_tests::settings::amount("NPC_TEST_SWAPS", 400, 400);
    let mut between = 0;
    for swap in 0..swaps {
        node.enforce(&programs[swap as usize % 2], endpoints).unwrap();
        if swap % 100 == 0 {
            assert!(
                !reaches("c", "udp", cluster.pods[1].addresses[0], 53),
                "c reaches b while programs change"
            );
        }
        between = node.loaded().unwrap().troubles().unwrap().between_generations;
    }
    flood.stdin.take();
    let sent = String::from_utf8(flood.wait_with_output().unwrap().stdout).unwrap();
    leak.kill().unwrap();
    leak.wait().unwrap();
    assert_eq!(leaks.count(), 0, "a packet was judged by two programs, each of which denies it");
    assert_eq!(node.generation(), before + swaps);
    // The programs stay attached when the process ends.
    drop(node);
    assert!(!reaches("c", "tcp", cluster.pods[1].addresses[0], 80), "nothing is enforced any more");
    assert!(reaches("a", "tcp", cluster.pods[1].addresses[0], 80), "what is allowed is cut");
    let mut node = Node::open(Path::new("/sys/fs/bpf/npc-test")).unwrap();
    node.set_sockets(Some(Path::new("/run/cgroup").to_owned()));
    assert_eq!(node.generation(), before + swaps, "the next one knows where it was");
    assert!(!reader.is_finished(), "what both allow was cut");
    // A connection that is no longer allowed is cut, although it is open.
    let denied = PROGRAM.replace("on tcp/80, udp/53", "on tcp/79");
    node.enforce(&resolved(&denied, cluster), endpoints).unwrap();
    let lines = reader.join().unwrap();
    steady.wait().unwrap();
    assert_eq!(lines.last().map(String::as_str), Some("cut"));
    assert!(lines.len() > 500, "{}", lines.len());
    // Detach one interface and keep the others.
    hosts.iter().for_each(|host| node.attach(&interface(host)).unwrap());
    node.detach(&interface(&hosts[1])).unwrap();
    node.remove_endpoint(endpoints[1].pod).unwrap();
    assert!(reaches("c", "tcp", cluster.pods[1].addresses[0], 80), "b is judged though it is detached");
    assert!(!reaches("b", "tcp", cluster.pods[0].addresses[0], 80), "a is no longer judged");
    node.detach_all().unwrap();
    assert!(!Path::new("/sys/fs/bpf/npc-test").exists());
    assert!(reaches("b", "tcp", cluster.pods[0].addresses[0], 80), "something is left");
    println!(
        "kernel: {swaps} swaps under traffic, {} messages of an open connection, 0 cuts; {} packets that each program denies at another end, {between} of them between two, 0 passed",
        lines.len(),
        sent.trim()
    );
}
