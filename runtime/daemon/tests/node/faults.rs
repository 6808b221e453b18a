//! Faults on a node, with counts.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData};
use npc_tests::net::{Pushed, STEADY, Servers, ip, network, python, reaches};

use crate::daemon::{Daemon, PINS, image};
use crate::world::{PODS, PROGRAM, World, address};

/// Continuously tries denied connections, and counts those that succeed.
pub(crate) const INTRUDER: &str = r"
import socket, sys, select, time
end = time.monotonic() + 600
tried = got = 0
while time.monotonic() < end and not select.select([sys.stdin], [], [], 0)[0]:
    for host, service in (('10.0.0.2', False), ('10.96.0.6', True)):
        t = socket.socket(); t.settimeout(0.02)
        tried += 1
        try:
            t.connect((host, 80)); got += 1
        except OSError: pass
        t.close()
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(0.02)
    tried += 1
    try:
        u.sendto(b'x', ('10.0.0.2', 53)); u.recv(1); got += 1
    except OSError: pass
    u.close()
print(tried, got)
";

/// A connection that continuously sends and receives.
pub(crate) struct Steady {
    process: Child,
    reader: JoinHandle<Vec<String>>,
}

impl Steady {
    pub(crate) fn new(pod: &str, to: &str) -> Self {
        let mut process = python(pod, STEADY, &[to]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "open");
        let reader = std::thread::spawn(move || lines.map(Result::unwrap).collect());
        Self { process, reader }
    }

    /// Checks that the connection was not cut, and returns the number of messages.
    pub(crate) fn end(mut self) -> usize {
        assert!(
            !self.reader.is_finished(),
            "what is allowed was cut: {:?}",
            self.reader.join().unwrap().last()
        );
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.reader.join().unwrap().len()
    }
}

/// A connection from `a` to `b` on which only `b` sends.
pub(crate) fn pushed() -> Pushed {
    Pushed::open("b", "10.0.0.2", 89, "a")
}

pub(crate) fn faults(world: &World, daemon: &mut Daemon) {
    killed_daemon(daemon);
    lost_conntrack_records();
    conntrack_overflow();
    bad_images(daemon);
    no_memory(daemon);
    recreated_interface(world, daemon);
    reused_address(daemon);
}

/// The daemon is killed repeatedly at random moments.
fn killed_daemon(daemon: &mut Daemon) {
    let kills: u32 = npc_tests::settings::amount("NPC_TEST_KILLS", 100, 100);
    let steady = [Steady::new("a", "10.0.0.2"), Steady::new("a", "10.96.0.1"), Steady::new("a", "10.96.0.3")];
    let mut intruder =
        python("c", INTRUDER, &[]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..kills {
        // During loading, during writing, or while idle.
        std::thread::sleep(Duration::from_millis(random.u64(..700)));
        daemon.kill();
        daemon.start_again();
    }
    daemon.wait("all pods are judged again", |status| status["ready"] == true);
    intruder.stdin.take();
    let output = intruder.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (tried, got) = text.trim().split_once(' ').unwrap();
    assert_eq!(got, "0", "a packet against the policy passed");
    assert!(tried.parse::<u32>().unwrap() > kills, "{tried}");
    let messages: usize = steady.into_iter().map(Steady::end).sum();
    assert!(messages > 200, "{messages}");
    println!(
        "node: {kills} kills under traffic: {messages} messages of 3 open connections, 0 cut; {tried} forbidden connections, 0 passed"
    );
}

/// All conntrack records are lost: open connections continue.
fn lost_conntrack_records() {
    let steady = [Steady::new("a", "10.0.0.2"), Steady::new("a", "10.96.0.1")];
    std::thread::sleep(Duration::from_millis(200));
    let map = MapData::from_pin(format!("{PINS}/2/records")).unwrap();
    let mut records: HashMap<_, [u8; 48], [u8; 40]> = HashMap::try_from(Map::HashMap(map)).unwrap();
    let mut lost = 0;
    for _ in 0..5 {
        let keys: Vec<[u8; 48]> = records.keys().filter_map(Result::ok).collect();
        for key in keys {
            lost += u32::from(records.remove(&key).is_ok());
        }
        std::thread::sleep(Duration::from_millis(400));
    }
    assert!(lost >= 4, "{lost}");
    let messages: usize = steady.into_iter().map(Steady::end).sum();
    println!("node: {lost} records lost under traffic, {messages} messages of 2 open connections, 0 cut");
}

/// Opens more connections than the pod has records for.
const MANY: &str = r"
import socket
for _ in range(6):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for port in range(1, 65536):
        try: s.sendto(b'', ('10.0.0.1', port))
        except OSError: pass
";

/// The number of records per pod (`SHARE` in `runtime/kernel/tables.h`).
const SHARE: usize = 8192;

/// A pod opens more connections than it has records for: the records of others stay, including that of a
/// connection on which only the other side sends, and new connections are still allowed.
fn conntrack_overflow() {
    let pushed = pushed();
    let steady = [Steady::new("a", "10.0.0.2"), Steady::new("a", "10.96.0.1")];
    assert!(python("c", MANY, &[]).status().unwrap().success());
    let map = MapData::from_pin(format!("{PINS}/2/records")).unwrap();
    let records: HashMap<_, [u8; 48], [u8; 40]> = HashMap::try_from(Map::HashMap(map)).unwrap();
    let mut of_pod = std::collections::HashMap::<[u8; 4], usize>::new();
    for key in records.keys().filter_map(Result::ok) {
        *of_pod.entry(key[32..36].try_into().unwrap()).or_default() += 1;
    }
    let most = of_pod.values().copied().max().unwrap();
    assert!((SHARE / 2..=SHARE + 64).contains(&most), "{most}");
    assert!(reaches("a", "tcp", address("10.96.0.1"), 80) && reaches("c", "udp", address("10.0.0.1"), 53));
    assert!(!reaches("c", "tcp", address("10.0.0.2"), 80));
    let messages: usize = steady.into_iter().map(Steady::end).sum();
    pushed.goes_on("node");
    println!(
        "node: 393210 connections of one pod, of which {most} records are kept; {messages} messages of 2 open connections, 0 cut"
    );
}

/// The daemon lacks memory for the tables of an image: the previous image stays in force. With enough memory
/// it recovers.
fn no_memory(daemon: &mut Daemon) {
    let blocks: Vec<String> = (0..100_000u32)
        .map(|n| format!("{}.{}.{}.{}/32", 11 + n % 100, n % 251, n / 251 % 256, n % 7))
        .collect();
    let large = format!(
        "{PROGRAM}policy large for pods {{ app = nobody }} in namespace x {{ allow egress to {} }}\n",
        blocks.join(", ")
    );
    daemon.limit_memory(4 << 20);
    daemon.image_file(&image(&large));
    let ended = daemon.wait_refused_or_ended();
    assert!(!reaches("c", "udp", address("10.0.0.2"), 53), "without memory it opens");
    assert!(reaches("a", "tcp", address("10.0.0.2"), 80), "without memory it closes");
    daemon.kill();
    daemon.start_again();
    daemon.wait("the large image is in force", |status| status["policies"] == 4);
    assert!(!reaches("c", "udp", address("10.0.0.2"), 53) && reaches("a", "tcp", address("10.0.0.2"), 80));
    daemon.image_file(&image(PROGRAM));
    daemon.wait("the first image is in force", |status| status["policies"] == 3);
    let how = if ended { "it ended" } else { "it was refused" };
    println!("node: an image for which there was no memory ({how}): what was in force stayed");
}

/// Invalid images are rejected with a reason, and the previous image stays in force.
fn bad_images(daemon: &Daemon) {
    let whole = image(PROGRAM);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let mut hostile = whole.clone();
    hostile[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let before = daemon.status()["generation"].as_u64().unwrap();
    let bad: [&[u8]; 4] = [&flipped, &whole[..whole.len() - 3], b"", &hostile];
    for bytes in bad {
        daemon.image_file(b"not an image");
        daemon.wait("it is refused", |status| {
            status["image"]["error"].as_str().is_some_and(|why| why.contains("begin"))
        });
        daemon.image_file(bytes);
        daemon.wait("it is refused", |status| {
            status["image"]["error"]
                .as_str()
                .is_some_and(|why| !why.contains("does not begin") || bytes.is_empty())
        });
        assert_eq!(daemon.status()["generation"].as_u64().unwrap(), before);
        assert!(!reaches("c", "udp", address("10.0.0.2"), 53), "a bad image opens");
        assert!(reaches("a", "tcp", address("10.0.0.2"), 80), "a bad image closes");
    }
    daemon.image_file(&whole);
    daemon.wait("a good one is taken", |status| status["image"]["error"].is_null());
    println!("node: {} bad images refused, what was in force stayed", bad.len() * 2);
}

/// The wall clock jumps: nothing depends on it. A run of its own, since it changes the clock of the whole machine.
pub(crate) fn clock_jump() {
    let steady = Steady::new("a", "10.0.0.2");
    let set = |seconds: i64| {
        Command::new("date")
            .args(["-s", &format!("{seconds:+} seconds")])
            .stdout(Stdio::null())
            .status()
            .unwrap()
    };
    for jump in [7200, -7200] {
        if !set(jump).success() {
            npc_tests::settings::skip("node clock", "the clock cannot be set");
            steady.end();
            return;
        }
        assert!(reaches("a", "udp", address("10.0.0.2"), 53));
        assert!(!reaches("c", "udp", address("10.0.0.2"), 53));
    }
    println!("node: the clock jumped by two hours and back, {} messages, 0 cut", steady.end());
}

/// A pod's interface is deleted and created again.
fn recreated_interface(world: &World, daemon: &Daemon) {
    let b = &world.cluster.pods[1];
    let is_judged = |status: &serde_json::Value| {
        let pods = status["pods"].as_array().unwrap();
        let own = pods.iter().find(|pod| pod["pod"] == "x/b").unwrap();
        !own["interface"].is_null()
    };
    let mut count = 0;
    for again in 0..5 {
        ip("link del host-b");
        daemon.wait("it is gone", |status| !is_judged(status));
        ip("netns del b");
        let host = network("b", &b.addresses);
        assert_eq!(host, "host-b");
        let mut servers = Servers::default();
        servers.start("b");
        daemon.wait("it is held", |status| {
            let own = status["pods"].as_array().unwrap().iter().find(|pod| pod["pod"] == "x/b").unwrap();
            own["notEnforced"].as_str().is_some_and(|why| why.contains("has its address"))
        });
        for pod in ["a", "c"] {
            assert!(!reaches(pod, "tcp", b.addresses[0], 80), "an interface of nobody knows whom is open");
        }
        daemon.pods(&PODS.replace("labels: {app: b}", &format!("labels: {{app: b, again: n{again}}}")));
        daemon.wait("it is found again", is_judged);
        // Do not wait for the next neighbour resolution.
        ip("neigh flush dev host-b");
        ip("-6 neigh flush dev host-b");
        assert!(reaches("a", "tcp", b.addresses[0], 80), "a new interface is closed");
        assert!(!reaches("c", "udp", b.addresses[1], 53), "a new interface is open");
        count += 1;
    }
    daemon.pods(PODS);
    println!(
        "node: {count} times an interface was deleted and made again: held until something was told of its pod, and judged again"
    );
}

/// Another pod gets the address of a deleted one, and none of its permissions.
fn reused_address(daemon: &Daemon) {
    let mut servers = Servers::default();
    servers.start("b");
    assert!(reaches("a", "udp", address("10.0.0.2"), 53));
    // The same address and interface, but another pod with other labels.
    let other = PODS.replace(
        "metadata: {name: b, namespace: x, uid: b1, labels: {app: b}}",
        "metadata: {name: new, namespace: x, uid: n1, labels: {app: new}}",
    );
    daemon.pods(&other);
    daemon.wait("the new pod is judged", |status| {
        let pods = status["pods"].as_array().unwrap();
        pods.iter().any(|pod| pod["pod"] == "x/new" && !pod["interface"].is_null())
    });
    assert!(!reaches("a", "tcp", address("10.0.0.2"), 80), "a may not ask the new pod");
    assert!(reaches("c", "tcp", address("10.0.0.2"), 80), "whom no policy is for");
    daemon.pods(PODS);
    daemon.wait("the first is there again", |status| {
        let pods = status["pods"].as_array().unwrap();
        pods.iter().any(|pod| pod["pod"] == "x/b" && !pod["interface"].is_null())
    });
    assert!(reaches("a", "tcp", address("10.0.0.2"), 80));
    assert!(!reaches("c", "tcp", address("10.0.0.2"), 80));
    println!("node: an address went from one pod to another and back, and nothing with it");
}
