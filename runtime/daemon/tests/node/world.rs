//! The pods: three behind routes, two behind a bridge, and one on another machine.

use std::net::IpAddr;
use std::process::Command;

use npc_cluster::Cluster;
use npc_tests::memory::Memory;
use npc_tests::net::{Servers, ip, network, reaches, setting};
use npc_vocabulary::{Connection, Protocol, Traffic};

use crate::daemon::Daemon;

pub(crate) const PROGRAM: &str = r"policy a for pods { app = a } in namespace x {
  allow egress to pods { app = b } in same namespace on tcp/80, tcp/89, udp/53
  allow egress to pods { app = far } in same namespace on tcp/80
  allow egress to 10.255.0.1/32, 198.51.100.1/32, 203.0.113.0/24 on tcp/80
  allow ingress from pods { app = c } in same namespace
}
policy b for pods { app = b } in namespace x {
  allow ingress from pods { app = a } in same namespace on tcp/80, tcp/89, udp/53
}
policy d for pods { app = d } in namespace x {
  allow ingress from pods { app = e } in same namespace on tcp/81
  allow egress to pods { app = b } in same namespace
}
";

pub(crate) const PODS: &str = r"
apiVersion: v1
kind: Namespace
metadata: {name: x}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: x, uid: a1, labels: {app: a}}
spec: {nodeName: here}
status: {phase: Running, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: x, uid: b1, labels: {app: b}}
spec: {nodeName: here}
status: {phase: Running, podIPs: [{ip: 10.0.0.2}, {ip: 'fd00::2'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: c, namespace: x, uid: c1, labels: {app: c}}
spec: {nodeName: here}
status: {phase: Running, podIPs: [{ip: 10.0.0.3}, {ip: 'fd00::3'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: d, namespace: x, uid: d1, labels: {app: d}}
spec: {nodeName: here}
status: {phase: Running, podIPs: [{ip: 10.1.0.4}, {ip: 'fd01::4'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: e, namespace: x, uid: e1, labels: {app: e}}
spec: {nodeName: here}
status: {phase: Running, podIPs: [{ip: 10.1.0.5}, {ip: 'fd01::5'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: far, namespace: x, uid: far1, labels: {app: far}}
spec: {nodeName: there}
status: {phase: Running, podIPs: [{ip: 192.0.2.9}, {ip: 'fd02::9'}]}
";

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    _servers: Servers,
}

/// Creates a pod behind the bridge `br0`.
fn bridged(name: &str, addresses: &[IpAddr]) {
    ip(&format!("netns add {name}"));
    ip(&format!("link add host-{name} type veth peer name eth0 netns {name}"));
    ip(&format!("link set host-{name} master br0 up"));
    for device in ["lo", "eth0"] {
        ip(&format!("-n {name} link set {device} up"));
    }
    for address in addresses {
        let (length, rest) = if address.is_ipv4() { (24, "") } else { (64, " nodad") };
        ip(&format!("-n {name} addr add {address}/{length} dev eth0{rest}"));
    }
    ip(&format!("-n {name} route add default via 10.1.0.254"));
    ip(&format!("-n {name} -6 route add default via fd01::fe"));
}

/// Creates another machine with a pod, behind this machine's uplink.
fn other_machine() {
    ip("netns add far");
    ip("link add up0 type veth peer name eth0 netns far");
    ip("link set up0 up");
    ip("addr add 192.0.2.1/24 dev up0");
    ip("addr add fd02::1/64 dev up0 nodad");
    for device in ["lo", "eth0"] {
        ip(&format!("-n far link set {device} up"));
    }
    ip("-n far addr add 192.0.2.9/24 dev eth0");
    ip("-n far addr add fd02::9/64 dev eth0 nodad");
    ip("-n far route add default via 192.0.2.1");
    ip("-n far -6 route add default via fd02::1");
}

impl World {
    pub(crate) fn new() -> Self {
        setting("ipv4/ip_forward", "1");
        setting("ipv6/conf/all/forwarding", "1");
        let cluster = Cluster::parse(PODS).unwrap();
        ip("link add br0 type bridge");
        ip("link set br0 up");
        ip("addr add 10.1.0.254/24 dev br0");
        ip("addr add fd01::fe/64 dev br0 nodad");
        let mut servers = Servers::default();
        for pod in &cluster.pods {
            match pod.name.as_str() {
                "d" | "e" => bridged(&pod.name, &pod.addresses),
                "far" => other_machine(),
                _ => drop(network(&pod.name, &pod.addresses)),
            }
            servers.start(&pod.name);
        }
        // A server on the node itself, outside the pods' network namespaces.
        servers.here();
        assert!(reaches("c", "tcp", address("10.0.0.2"), 81), "the network of the test does not work");
        assert!(reaches("d", "tcp", address("192.0.2.9"), 80), "the network of the test does not work");
        Self { cluster, _servers: servers }
    }
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Every pod connects to every other. The results must equal the interpreter's verdicts, and the kernel's
/// verdicts that the daemon reports.
pub(crate) fn connections(world: &World, daemon: &Daemon) {
    let cluster = &world.cluster;
    let checked = Memory::one(PROGRAM).check(None);
    assert!(!checked.report.has_errors(), "{:?}", checked.report);
    let (mut sent, mut arrived, mut asked) = (0, 0, String::new());
    let mut expected = Vec::new();
    for (from, source) in cluster.pods.iter().enumerate() {
        for (to, destination) in cluster.pods.iter().enumerate() {
            for (kind, protocol, port) in [("tcp", Protocol::Tcp, 80), ("udp", Protocol::Udp, 53)] {
                for (own, other) in source.addresses.iter().zip(&destination.addresses) {
                    if from == to {
                        continue;
                    }
                    let connection = Connection::direct(
                        cluster.endpoint(from, Some(*own)).unwrap(),
                        cluster.endpoint(to, Some(*other)).unwrap(),
                        Traffic::Port(protocol, port),
                    );
                    let allowed = npc_model::verdict(&checked.program, &connection).allowed();
                    let found = reaches(&source.name, kind, *other, port);
                    assert_eq!(found, allowed, "{} -> {other} {kind}/{port}", source.name);
                    sent += 1;
                    arrived += usize::from(found);
                    asked += &format!(
                        "{{\"src\": \"x/{}\", \"srcIP\": \"{own}\", \"dst\": \"x/{}\", \"dstIP\": \"{other}\", \"proto\": \"{kind}\", \"port\": {port}}}\n",
                        source.name, destination.name
                    );
                    expected.push(allowed);
                }
            }
        }
    }
    let answers = daemon.query(&asked);
    assert_eq!(answers.len(), expected.len());
    for (answer, allowed) in answers.iter().zip(expected) {
        assert_eq!(answer["allowed"], allowed, "{answer}");
        assert_eq!(answer["agree"], true, "{answer}");
        let kernel = |side: &str| answer[side]["kernel"] != serde_json::Value::Null;
        let is_here = |end: &str| !answer[end].as_str().unwrap().contains("far");
        assert_eq!(
            (kernel("egress"), kernel("ingress")),
            (is_here("source"), is_here("destination")),
            "{answer}"
        );
    }
    println!(
        "node: {sent} connections over routes, a bridge and a way out, {arrived} arrived, 0 otherwise than the interpreter says; the kernel, asked by `query`, agrees"
    );
    // Packets with another pod's source address are dropped.
    let spoof = Command::new("ip")
        .args(["netns", "exec", "c", "ip", "addr", "add", "10.0.0.1/32", "dev", "lo"])
        .status()
        .unwrap();
    assert!(spoof.success());
    let before = daemon.status()["dropped"]["foreignSource"].as_u64().unwrap();
    let sent = npc_tests::net::python(
        "c",
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('10.0.0.1', 0)); s.sendto(b'x', ('10.0.0.2', 53))",
        &[],
    );
    assert!({ sent }.status().unwrap().success());
    let after = daemon.status()["dropped"]["foreignSource"].as_u64().unwrap();
    assert_eq!(after, before + 1, "a packet from another pod's address");
    ip("-n c addr del 10.0.0.1/32 dev lo");
}
