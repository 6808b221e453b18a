//! Compares compiled programs with the policy engines of Cilium and Calico and with cyclonus: their verdicts
//! must equal the program's, or `npc check --cni` must have reported the difference.
//!
//! A reported difference must disappear when its cause is removed in the engine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use fastrand::Rng;
use npc_cluster::Cluster;
use npc_diagnostics::Level;
use npc_driver::{Cni, compile};
use npc_model::Evaluator;
use npc_targets::{AnyTarget, Options};
use npc_tests::memory::Memory;
use npc_tests::tools::tools;
use npc_tests::{namespaces, random};
use npc_vocabulary::{Connection, Endpoint, Protocol, Traffic, Verdict};
use serde::Deserialize;
use serde_json::{Value, json};

/// A running engine that answers one case per line.
struct Engine {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

#[derive(Deserialize)]
struct Answer {
    verdicts: Option<Vec<Sides>>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Sides {
    egress: bool,
    ingress: bool,
    #[serde(default)]
    why: String,
}

impl Engine {
    fn start(folder: &Path, name: &str) -> Self {
        let mut child = Command::new(folder.join("differential").join(name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// The verdicts of both sides. `Err` if the engine rejects the case.
    fn judge(&mut self, case: &Value, set: &BTreeSet<&str>) -> Result<Vec<Sides>, String> {
        let mut case = case.clone();
        case["set"] = json!(set);
        writeln!(self.input, "{case}").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let answer: Answer = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        match answer {
            Answer { error: Some(error), .. } => Err(error),
            Answer { verdicts, .. } => Ok(verdicts.unwrap_or_default()),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A network, and the settings of its engine.
struct Network {
    engine: &'static str,
    name: &'static str,
    cni: Option<&'static str>,
    set: &'static [&'static str],
    /// Whether it supports ClusterNetworkPolicies.
    tiers: bool,
}

const NETWORKS: [Network; 6] = [
    Network { engine: "cilium", name: "Cilium", cni: Some("cilium@1.20,enable-sctp"), set: &[], tiers: true },
    Network {
        engine: "cilium",
        name: "Cilium, CIDRs match pods",
        cni: Some("cilium@1.20,enable-sctp,policy-cidr-match-mode=pods"),
        set: &["ipblock-pods"],
        tiers: true,
    },
    Network {
        engine: "cilium",
        name: "Cilium, any cluster",
        cni: Some("cilium@1.20,enable-sctp,policy-default-local-cluster=false"),
        set: &["any-cluster"],
        tiers: true,
    },
    Network { engine: "calico", name: "Calico, iptables", cni: Some("calico@3.28"), set: &[], tiers: false },
    Network {
        engine: "calico",
        name: "Calico, eBPF",
        cni: Some("calico@3.28,ebpf"),
        set: &["ebpf"],
        tiers: false,
    },
    Network { engine: "cyclonus", name: "cyclonus", cni: None, set: &[], tiers: false },
];

/// Known differences between cyclonus and Kubernetes. cyclonus is not a CNI, so npc does not report these.
const CYCLONUS: [&str; 2] = ["notin-without-key", "empty-value"];

/// The objects that a program compiles to for a cluster.
fn objects(checked: &npc_driver::Checked, targets: &[AnyTarget], cluster: &Cluster) -> Option<Vec<Value>> {
    let outputs = compile(checked, targets, &Options::default(), Some(cluster));
    let mut objects = Vec::new();
    for output in &outputs {
        if output.diagnostics.iter().any(|found| found.level == Level::Error) {
            return None;
        }
        for document in serde_yaml::Deserializer::from_str(&output.text) {
            let object = Value::deserialize(document).unwrap();
            if !object.is_null() {
                objects.push(object);
            }
        }
    }
    Some(objects)
}

fn connections<'c>(random: &mut Rng, cluster: &'c Cluster, count: usize) -> Vec<Connection<'c>> {
    let outside =
        ["10.1.2.3", "10.2.3.4", "169.254.169.254", "192.0.2.7", "8.8.8.8", "2001:db8::1", "fd00::9"];
    let mut all = Vec::new();
    while all.len() < count {
        let pod = |random: &mut Rng| {
            let place = random.usize(..cluster.pods.len());
            let addresses = &cluster.pods[place].addresses;
            cluster.endpoint(place, Some(addresses[random.usize(..addresses.len())])).unwrap()
        };
        let (mut source, mut destination) = (pod(random), pod(random));
        match random.u8(..8) {
            0 => source = Endpoint::Outside(outside[random.usize(..outside.len())].parse().unwrap()),
            1 => destination = Endpoint::Outside(outside[random.usize(..outside.len())].parse().unwrap()),
            _ => {}
        }
        let (from, to) = (source.address().unwrap(), destination.address().unwrap());
        // An outside address must not belong to a pod.
        let is_pod = |end: &Endpoint<'_>, address| {
            matches!(end, Endpoint::Outside(_))
                && cluster.pods.iter().any(|pod| pod.addresses.contains(&address))
        };
        if from.is_ipv4() != to.is_ipv4()
            || source.is_same_pod(&destination)
            || is_pod(&source, from)
            || is_pod(&destination, to)
        {
            continue;
        }
        let ports = [53, 80, 8050, 9, 65535, 8080, 1];
        let traffic = Traffic::Port(Protocol::ALL[random.usize(..3)], ports[random.usize(..ports.len())]);
        all.push(Connection::direct(source, destination, traffic));
    }
    all
}

fn case(cluster: &Cluster, objects: &[Value], connections: &[Connection<'_>]) -> Value {
    let pods: Vec<Value> = cluster
        .pods
        .iter()
        .map(|pod| {
            let ports: Vec<Value> = pod
                .ports
                .iter()
                .map(|port| json!({"name": port.name, "port": port.port, "protocol": port.protocol.api_name()}))
                .collect();
            json!({
                "namespace": cluster.namespaces[pod.namespace].name,
                "name": pod.name,
                "labels": pod.labels,
                "ips": pod.addresses,
                "ports": ports,
            })
        })
        .collect();
    let end = |end: &Endpoint<'_>| match end {
        Endpoint::Node { .. } | Endpoint::Outside(_) => "external".to_owned(),
        Endpoint::Pod { .. } => end.to_string(),
    };
    let probes: Vec<Value> = connections
        .iter()
        .map(|connection| {
            let Traffic::Port(protocol, port) = connection.traffic else { panic!("no port") };
            json!({
                "src": end(&connection.source),
                "srcIP": connection.source.address(),
                "dst": end(&connection.destination),
                "dstIP": connection.destination.address(),
                "proto": protocol.api_name(),
                "port": port,
            })
        })
        .collect();
    let namespaces: Vec<Value> = cluster
        .namespaces
        .iter()
        .map(|namespace| json!({"name": namespace.name, "labels": namespace.labels}))
        .collect();
    json!({"namespaces": namespaces, "pods": pods, "policies": objects, "probes": probes})
}

/// The causes that `npc check --cni --cluster` reports.
fn causes(source: &str, cni: &str, cluster: &Cluster) -> BTreeSet<String> {
    let cni: Cni = cni.parse().unwrap();
    let checked = Memory::one(source).check_for(cni, Some(cluster));
    let notes = checked.report.diagnostics.iter().flat_map(|found| &found.notes);
    notes.filter_map(|note| note.strip_prefix("cause: ")).map(ToOwned::to_owned).collect()
}

#[derive(Default)]
struct Counts {
    programs: usize,
    probes: usize,
    differ: usize,
    refused: usize,
    causes: BTreeMap<String, usize>,
    /// By cause, the programs with this warning: those in which the engine differs for some connection, and all.
    confirmed: BTreeMap<String, (usize, usize)>,
}

#[test]
fn other_engines_agree_or_the_difference_is_reported() {
    let Some(folder) = tools("differential", "the engines of Cilium and Calico, and cyclonus") else {
        return;
    };
    let seed = npc_tests::settings::fresh_seed();
    println!("differential: seed {seed} (NPC_TEST_SEED={seed} repeats it)");
    let programs: u64 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 150, 150);
    let mut engines: BTreeMap<&str, Engine> =
        ["cilium", "calico", "cyclonus"].map(|name| (name, Engine::start(&folder, name))).into();
    let mut counts: Vec<Counts> = NETWORKS.iter().map(|_| Counts::default()).collect();
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 900_000 + index);
        let with_tiers = index % 3 == 0;
        let source = if with_tiers {
            let policies = 1 + random.usize(..4);
            random::program_with_tiers(&mut random, policies)
        } else {
            random::program(&mut random, "p")
        };
        let checked = Memory::one(&source).check(None);
        if checked.report.has_errors() {
            continue;
        }
        let mut cluster = namespaces::cluster_with_pods(seed * 19 + index, 40);
        for pod in &mut cluster.pods {
            // A port name may occur for two protocols, but not for two ports of one protocol.
            let mut seen = BTreeSet::new();
            pod.ports.retain(|port| seen.insert((port.name.clone(), port.protocol)));
        }
        let has_tiers =
            checked.program.policies.iter().any(|policy| policy.tier != npc_vocabulary::Tier::Namespaced);
        let targets: &[AnyTarget] = if has_tiers {
            &[AnyTarget::NETWORK_POLICY, AnyTarget::CLUSTER_NETWORK_POLICY]
        } else {
            &[AnyTarget::NETWORK_POLICY]
        };
        let Some(objects) = objects(&checked, targets, &cluster) else { continue };
        let asked = connections(&mut random, &cluster, 150);
        let case = case(&cluster, &objects, &asked);
        let evaluator = Evaluator::new(&checked.program, &cluster);
        let expected: Vec<Verdict> = asked.iter().map(|connection| evaluator.verdict(connection)).collect();
        for (network, counts) in NETWORKS.iter().zip(&mut counts) {
            if has_tiers && !network.tiers {
                continue;
            }
            let engine = engines.get_mut(network.engine).unwrap();
            let set: BTreeSet<&str> = network.set.iter().copied().collect();
            let found = match engine.judge(&case, &set) {
                Ok(found) => found,
                Err(why) => {
                    assert!(!why.contains("panic"), "{}: {why}\n{source}", network.name);
                    counts.refused += 1;
                    continue;
                }
            };
            counts.programs += 1;
            counts.probes += expected.len();
            let differ = |found: &[Sides]| -> Vec<usize> {
                (0..expected.len())
                    .filter(|at| {
                        let (egress, ingress) = expected[*at].denied();
                        let sides = &found[*at];
                        assert!(sides.why.is_empty(), "{}: {}", network.name, sides.why);
                        (sides.egress, sides.ingress) != (!egress, !ingress)
                    })
                    .collect()
            };
            let first = differ(&found);
            let told = match network.cni {
                Some(cni) => causes(&source, cni, &cluster),
                None => CYCLONUS.iter().map(|cause| (*cause).to_owned()).collect(),
            };
            for cause in told.iter().filter(|_| network.cni.is_some()) {
                let (confirmed, all) = counts.confirmed.entry(cause.clone()).or_default();
                *confirmed += usize::from(!first.is_empty());
                *all += 1;
            }
            if first.is_empty() {
                continue;
            }
            counts.differ += first.len();
            let shown = |places: &[usize]| {
                let at = places[0];
                format!(
                    "{}: {} -> {} {}: {:?}, and {} {}\nwarned of: {told:?}\n{source}\n{}",
                    network.name,
                    asked[at].source,
                    asked[at].destination,
                    asked[at].traffic,
                    expected[at],
                    found[at].egress,
                    found[at].ingress,
                    objects
                        .iter()
                        .map(|object| serde_yaml::to_string(object).unwrap())
                        .collect::<Vec<_>>()
                        .join("---\n"),
                )
            };
            assert!(!told.is_empty(), "not warned of: {}", shown(&first));
            // With the causes removed, nothing may differ.
            let mut fixed = set.clone();
            fixed.extend(told.iter().map(String::as_str));
            if fixed.contains("ipblock-pods") {
                fixed.insert("one-family");
            }
            let left = differ(&engine.judge(&case, &fixed).unwrap());
            assert!(left.is_empty(), "of another cause than was warned of: {}", shown(&left));
            for cause in &told {
                *counts.causes.entry(cause.clone()).or_default() += first.len();
            }
        }
    }
    for (network, counts) in NETWORKS.iter().zip(&counts) {
        println!(
            "differential: {}: {} programs, {} connections, {} differ, all warned of: {:?}; {} programs not taken",
            network.name, counts.programs, counts.probes, counts.differ, counts.causes, counts.refused
        );
        assert!(counts.programs > 20, "{} judged too little", network.name);
        for (cause, (confirmed, all)) in &counts.confirmed {
            // The tunnel's port is dropped by Calico's data plane, which the engine of its policies is not.
            let is_in_engine = cause != "vxlan";
            assert!(
                !is_in_engine || *all < 20 || confirmed * 5 >= *all,
                "{}: {confirmed} of {all} warnings about {cause} are confirmed by a difference",
                network.name
            );
        }
        println!(
            "differential: {}: warnings that a difference confirms, of all: {:?}",
            network.name, counts.confirmed
        );
    }
}
