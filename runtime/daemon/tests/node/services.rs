//! Services: packets to their addresses are translated by the kernel and evaluated by their final
//! destination.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use npc_tests::net::{STEADY, python, reaches, reaches_in_time};

use crate::daemon::{Daemon, PINS};
use crate::world::{PROGRAM, address};

/// The translations of kube-proxy: protocol, address and port, and the endpoint. Endpoints are pods on this
/// node, behind the bridge and on another machine, and the node itself. Addresses are Service addresses, load
/// balancer addresses outside `--services`, and node ports.
const TRANSLATED: [(&str, &str, u16, &str, u16); 26] = [
    ("tcp", "10.96.0.1", 80, "10.0.0.2", 80),
    ("tcp", "10.96.0.1", 8080, "10.0.0.2", 80),
    ("udp", "10.96.0.1", 53, "10.0.0.2", 53),
    ("tcp", "10.96.0.2", 80, "10.0.0.3", 80),
    ("tcp", "10.96.0.3", 80, "192.0.2.9", 80),
    ("tcp", "10.96.0.4", 80, "10.255.0.1", 80),
    ("tcp", "10.96.0.4", 81, "10.255.0.1", 81),
    ("tcp", "10.96.0.5", 80, "10.0.0.1", 80),
    ("tcp", "10.96.0.6", 80, "10.0.0.2", 80),
    ("tcp", "10.96.0.7", 80, "10.1.0.4", 80),
    ("tcp", "10.96.0.7", 81, "10.1.0.4", 81),
    ("tcp", "10.96.0.8", 80, "192.0.2.9", 81),
    ("tcp", "10.96.0.9", 80, "198.51.100.1", 80),
    ("tcp", "10.96.0.9", 81, "198.51.100.1", 81),
    ("tcp", "10.96.0.10", 80, "10.0.0.3", 80),
    ("tcp", "203.0.113.5", 80, "10.0.0.3", 80),
    ("tcp", "203.0.113.6", 80, "10.0.0.2", 80),
    ("tcp", "203.0.113.7", 80, "192.0.2.9", 81),
    ("tcp", "203.0.113.8", 80, "192.0.2.9", 80),
    ("tcp", "192.0.2.1", 30080, "10.0.0.2", 80),
    ("tcp", "192.0.2.1", 30081, "10.0.0.3", 80),
    ("udp", "192.0.2.1", 30053, "10.0.0.2", 53),
    ("tcp", "fd96::1", 80, "fd00::2", 80),
    ("tcp", "fd96::2", 80, "fd00::3", 80),
    ("tcp", "fd02::1", 30080, "fd00::2", 80),
    ("tcp", "fd02::1", 30081, "fd00::3", 80),
];

/// Addresses for which the source is also replaced by the node's address.
const MASQUERADED: [&str; 7] =
    ["10.96.0.3", "10.96.0.5", "10.96.0.6", "10.96.0.10", "203.0.113.8", "192.0.2.1", "fd02::1"];

fn feed(command: &[&str], text: &str) {
    let mut child = Command::new(command[0]).args(&command[1..]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}\n{text}");
}

/// Translates with nftables.
pub(crate) fn translate() {
    let mut text = String::new();
    for (family, word) in [("ip", "."), ("ip6", ":")] {
        text +=
            &format!("table {family} services {{\n chain pre {{ type nat hook prerouting priority dstnat;\n");
        for (protocol, address, port, to, to_port) in TRANSLATED.iter().filter(|own| own.1.contains(word)) {
            let to = if family == "ip6" { format!("[{to}]:{to_port}") } else { format!("{to}:{to_port}") };
            text += &format!("  {family} daddr {address} {protocol} dport {port} dnat to {to}\n");
        }
        text += " }\n chain post { type nat hook postrouting priority srcnat;\n";
        for address in MASQUERADED.iter().filter(|address| address.contains(word)) {
            text +=
                &format!("  ct status dnat ct original {family} daddr {address} masquerade fully-random\n");
        }
        text += " }\n}\n";
    }
    feed(&["nft", "-f", "-"], &text);
}

/// Translates with iptables instead of nftables.
fn translate_by_iptables() {
    feed(&["nft", "-f", "-"], "delete table ip services\ndelete table ip6 services\n");
    for (command, word) in [("iptables-legacy-restore", "."), ("ip6tables-legacy-restore", ":")] {
        let mut text = "*nat\n".to_owned();
        for (protocol, address, port, to, to_port) in TRANSLATED.iter().filter(|own| own.1.contains(word)) {
            let to = if word == ":" { format!("[{to}]:{to_port}") } else { format!("{to}:{to_port}") };
            text += &format!(
                "-A PREROUTING -d {address} -p {protocol} --dport {port} -j DNAT --to-destination {to}\n"
            );
        }
        for address in MASQUERADED.iter().filter(|address| address.contains(word)) {
            text += &format!(
                "-A POSTROUTING -m conntrack --ctstate DNAT --ctorigdst {address} -j MASQUERADE --random-fully\n"
            );
        }
        feed(&[command], &format!("{text}COMMIT\n"));
    }
}

/// A tunnel device without Ethernet headers. Prints the destination ports of packets that leave through it.
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

/// Packets to a Service with an endpoint behind a tunnel are evaluated when they leave through it.
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

/// Expected results: the pod or machine that connects, protocol, address, port, whether it is allowed, and
/// why.
const EXPECTED: [(&str, &str, &str, u16, bool, &str); 40] = [
    ("a", "tcp", "10.96.0.1", 80, true, "a may ask b"),
    ("a", "tcp", "10.96.0.1", 8080, true, "it is b's port that counts"),
    ("a", "udp", "10.96.0.1", 53, true, "a may ask b by UDP"),
    ("c", "tcp", "10.96.0.1", 80, false, "b is not asked by c"),
    ("a", "tcp", "10.96.0.2", 80, false, "a may not ask c"),
    ("a", "tcp", "10.96.0.3", 80, true, "a may ask the pod of another machine, as the node"),
    ("a", "tcp", "10.96.0.8", 80, false, "but not on another port"),
    ("a", "tcp", "10.96.0.4", 80, true, "a may ask the node on tcp/80"),
    ("a", "tcp", "10.96.0.4", 81, false, "and not on tcp/81"),
    ("a", "tcp", "10.96.0.5", 80, false, "a reaches itself by a Service where its policies allow it"),
    ("c", "tcp", "10.96.0.10", 80, true, "as those of c do"),
    ("a", "tcp", "10.96.0.6", 80, true, "a may ask b, as the node"),
    ("c", "tcp", "10.96.0.6", 80, false, "c is not b's node, though its packet says so"),
    ("a", "tcp", "10.96.0.7", 80, false, "a may not ask d"),
    ("e", "tcp", "10.96.0.7", 80, false, "d is not asked by e on tcp/80"),
    ("e", "tcp", "10.96.0.7", 81, true, "but on tcp/81"),
    ("a", "tcp", "10.96.0.99", 80, false, "nobody is behind it"),
    ("d", "tcp", "10.96.0.1", 80, false, "d may ask b, and b is not asked by d"),
    ("d", "tcp", "10.96.0.2", 80, false, "d may not ask c"),
    ("a", "tcp", "203.0.113.5", 80, false, "a may send to the load balancer, and not to c behind it"),
    ("a", "tcp", "203.0.113.6", 80, true, "a may ask b"),
    ("a", "tcp", "203.0.113.7", 80, false, "a may not ask the other machine on tcp/81"),
    ("a", "tcp", "203.0.113.8", 80, true, "but on tcp/80, as the node"),
    ("d", "tcp", "203.0.113.5", 80, false, "d may not ask c"),
    ("e", "tcp", "203.0.113.5", 80, true, "e may"),
    ("a", "tcp", "192.0.2.1", 30080, true, "a may ask b by a port of the node"),
    ("a", "udp", "192.0.2.1", 30053, true, "a may ask b by a port of the node by UDP"),
    ("a", "tcp", "192.0.2.1", 30081, false, "and not c"),
    ("c", "tcp", "192.0.2.1", 30080, false, "b is not asked by c"),
    ("d", "tcp", "192.0.2.1", 30081, false, "d may not ask c"),
    ("e", "tcp", "192.0.2.1", 30081, true, "e may"),
    ("far", "tcp", "192.0.2.1", 30080, false, "b is not asked by others, as the node either"),
    ("far", "udp", "192.0.2.1", 30053, false, "b is not asked by others by UDP"),
    ("far", "tcp", "192.0.2.1", 30081, true, "c may be asked"),
    ("a", "tcp", "fd96::1", 80, true, "a may ask b by IPv6"),
    ("c", "tcp", "fd96::1", 80, false, "b is not asked by c"),
    ("a", "tcp", "fd96::2", 80, false, "a may not ask c"),
    ("a", "tcp", "fd02::1", 30080, true, "a may ask b by a port of the node"),
    ("far", "tcp", "fd02::1", 30080, false, "b is not asked by others, as the node either"),
    ("far", "tcp", "fd02::1", 30081, true, "c may be asked"),
];

/// Tries all expected connections.
fn connect(daemon: &Daemon, how: &str) {
    let mut wrong = Vec::new();
    for (pod, kind, service, port, allowed, why) in EXPECTED {
        let reaches = if allowed { reaches_in_time } else { reaches };
        if reaches(pod, kind, address(service), port) != allowed {
            wrong.push(format!(
                "{pod} -> {service} {kind}/{port}, {}: {why}",
                if allowed { "cut" } else { "open" }
            ));
        }
    }
    assert!(wrong.is_empty(), "{how}: {}\n{:#?}", wrong.join("\n"), daemon.flows());
    let allowed = EXPECTED.iter().filter(|(_, _, _, _, allowed, _)| *allowed).count();
    println!(
        "node: {} connections to Services, load balancers and ports of the node, {how}: {allowed} allowed and 0 of them dropped, {} forbidden and 0 of them passed",
        EXPECTED.len(),
        EXPECTED.len() - allowed
    );
}

/// Filters of another agent on the pods' interfaces, which classify packets and thereby set `tc_index`.
fn with_filters(daemon: &Daemon) {
    for pod in ["a", "c", "d", "e"] {
        for words in [
            format!("qdisc add dev host-{pod} clsact"),
            format!("filter add dev host-{pod} ingress protocol all u32 match u32 0 0 classid 1:7"),
        ] {
            assert!(Command::new("tc").args(words.split(' ')).status().unwrap().success(), "tc {words}");
        }
    }
    connect(daemon, "beside filters that overwrite tc_index");
    for pod in ["a", "c", "d", "e"] {
        let words = format!("qdisc del dev host-{pod} clsact");
        assert!(Command::new("tc").args(words.split(' ')).status().unwrap().success());
    }
}

pub(crate) fn services(daemon: &mut Daemon) {
    tunnel(daemon);
    connect(daemon, "translated by nftables");
    with_filters(daemon);
    daemon.set_services(None);
    connect(daemon, "translated by nftables, without --services");
    with_filters(daemon);
    daemon.set_services(Some("10.96.0.0/16,fd96::/64"));
    translate_by_iptables();
    connect(daemon, "translated by iptables");

    // Reported flows name the pod that the packet would have reached.
    let flows = daemon.flows();
    let told = flows.iter().any(|flow| {
        flow["direction"] == "egress" && flow["pod"] == "x/a" && flow["destination"]["pod"] == "x/c"
    });
    assert!(told, "{flows:#?}");
    // An open connection to a Service is cut when a new program denies it.
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
