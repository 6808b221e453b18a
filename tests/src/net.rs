//! Pods as network namespaces behind interfaces of this machine, and connections between them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::settings::skip;
use npc_node::Interface;

/// Echoes messages on tcp/80, tcp/81 and udp/53, over IPv4 and IPv6.
const SERVER: &str = r"
import socket, threading
def tcp(port):
    s = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True)
    def serve(c):
        try:
            while data := c.recv(100): c.sendall(data)
        except OSError: pass
    while True:
        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
for port in (80, 81): threading.Thread(target=tcp, args=(port,), daemon=True).start()
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
u.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
u.bind(('::', 53))
print('ready', flush=True)
while True:
    data, who = u.recvfrom(65535)
    u.sendto(data, who)
";

/// Sends two messages, and prints `yes` if both come back.
const CLIENT: &str = r"
import socket, sys
kind, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ':' in host else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
s.settimeout(float(sys.argv[4]) if len(sys.argv) > 4 else 0.6)
try:
    s.connect((host, port))
    for message in (b'one', b'two'):
        s.sendall(message)
        if s.recv(100) != message: raise OSError()
    print('yes')
except OSError:
    print('no')
";

/// Sends a message every 5 milliseconds over one connection, and prints how many came back.
pub const STEADY: &str = r"
import socket, sys, time
s = socket.create_connection((sys.argv[1], 80), timeout=1)
print('open', flush=True)
count = 0
try:
    while True:
        s.sendall(b'x')
        if s.recv(1) != b'x': raise OSError()
        count += 1
        time.sleep(0.005)
        print(count, flush=True)
except OSError:
    print('cut', flush=True)
";

/// A server that sends and never receives.
const PUSHES: &str = r"
import socket, sys, time
s = socket.create_server((sys.argv[1], int(sys.argv[2])))
print('ready', flush=True)
c = s.accept()[0]
while True:
    c.sendall(b'x'); time.sleep(0.005)
";

/// A client that only receives.
const LISTENS: &str = r"
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2]))); s.settimeout(3)
print('open', flush=True)
try:
    while s.recv(1): print('x', flush=True)
except OSError: pass
print('cut', flush=True)
";

/// Sets up the test's own namespaces: `ip netns` keeps its names under `/run`, and programs are pinned in
/// `/sys/fs/bpf`.
const OWN: &str = "mount -t tmpfs none /run && mount -t bpf none /sys/fs/bpf && mkdir /run/cgroup && \
                   mount -t cgroup2 none /run/cgroup && ip link set lo up";

/// Whether the suite may load the kernel program: if `NPC_TEST_KERNEL` is set, as in `tests/all`. These suites take
/// minutes, need root and load programs into this machine's kernel. Otherwise reports that the suite is skipped.
///
/// # Panics
///
/// If `NPC_TEST_KERNEL` is set, but the kernel refuses to load a program.
#[must_use]
pub fn can_load(suite: &str) -> bool {
    if std::env::var_os("NPC_TEST_KERNEL").is_none() {
        skip(suite, "takes minutes; NPC_TEST_KERNEL=1 runs it as root, on Linux 6.6 or later");
        return false;
    }
    if let Err(why) = npc_node::probe() {
        panic!("NPC_TEST_KERNEL needs root and Linux 6.6 or later: {why}");
    }
    true
}

/// Whether this process runs in its own network namespace. If not, runs the same executable in a new one,
/// after the commands in `setup`.
///
/// # Panics
///
/// If that run fails.
#[must_use]
pub fn is_in_own_network(setup: &str, prepare: impl FnOnce(&mut Command)) -> bool {
    if std::env::var_os("NPC_TEST_NETWORK").is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "sh", "-c", &format!("{OWN} && {setup} && exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env("NPC_TEST_NETWORK", "own");
    prepare(&mut command);
    assert!(command.status().unwrap().success());
    false
}

/// Runs `ip`, which must succeed.
pub fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Sets a value under `/proc/sys/net`.
pub fn setting(name: &str, value: &str) {
    fs::write(format!("/proc/sys/net/{name}"), value).unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Creates a pod: a network namespace behind a routed veth pair. Returns the name of the host's interface.
pub fn network(name: &str, addresses: &[IpAddr]) -> String {
    let host = format!("host-{name}");
    ip(&format!("netns add {name}"));
    ip(&format!("link add {host} type veth peer name eth0 netns {name}"));
    ip(&format!("link set {host} up"));
    ip(&format!("addr add 10.255.0.1/32 dev {host}"));
    ip(&format!("addr add fe80::1/64 dev {host} nodad"));
    for device in ["lo", "eth0"] {
        ip(&format!("-n {name} link set {device} up"));
    }
    for address in addresses {
        let length = if address.is_ipv4() { 32 } else { 128 };
        let no_dad = if address.is_ipv4() { "" } else { " nodad" };
        ip(&format!("-n {name} addr add {address}/{length} dev eth0{no_dad}"));
        ip(&format!("route add {address}/{length} dev {host}"));
    }
    ip(&format!("-n {name} route add 10.255.0.1 dev eth0"));
    ip(&format!("-n {name} route add default via 10.255.0.1"));
    ip(&format!("-n {name} -6 route add default via fe80::1 dev eth0"));
    host
}

/// A command that runs a Python script in a pod.
#[must_use]
pub fn python(pod: &str, script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", pod, "python3", "-c", script]).args(arguments);
    command
}

/// A connection that is opened before the daemon starts, and on which only the server sends.
#[derive(Debug)]
pub struct Pushed {
    server: Child,
    client: Child,
}

impl Pushed {
    /// Opens a connection from one pod to a server in another.
    #[must_use]
    pub fn open(server: &str, address: &str, port: u16, client: &str) -> Self {
        let to = [address, &port.to_string()];
        let mut server = python(server, PUSHES, &to).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let client = python(client, LISTENS, &to).stdout(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300));
        Self { server, client }
    }

    /// Closes the connection after checking that it still works.
    ///
    /// # Panics
    ///
    /// If it was cut.
    pub fn goes_on(mut self, suite: &str) {
        let output = self.client.stdout.take().unwrap();
        let lines = std::thread::spawn(move || {
            BufReader::new(output).lines().map(Result::unwrap).collect::<Vec<_>>()
        });
        // Longer than the client's timeout.
        std::thread::sleep(Duration::from_secs(4));
        assert!(!lines.is_finished(), "what was open before was cut");
        self.client.kill().unwrap();
        self.server.kill().unwrap();
        self.client.wait().unwrap();
        self.server.wait().unwrap();
        let lines = lines.join().unwrap();
        assert!(lines.iter().filter(|line| *line == "x").count() > 200, "{}", lines.len());
        println!(
            "{suite}: a connection that was open before, and over which only the other side sends, went on"
        );
    }
}

/// Servers, stopped when dropped.
#[derive(Debug, Default)]
pub struct Servers(Vec<Child>);

impl Servers {
    /// Starts a server in a pod, on tcp/80, tcp/81 and udp/53.
    pub fn start(&mut self, pod: &str) {
        self.ready(python(pod, SERVER, &[]));
    }

    /// Starts a server outside all pods, in the test's own network.
    pub fn here(&mut self) {
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]);
        self.ready(command);
    }

    fn ready(&mut self, mut command: Command) {
        let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        self.0.push(server);
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether two messages from a pod to an address come back.
#[must_use]
pub fn reaches(pod: &str, kind: &str, address: IpAddr, port: u16) -> bool {
    is_yes(python(pod, CLIENT, &[kind, &address.to_string(), &port.to_string()]))
}

/// Like [`reaches`], with a longer timeout for connections that should work: a busy machine may be slow.
#[must_use]
pub fn reaches_in_time(pod: &str, kind: &str, address: IpAddr, port: u16) -> bool {
    is_yes(python(pod, CLIENT, &[kind, &address.to_string(), &port.to_string(), "5"]))
}

/// Whether two messages from the test's own network, which is the node, to an address come back.
#[must_use]
pub fn node_reaches(kind: &str, address: IpAddr, port: u16) -> bool {
    let mut command = Command::new("python3");
    command.args(["-c", CLIENT, kind, &address.to_string(), &port.to_string()]);
    is_yes(command)
}

fn is_yes(mut command: Command) -> bool {
    let output = command.output().unwrap();
    match output.stdout.as_slice() {
        b"yes\n" => true,
        b"no\n" => false,
        _ => panic!("{}", String::from_utf8_lossy(&output.stderr)),
    }
}

/// The index of an interface in this network.
#[must_use]
pub fn index_of(name: &str) -> u32 {
    let shown = Command::new("ip").args(["-o", "link", "show", name]).output().unwrap();
    String::from_utf8(shown.stdout).unwrap().split(':').next().unwrap().trim().parse().unwrap()
}

/// The MAC address of an interface in this network, or in a pod's.
#[must_use]
pub fn mac_of(pod: Option<&str>, name: &str) -> String {
    let mut command = Command::new("ip");
    if let Some(pod) = pod {
        command.args(["-n", pod]);
    }
    let shown = command.args(["-o", "link", "show", name]).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    shown.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

/// An interface in this network.
#[must_use]
pub fn interface(name: &str) -> Interface {
    Interface { index: index_of(name), name: name.to_owned() }
}
