//! Services: addresses that the kernel's translation takes to pods. What a pod sends there is judged by
//! where it goes.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use npc_tests::net::{STEADY, python, reaches};

use crate::daemon::{Daemon, PINS};
use crate::world::{PROGRAM, address};

/// As kube-proxy does it: to a pod of this node, to one behind the bridge, to another machine's, to the node
/// itself; with the node's address in the place of the source, too.
const RULES: &str = r"
table ip services {
  chain pre {
    type nat hook prerouting priority dstnat;
    ip daddr 10.96.0.1 tcp dport 80 dnat to 10.0.0.2:80
    ip daddr 10.96.0.1 tcp dport 8080 dnat to 10.0.0.2:80
    ip daddr 10.96.0.1 udp dport 53 dnat to 10.0.0.2:53
    ip daddr 10.96.0.2 tcp dport 80 dnat to 10.0.0.3:80
    ip daddr 10.96.0.3 tcp dport 80 dnat to 192.0.2.9:80
    ip daddr 10.96.0.4 tcp dport 80 dnat to 10.255.0.1:80
    ip daddr 10.96.0.4 tcp dport 81 dnat to 10.255.0.1:81
    ip daddr 10.96.0.5 tcp dport 80 dnat to 10.0.0.1:80
    ip daddr 10.96.0.6 tcp dport 80 dnat to 10.0.0.2:80
    ip daddr 10.96.0.7 tcp dport 80 dnat to 10.1.0.4:80
    ip daddr 10.96.0.7 tcp dport 81 dnat to 10.1.0.4:81
    ip daddr 10.96.0.8 tcp dport 80 dnat to 192.0.2.9:81
    ip daddr 10.96.0.9 tcp dport { 80, 81 } dnat to 198.51.100.1
  }
  chain post {
    type nat hook postrouting priority srcnat;
    ct original ip daddr { 10.96.0.3, 10.96.0.5, 10.96.0.6 } masquerade fully-random
  }
}
table ip6 services {
  chain pre {
    type nat hook prerouting priority dstnat;
    ip6 daddr fd96::1 tcp dport 80 dnat to [fd00::2]:80
    ip6 daddr fd96::2 tcp dport 80 dnat to [fd00::3]:80
  }
}
";

pub(crate) fn translate() {
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(RULES.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
}

/// A tunnel whose packets begin with their IP header, and what leaves by it: the ports that are asked for.
const TUNNEL: &str = r"
import fcntl, os, select, struct, sys
tun = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH', b'tun0', 0x1001))
os.system('ip link set tun0 up; ip route add 198.51.100.0/24 dev tun0')
print('ready', flush=True)
while True:
    if sys.stdin in select.select([tun, sys.stdin], [], [])[0]: break
    packet = os.read(tun, 2000)
    if packet[0] == 0x45 and packet[9] == 6: print(int.from_bytes(packet[22:24], 'big'), flush=True)
";

/// What goes to a service that is translated to somebody behind a tunnel is judged where it leaves by that.
fn tunnel(daemon: &Daemon) {
    let mut tunnel = Command::new("python3")
        .args(["-c", TUNNEL])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(tunnel.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let pins = format!("{PINS}/links");
    let is_guarded = || {
        let names = std::fs::read_dir(&pins).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter_map(|name| name.into_string().ok()).any(|name| name.starts_with("tun0-"))
    };
    daemon.wait("what leaves by the tunnel is judged", |_| is_guarded());
    for port in [80, 81] {
        assert!(!reaches("a", "tcp", address("10.96.0.9"), port), "nobody answers there");
    }
    tunnel.stdin.take();
    tunnel.wait().unwrap();
    let left: BTreeSet<String> = lines.map(Result::unwrap).collect();
    assert_eq!(left, BTreeSet::from(["80".to_owned()]), "a may ask on tcp/80 and not on tcp/81");
    println!(
        "node: what pods send to a service behind a tunnel without Ethernet headers is judged where it leaves"
    );
}

pub(crate) fn services(daemon: &mut Daemon) {
    tunnel(daemon);
    let expected = [
        ("a", "tcp", "10.96.0.1", 80, true, "a may ask b"),
        ("a", "tcp", "10.96.0.1", 8080, true, "it is b's port that counts"),
        ("a", "udp", "10.96.0.1", 53, true, "a may ask b by UDP"),
        ("c", "tcp", "10.96.0.1", 80, false, "b is not asked by c"),
        ("a", "tcp", "10.96.0.2", 80, false, "a may not ask c"),
        ("a", "tcp", "10.96.0.3", 80, true, "a may ask the pod of another machine, as the node"),
        ("a", "tcp", "10.96.0.8", 80, false, "but not on another port"),
        ("a", "tcp", "10.96.0.4", 80, true, "a may ask the node on tcp/80"),
        ("a", "tcp", "10.96.0.4", 81, false, "and not on tcp/81"),
        ("a", "tcp", "10.96.0.5", 80, true, "a reaches itself"),
        ("a", "tcp", "10.96.0.6", 80, true, "a may ask b, as the node"),
        ("c", "tcp", "10.96.0.6", 80, false, "c is not b's node, though its packet says so"),
        ("a", "tcp", "10.96.0.7", 80, false, "a may not ask d"),
        ("e", "tcp", "10.96.0.7", 80, false, "d is not asked by e on tcp/80"),
        ("a", "tcp", "10.96.0.99", 80, false, "nobody is behind it"),
        ("d", "tcp", "10.96.0.1", 80, false, "d may ask b, and b is not asked by d"),
        ("a", "tcp", "fd96::1", 80, true, "a may ask b by IPv6"),
        ("c", "tcp", "fd96::1", 80, false, "b is not asked by c"),
        ("a", "tcp", "fd96::2", 80, false, "a may not ask c"),
    ];
    let mut wrong = Vec::new();
    for (pod, kind, service, port, allowed, why) in expected {
        if reaches(pod, kind, address(service), port) != allowed {
            wrong.push(format!(
                "{pod} -> {service} {kind}/{port}, {}: {why}",
                if allowed { "cut" } else { "open" }
            ));
        }
    }
    assert!(wrong.is_empty(), "{}\n{:#?}", wrong.join("\n"), daemon.flows());
    println!("node: {} connections to services, 0 otherwise than by the pod that is reached", expected.len());
    // What was reported names the pod that would have been reached.
    let flows = daemon.flows();
    let told = flows.iter().any(|flow| {
        flow["direction"] == "egress" && flow["pod"] == "x/a" && flow["destination"]["pod"] == "x/c"
    });
    assert!(told, "{flows:#?}");
    // An open connection to a service ends when the program denies it.
    let mut steady = python("a", STEADY, &["10.96.0.1"]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    daemon.program(&PROGRAM.replace(
        "allow egress to pods { app = b } in same namespace on tcp/80, ",
        "allow egress to pods { app = b } in same namespace on ",
    ));
    let output = steady.stdout.take().unwrap();
    steady.wait().unwrap();
    let lines: Vec<String> = BufReader::new(output).lines().map(Result::unwrap).collect();
    assert_eq!(lines.first().map(String::as_str), Some("open"));
    assert_eq!(lines.last().map(String::as_str), Some("cut"));
    assert!(lines.len() > 20, "{lines:?}");
    assert!(!reaches("a", "tcp", address("10.96.0.1"), 80));
    daemon.program(PROGRAM);
    assert!(reaches("a", "tcp", address("10.96.0.1"), 80));
    println!("node: an open connection to a service was cut by the program that denies it");
}
