//! Warnings on what a program means, held to the prover: no false alarm in random programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;

use fastrand::Rng;
use npc_diagnostics::Diagnostic;
use npc_model::{Connection, Endpoint, Traffic, verdict};
use npc_program::values::port::Protocol;
use npc_program::{Direction, Peer, Program, Tier};
use npc_proof::difference;
use npc_tests::memory::Memory;
use npc_tests::{namespaces, random};

/// The program without the rule or the policy that a finding is about.
fn without(program: &Program, found: &Diagnostic) -> Program {
    let at = found.location().unwrap();
    let mut program = program.clone();
    let before =
        program.policies.len() + program.policies.iter().map(|policy| policy.rules.len()).sum::<usize>();
    program.policies.retain(|policy| policy.location != at);
    for policy in &mut program.policies {
        policy.rules.retain(|rule| rule.location != at);
    }
    let after =
        program.policies.len() + program.policies.iter().map(|policy| policy.rules.len()).sum::<usize>();
    assert!(after < before);
    program
}

#[test]
fn what_is_told_is_so() {
    let seed = random::seed();
    let programs: u64 = std::env::var("NPC_TEST_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(250);
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut idle, mut missed) = (0, 0);
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 700_000 + index);
        let policies = 2 + random.usize(..6);
        let source = random::program_with_tiers(&mut random, policies);
        let checked = Memory::one(&source).check(None);
        if checked.report.has_errors() {
            continue;
        }
        let cluster = namespaces::cluster_with_pods(seed * 17 + index, 60);
        let found: Vec<&Diagnostic> = checked.report.diagnostics.iter().collect();
        for one in &found {
            *told.entry(one.code.id).or_default() += 1;
            match one.code.id {
                // Without it nothing changes, in any cluster.
                "NP0803" => {
                    let less = without(&checked.program, one);
                    let differ = difference(&checked.program, &less, &[]).unwrap();
                    assert!(differ.is_none(), "{one:#?} {differ:#?}\n{source}");
                }
                // Nothing that the rule's peer and it allow gets through, among many pods.
                "NP0806" => {
                    let at = one.location().unwrap();
                    for policy in &checked.program.policies {
                        for rule in &policy.rules {
                            let peers: Vec<Peer> = rule
                                .peers
                                .iter()
                                .filter(|peer| matches!(peer, Peer::Pods(term) if term.location == at))
                                .cloned()
                                .collect();
                            if peers.is_empty() {
                                continue;
                            }
                            let mut only = policy.clone();
                            only.rules = vec![npc_program::Rule { peers, ..rule.clone() }];
                            let only = Program { policies: vec![only], ..Program::default() };
                            let through = passes(&checked.program, &only, rule.direction, &cluster);
                            assert!(!through, "{one:#?}\n{source}");
                        }
                    }
                }
                _ => {}
            }
        }
        // What is not told, though it is so: no false alarm comes first, but most are found. A rule of a
        // tier may decide, and as what comes after it would.
        for policy in checked.program.policies.iter().filter(|policy| policy.tier == Tier::Namespaced) {
            for rule in &policy.rules {
                let mut less = checked.program.clone();
                for policy in &mut less.policies {
                    policy.rules.retain(|other| other.location != rule.location);
                }
                if difference(&checked.program, &less, &[]).unwrap().is_none() {
                    idle += 1;
                    let is_told = found.iter().any(|one| {
                        one.code.id == "NP0803"
                            && one.location().is_some_and(|at| at == rule.location || at == policy.location)
                    });
                    missed += usize::from(!is_told);
                }
            }
        }
    }
    println!(
        "seed {seed}: told {told:?}, 0 wrong; of {idle} rules that decide nothing {missed} are not told"
    );
    assert!(["NP0803", "NP0804", "NP0805", "NP0806"].iter().all(|code| told.contains_key(code)), "{told:?}");
}

/// Whether some connection of a cluster that one rule alone would allow is allowed.
fn passes(program: &Program, only: &Program, direction: Direction, cluster: &npc_cluster::Cluster) -> bool {
    let pods = || {
        (0..cluster.pods.len()).map(|place| {
            let address = cluster.pods[place].addresses.first().copied();
            Endpoint::pod(cluster, place, address).unwrap()
        })
    };
    let ports = [1, 53, 80, 8050, 8080, 65535].map(|port| Traffic::Port(Protocol::Tcp, port));
    for source in pods() {
        for destination in pods() {
            for traffic in ports {
                let connection = Connection { source, destination, traffic };
                let alone = &only.policies[0];
                let matched = alone.rules.iter().any(|rule| npc_model::rule_matches(rule, &connection));
                let subject = if direction == Direction::Egress { &source } else { &destination };
                let selected = alone.subjects.iter().any(|term| selects(term, subject));
                let itself = source.is_same_pod(&destination);
                if matched && selected && !itself && verdict(program, &connection).allowed() {
                    return true;
                }
            }
        }
    }
    false
}

fn selects(term: &npc_program::PodTerm, endpoint: &Endpoint<'_>) -> bool {
    let Endpoint::Pod { pod, namespace, .. } = endpoint else { return false };
    term.selector.matches(|key| pod.labels.get(key).map(String::as_str))
        && term.scope.holds(&namespace.name, |key| namespace.labels.get(key).map(String::as_str))
}

/// Found by the engines: each of two rules allows the same pods by address, and neither does there.
#[test]
fn a_block_is_no_better_for_being_said_twice() {
    let source = "policy p for pods { app = a } in namespace n {
  allow egress to 10.0.0.0/8, pods { app = b } in namespace n
  allow egress to 10.0.0.0/8, pods { app = c } in namespace n
}
";
    let checked = Memory::one(source).check_for("cilium@1.20".parse().unwrap(), None);
    let told = checked.report.diagnostics.iter().filter(|found| found.code.id == "NP0811").count();
    assert_eq!(told, 2, "{:#?}", checked.report.diagnostics);
}
