//! Counts false alarms and misses of each lint, judged by the prover and by verdicts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use fastrand::Rng;
use npc_diagnostics::Diagnostic;
use npc_program::values::address::IpNet;
use npc_program::{Peer, Policy};
use npc_proof::{Fact, difference, exists};
use npc_tests::memory::Memory;
use npc_vocabulary::{Connection, Direction, Endpoint, Protocol, Tier, Traffic};

use crate::selects;

/// The counts of one lint.
#[derive(Debug, Default)]
struct Count {
    reported: usize,
    false_alarms: Vec<String>,
    missed: Vec<String>,
}

impl Count {
    /// Compares whether the lint reported something with whether it holds.
    fn compare(&mut self, reported: bool, is_so: bool, what: impl Fn() -> String) {
        self.reported += usize::from(reported);
        match (reported, is_so) {
            (true, false) => self.false_alarms.push(what()),
            (false, true) => self.missed.push(what()),
            _ => {}
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (false_alarms, missed) = (self.false_alarms.len(), self.missed.len());
        write!(f, "{} reported, {false_alarms} false alarms, {missed} missed", self.reported)
    }
}

/// Lints that the prover can decide, on programs of few policies that often overlap.
#[test]
fn lints_agree_with_the_prover() {
    let seed = npc_tests::settings::seed();
    let programs: u64 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 250, 800);
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 900_000 + index);
        let source = overlapping_policies(&mut random);
        let checked = Memory::one(&source).check(None);
        assert!(!checked.report.has_errors(), "{source}");
        let program = &checked.program;
        let found = &checked.report.diagnostics;
        let absolute = |at: npc_diagnostics::Location| checked.sources().absolute(at);
        let reported = |code: &str, at: npc_diagnostics::Location| {
            let at = absolute(at);
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
            // NP0803 must not report a policy that only isolates.
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
                // Of two rules that make each other redundant only one is reported, and a rule with another
                // diagnostic is not.
                let beside = found
                    .iter()
                    .any(|one| one.labels.iter().any(|label| label.location == absolute(rule.location)));
                if is_reported || !beside {
                    counts.entry("NP0803").or_default().compare(is_reported, idle, || source.clone());
                }
                // NP0804: an allow-all-except rule that opens what another policy closes, or whose exception
                // another policy allows.
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
                            && other.covers(rule.direction)
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
                                let term =
                                    npc_program::CidrTerm { block: (*block).into(), location: rule.location };
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
        println!("seed {seed}: {code}: {count}");
        assert!(count.reported > 20, "{code} is hardly reported");
        assert!(count.false_alarms.is_empty(), "{code}: a false alarm\n{}", count.false_alarms[0]);
        // NP0803 may miss rules that only become redundant through several rules of policies for other pods.
        let bound = if *code == "NP0803" { count.reported / 3 } else { 0 };
        assert!(count.missed.len() <= bound, "{code}: missed\n{}", count.missed[0]);
    }
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), ["NP0803", "NP0804"]);
}

/// NP0806: a rule allows pods at the other end of a connection, and the policies of those pods deny all
/// connections that it allows.
#[test]
fn half_allowed_agrees_with_the_prover() {
    let seed = npc_tests::settings::seed();
    let mut count = Count::default();
    for index in 0..400 {
        let mut random = Rng::with_seed(seed * 970_000 + index);
        let source = halves(&mut random);
        let checked = Memory::one(&source).check(None);
        assert!(!checked.report.has_errors(), "{source}");
        let judges: Vec<&Policy> = checked.program.policies.iter().map(|policy| &**policy).collect();
        let possible = |all: &[Fact<'_>]| exists(all, &[], &[]).unwrap().is_some();
        for policy in judges.iter().filter(|policy| policy.tier == Tier::Namespaced) {
            for rule in &policy.rules {
                let opposite = rule.direction.opposite();
                for peer in &rule.peers {
                    let Peer::Pods(term) = peer else { continue };
                    let only = npc_program::Rule { peers: vec![peer.clone()], ..rule.clone() };
                    let allowed_here = Fact::Matches(policy, &only);
                    let is_half = possible(&[allowed_here])
                        && !possible(&[allowed_here, Fact::Allows(&judges, opposite)]);
                    let is_reported = checked.report.diagnostics.iter().any(|one| {
                        one.code.id == "NP0806"
                            && one.location() == Some(checked.sources().absolute(term.location))
                    });
                    count.compare(is_reported, is_half, || format!("{term:?} of\n{source}"));
                }
            }
        }
    }
    println!("seed {seed}: NP0806: {count}");
    assert!(count.reported > 50);
    assert!(count.false_alarms.is_empty(), "{}", count.false_alarms[0]);
    assert!(count.missed.len() * 20 <= count.reported, "{}", count.missed[0]);
}

/// A program with policies at both ends of connections between two namespaces.
fn halves(random: &mut Rng) -> String {
    let mut source = String::new();
    let ports = ["", " on tcp/80", " on tcp/80, tcp/443", " on udp/53"];
    for number in 0..1 + random.usize(..2) {
        let peer = [
            "pods { app = b } in namespace data",
            "all pods in namespace data",
            "all pods in all namespaces",
        ][random.usize(..3)];
        let port = ports[random.usize(..4)];
        source += &format!(
            "policy from{number} for pods {{ app = a }} in namespace shop {{\n  allow egress to {peer}{port}\n}}\n"
        );
    }
    for number in 0..1 + random.usize(..3) {
        let pods = ["all pods", "pods { app = b }", "pods { app = c }"][random.usize(..3)];
        let from =
            ["pods { app = a } in namespace shop", "all pods in namespace web", "all pods in same namespace"]
                [random.usize(..3)];
        let port = ports[random.usize(..4)];
        let body = if random.bool() {
            "isolate ingress".to_owned()
        } else {
            format!("allow ingress from {from}{port}")
        };
        source += &format!("policy to{number} for {pods} in namespace data {{\n  {body}\n}}\n");
    }
    if random.u8(..3) == 0 {
        source += "admin policy closed priority 1 for all pods in namespace data {\n  deny ingress from all pods in namespace shop\n}\n";
    }
    source
}

fn own_rules(policy: &Policy, direction: Direction) -> Vec<&npc_program::Rule> {
    policy.rules.iter().filter(|own| own.direction == direction).collect()
}

fn own_facts<'p>(rules: &[&'p npc_program::Rule], policy: &'p Policy) -> Vec<Fact<'p>> {
    rules.iter().map(|rule| Fact::Matches(policy, rule)).collect()
}

/// A program of policies that select some of the same pods: allow-all-except, isolating and other policies.
fn overlapping_policies(random: &mut Rng) -> String {
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

/// NP0805 in a cluster: a policy is reported if and only if it isolates a pod that cannot reach a DNS pod,
/// and does not only allow fixed addresses.
#[test]
fn dns_in_a_cluster_agrees_with_the_verdicts() {
    let seed = npc_tests::settings::seed();
    let (mut count, mut asked) = (Count::default(), 0);
    for index in 0..300 {
        let mut random = Rng::with_seed(seed * 950_000 + index);
        let source = overlapping_policies(&mut random);
        let cluster = npc_cluster::Cluster::parse(DNS_CLUSTER).unwrap();
        let checked = Memory::one(&source).check(Some(&cluster));
        let evaluator = npc_model::Evaluator::new(&checked.program, &cluster);
        for (at, policy) in checked.program.policies.iter().enumerate() {
            let fixed = policy.rules.iter().all(|rule| {
                rule.peers
                    .iter()
                    .all(|peer| matches!(peer, Peer::Block(term) if term.block.net.prefix_len() > 0))
            });
            let dns = cluster.endpoint(cluster.pod("kube-system", "dns").unwrap(), None).unwrap();
            let node_local = Endpoint::Outside("169.254.20.10".parse().unwrap());
            let is_selected = |place: usize| {
                let pod = cluster.endpoint(place, None).unwrap();
                policy.subjects.iter().any(|term| selects(term, &pod))
            };
            // The cluster says nothing about a policy that selects no pod in it.
            if !(0..cluster.pods.len()).any(is_selected) {
                continue;
            }
            let lacking = (0..cluster.pods.len()).any(|place| {
                let pod = cluster.endpoint(place, None).unwrap();
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
                    && one.location().is_some_and(|own| {
                        policy.rules.iter().any(|rule| checked.sources().absolute(rule.location) == own)
                    })
            };
            let reported = checked.report.diagnostics.iter().any(|one| at_policy(&one));
            count.compare(reported, expected, || format!("p{at} of\n{source}"));
        }
    }
    println!("seed {seed}: NP0805 in a cluster: {asked} pods asked, {count}");
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

/// NP0808 in a cluster: a CIDR is reported if and only if a pod of the cluster has an address in it. Judged
/// by the verdicts of a program that allows only that CIDR.
#[test]
fn pods_by_address_agrees_with_the_verdicts() {
    let seed = npc_tests::settings::seed();
    let mut count = Count::default();
    let cluster = npc_cluster::Cluster::parse(ADDRESSES).unwrap();
    for index in 0..300 {
        let mut random = Rng::with_seed(seed * 990_000 + index);
        let (a, b) = (random.u8(..4), random.u8(..8));
        let length = random.usize(20..=32);
        let base = format!("10.{a}.0.{b}");
        let block: IpNet = format!("{base}/{length}").parse().unwrap();
        let except = if length < 30 && random.bool() {
            let inner = IpNet::new(block.network(), 30).unwrap();
            format!(" except {inner}")
        } else {
            String::new()
        };
        let source = format!(
            "policy p for all pods in namespace shop {{\n  allow egress to {}{except}\n}}\n",
            block.trunc()
        );
        let checked = Memory::one(&source).check(Some(&cluster));
        assert!(!checked.report.has_errors(), "{source}");
        let reaches =
            cluster.pods.iter().enumerate().filter(|(_, pod)| !pod.host_network).any(|(place, pod)| {
                let source = cluster.endpoint(cluster.pod("shop", "client").unwrap(), None).unwrap();
                let destination = cluster.endpoint(place, Some(pod.addresses[0])).unwrap();
                let connection = Connection::direct(source, destination, Traffic::Port(Protocol::Tcp, 80));
                !npc_model::verdict(&checked.program, &connection).denied().0
                    && !source.is_same_pod(&destination)
            });
        let is_reported = checked.report.diagnostics.iter().any(|one| one.code.id == "NP0808");
        count.compare(is_reported, reaches, || source.clone());
    }
    println!("seed {seed}: NP0808 in a cluster: {count}");
    assert!(count.reported > 20);
    assert!(count.false_alarms.is_empty() && count.missed.is_empty(), "{count:#?}");
}

const ADDRESSES: &str = "
kind: Namespace
metadata: {name: shop}
---
kind: Pod
metadata: {name: client, namespace: shop}
status: {podIP: 172.16.0.1}
---
kind: Pod
metadata: {name: a, namespace: shop}
status: {podIP: 10.0.0.3}
---
kind: Pod
metadata: {name: b, namespace: shop}
status: {podIP: 10.1.0.6}
---
kind: Pod
metadata: {name: host, namespace: shop}
spec: {hostNetwork: true}
status: {podIP: 10.2.0.5}
";
