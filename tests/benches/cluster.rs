//! Measures queries on a whole cluster, and how they scale: `cargo bench -p npc-tests --bench cluster`.
//!
//! Each figure is the best of several runs; ratios compare figures of the same run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::path::Path;
use std::process::Command;

use fastrand::Rng;
use npc_cluster::Cluster;
use npc_model::{Evaluator, verdict};
use npc_program::Program;
use npc_reach::Reach;
use npc_tests::large;
use npc_tests::memory::Memory;
use npc_tests::timing::{best, milliseconds};
use npc_vocabulary::{Connection, Traffic};

/// The allocator that the command uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    // `cargo bench` passes its own arguments. If one is a number, only that number of pods is measured.
    let only: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if only.is_empty() { vec![1_000, 10_000, 100_000] } else { only };
    for pods in sizes {
        let cluster = large::cluster(pods);
        let policies = pods / 10;
        let text = large::program(policies, cluster.namespaces.len());
        let checked = Memory::one(&text).check(None);
        assert!(!checked.report.has_errors(), "{:#?}", checked.report.diagnostics.first());
        let program = checked.program;
        println!("{pods} pods of {} sets of labels, {policies} policies", pods / 10);
        reach(&program, &cluster);
        connections(&program, &cluster);
        command(&text, &cluster);
    }
}

/// Reachability of all pods from all pods.
fn reach(program: &Program, cluster: &Cluster) {
    let taken = best(3, || Reach::new(program, cluster));
    let reach = Reach::new(program, cluster);
    let cells: u64 = reach.allowed.iter().flatten().map(|(_, groups)| groups.len()).sum();
    println!(
        "  reach              {:9.1} ms, {} groups, {cells} pairs of which reach each other",
        milliseconds(taken),
        reach.groups.len()
    );
}

/// Many connections, compared with the interpreter.
fn connections(program: &Program, cluster: &Cluster) {
    let mut random = Rng::with_seed(1);
    let asked: Vec<Connection<'_>> = large::connections(&mut random, cluster, 1_000_000);
    let ready = best(3, || Evaluator::new(program, cluster));
    let evaluator = Evaluator::new(program, cluster);
    let allowed = |evaluator: &Evaluator<'_>| {
        asked.iter().filter(|connection| evaluator.verdict(connection).allowed()).count()
    };
    let all = best(3, || allowed(&evaluator));
    let few = &asked[..200];
    let interpreted = best(1, || few.iter().filter(|asked| verdict(program, asked).allowed()).count());
    let total = milliseconds(ready + all);
    let each = milliseconds(interpreted) / few.len() as f64 * asked.len() as f64;
    println!("  evaluator made     {:9.1} ms", milliseconds(ready));
    println!("  1,000,000 verdicts {:9.1} ms, {} of them allow", milliseconds(all), allowed(&evaluator));
    println!("  both               {total:9.1} ms, 1/{:.0} of the interpreter's {each:.0} ms", each / total);
}

/// The same with the `npc` command, from files to a file, if it is built.
fn command(program: &str, cluster: &Cluster) {
    let npc = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/npc");
    if !npc.exists() {
        println!("  the command is not built: `cargo build --release`");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("policies.np"), program).unwrap();
    std::fs::write(file("cluster.json"), large::objects(cluster)).unwrap();
    let mut random = Rng::with_seed(1);
    let asked: String = large::connections(&mut random, cluster, 1_000_000)
        .iter()
        .map(|connection| {
            let (protocol, port) = match connection.traffic {
                Traffic::Port(protocol, port) => (protocol.as_str(), port),
                Traffic::Other => ("other", 0),
            };
            let (from, to) = (connection.source, connection.destination);
            format!("{{\"src\":\"{from}\",\"dst\":\"{to}\",\"proto\":\"{protocol}\",\"port\":{port}}}\n")
        })
        .collect();
    std::fs::write(file("connections.jsonl"), asked).unwrap();
    let run = || {
        let output = std::fs::File::create(file("answers.jsonl")).unwrap();
        let status = Command::new(&npc)
            .current_dir(folder.path())
            .args(["query", "--cluster", "cluster.json", "--connections", "connections.jsonl", "policies.np"])
            .stdout(output)
            .status()
            .unwrap();
        assert!(status.success());
    };
    let taken = milliseconds(best(2, run));
    let size = |name: &str| file(name).metadata().unwrap().len() as f64 / 1e6;
    println!(
        "  npc query          {taken:9.1} ms, of {:.0} MB of pods and {:.0} MB of connections, to {:.0} MB",
        size("cluster.json"),
        size("connections.jsonl"),
        size("answers.jsonl"),
    );
}
