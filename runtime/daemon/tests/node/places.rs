//! Interfaces of pods: reported by the CNI plugin before the API server knows the pods, stored for the next
//! daemon, and not overridden by other claims.

use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use npc_tests::net::{Servers, ip, network, python, reaches};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::world::{PODS, address};

/// Runs the CNI plugin as a container runtime does after the previous plugins have created the pod's
/// interface.
fn run_plugin(name: &str, uid: &str, host: &str, addresses: &[IpAddr]) {
    let ips: Vec<Value> = addresses
        .iter()
        .map(|ip| json!({"address": format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 })}))
        .collect();
    let configuration = json!({
        "cniVersion": "1.0.0",
        "name": "test",
        "type": "npc-cni",
        "socket": "/run/npc-test/node.sock",
        "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": host}], "ips": ips},
    });
    let mut plugin = Command::new(env!("CARGO_BIN_EXE_npc-cni"))
        .env("CNI_COMMAND", "ADD")
        .env("CNI_ARGS", format!("K8S_POD_NAMESPACE=x;K8S_POD_NAME={name};K8S_POD_UID={uid}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    plugin.stdin.take().unwrap().write_all(configuration.to_string().as_bytes()).unwrap();
    let output = plugin.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The pods, and one more whose status has these addresses.
fn with(name: &str, uid: &str, label: &str, addresses: &str) -> String {
    format!(
        "{PODS}---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: x, uid: {uid}, labels: {{app: {label}}}}}\nspec: {{nodeName: here}}\nstatus: {{phase: Pending, podIPs: [{addresses}]}}\n"
    )
}

fn interface_of<'s>(status: &'s Value, pod: &str) -> Option<&'s str> {
    let pods = status["pods"].as_array().unwrap();
    pods.iter().find(|own| own["pod"] == pod)?["interface"].as_str()
}

fn restart(daemon: &mut Daemon) {
    daemon.kill();
    daemon.start_again();
    daemon.wait("all is in force again", |status| status["ready"] == true);
}

pub(crate) fn places(daemon: &mut Daemon) {
    reported_by_the_plugin_first(daemon);
    recreated_sandbox(daemon);
    reused_address(daemon);
    false_arp_claim(daemon);
    renamed_interface(daemon);
}

/// A pod that the plugin reports before the API server does, and whose status has no address: its policies
/// apply, also after the daemon restarts.
fn reported_by_the_plugin_first(daemon: &mut Daemon) {
    let addresses = [address("10.0.0.20"), address("fd00::20")];
    let host = network("early", &addresses);
    let mut servers = Servers::default();
    servers.start("early");
    assert!(reaches("early", "tcp", address("10.0.0.3"), 80), "before it is judged");
    run_plugin("early", "early1", &host, &addresses);
    assert!(!reaches("early", "tcp", address("10.0.0.3"), 80), "nothing passes of a pod that nobody knows");
    // The daemon restarts before the pod is known.
    restart(daemon);
    assert!(!reaches("early", "tcp", address("10.0.0.3"), 80), "nothing passes of a pod that nobody knows");
    daemon.pods(&with("early", "other", "b", ""));
    daemon.wait("a pod of its name is known", |status| status["podsKnown"] == 7);
    assert!(!reaches("a", "tcp", addresses[0], 80), "which is another one");
    daemon.pods(&with("early", "early1", "b", ""));
    let is_judged = |status: &Value| interface_of(status, "x/early") == Some("host-early");
    daemon.wait("it is known", is_judged);
    for _ in 0..2 {
        assert!(reaches("a", "tcp", addresses[0], 80), "it is a `b`, which `a` may ask");
        assert!(!reaches("c", "tcp", addresses[0], 80), "and `c` may not");
        assert!(reaches("a", "tcp", addresses[1], 80), "by both families");
        restart(daemon);
        daemon.wait("it is where it was", is_judged);
    }
    println!(
        "node: a pod that the plugin told of before the API server had its policies, also after 3 starts of the daemon"
    );
}

/// A pod's sandbox is recreated, with another interface and other addresses, while the API server still
/// reports the first ones; then a pod with the same name and another UID is created.
fn recreated_sandbox(daemon: &mut Daemon) {
    let first = [address("10.0.0.20"), address("fd00::20")];
    let second = [address("10.0.0.21"), address("fd00::21")];
    ip("netns add parked");
    ip("link set host-early netns parked");
    ip("netns del parked");
    ip("netns del early");
    let host = network("early", &second);
    let mut servers = Servers::default();
    servers.start("early");
    daemon.pods(&with("early", "early1", "b", &format!("{{ip: {}}}, {{ip: '{}'}}", first[0], first[1])));
    run_plugin("early", "early1", &host, &second);
    assert!(reaches("a", "tcp", second[0], 80), "the addresses of its interface count");
    assert!(!reaches("c", "tcp", second[0], 80));
    restart(daemon);
    assert!(reaches("a", "tcp", second[0], 80), "also after the daemon starts again");
    assert!(!reaches("c", "tcp", second[0], 80));
    // Another pod with the same name on its own interface, while the first one is still known.
    let third = [address("10.0.0.22"), address("fd00::22")];
    let host = network("later", &third);
    servers.start("later");
    run_plugin("early", "early2", &host, &third);
    assert!(!reaches("a", "tcp", third[0], 80), "it is not judged as the first");
    assert!(reaches("a", "tcp", second[0], 80), "which stays what it is");
    daemon.pods(&with("early", "early2", "a", ""));
    daemon.wait("the second is known", |status| interface_of(status, "x/early") == Some("host-later"));
    assert!(reaches("later", "tcp", address("10.0.0.2"), 80), "it is an `a`");
    assert!(!reaches("a", "tcp", third[0], 80), "and no `b`");
    daemon.pods(PODS);
    daemon.wait("it is gone", |status| interface_of(status, "x/early").is_none());
    println!("node: a sandbox that was made anew, and a pod of the same name, each judged as itself");
}

/// A pod's interface is deleted and its address is given to another pod, while the API server still reports
/// it for the first one: the second is not mistaken for the first.
fn reused_address(daemon: &mut Daemon) {
    let addresses = [address("10.0.0.30")];
    network("old", &addresses);
    let pods = |more: &str| format!("{}{more}", with("old", "old1", "a", "{ip: 10.0.0.30}"));
    daemon.pods(&pods(""));
    daemon.wait("the first is judged", |status| interface_of(status, "x/old") == Some("host-old"));
    ip("link del host-old");
    ip("netns del old");
    let host = network("fresh", &addresses);
    let mut servers = Servers::default();
    servers.start("fresh");
    run_plugin("fresh", "fresh1", &host, &addresses);
    assert!(interface_of(&daemon.status(), "x/old").is_none(), "the first is nowhere");
    assert!(!reaches("fresh", "tcp", address("10.0.0.2"), 80), "the second is not judged as an `a`");
    let fresh = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: fresh, namespace: x, uid: fresh1, labels: {app: b}}\nspec: {nodeName: here}\nstatus: {phase: Pending}\n";
    daemon.pods(&pods(fresh));
    daemon.wait("the second is known", |status| interface_of(status, "x/fresh") == Some("host-fresh"));
    assert!(reaches("a", "tcp", addresses[0], 80), "it is a `b`");
    assert!(!reaches("fresh", "tcp", address("10.0.0.2"), 80), "and no `a`");
    assert!(interface_of(&daemon.status(), "x/old").is_none(), "the first is nowhere");
    daemon.pods(PODS);
    daemon.wait("both are gone", |status| interface_of(status, "x/fresh").is_none());
    println!("node: a pod with the address that the API server still tells of another was judged as itself");
}

/// A pod behind the bridge claims another pod's address: the daemon knows the owner.
fn false_arp_claim(daemon: &mut Daemon) {
    let before = daemon.status();
    let own = interface_of(&before, "x/d").unwrap().to_owned();
    let claim = "
import socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0x0806))
mac = s.getsockname()[4]
ip = socket.inet_aton('10.1.0.4')
arp = struct.pack('!HHBBH', 1, 0x0800, 6, 4, 2) + mac + ip + mac + ip
for _ in range(3): s.send(b'\\xff' * 6 + mac + b'\\x08\\x06' + arp)
";
    assert!(python("e", claim, &[]).status().unwrap().success());
    restart(daemon);
    daemon.wait("they are judged", |status| interface_of(status, "x/e").is_some());
    assert_eq!(interface_of(&daemon.status(), "x/d"), Some(own.as_str()), "another's word is not taken");
    ip("neigh flush dev br0");
    println!(
        "node: a pod that says that it has another's address is not believed when the daemon starts again"
    );
}

/// An interface is renamed: enforcement continues.
fn renamed_interface(daemon: &mut Daemon) {
    for (from, to) in [("host-c", "other.c-1"), ("other.c-1", "host-c")] {
        ip(&format!("link set {from} name {to}"));
        daemon.wait("it is known by its name", |status| interface_of(status, "x/c") == Some(to));
        assert!(!reaches("c", "tcp", address("10.0.0.2"), 80), "it is judged");
        assert!(reaches("c", "tcp", address("10.0.0.1"), 80), "by its policies");
        restart(daemon);
        daemon.wait("it is where it was", |status| interface_of(status, "x/c") == Some(to));
        assert!(!reaches("c", "tcp", address("10.0.0.2"), 80), "it is judged");
    }
    println!("node: an interface was renamed twice, and judged on");
}
