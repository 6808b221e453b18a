//! Warnings on what a program means, held to the prover: no false alarm in random programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use fastrand::Rng;
use npc_diagnostics::Diagnostic;
use npc_model::{Connection, Endpoint, Traffic, verdict};
use npc_program::values::port::Protocol;
use npc_program::{Direction, Peer, Policy, Program, Tier};
use npc_proof::{Fact, difference, exists};
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
        Arc::make_mut(policy).rules.retain(|rule| rule.location != at);
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
                            let mut only = Policy::clone(policy);
                            only.rules = vec![npc_program::Rule { peers, ..rule.clone() }];
                            let only = Program { policies: vec![only.into()], ..Program::default() };
                            let through = passes(&checked.program, &only, rule.direction, &cluster);
                            assert!(!through, "{one:#?}\n{source}");
                        }
                    }
                }
                _ => {}
            }
        }
        let idle: Vec<&&Diagnostic> = found.iter().filter(|found| found.code.id == "NP0803").collect();
        if idle.len() > 1 {
            let less = idle.iter().fold(checked.program.clone(), |program, found| without(&program, found));
            let differ = difference(&checked.program, &less, &[]).unwrap();
            assert!(differ.is_none(), "all at once: {idle:#?} {differ:#?}\n{source}");
        }
        // What is not told, though it is so: no false alarm comes first, but most are found. A rule of a
        // tier may decide, and as what comes after it would.
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
                            && one.location().is_some_and(|at| at == rule.location || at == policy.location)
                    });
                    missed += usize::from(!is_told);
                }
            }
        }
    }
    println!(
        "seed {seed}: {told:?}, each NP0803 and NP0806 confirmed; of {all_idle} plain rules that decide nothing {missed} are not reported"
    );
    // The lint looks for what plainly decides nothing, and gives up where that takes long.
    assert!(all_idle > 20 && missed * 10 <= all_idle * 8, "{missed} of {all_idle}");
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

fn codes(source: &str) -> Vec<&'static str> {
    let checked = Memory::one(source).check(None);
    checked.report.diagnostics.iter().map(|found| found.code.id).collect()
}

/// What looks like a mistake, and is none.
#[test]
fn nothing_is_told_of_what_is_meant() {
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

/// Of rules that cover each other, only so many are told as may go.
#[test]
fn all_that_decides_nothing_may_be_removed_at_once() {
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
        let less = idle.iter().fold(checked.program.clone(), |program, found| without(&program, found));
        let differ = difference(&checked.program, &less, &[]).unwrap();
        assert!(differ.is_none(), "{idle:#?} {differ:#?}\n{source}");
    }
}

/// A rule that selects pods decides for those whose address another rule leaves out.
#[test]
fn what_names_a_pod_that_an_exception_leaves_out_decides() {
    let source = "policy web for pods { app = web } in namespace shop {
  allow ingress from anywhere except 192.168.0.0/16 on tcp/443
  allow ingress from pods { app = db } in namespace data on tcp/443
}
";
    assert!(codes(source).is_empty());
}

/// How often a lint is right.
#[derive(Debug, Default)]
struct Count {
    reported: usize,
    false_alarms: Vec<String>,
    missed: Vec<String>,
}

impl Count {
    /// Compares what is reported with what the prover says, of one thing.
    fn compare(&mut self, reported: bool, is_so: bool, what: impl Fn() -> String) {
        self.reported += usize::from(reported);
        match (reported, is_so) {
            (true, false) => self.false_alarms.push(what()),
            (false, true) => self.missed.push(what()),
            _ => {}
        }
    }
}

/// Each lint that the prover can decide, on programs of few policies that meet often: false alarms and misses.
#[test]
fn lints_agree_with_the_prover() {
    let seed = random::seed();
    let programs: u64 = std::env::var("NPC_TEST_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 900_000 + index);
        let source = meeting(&mut random);
        let checked = Memory::one(&source).check(None);
        assert!(!checked.report.has_errors(), "{source}");
        let program = &checked.program;
        let found = &checked.report.diagnostics;
        let reported = |code: &str, at: npc_diagnostics::Location| {
            found.iter().any(|one| {
                one.code.id == code
                    && one.location().is_some_and(|own| {
                        own.file == at.file && own.span.start >= at.span.start && own.span.end <= at.span.end
                    })
            })
        };
        let judges: Vec<&Policy> = program.policies.iter().map(|policy| &**policy).collect();
        let possible = |all: &[Fact<'_>], none: &[Fact<'_>]| exists(all, none, &[]).unwrap().is_some();
        for (at, policy) in program.policies.iter().enumerate() {
            // NP0803 never gives up a policy that only isolates.
            if policy.rules.is_empty() {
                counts.entry("NP0803").or_default().compare(
                    reported("NP0803", policy.location),
                    false,
                    || source.clone(),
                );
            }
            for rule in &policy.rules {
                let less = {
                    let mut less = program.clone();
                    let policy = Arc::make_mut(&mut less.policies[at]);
                    policy.rules.retain(|other| other.location != rule.location);
                    less
                };
                let idle = difference(program, &less, &[]).unwrap().is_none();
                let is_reported = reported("NP0803", rule.location) || reported("NP0803", policy.location);
                // Of two that may go for each other one is reported; and one that another lint speaks of is not.
                let beside =
                    found.iter().any(|one| one.labels.iter().any(|label| label.location == rule.location));
                if is_reported || !beside {
                    counts.entry("NP0803").or_default().compare(is_reported, idle, || source.clone());
                }
                // NP0804: an allow-all-except rule that opens what some policy closes, or whose exception another
                // one allows.
                if rule.all_but().is_some_and(|except| !except.is_empty()) && rule.ports.is_empty() {
                    let opens = program.policies.iter().enumerate().any(|(other_at, other)| {
                        let others: Vec<Fact<'_>> = program
                            .policies
                            .iter()
                            .flat_map(|of| of.rules.iter().map(move |rule| (of, rule)))
                            .filter(|(_, own)| {
                                own.location != rule.location && own.direction == rule.direction
                            })
                            .map(|(of, own)| Fact::Matches(of, own))
                            .collect();
                        other_at != at
                            && other.speaks_of(rule.direction)
                            && possible(
                                &[Fact::Matches(policy, rule), Fact::Selects(other, rule.direction)],
                                &others,
                            )
                    });
                    let left_out = npc_program::Rule {
                        peers: rule
                            .all_but()
                            .unwrap()
                            .iter()
                            .map(|block| {
                                let term = npc_program::BlockTerm {
                                    block: (*block).into(),
                                    location: rule.location,
                                };
                                Peer::Block(Arc::new(term))
                            })
                            .collect(),
                        ..rule.clone()
                    };
                    let by_address = |other: &npc_program::Rule| npc_program::Rule {
                        peers: other
                            .peers
                            .iter()
                            .filter(|peer| !matches!(peer, Peer::Pods(_)))
                            .cloned()
                            .collect(),
                        ..other.clone()
                    };
                    let undone = program.policies.iter().enumerate().any(|(other_at, other)| {
                        other_at != at
                            && other.rules.iter().filter(|own| own.direction == rule.direction).any(|own| {
                                possible(
                                    &[
                                        Fact::Matches(policy, &left_out),
                                        Fact::Matches(other, &by_address(own)),
                                        Fact::Allows(&judges, rule.direction),
                                    ],
                                    &own_facts(&own_rules(policy, rule.direction), policy),
                                )
                            })
                    });
                    counts.entry("NP0804").or_default().compare(
                        reported("NP0804", rule.location),
                        opens || undone,
                        || source.clone(),
                    );
                }
            }
        }
    }
    for (code, count) in &counts {
        println!(
            "seed {seed}: {code}: {} reported, {} false alarms, {} missed",
            count.reported,
            count.false_alarms.len(),
            count.missed.len()
        );
        assert!(count.reported > 20, "{code} is hardly reported");
        assert!(count.false_alarms.is_empty(), "{code}: a false alarm\n{}", count.false_alarms[0]);
        // NP0803 gives up where only several rules together decide, of policies for other pods.
        let bound = if *code == "NP0803" { count.reported / 3 } else { 0 };
        assert!(count.missed.len() <= bound, "{code}: missed\n{}", count.missed[0]);
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), ["NP0803", "NP0804"]);
}

fn own_rules(policy: &Policy, direction: Direction) -> Vec<&npc_program::Rule> {
    policy.rules.iter().filter(|own| own.direction == direction).collect()
}

fn own_facts<'p>(rules: &[&'p npc_program::Rule], policy: &'p Policy) -> Vec<Fact<'p>> {
    rules.iter().map(|rule| Fact::Matches(policy, rule)).collect()
}

/// A program of policies that select some of the same pods: allow-all-except, isolating and plain ones.
fn meeting(random: &mut Rng) -> String {
    let mut source = String::new();
    for number in 0..2 + random.usize(..3) {
        let pods = ["all pods", "pods { app = a }", "pods { app = b }", "pods { tier }"][random.usize(..4)];
        let scope = [
            "all namespaces",
            "all namespaces except (kube-*)",
            "namespace shop",
            "namespaces (shop, web)",
            "namespaces { env = prod }",
            "namespaces { env } except (shop)",
        ][random.usize(..6)];
        let body = match random.u8(..5) {
            0 => "isolate egress",
            1 => "isolate ingress, egress",
            2 => "allow egress to anywhere except 169.254.169.254",
            3 => ["allow egress to 192.0.2.0/24 on tcp/443", "allow egress to 169.254.0.0/16"]
                [random.usize(..2)],
            _ => [
                "allow egress to all pods in namespace data",
                "allow egress to pods { app = a } in namespace data on tcp/53, udp/53",
            ][random.usize(..2)],
        };
        source.push_str(&format!("policy p{number} for {pods} in {scope} {{\n  {body}\n}}\n"));
    }
    source
}

/// NP0805 in a cluster: a policy is reported exactly where it isolates a pod that can ask no DNS pod, and is not
/// for fixed addresses only.
#[test]
fn dns_in_a_cluster_is_what_the_verdicts_say() {
    let seed = random::seed();
    let (mut count, mut asked) = (Count::default(), 0);
    for index in 0..300 {
        let mut random = Rng::with_seed(seed * 950_000 + index);
        let source = meeting(&mut random);
        let cluster = npc_cluster::Cluster::parse(DNS_CLUSTER).unwrap();
        let checked = Memory::one(&source).check(Some(&cluster));
        let evaluator = npc_model::Evaluator::new(&checked.program, &cluster);
        for (at, policy) in checked.program.policies.iter().enumerate() {
            let fixed = policy.rules.iter().all(|rule| {
                rule.peers
                    .iter()
                    .all(|peer| matches!(peer, Peer::Block(term) if term.block.net.prefix_len() > 0))
            });
            let dns = Endpoint::pod(&cluster, cluster.pod("kube-system", "dns").unwrap(), None).unwrap();
            let node_local = Endpoint::Outside("169.254.20.10".parse().unwrap());
            let is_selected = |place: usize| {
                let pod = Endpoint::pod(&cluster, place, None).unwrap();
                policy.subjects.iter().any(|term| selects(term, &pod))
            };
            // Of one that selects no pod here, the cluster says nothing.
            if !(0..cluster.pods.len()).any(is_selected) {
                continue;
            }
            let lacking = (0..cluster.pods.len()).any(|place| {
                let pod = Endpoint::pod(&cluster, place, None).unwrap();
                let selected = is_selected(place);
                let can = |end: Endpoint<'_>, port| {
                    let connection = Connection::direct(pod, end, Traffic::Port(Protocol::Udp, port));
                    !evaluator.verdict(&connection).denied().0
                };
                asked += 1;
                selected && !pod.is_same_pod(&dns) && !can(dns, 5353) && !can(node_local, 53)
            });
            let expected = lacking && !fixed && !policy.rules.is_empty();
            let at_policy = |one: &&Diagnostic| {
                one.code.id == "NP0805"
                    && one.location().is_some_and(|own| policy.rules.iter().any(|rule| rule.location == own))
            };
            let reported = checked.report.diagnostics.iter().any(|one| at_policy(&one));
            count.compare(reported, expected, || format!("p{at} of\n{source}"));
        }
    }
    println!(
        "seed {seed}: NP0805 in a cluster: {} reported, {asked} pods asked, {} false alarms, {} missed",
        count.reported,
        count.false_alarms.len(),
        count.missed.len()
    );
    assert!(count.reported > 50);
    assert!(count.false_alarms.is_empty() && count.missed.is_empty(), "{count:#?}");
}

const DNS_CLUSTER: &str = "
kind: Namespace
metadata: {name: kube-system}
---
kind: Namespace
metadata: {name: shop, labels: {env: prod}}
---
kind: Namespace
metadata: {name: web, labels: {env: test}}
---
kind: Pod
metadata: {name: dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec: {containers: [{ports: [{name: dns, containerPort: 5353, protocol: UDP}]}]}
---
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: a}}
---
kind: Pod
metadata: {name: b, namespace: shop, labels: {app: b, tier: x}}
---
kind: Pod
metadata: {name: c, namespace: web, labels: {app: a, tier: y}}
";

/// The examples of the project, together in one folder: what one opens is reported, beside each that it opens.
#[test]
fn the_examples_together_show_the_union() {
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
        assert!(found.iter().any(|message| message.contains("opens what")), "{other}: {found:?}");
    }
    let all = told(&["deny-metadata", "default-deny", "tenant-isolation", "allow-dns"]);
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(told(&["default-deny", "tenant-isolation", "allow-dns"]).is_empty());
}
