//! Compares `npc reach` with other analysers, on the same manifests in the same run. Run
//! `tests/benches/analysers.sh`, which builds them, then `cargo bench -p npc-tests --bench analysers`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fastrand::Rng;
use npc_cluster::Cluster;
use npc_diagnostics::FileId;
use npc_reach::write::text;
use npc_reach::{Reach, View};
use npc_tests::timing::best;

/// The allocator that the command uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Namespaces and pods as YAML.
fn pods(count: usize) -> String {
    let mut out = String::new();
    for index in 0..10 {
        let _ = write!(
            out,
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: ns-{index}, labels: {{kubernetes.io/metadata.name: ns-{index}, team: t{}}}}}\n",
            index % 3
        );
    }
    for index in 0..count {
        let _ = write!(
            out,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{index}, namespace: ns-{}, labels: {{app: app-{}, tier: t{}}}}}\nspec: {{containers: [{{name: c, image: i, ports: [{{containerPort: 80}}]}}]}}\nstatus: {{phase: Running, hostIP: 192.168.0.1, podIP: 10.0.{}.{}, podIPs: [{{ip: 10.0.{}.{}}}]}}\n",
            index % 10,
            index / 10 % 10,
            index % 3,
            index / 250,
            index % 250 + 1,
            index / 250,
            index % 250 + 1,
        );
    }
    out
}

/// Policies with three rules each. One rule has this many CIDRs: a single one overlaps the pods' addresses,
/// several are outside.
fn policies(random: &mut Rng, count: usize, blocks: usize) -> String {
    let mut out = String::new();
    for index in 0..count {
        let mut block = |_| match blocks {
            1 => format!("{{ipBlock: {{cidr: 10.{}.0.0/16}}}}", random.usize(..20)),
            _ => format!("{{ipBlock: {{cidr: {}.{}.0.0/16}}}}", random.usize(20..200), random.usize(..256)),
        };
        let blocks: Vec<String> = (0..blocks).map(&mut block).collect();
        let _ = write!(
            out,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p-{index}, namespace: ns-{}}}\nspec:\n  podSelector: {{matchLabels: {{app: app-{}}}}}\n  policyTypes: [Ingress, Egress]\n  ingress:\n  - from:\n    - podSelector: {{matchLabels: {{app: app-{}}}}}\n    - namespaceSelector: {{matchLabels: {{team: t{}}}}}\n      podSelector: {{matchLabels: {{tier: t{}}}}}\n    ports: [{{port: {}, protocol: TCP}}]\n  egress:\n  - to: [{{namespaceSelector: {{}}}}]\n    ports: [{{port: 53, protocol: UDP}}]\n  - to: [{}, {{podSelector: {{matchLabels: {{tier: t{}}}}}}}]\n    ports: [{{port: {}, endPort: {}, protocol: TCP}}]\n",
            index % 10,
            random.usize(..10),
            random.usize(..10),
            random.usize(..3),
            random.usize(..3),
            random.usize(80..90),
            blocks.join(", "),
            random.usize(..3),
            random.usize(8000..8040),
            random.usize(8040..8100),
        );
    }
    out
}

fn seconds(command: &mut Command, runs: usize) -> f64 {
    best(runs, || {
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{command:?}");
    })
    .as_secs_f64()
}

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let npc = root.join("target/release/npc");
    let tools = std::env::var_os("NPC_BENCH_TOOLS").map(PathBuf::from);
    for (count, rules, blocks) in [(100, 50, 1), (100, 50, 4), (300, 150, 1), (300, 150, 4)] {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let (pods, policies) = (pods(count), policies(&mut Rng::with_seed(1), rules, blocks));
        std::fs::create_dir(file("all")).unwrap();
        std::fs::write(file("all/pods.yaml"), &pods).unwrap();
        std::fs::write(file("all/policies.yaml"), &policies).unwrap();
        // Parsing, evaluation and output; then evaluation alone.
        let whole = best(20, || {
            let cluster = Cluster::parse(&pods).unwrap();
            let import = npc_import::import(FileId(0), &policies);
            let program = import.into_program();
            let reach = Reach::new(&program, &cluster);
            text(&View::new(&reach, &[], &[]).unwrap())
        });
        let cluster = Cluster::parse(&pods).unwrap();
        let program = npc_import::import(FileId(0), &policies).into_program();
        assert_eq!(program.policies.len(), rules);
        let judged = best(20, || Reach::new(&program, &cluster).groups.len()).as_secs_f64();
        println!("{count} pods, {rules} policies, {blocks} blocks in each");
        let reach = Reach::new(&program, &cluster);
        let cells: u64 = reach.allowed.iter().flatten().map(|(_, groups)| groups.len()).sum();
        println!(
            "  npc, judging alone          {:10.3} ms, {} groups, {cells} pairs that may talk",
            judged * 1e3,
            reach.groups.len()
        );
        println!("  npc, from text to the table {:10.3} ms", whole.as_secs_f64() * 1e3);
        let mut command = Command::new(&npc);
        command.arg("reach").arg(file("all/policies.yaml")).arg("--cluster").arg(file("all/pods.yaml"));
        let process = seconds(&mut command, 10);
        println!("  npc reach, the process      {:10.3} ms", process * 1e3);
        let Some(tools) = &tools else {
            println!("  the analysers are left out: NPC_BENCH_TOOLS does not say where they are");
            continue;
        };
        let mut list = Command::new(tools.join("netpolicy"));
        list.args(["list", "-q", "--dirpath"]).arg(file("all"));
        let mut probe = Command::new(tools.join("cyclonus"));
        probe.args(["analyze", "--mode", "probe", "--policy-path"]).arg(file("all/policies.yaml"));
        std::fs::write(file("probe.json"), model(count)).unwrap();
        probe.arg("--probe-path").arg(file("probe.json"));
        for (name, command) in [("netpol-analyzer list", &mut list), ("cyclonus probe, one port", &mut probe)]
        {
            let taken = seconds(command, 1);
            println!(
                "  {name:27} {:10.1} ms: {:.0} times as long as judging, {:.0} as from text, {:.0} as the process",
                taken * 1e3,
                taken / judged,
                taken / whole.as_secs_f64(),
                taken / process,
            );
        }
    }
}

/// The cluster in the format of cyclonus.
fn model(count: usize) -> String {
    let namespaces: serde_json::Map<String, serde_json::Value> = (0..10)
        .map(|index| {
            let name = format!("ns-{index}");
            let labels =
                serde_json::json!({"kubernetes.io/metadata.name": name, "team": format!("t{}", index % 3)});
            (name, labels)
        })
        .collect();
    let pods: Vec<serde_json::Value> = (0..count)
        .map(|index| {
            serde_json::json!({
                "Namespace": format!("ns-{}", index % 10),
                "Name": format!("pod-{index}"),
                "Labels": {"app": format!("app-{}", index / 10 % 10), "tier": format!("t{}", index % 3)},
                "IP": format!("10.0.{}.{}", index / 250, index % 250 + 1),
                "Containers": [{"Name": "c", "Port": 80, "Protocol": "TCP", "PortName": ""}],
            })
        })
        .collect();
    let probes = [serde_json::json!({"Protocol": "TCP", "Port": 80})];
    serde_json::json!({"Resources": {"Namespaces": namespaces, "Pods": pods}, "Probes": probes}).to_string()
}
