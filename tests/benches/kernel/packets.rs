//! Measures the cost of a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aya::maps::HashMap;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use fastrand::Rng;
use npc_node::{Endpoint, Loaded, Loader, packet};
use npc_resolver::{Pod, Resolver};
use npc_targets::{AnyTarget, Options};
use npc_tests::memory::Memory;
use npc_vocabulary::{Direction, Protocol, Traffic};

/// How often a packet is evaluated in one turn, and the number of turns, of which the best counts.
const REPEAT: u32 = 500_000;
const TURNS: usize = 25;

/// The number of connections in the connection table of the `agent` baseline, and the number of prefixes in
/// its trie for the second comparison at 100,000 CIDRs.
const CONNECTIONS: usize = 100_000;
const PREFIXES: usize = 200_000;

/// The interface indexes of two pods of this node, which are also the pods' ids. A test run that names no
/// interface uses the first.
const POD: u32 = 1;
const NEIGHBOUR: u32 = 2;

/// IPv4 or IPv6: a source within an allowed CIDR, and destinations.
struct Family {
    name: &'static str,
    source: &'static str,
    own_block: &'static str,
    destination: &'static str,
    neighbour: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        name: "IPv4",
        source: "100.66.7.1",
        own_block: "100.66.7.0/24",
        destination: "10.0.0.1",
        neighbour: "10.0.0.2",
    },
    Family {
        name: "IPv6",
        source: "2a01:db8:5:7::1",
        own_block: "2a01:db8:5:7::/64",
        destination: "fd00::1",
        neighbour: "fd00::2",
    },
];

impl Family {
    /// A random CIDR of this family: a single address for IPv4, a /64 for IPv6.
    fn block(&self, random: &mut Rng) -> (IpAddr, u32) {
        if self.name == "IPv4" {
            (Ipv4Addr::from(random.u32(0x0b00_0000..0xdf00_0000)).into(), 32)
        } else {
            let upper = 1 << 61 | u128::from(random.u64(..) >> 3);
            (Ipv6Addr::from(upper << 64).into(), 64)
        }
    }

    fn source(&self) -> IpAddr {
        self.source.parse().unwrap()
    }

    fn destination(&self) -> IpAddr {
        self.destination.parse().unwrap()
    }

    /// Another pod of this node.
    fn neighbour(&self) -> IpAddr {
        self.neighbour.parse().unwrap()
    }

    /// A packet of an established TCP connection: with ACK and without SYN.
    fn packet(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let tcp = Traffic::Port(Protocol::Tcp, 80);
        let mut packet = packet::opening(source, destination, tcp).unwrap();
        let flags = packet.len() - 7;
        packet[flags] = 0x10;
        packet
    }

    /// A program that allows this many random CIDRs, and the packet's own, to connect to all pods.
    fn program(&self, blocks: usize, rules: usize) -> String {
        let mut random = Rng::with_seed(1);
        let per_rule = blocks / rules;
        let mut text = format!(
            "policy p for all pods in all namespaces {{\n  allow egress to {} on tcp/80\n",
            self.own_block
        );
        text += "  allow ingress from all pods in all namespaces on tcp/80\n  allow egress to all pods in all namespaces on tcp/80\n";
        for rule in 0..rules {
            let blocks: Vec<String> = (0..per_rule)
                .map(|_| {
                    let (address, length) = self.block(&mut random);
                    format!("{address}/{length}")
                })
                .collect();
            text += &format!("  allow ingress from {} on tcp/{}\n", blocks.join(", "), 1000 + rule);
        }
        text += &format!("  allow ingress from {} on tcp/80\n}}\n", self.own_block);
        text
    }

    /// Fills the connection table of the `agent` baseline; the packet's connection is among them.
    fn set_connections(&self, ebpf: &mut Ebpf) {
        let mut random = Rng::with_seed(1);
        // See `struct connection` in runtime/kernel/tables.h.
        let key = |remote: IpAddr, port: u16| {
            let mut key = [0; 48];
            for (at, address) in [(0, remote), (16, self.destination())] {
                let (hi, lo) = match address {
                    IpAddr::V4(address) => (u64::from(u32::from(address)) << 32, 0),
                    IpAddr::V6(address) => ((u128::from(address) >> 64) as u64, u128::from(address) as u64),
                };
                key[at..at + 8].copy_from_slice(&hi.to_ne_bytes());
                key[at + 8..at + 16].copy_from_slice(&lo.to_ne_bytes());
            }
            key[36..38].copy_from_slice(&port.to_ne_bytes());
            key[38..40].copy_from_slice(&80u16.to_ne_bytes());
            key[40] = 6;
            key[41] = if remote.is_ipv4() { 4 } else { 6 };
            key
        };
        let mut tracked: HashMap<_, [u8; 48], [u8; 40]> =
            ebpf.map_mut("tracked").unwrap().try_into().unwrap();
        for _ in 0..CONNECTIONS {
            let (remote, _) = self.block(&mut random);
            tracked.insert(key(remote, random.u16(1024..)), [0; 40], 0).unwrap();
        }
        tracked.insert(key(self.source(), 40_000), [0; 40], 0).unwrap();
    }

    /// Fills the kernel's trie with the same CIDRs as `program`.
    fn set_prefixes(&self, ebpf: &mut Ebpf, blocks: usize) {
        let mut random = Rng::with_seed(1);
        let (own, length) = self.own_block.split_once('/').unwrap();
        let own = (own.parse().unwrap(), length.parse().unwrap());
        let all = (0..blocks).map(|_| self.block(&mut random)).chain([own]);
        if self.name == "IPv4" {
            let mut prefixes: LpmTrie<_, [u8; 4], u32> =
                ebpf.map_mut("prefixes4").unwrap().try_into().unwrap();
            for (address, length) in all {
                let IpAddr::V4(address) = address else { unreachable!() };
                prefixes.insert(&Key::new(length, address.octets()), 1, 0).unwrap();
            }
        } else {
            let mut prefixes: LpmTrie<_, [u8; 16], u32> =
                ebpf.map_mut("prefixes6").unwrap().try_into().unwrap();
            for (address, length) in all {
                let IpAddr::V6(address) = address else { unreachable!() };
                prefixes.insert(&Key::new(length, address.octets()), 1, 0).unwrap();
            }
        }
    }
}

/// Nanoseconds per packet for each of `N` programs; `run` runs one of them. The programs take turns, so that
/// other load on the machine slows all of them alike. (The kernel's own figures are whole nanoseconds.)
fn in_turns<const N: usize>(mut run: impl FnMut(usize)) -> [f64; N] {
    let mut best = [Duration::MAX; N];
    for _ in 0..TURNS {
        for (program, best) in best.iter_mut().enumerate() {
            let begun = Instant::now();
            run(program);
            *best = (*best).min(begun.elapsed());
        }
    }
    best.map(|time| time.as_nanos() as f64 / f64::from(REPEAT))
}

/// Runs a program of baseline.bpf.c on a packet, which it must pass.
fn run_baseline(ebpf: &Ebpf, name: &str, packet: &[u8]) {
    let program: &SchedClassifier = ebpf.program(name).unwrap().try_into().unwrap();
    let options = TestRunOptions { data_in: Some(packet), repeat: REPEAT, ..TestRunOptions::new() };
    let ran = program.test_run(options).unwrap();
    assert_eq!(ran.return_value.cast_signed(), -1, "{name} drops the packet");
}

fn loaded_baseline() -> Ebpf {
    let mut ebpf =
        EbpfLoader::new().load(include_bytes_aligned!("../../../runtime/kernel/baseline.bpf.o")).unwrap();
    for name in ["empty", "read_only", "connection_only", "prefix_only", "agent"] {
        let program: &mut SchedClassifier = ebpf.program_mut(name).unwrap().try_into().unwrap();
        program.load().unwrap();
    }
    ebpf
}

pub(crate) fn main() {
    let most: usize = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(1_000_000);
    let sizes = [(10, 10), (1_000, 100), (100_000, 100), (1_000_000, 100)];
    for family in &FAMILIES {
        let mut ebpf = loaded_baseline();
        family.set_connections(&mut ebpf);
        let packet = family.packet(family.source(), family.destination());
        let names = ["empty", "read_only", "connection_only"];
        let [nothing, reading, connection] = in_turns(|which| run_baseline(&ebpf, names[which], &packet));
        println!("{}: no work {nothing:.1} ns; all others over it, each beside it in turns", family.name);
        println!("  reading the packet {:.1}", reading - nothing);
        println!("  {CONNECTIONS} connections {:.1}", connection - nothing);
        for (blocks, rules) in sizes.into_iter().filter(|(blocks, _)| *blocks <= most) {
            // Prefixes are only added: those for fewer CIDRs are a subset of those for more.
            family.set_prefixes(&mut ebpf, blocks);
            row(&ebpf, family, blocks, rules);
            if blocks == 100_000 {
                family.set_prefixes(&mut ebpf, PREFIXES);
                println!("    the same beside {PREFIXES} prefixes:");
                row(&ebpf, family, blocks, rules);
            }
        }
    }
}

/// Measures the kernel program and the baselines.
fn row(ebpf: &Ebpf, family: &Family, blocks: usize, rules: usize) {
    let mut loaded = loaded(&family.program(blocks, rules), rules + 2, blocks, family);
    let from_outside = family.packet(family.source(), family.destination());
    let to_outside = family.packet(family.destination(), family.source());
    let between_pods = family.packet(family.neighbour(), family.destination());
    let [nothing, prefix, agent, to_pod, from_pod, from_neighbour] = in_turns(|which| {
        let ran = match which {
            0..3 => return run_baseline(ebpf, ["empty", "prefix_only", "agent"][which], &from_outside),
            3 => loaded.run(Direction::Ingress, POD, &from_outside, REPEAT),
            4 => loaded.run(Direction::Egress, POD, &to_outside, REPEAT),
            _ => loaded.run_delivery(NEIGHBOUR, Some(POD), &between_pods, REPEAT),
        };
        assert!(ran.unwrap().verdict.passes);
    });
    println!(
        "    no work {nothing:.1}; prefix {:.1}; with the connection, as agents of today do, {:.1}",
        prefix - nothing,
        agent - nothing
    );
    println!(
        "    npc: to a pod {:.1} ({:.1} times), from a pod {:.1}, to a pod from one of this node {:.1}",
        to_pod - nothing,
        (agent - nothing) / (to_pod - nothing),
        from_pod - nothing,
        from_neighbour - nothing
    );
}

/// Loads a program for two pods of this node, and prints the time of each step.
fn loaded(source: &str, rules: usize, blocks: usize, family: &Family) -> Loaded {
    let checked = Memory::one(source).check(None);
    assert!(!checked.report.has_errors());
    let begun = Instant::now();
    let output =
        npc_targets::compile(AnyTarget::EBPF, &checked.program, checked.sources(), &Options::default(), None);
    let compiled = begun.elapsed();
    let begun = Instant::now();
    let image = Arc::new(npc_image::read(&output.image).unwrap());
    let mut resolver = Resolver::new(image, Vec::new());
    for (pod, address) in [(POD, family.destination()), (NEIGHBOUR, family.neighbour())] {
        resolver.set_pod(
            pod,
            Pod {
                namespace: Arc::from("x"),
                labels: Default::default(),
                addresses: vec![address],
                ports: Vec::new(),
                host_network: false,
                local: true,
            },
        );
    }
    let resolved = begun.elapsed();
    let begun = Instant::now();
    let endpoints = [POD, NEIGHBOUR].map(|pod| Endpoint::new(pod, pod, pod));
    let loaded = Loader::new(1).load(&resolver, &endpoints).unwrap();
    let in_force = begun.elapsed();
    println!(
        "  {blocks} blocks in {rules} rules: compiled {compiled:.0?}, image of {} bytes, read and resolved {resolved:.0?}, loaded {in_force:.0?}, tables of {:.1} MB",
        output.image.len(),
        loaded.memory() as f64 / 1e6,
    );
    loaded
}
