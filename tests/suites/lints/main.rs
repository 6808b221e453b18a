//! Compares the lints about the whole program with the prover: no false alarm in random programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod accuracy;

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use npc_diagnostics::{Diagnostic, SourceMap};
use npc_model::verdict;
use npc_program::{Peer, Policy, Program};
use npc_proof::difference;
use npc_tests::memory::Memory;
use npc_tests::{namespaces, random};
use npc_vocabulary::{Connection, Direction, Endpoint, Protocol, Tier, Traffic};

/// The program without the rule or policy that a diagnostic is about.
fn without(program: &Program, sources: &SourceMap, found: &Diagnostic) -> Program {
    let at = found.location().unwrap();
    let mut program = program.clone();
    let before =
        program.policies.len() + program.policies.iter().map(|policy| policy.rules.len()).sum::<usize>();
    program.policies.retain(|policy| sources.absolute(policy.location) != at);
    for policy in &mut program.policies {
        Arc::make_mut(policy).rules.retain(|rule| sources.absolute(rule.location) != at);
    }
    let after =
        program.policies.len() + program.policies.iter().map(|policy| policy.rules.len()).sum::<usize>();
    assert!(after < before);
    program
}

#[test]
fn reported_lints_are_true() {
    let seed = npc_tests::settings::seed();
    let programs: u64 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 60, 500);
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    let mut confirmed: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut all_idle, mut missed) = (0, 0);
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
                // Removing it changes nothing, in any cluster.
                "NP0803" => {
                    let less = without(&checked.program, checked.sources(), one);
                    let differ = difference(&checked.program, &less, &[]).unwrap();
                    assert!(differ.is_none(), "{one:#?} {differ:#?}\n{source}");
                    *confirmed.entry("NP0803").or_default() += 1;
                }
                // Nothing that the rule allows for this peer is allowed in total, among many pods.
                "NP0806" => {
                    let at = one.location().unwrap();
                    for policy in &checked.program.policies {
                        for rule in &policy.rules {
                            let peers: Vec<Peer> = rule
                                .peers
                                .iter()
                                .filter(|peer| matches!(peer, Peer::Pods(term) if checked.sources().absolute(term.location) == at))
                                .cloned()
                                .collect();
                            if peers.is_empty() {
                                continue;
                            }
                            let mut only = Policy::clone(policy);
                            only.rules = vec![npc_program::Rule { peers, ..rule.clone() }];
                            let only = Program { policies: vec![only.into()], ..Program::default() };
                            let is_allowed = passes(&checked.program, &only, rule.direction, &cluster);
                            assert!(!is_allowed, "{one:#?}\n{source}");
                            *confirmed.entry("NP0806").or_default() += 1;
                        }
                    }
                }
                _ => {}
            }
        }
        let idle: Vec<&&Diagnostic> = found.iter().filter(|found| found.code.id == "NP0803").collect();
        if idle.len() > 1 {
            let less = idle
                .iter()
                .fold(checked.program.clone(), |program, found| without(&program, checked.sources(), found));
            let differ = difference(&checked.program, &less, &[]).unwrap();
            assert!(differ.is_none(), "all at once: {idle:#?} {differ:#?}\n{source}");
        }
        // Counts misses: the lint must avoid false alarms, but find many of the redundant rules. Only plain
        // policies are counted, since a rule of another tier may decide the same as what follows it.
        for policy in checked.program.policies.iter().filter(|policy| policy.tier == Tier::Namespaced) {
            for rule in &policy.rules {
                let mut less = checked.program.clone();
                for policy in &mut less.policies {
                    Arc::make_mut(policy).rules.retain(|other| other.location != rule.location);
                }
                if difference(&checked.program, &less, &[]).unwrap().is_none() {
                    all_idle += 1;
                    let is_told = found.iter().any(|one| {
                        one.code.id == "NP0803"
                            && one.location().is_some_and(|at| {
                                [rule.location, policy.location]
                                    .into_iter()
                                    .any(|own| checked.sources().absolute(own) == at)
                            })
                    });
                    missed += usize::from(!is_told);
                }
            }
        }
    }
    println!(
        "seed {seed}: {told:?}, confirmed {confirmed:?}; of {all_idle} plain rules that decide nothing {missed} are not reported"
    );
    for code in ["NP0803", "NP0806"] {
        assert!(confirmed.get(code) >= told.get(code), "{code}: {confirmed:?} of {told:?}");
    }
    // The lint finds rules that are obviously redundant, and gives up if the analysis takes long.
    assert!(all_idle as u64 > programs / 10 && missed * 10 <= all_idle * 6, "{missed} of {all_idle}");
    assert!(["NP0803", "NP0804", "NP0805", "NP0806"].iter().all(|code| told.contains_key(code)), "{told:?}");
}

/// Whether the program allows some connection of the cluster that the single rule of `only` matches.
fn passes(program: &Program, only: &Program, direction: Direction, cluster: &npc_cluster::Cluster) -> bool {
    let pods = || {
        (0..cluster.pods.len()).map(|place| {
            let address = cluster.pods[place].addresses.first().copied();
            cluster.endpoint(place, address).unwrap()
        })
    };
    let ports = [1, 53, 80, 8050, 8080, 65535].map(|port| Traffic::Port(Protocol::Tcp, port));
    for source in pods() {
        for destination in pods() {
            for traffic in ports {
                let connection = Connection::direct(source, destination, traffic);
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

/// Found by comparison with the engines: two rules allow the same pods by address, and Cilium applies neither
/// to pods.
#[test]
fn duplicate_cidr_is_still_reported_for_cilium() {
    let source = "policy p for pods { app = a } in namespace n {
  allow egress to 10.0.0.0/8, pods { app = b } in namespace n
  allow egress to 10.0.0.0/8, pods { app = c } in namespace n
}
";
    let checked = Memory::one(source).check_for("cilium@1.20".parse().unwrap(), None);
    let told = checked.report.diagnostics.iter().filter(|found| found.code.id == "NP0811").count();
    assert_eq!(told, 2, "{:#?}", checked.report.diagnostics);
}

fn codes(source: &str) -> Vec<&'static str> {
    let checked = Memory::one(source).check(None);
    checked.report.diagnostics.iter().map(|found| found.code.id).collect()
}

/// Programs that look like mistakes and are correct.
#[test]
fn correct_programs_report_nothing() {
    let dns = "on udp/53, tcp/53";
    for (what, source) in [
        (
            "an exception for some of the pods that a floor isolates",
            "policy floor for all pods in namespace shop { isolate ingress, egress }
             policy crawler for pods { app = crawler } in namespace shop {
               allow egress to 0.0.0.0/0 except (10.0.0.0/8, 172.16.0.0/12), ::/0 except fc00::/7
             }"
            .to_owned(),
        ),
        (
            "DNS that several policies share out",
            format!(
                "policy web for pods {{ app = web }} in namespaces (shop, shop2) {{ allow egress to pods {{ app = db }} in namespace data on tcp/5432 }}
                 policy dns-a for all pods in namespace shop  {{ allow egress to anywhere {dns} }}
                 policy dns-b for all pods in namespace shop2 {{ allow egress to anywhere {dns} }}"
            ),
        ),
        ("a resolver on its node", "policy a for pods { app = web } in namespace shop { allow egress to 169.254.20.10 }".to_owned()),
        (
            "a resolver by its labels",
            "policy a for pods { app = web } in namespace shop { allow egress to pods { k8s-app = node-local-dns } in namespace kube-system }".to_owned(),
        ),
        (
            "a resolver's namespace",
            "policy a for pods { app = web } in namespace shop { allow egress to all pods in namespace openshift-dns }".to_owned(),
        ),
        (
            "a resolver's namespace, by a label",
            "policy a for pods { app = web } in namespace shop { allow egress to all pods in namespaces { role = system } }".to_owned(),
        ),
        (
            "the resolver beside",
            "policy a for pods { app = web } in namespace kube-system { allow egress to all pods in same namespace }".to_owned(),
        ),
        (
            "both families, each by a rule",
            "policy a for pods { app = web } in namespace shop {
               allow ingress from 0.0.0.0/0 on tcp/443
               allow ingress from ::/0 on tcp/443
             }"
            .to_owned(),
        ),
    ] {
        let found = codes(&source);
        assert!(found.is_empty(), "{what}: {found:?}\n{source}");
    }
}

/// Of rules that make each other redundant, only those are reported that can be removed together.
#[test]
fn redundant_rules_can_be_removed_together() {
    for source in [
        "policy floor for all pods in namespace shop { isolate ingress }
         policy web for pods { app = web } in namespace shop {
           allow ingress from all pods in all namespaces on tcp/1-20
           allow ingress from all pods in all namespaces on tcp/11-30
           allow ingress from all pods in all namespaces on tcp/21-30, tcp/1-10
         }",
        "policy a for all pods in namespace shop { allow ingress from all pods in namespace x }
         policy b for all pods in namespace shop { allow ingress from all pods in namespace x }
         policy c for all pods in namespace shop { allow ingress from all pods in namespace x }",
    ] {
        let checked = Memory::one(source).check(None);
        let idle: Vec<&Diagnostic> =
            checked.report.diagnostics.iter().filter(|found| found.code.id == "NP0803").collect();
        assert!(!idle.is_empty(), "{source}");
        let less = idle
            .iter()
            .fold(checked.program.clone(), |program, found| without(&program, checked.sources(), found));
        let differ = difference(&checked.program, &less, &[]).unwrap();
        assert!(differ.is_none(), "{idle:#?} {differ:#?}\n{source}");
    }
}

/// A rule with a pod selector is not redundant if it allows pods whose addresses another rule excepts.
#[test]
fn rule_for_an_excepted_pod_is_not_redundant() {
    let source = "policy web for pods { app = web } in namespace shop {
  allow ingress from anywhere except 192.168.0.0/16 on tcp/443
  allow ingress from pods { app = db } in namespace data on tcp/443
}
";
    assert!(codes(source).is_empty());
}

/// The examples in one folder: each policy that opens what others close is reported once, with all that it
/// opens.
#[test]
fn examples_together_report_opened_policies() {
    let examples: BTreeMap<String, std::path::PathBuf> = npc_tests::tools::examples().into_iter().collect();
    let text = |name: &str| std::fs::read_to_string(examples[name].join(format!("{name}.np"))).unwrap();
    let file = |name: &str| (format!("{name}.np"), text(name));
    let told = |names: &[&str]| {
        let checked = Memory::new(names.iter().map(|name| file(name)).collect::<Vec<_>>());
        let roots: Vec<String> = names.iter().map(|name| format!("{name}.np")).collect();
        let checked = npc_driver::check(&checked, &roots, &npc_driver::Config::default(), None);
        assert!(!checked.report.has_errors(), "{:#?}", checked.report);
        let found = checked.report.diagnostics.iter().filter(|one| one.code.id == "NP0804");
        found.map(|one| one.message.clone()).collect::<Vec<_>>()
    };
    for other in ["default-deny", "tenant-isolation", "allow-dns"] {
        let found = told(&["deny-metadata", other]);
        assert!(
            found.iter().any(|message| message.contains("allows connections that")),
            "{other}: {found:?}"
        );
    }
    let all = told(&["deny-metadata", "default-deny", "tenant-isolation", "allow-dns"]);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(told(&["default-deny", "tenant-isolation", "allow-dns"]).is_empty());
}
