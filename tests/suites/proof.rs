//! Compares the prover with brute force over a small universe of clusters.
//!
//! A proved assertion must hold in all of them. For a refuted one, the prover itself confirms its
//! counterexample with the interpreter.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;
use npc_cluster::{NAMESPACE_NAME, NamedPort, Namespace, Pod};
use npc_model::verdict;
use npc_program::{Peer, Program};
use npc_proof::{Outcome, changes, difference, prove};
use npc_tests::memory::Memory;
use npc_vocabulary::{Connection, Endpoint, Protocol, Tier, Traffic};

fn one<'a>(random: &mut Rng, of: &[&'a str]) -> &'a str {
    of[random.usize(..of.len())]
}

const PODS: [&str; 6] = [
    "all pods",
    "pods { app = a }",
    "pods { app != a }",
    "pods { app in (a, b) }",
    "pods { !app }",
    "pods { app }",
];
const SCOPES: [&str; 8] = [
    "all namespaces",
    "namespace n1",
    "namespaces (n*)",
    "namespaces { env = x }",
    "namespaces { env }",
    "namespaces { env != x }",
    "all namespaces except (n1)",
    "namespaces (n*) except { env = x }",
];
const RELATIVE: [&str; 3] =
    ["same namespace", "namespaces sharing env", "namespaces sharing env except (n1)"];
const ADDRESSES: [&str; 4] =
    ["10.0.0.0/8", "10.0.0.0/8 except (10.1.0.0/16)", "10.1.0.0/16", "2001:db8::/32"];
const PORTS: [&str; 7] =
    ["", "", " on tcp/80", " on tcp/http", " on tcp", " on udp/80, tcp/81", " on tcp/70-80"];

fn peer(random: &mut Rng) -> String {
    match random.u8(..6) {
        0 => one(random, &["anywhere", "anywhere except 10.1.0.0/16"]).to_owned(),
        1 => one(random, &ADDRESSES).to_owned(),
        2 => format!("{} in {}", one(random, &PODS), one(random, &RELATIVE)),
        _ => format!("{} in {}", one(random, &PODS), one(random, &SCOPES)),
    }
}

fn rule(random: &mut Rng, actions: &[&str]) -> String {
    let direction = one(random, &["ingress from", "egress to"]);
    format!("  {} {direction} {}{}\n", one(random, actions), peer(random), one(random, &PORTS))
}

fn program(random: &mut Rng) -> String {
    let mut out = String::new();
    for index in 0..random.usize(1..4) {
        let (tier, actions): (String, &[&str]) = match random.u8(..4) {
            0 => (format!("admin policy p{index} priority {index}"), &["allow", "deny", "pass"]),
            1 => (format!("baseline policy p{index} priority {index}"), &["allow", "deny"]),
            _ => (format!("policy p{index}"), &["allow"]),
        };
        let _ = writeln!(out, "{tier} for {} in {} {{", one(random, &PODS), one(random, &SCOPES));
        for _ in 0..random.usize(1..4) {
            out.push_str(&rule(random, actions));
        }
        if !tier.contains("admin") && !tier.contains("baseline") && random.bool() {
            out.push_str(one(random, &["  isolate ingress\n", "  isolate egress\n"]));
        }
        out.push_str("}\n");
    }
    for _ in 0..4 {
        let to = if random.u8(..4) == 0 {
            one(random, &ADDRESSES).to_owned()
        } else {
            format!("{} in {}", one(random, &PODS), one(random, &SCOPES))
        };
        let from = format!("{} in {}", one(random, &PODS), one(random, &SCOPES));
        let _ =
            writeln!(out, "assert {} {from} -> {to}{}", one(random, &["allow", "deny"]), one(random, &PORTS));
    }
    out
}

/// All pods and addresses of the small universe.
struct Small {
    namespaces: Vec<Namespace>,
    pods: Vec<Pod>,
    outside: Vec<IpAddr>,
    traffic: Vec<Traffic>,
}

impl Small {
    fn new() -> Self {
        let mut namespaces = Vec::new();
        for name in ["m1", "n1", "n2"] {
            for env in [None, Some("x"), Some("y"), Some("z")] {
                let mut labels = BTreeMap::from([(NAMESPACE_NAME.to_owned(), name.to_owned())]);
                labels.extend(env.map(|env| ("env".to_owned(), env.to_owned())));
                namespaces.push(Namespace { name: name.to_owned(), labels });
            }
        }
        let mut pods = Vec::new();
        for namespace in 0..namespaces.len() {
            for app in [None, Some("a"), Some("b"), Some("c")] {
                for (address, port) in
                    [("10.1.0.1", 80), ("10.2.0.1", 81), ("11.0.0.1", 0), ("2001:db8::1", 80)]
                {
                    let http = NamedPort { name: "http".to_owned(), protocol: Protocol::Tcp, port };
                    pods.push(Pod {
                        namespace,
                        labels: Arc::new(
                            app.map(|app| ("app".to_owned(), app.to_owned())).into_iter().collect(),
                        ),
                        addresses: vec![address.parse().unwrap()],
                        ports: if port > 0 { vec![http] } else { Vec::new() },
                        ..Pod::default()
                    });
                }
            }
        }
        let outside = ["10.1.0.9", "10.2.0.9", "11.0.0.9", "2001:db8::9", "2001:db9::9"];
        let traffic = vec![
            Traffic::Port(Protocol::Tcp, 80),
            Traffic::Port(Protocol::Tcp, 81),
            Traffic::Port(Protocol::Udp, 80),
            Traffic::Other,
        ];
        let outside = outside.iter().map(|address| address.parse().unwrap()).collect();
        Self { namespaces, pods, outside, traffic }
    }

    fn end<'c>(&'c self, pod: &'c Pod) -> Endpoint<'c> {
        Endpoint::Pod {
            place: 0,
            pod,
            namespace: &self.namespaces[pod.namespace],
            address: Some(pod.addresses[0]),
        }
    }

    /// Visits every connection. Two namespaces with the same name and different labels cannot both exist.
    fn connections(&self, mut visit: impl FnMut(&Connection<'_>)) {
        let fits = |a: &Endpoint<'_>, b: &Endpoint<'_>| {
            a.address().unwrap().is_ipv4() == b.address().unwrap().is_ipv4()
        };
        for (index, pod) in self.pods.iter().enumerate() {
            let source = self.end(pod);
            for (other, peer) in self.pods.iter().enumerate() {
                let (here, there) = (&self.namespaces[pod.namespace], &self.namespaces[peer.namespace]);
                if here.name == there.name && pod.namespace != peer.namespace {
                    continue;
                }
                // Pods are distinguished by name, and two pods have different addresses.
                let mut peer = peer.clone();
                peer.name = if index == other { "twin".to_owned() } else { "peer".to_owned() };
                let destination = self.end(&peer);
                if pod.addresses == peer.addresses || !fits(&source, &destination) {
                    continue;
                }
                for traffic in &self.traffic {
                    visit(&Connection::direct(source, destination, *traffic));
                }
            }
            for address in &self.outside {
                let outside = Endpoint::Outside(*address);
                if fits(&source, &outside) {
                    for traffic in &self.traffic {
                        visit(&Connection::direct(source, outside, *traffic));
                    }
                }
            }
        }
    }
}

/// A program that allows exactly the connections that an assertion covers: the assertion as a policy.
fn covers(program: &Program, index: usize) -> Program {
    use npc_program::{Isolation, Policy, Rule, Settings};
    use npc_vocabulary::{Action, Direction};
    let assertion = &program.asserts[index];
    let rule = Rule {
        location: assertion.location,
        action: Action::Allow,
        action_location: assertion.location,
        direction: Direction::Egress,
        peers: assertion
            .destinations
            .iter()
            .map(|peer| match peer {
                Peer::Anywhere { except, location } => {
                    Peer::Anywhere { except: except.clone(), location: *location }
                }
                Peer::Pods(term) => Peer::Pods(term.clone()),
                Peer::Block(term) => Peer::Block(term.clone()),
            })
            .collect(),
        ports: assertion.ports.clone(),
        log: None,
    };
    let policy = |tier, subjects, rules, isolate| Policy {
        name: "assertion".into(),
        location: assertion.location,
        whole: assertion.location,
        docs: Vec::new(),
        audit: None,
        tier,
        tier_location: None,
        priority: 0,
        priority_location: None,
        subjects,
        rules,
        isolate,
        settings: Settings::default(),
    };
    // Connections that the assertion does not cover are denied, because every pod is isolated.
    let everyone =
        Memory::one("policy e for all pods in all namespaces { isolate egress }").check(None).program;
    let mut policies = everyone.policies;
    policies.push(
        policy(
            Tier::Namespaced,
            assertion.sources.clone(),
            vec![rule],
            Isolation { ingress: None, egress: None },
        )
        .into(),
    );
    Program { policies, ..Program::default() }
}

#[test]
fn proved_assertions_hold_in_the_small_universe() {
    let seed = npc_tests::settings::seed();
    let programs: u64 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 20, 80);
    let small = Small::new();
    let (mut proved, mut refuted, mut vacuous, mut tried) = (0, 0, 0, 0u64);
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 300_000 + index);
        let source = program(&mut random);
        let checked = Memory::one(&source).check(None);
        if checked.report.has_errors() {
            continue;
        }
        let outcomes = prove(&checked.program, &checked.program.asserts, &[])
            .unwrap_or_else(|why| panic!("{why}\n{source}"));
        let subjects: Vec<Program> =
            (0..outcomes.len()).map(|index| covers(&checked.program, index)).collect();
        let mut violated = vec![false; outcomes.len()];
        let mut spoken = vec![false; outcomes.len()];
        small.connections(|connection| {
            tried += 1;
            let allowed = verdict(&checked.program, connection).allowed();
            for (index, subject) in subjects.iter().enumerate() {
                if !violated[index] && verdict(subject, connection).allowed() {
                    spoken[index] = true;
                    violated[index] |= allowed != checked.program.asserts[index].allowed;
                }
            }
        });
        for (index, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Outcome::Proved => {
                    proved += 1;
                    assert!(!violated[index], "assertion {index} is proved, and does not hold\n{source}");
                }
                Outcome::Vacuous => {
                    vacuous += 1;
                    assert!(!spoken[index], "assertion {index} speaks of something\n{source}");
                }
                // Already confirmed by the interpreter, and the small universe need not contain the
                // counterexample.
                Outcome::Refuted(_) => refuted += 1,
            }
        }
    }
    println!(
        "seed {seed}: {proved} proved, {refuted} refuted, {vacuous} of nothing; {tried} connections tried: 0 wrong"
    );
    assert!(proved >= 10 && refuted >= 10, "{proved} {refuted}");
}

/// Two programs that are proved equal have equal verdicts for all connections of the small universe.
#[test]
fn equal_programs_have_equal_verdicts() {
    let seed = npc_tests::settings::seed();
    let small = Small::new();
    let (mut equal, mut different, mut kinds) = (0, 0, 0);
    for index in 0..60 {
        let mut random = Rng::with_seed(seed * 400_000 + index);
        let source = program(&mut random);
        let mut lines: Vec<String> = source.lines().map(str::to_owned).collect();
        let rules: Vec<usize> = (0..lines.len()).filter(|at| lines[*at].starts_with("  ")).collect();
        let at = rules[random.usize(..rules.len())];
        match random.u8(..3) {
            0 => drop(lines.remove(at)),
            1 => lines[at] = lines[at].replace("tcp/80", "tcp/81").replace("app = a", "app = b"),
            _ => {
                let line = lines[at].clone();
                lines.insert(at, line);
            }
        }
        let (old, new) = (Memory::one(&source).check(None), Memory::one(&lines.join("\n")).check(None));
        if old.report.has_errors() || new.report.has_errors() {
            continue;
        }
        // The prover confirms a difference with the interpreter before it returns it.
        let found = difference(&old.program, &new.program, &[]).unwrap();
        let all = changes(&old.program, &new.program, &[], 50).unwrap();
        assert_eq!(found.is_none(), all.is_empty(), "{source}\n{}", lines.join("\n"));
        kinds += all.gained.len() + all.lost.len();
        match found {
            Some(_) => different += 1,
            None => {
                equal += 1;
                small.connections(|connection| {
                    assert_eq!(
                        verdict(&old.program, connection).allowed(),
                        verdict(&new.program, connection).allowed(),
                        "{source}\n{}",
                        lines.join("\n"),
                    );
                });
            }
        }
    }
    println!(
        "seed {seed}: {equal} pairs proved equal, {different} with a difference of {kinds} kinds: 0 wrong"
    );
    assert!(equal >= 5 && different >= 5, "{equal} {different}");
}
