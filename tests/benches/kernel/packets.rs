//! What a packet costs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use fastrand::Rng;
use npc_image::{Direction, Protocol, Traffic};
use npc_node::{Endpoint, Loader, packet};
use npc_resolver::{Pod, Resolver};
use npc_targets::{Options, Target};
use npc_tests::memory::Memory;

/// How often a packet is judged in one run, and how many runs there are, of which the best counts.
const REPEAT: u32 = 2_000_000;
const RUNS: usize = 7;

fn baseline(ebpf: &mut Ebpf, name: &str, packet: &[u8]) -> f64 {
    let program: &SchedClassifier = (&*ebpf.program_mut(name).unwrap()).try_into().unwrap();
    best(|| {
        let options = TestRunOptions { data_in: Some(packet), repeat: REPEAT, ..TestRunOptions::new() };
        program.test_run(options).unwrap().duration
    })
}

fn best(mut run: impl FnMut() -> Duration) -> f64 {
    (0..RUNS).map(|_| run()).min().unwrap().as_nanos() as f64
}

fn program(blocks: usize, rules: usize) -> String {
    let mut random = Rng::with_seed(1);
    let per_rule = blocks / rules;
    let mut text = String::from("policy p for all pods in all namespaces {\n  isolate egress\n");
    for rule in 0..rules {
        let blocks: Vec<String> = (0..per_rule)
            .map(|_| {
                let address = random.u32(0x0b00_0000..0xdf00_0000);
                format!("{}/32", std::net::Ipv4Addr::from(address))
            })
            .collect();
        text += &format!("  allow ingress from {} on tcp/{}\n", blocks.join(", "), 1000 + rule);
    }
    text += "  allow ingress from 10.0.1.0/24, fd01::/64 on tcp/80\n}\n";
    text
}

pub(crate) fn main() {
    let mut ebpf =
        EbpfLoader::new().load(include_bytes_aligned!("../../../runtime/kernel/baseline.bpf.o")).unwrap();
    for name in ["empty", "read_only", "agent"] {
        let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
        program.load().unwrap();
    }
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    let tcp = Traffic::Port(Protocol::Tcp, 80);
    let mut packets = Vec::new();
    for (name, from, to) in [("IPv4", "10.0.1.1", "10.0.0.1"), ("IPv6", "fd01::1", "fd00::1")] {
        let mut packet = packet::opening(address(from), address(to), tcp).unwrap();
        // One within a connection: ACK, and not SYN.
        let flags = packet.len() - 7;
        packet[flags] = 0x10;
        packets.push((name, packet));
    }
    {
        let mut prefixes: LpmTrie<_, [u8; 16], u32> = ebpf.map_mut("prefixes").unwrap().try_into().unwrap();
        let mut random = Rng::with_seed(1);
        for _ in 0..200_000 {
            let mut key = [0; 16];
            key[..4].copy_from_slice(&random.u32(0x0b00_0000..0xdf00_0000).to_be_bytes());
            prefixes.insert(&Key::new(32, key), 1, 0).unwrap();
        }
        let mut own = [0; 16];
        own[..3].copy_from_slice(&[10, 0, 1]);
        prefixes.insert(&Key::new(24, own), 1, 0).unwrap();
        let mut own = [0; 16];
        own[..2].copy_from_slice(&[0xfd, 1]);
        prefixes.insert(&Key::new(64, own), 1, 0).unwrap();
    }
    let mut of_nothing = [0.0; 2];
    let mut of_agent = [0.0; 2];
    for (family, (name, packet)) in packets.iter().enumerate() {
        of_nothing[family] = baseline(&mut ebpf, "empty", packet);
        let read = baseline(&mut ebpf, "read_only", packet);
        of_agent[family] = baseline(&mut ebpf, "agent", packet);
        println!(
            "{name}: no work {:.0} ns; reading the packet {read:.0} ns; connection and 200,000 prefixes, as agents do {:.0} ns",
            of_nothing[family], of_agent[family]
        );
    }
    let most: usize = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    let sizes = [(10, 10), (1_000, 100), (100_000, 100), (1_000_000, 100)];
    for (blocks, rules) in sizes.into_iter().filter(|(blocks, _)| *blocks <= most) {
        let source = program(blocks, rules);
        let checked = Memory::one(&source).check(None);
        assert!(!checked.report.has_errors());
        let begun = Instant::now();
        let output = npc_targets::compile(
            Target::Ebpf,
            &checked.program,
            checked.sources(),
            &Options::default(),
            None,
        );
        let compiled = begun.elapsed();
        let begun = Instant::now();
        let image = Arc::new(npc_image::read(&output.image).unwrap());
        let mut resolver = Resolver::new(image, Vec::new());
        resolver.set_pod(
            1,
            Pod {
                namespace: Arc::from("x"),
                labels: Default::default(),
                addresses: vec![address("10.0.0.1"), address("fd00::1")],
                ports: Vec::new(),
                host_network: false,
                local: true,
            },
        );
        let resolved = begun.elapsed();
        let begun = Instant::now();
        // The interface of test-runs, where none is named.
        let mut loaded = Loader::new(1).load(&resolver, &[Endpoint { pod: 1, interface: 1, id: 1 }]).unwrap();
        let in_force = begun.elapsed();
        println!(
            "{blocks} blocks in {} rules: compiled {compiled:.0?}, image of {} bytes, read and resolved {resolved:.0?}, loaded {in_force:.0?}, tables of {:.1} MB",
            rules + 1,
            output.image.len(),
            loaded.memory() as f64 / 1e6,
        );
        for (family, (name, packet)) in packets.iter().enumerate() {
            let timed = loaded.run(Direction::Ingress, 1, packet, 1).unwrap();
            assert!(timed.verdict.passes);
            let taken = best(|| loaded.run(Direction::Ingress, 1, packet, REPEAT).unwrap().time);
            let (nothing, agent) = (of_nothing[family], of_agent[family]);
            println!(
                "  {name}: {taken:.0} ns, {:.0} over no work; agents {:.0} over it, {:.1} times as much",
                taken - nothing,
                agent - nothing,
                (agent - nothing) / (taken - nothing)
            );
        }
    }
}
