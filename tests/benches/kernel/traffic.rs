//! Measures the throughput between two pods with iperf3: without a program, with npc, and with nftables and
//! the same policy.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use npc_node::{Endpoint, Node};
use npc_resolver::{Pod, Resolver};
use npc_tests::memory::Memory;
use npc_tests::net::{index_of, interface, ip, network, setting};
use npc_tests::tables::image;

const ROUNDS: usize = 15;
const SECONDS: &str = "2";
const BLOCKS: u32 = 10_000;

const PINS: &str = "/sys/fs/bpf/npc-bench";

/// The throughput from one pod to the other, in Gbit/s.
fn measured(host: &str) -> f64 {
    let output = Command::new("ip")
        .args(["netns", "exec", "bench-a", "iperf3", "-c", host, "-t", SECONDS, "-J"])
        .output()
        .unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    report["end"]["sum_received"]["bits_per_second"].as_f64().unwrap_or(0.0) / 1e9
}

fn blocks() -> Vec<String> {
    (0..BLOCKS).map(|n| format!("11.{}.{}.0/25", n / 256, n % 256)).collect()
}

pub(crate) fn main() {
    if !Command::new("iperf3").arg("-v").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("throughput: LEFT OUT: there is no iperf3");
        return;
    }
    setting("ipv4/ip_forward", "1");
    let pods = [("bench-a", "10.0.0.1"), ("bench-b", "10.0.0.2")];
    let source = format!(
        "policy b for pods {{ app = b }} in namespace x {{\n  allow ingress from {}, 10.0.0.1/32 on tcp/5201\n}}\n\
         policy a for pods {{ app = a }} in namespace x {{\n  allow egress to {}, 10.0.0.2/32 on tcp/5201\n}}\n",
        blocks().join(", "),
        blocks().join(", ")
    );
    let checked = Memory::one(&source).check(None);
    assert!(!checked.report.has_errors());
    let mut resolver = Resolver::new(image(&checked.program, checked.sources()), Vec::new());
    let (mut endpoints, mut hosts) = (Vec::new(), Vec::new());
    for (number, (name, address)) in (1..).zip(pods) {
        let host = network(name, &[address.parse().unwrap()]);
        endpoints.push(Endpoint::new(number, index_of(&host), number));
        hosts.push(host);
        let pod = Pod {
            namespace: Arc::from("x"),
            labels: Arc::new([("app".to_owned(), name.trim_start_matches("bench-").to_owned())].into()),
            addresses: vec![address.parse().unwrap()],
            ports: Vec::new(),
            host_network: false,
            local: true,
        };
        resolver.set_pod(number, pod);
    }
    let mut server = Command::new("ip")
        .args(["netns", "exec", "bench-b", "iperf3", "-s"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let rules = format!(
        "table ip npc_bench {{\n set peers {{ type ipv4_addr; flags interval; elements = {{ {}, 10.0.0.1, 10.0.0.2 }} }}\n\
         chain forward {{ type filter hook forward priority 0; policy drop; ct state established accept;\
         ip saddr @peers ip daddr @peers tcp dport 5201 accept\n }}\n}}\n",
        blocks().join(", ")
    );
    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        // The order rotates, because the speed of the machine varies over time.
        for which in (0..rates.len()).map(|place| (round + place) % 3) {
            match which {
                1 => {
                    let mut node = Node::open(Path::new(PINS)).unwrap();
                    node.enforce(&resolver, &endpoints).unwrap();
                    hosts.iter().for_each(|host| node.attach(&interface(host)).unwrap());
                    rates[which].push(measured("10.0.0.2"));
                    node.detach_all().unwrap();
                }
                2 => {
                    let mut nft =
                        Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
                    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
                    assert!(nft.wait().unwrap().success());
                    rates[which].push(measured("10.0.0.2"));
                    let delete = ["delete", "table", "ip", "npc_bench"];
                    assert!(Command::new("nft").args(delete).status().unwrap().success());
                }
                _ => rates[which].push(measured("10.0.0.2")),
            }
        }
    }
    server.kill().unwrap();
    server.wait().unwrap();
    pods.iter().for_each(|(name, _)| ip(&format!("netns del {name}")));
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    // For each round, the share of the throughput without a program.
    let share = |of: usize| {
        middle(rates[of].iter().zip(&rates[0]).map(|(rate, nothing)| rate / nothing * 100.0).collect())
    };
    let (program_share, nftables_share) = (share(1), share(2));
    let [nothing, program, nftables] = rates.map(middle);
    println!(
        "throughput of one connection, both ends judged by {BLOCKS} blocks: no program {nothing:.1} Gbit/s, npc {program:.1} ({program_share:.1} %), nftables {nftables:.1} ({nftables_share:.1} %)",
    );
}
