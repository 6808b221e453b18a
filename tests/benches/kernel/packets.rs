//! What a packet costs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use aya::maps::HashMap;
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

/// How many connections the shape of agents of today knows, and how many prefixes where it is compared with
/// any number of blocks.
const CONNECTIONS: usize = 100_000;
const PREFIXES: usize = 200_000;

/// IPv4 or IPv6: who sends, from among the blocks that are allowed, and to whom.
struct Family {
    name: &'static str,
    source: &'static str,
    own_block: &'static str,
    destination: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family { name: "IPv4", source: "100.66.7.1", own_block: "100.66.7.0/24", destination: "10.0.0.1" },
    Family {
        name: "IPv6",
        source: "2a01:db8:5:7::1",
        own_block: "2a01:db8:5:7::/64",
        destination: "fd00::1",
    },
];

impl Family {
    /// Any block of this family: of IPv4 one address, of IPv6 a network.
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

    /// One within a connection of TCP: with ACK, and without SYN.
    fn packet(&self) -> Vec<u8> {
        let tcp = Traffic::Port(Protocol::Tcp, 80);
        let mut packet = packet::opening(self.source(), self.destination(), tcp).unwrap();
        let flags = packet.len() - 7;
        packet[flags] = 0x10;
        packet
    }

    /// Who may reach all pods: as many blocks, and the one of the packet.
    fn program(&self, blocks: usize, rules: usize) -> String {
        let mut random = Rng::with_seed(1);
        let per_rule = blocks / rules;
        let mut text = String::from("policy p for all pods in all namespaces {\n  isolate egress\n");
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

    /// The connections that the shape of agents of today knows, the packet's among them.
    fn set_connections(&self, ebpf: &mut Ebpf) {
        let mut random = Rng::with_seed(1);
        // See `struct connection` of runtime/kernel/tables.h.
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

    /// The same blocks as `program` has, in the kernel's trie.
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

/// Nanoseconds for each of the packets that `run` has judged. The kernel itself tells whole ones only.
fn best(mut run: impl FnMut()) -> f64 {
    let mut once = || {
        let begun = Instant::now();
        run();
        begun.elapsed()
    };
    (0..RUNS).map(|_| once()).min().unwrap().as_nanos() as f64 / f64::from(REPEAT)
}

/// What a program of baseline.bpf.c takes for a packet, which it lets pass.
fn baseline(ebpf: &Ebpf, name: &str, packet: &[u8]) -> f64 {
    let program: &SchedClassifier = ebpf.program(name).unwrap().try_into().unwrap();
    best(|| {
        let options = TestRunOptions { data_in: Some(packet), repeat: REPEAT, ..TestRunOptions::new() };
        let ran = program.test_run(options).unwrap();
        assert_eq!(ran.return_value.cast_signed(), -1, "{name} drops the packet");
    })
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
        let packet = family.packet();
        let nothing = baseline(&ebpf, "empty", &packet);
        println!("{}: no work {nothing:.1} ns; all others over it", family.name);
        println!("  reading the packet {:.1}", baseline(&ebpf, "read_only", &packet) - nothing);
        println!("  {CONNECTIONS} connections {:.1}", baseline(&ebpf, "connection_only", &packet) - nothing);
        let agent_of = |ebpf: &mut Ebpf, blocks: usize| {
            family.set_prefixes(ebpf, blocks);
            let alone = baseline(ebpf, "prefix_only", &packet) - nothing;
            let agent = baseline(ebpf, "agent", &packet) - nothing;
            println!(
                "  {blocks} prefixes {alone:.1}; with the connections, as agents of today do, {agent:.1}"
            );
            agent
        };
        for (blocks, rules) in sizes.into_iter().filter(|(blocks, _)| *blocks <= most) {
            let taken =
                enforced(&family.program(blocks, rules), rules + 1, blocks, &packet, family) - nothing;
            // The prefixes only grow: those of fewer blocks are among those of more.
            let agent = agent_of(&mut ebpf, blocks);
            println!("    npc {taken:.1}: {:.1} times", agent / taken);
            if blocks == 100_000 {
                println!("    beside 200,000: {:.1} times", agent_of(&mut ebpf, PREFIXES) / taken);
            }
        }
    }
}

/// How long the program in force takes for a packet of one family, in nanoseconds.
fn enforced(source: &str, rules: usize, blocks: usize, packet: &[u8], family: &Family) -> f64 {
    let checked = Memory::one(source).check(None);
    assert!(!checked.report.has_errors());
    let begun = Instant::now();
    let output =
        npc_targets::compile(Target::Ebpf, &checked.program, checked.sources(), &Options::default(), None);
    let compiled = begun.elapsed();
    let begun = Instant::now();
    let image = Arc::new(npc_image::read(&output.image).unwrap());
    let mut resolver = Resolver::new(image, Vec::new());
    resolver.set_pod(
        1,
        Pod {
            namespace: Arc::from("x"),
            labels: Default::default(),
            addresses: vec![family.destination()],
            ports: Vec::new(),
            host_network: false,
            local: true,
        },
    );
    let resolved = begun.elapsed();
    let begun = Instant::now();
    // The interface of test-runs, where none is named.
    let mut loaded = Loader::new(1).load(&resolver, &[Endpoint::new(1, 1, 1)]).unwrap();
    let in_force = begun.elapsed();
    println!(
        "  {blocks} blocks in {rules} rules: compiled {compiled:.0?}, image of {} bytes, read and resolved {resolved:.0?}, loaded {in_force:.0?}, tables of {:.1} MB",
        output.image.len(),
        loaded.memory() as f64 / 1e6,
    );
    assert!(loaded.run(Direction::Ingress, 1, packet, 1).unwrap().verdict.passes);
    best(|| assert!(loaded.run(Direction::Ingress, 1, packet, REPEAT).unwrap().verdict.passes))
}
