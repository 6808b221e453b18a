//! One meaning: random programs have the same verdicts by whatever way they are asked.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;

use fastrand::Rng;
use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, FileId, Level};
use npc_driver::{compile, through};
use npc_import::import;
use npc_model::{Connection, Decision, Endpoint, Evaluator, Traffic, Verdict, verdict};
use npc_program::Program;
use npc_program::values::port::Protocol;
use npc_targets::{Options, Target};
use npc_tests::memory::Memory;
use npc_tests::{namespaces, random};

/// A connection of a cluster.
fn connection<'c>(random: &mut Rng, cluster: &'c Cluster) -> Connection<'c> {
    let outside =
        ["10.1.2.3", "10.2.3.4", "169.254.169.254", "192.0.2.7", "8.8.8.8", "2001:db8::1", "fd00::9"];
    let first = random.bool();
    let mut end = |outside_allowed: bool| {
        if outside_allowed && random.u8(..4) == 0 {
            return Endpoint::Outside(outside[random.usize(..outside.len())].parse().unwrap());
        }
        let place = random.usize(..cluster.pods.len());
        let addresses = &cluster.pods[place].addresses;
        let address = (!addresses.is_empty()).then(|| addresses[random.usize(..addresses.len())]);
        Endpoint::pod(cluster, place, address).unwrap()
    };
    let (source, destination) = if first { (end(true), end(false)) } else { (end(false), end(true)) };
    let ports = [53, 80, 8050, 9, 65535, 8080, 1];
    let traffic = match random.u8(..8) {
        0 => Traffic::Other,
        _ => Traffic::Port(Protocol::ALL[random.usize(..3)], ports[random.usize(..ports.len())]),
    };
    Connection { source, destination, traffic }
}

fn errors(found: &[Diagnostic]) -> Vec<&str> {
    found.iter().filter(|found| found.level == Level::Error).map(|found| found.message.as_str()).collect()
}

#[test]
fn every_way_gives_the_same_verdicts() {
    let seed = random::seed();
    let programs: u64 = std::env::var("NPC_TEST_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 100_000 + index);
        let source = random::program(&mut random, "p");
        let checked = Memory::one(&source).check(None);
        if checked.report.has_errors() {
            continue;
        }
        let cluster = namespaces::cluster_with_pods(seed * 7 + index, 30);
        let options = Options::default();
        let mut ways: Vec<(String, Program)> = Vec::new();
        for target in [Target::NetworkPolicy, Target::Kyverno, Target::KyvernoCel] {
            // What a target cannot say, it says.
            let outputs = compile(&checked, &[target], &options, Some(&cluster));
            let own = |found: &&Diagnostic| matches!(found.code.id, "NP0618" | "NP0620");
            let faults: Vec<_> = outputs[0].diagnostics.iter().filter(own).collect();
            assert!(faults.is_empty(), "{faults:#?}\n{source}");
            if !errors(&outputs[0].diagnostics).is_empty() {
                continue;
            }
            let read = through(target, &checked.program, checked.sources(), &options, &cluster).unwrap();
            ways.push((format!("{target}"), read.program));
            let text = &outputs[0].text;
            let read = import(FileId(0), text);
            assert!(errors(&read.diagnostics).is_empty(), "{:#?}\n{text}\n{source}", read.diagnostics);
            ways.push((format!("{target}, imported"), read.clone().into_program()));
            let (text, found) = read.to_text();
            assert!(errors(&found).is_empty(), "{found:#?}");
            let again = Memory::one(&text).check(None);
            assert!(!again.report.has_errors(), "{:#?}\n{text}\n{source}", errors(&again.report.diagnostics));
            ways.push((format!("{target}, as text"), again.program));
        }
        for _ in 0..200 {
            let connection = connection(&mut random, &cluster);
            let expected = verdict(&checked.program, &connection);
            for (way, program) in &ways {
                let found = verdict(program, &connection);
                *counts.entry(way.clone()).or_default() += 1;
                assert_eq!(
                    found.denied(),
                    expected.denied(),
                    "{way}: {} -> {} {}: {expected:?} {found:?}\n{source}",
                    connection.source,
                    connection.destination,
                    connection.traffic,
                );
            }
        }
    }
    println!("seed {seed}: {counts:?}, 0 different");
    assert!(counts.len() == 9 && counts.values().all(|count| *count >= 1_000), "{counts:?}");
}

/// Programs of all tiers, small and large, and pods of every kind: the same reasons too.
#[test]
fn the_evaluator_gives_the_verdicts_of_the_interpreter() {
    let seed = random::seed();
    let programs: u64 = std::env::var("NPC_TEST_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    let (mut asked, mut by_tier) = (0, BTreeMap::new());
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 400_000 + index);
        let policies = if index % 10 == 0 { 300 } else { 1 + random.usize(..20) };
        let source = random::program_with_tiers(&mut random, policies);
        // Those with an error are without the policies that it is in, and have a meaning all the same.
        let checked = Memory::one(&source).check(None);
        let mut cluster = namespaces::cluster_with_pods(seed * 11 + index, 60);
        for pod in &mut cluster.pods {
            match random.u8(..12) {
                0 => pod.host_network = true,
                1 => pod.addresses.clear(),
                2 => pod.node_addresses.push("10.1.2.3".parse().unwrap()),
                _ => {}
            }
        }
        let evaluator = Evaluator::new(&checked.program, &cluster);
        for _ in 0..400 {
            let connection = connection(&mut random, &cluster);
            let expected = verdict(&checked.program, &connection);
            assert_eq!(
                evaluator.verdict(&connection),
                expected,
                "{} -> {} {}\n{source}",
                connection.source,
                connection.destination,
                connection.traffic,
            );
            asked += 1;
            if let Verdict::Decided { egress, ingress } = &expected {
                for decision in [egress, ingress] {
                    if let Decision::Rule { policy, .. } = decision {
                        *by_tier.entry(checked.program.policies[*policy].tier as u8).or_insert(0) += 1;
                    }
                }
            }
        }
    }
    println!("seed {seed}: {asked} connections, 0 different; decided by rules of each tier: {by_tier:?}");
    assert!(by_tier.len() == 3 && by_tier.values().all(|count| *count > 300), "{by_tier:?}");
}

/// What is written is changed at random: where the proof says that it still means the same, the
/// interpreter finds no difference; and a change that matters is found.
#[test]
fn a_change_of_the_output_is_found() {
    let seed = random::seed();
    let programs: u64 = std::env::var("NPC_TEST_PROGRAMS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let (mut found, mut unread, mut same) = (0, 0, 0);
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 200_000 + index);
        let source = random::program(&mut random, "p");
        let checked = Memory::one(&source).check(None);
        if checked.report.has_errors() {
            continue;
        }
        let cluster = namespaces::cluster_with_pods(seed * 9 + index, 30);
        let target = [Target::Kyverno, Target::KyvernoCel][random.usize(..2)];
        let options = Options::default();
        let mut outputs = compile(&checked, &[target], &options, None);
        let output = &mut outputs[0];
        if !errors(&output.diagnostics).is_empty() {
            continue;
        }
        let lines: Vec<&str> = output.text.lines().collect();
        for _ in 0..15 {
            let mut changed: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            let at = random.usize(..changed.len());
            match random.u8(..4) {
                0 => drop(changed.remove(at)),
                1 => {
                    let digit = changed[at].find(|c: char| c.is_ascii_digit());
                    let Some(digit) = digit else { continue };
                    let other = char::from(b'0' + random.u8(..10)).to_string();
                    changed[at].replace_range(digit..=digit, &other);
                }
                2 => {
                    let words = [
                        ("NotIn", "In"),
                        ("In", "NotIn"),
                        ("Exists", "DoesNotExist"),
                        ("TCP", "UDP"),
                        ("Egress", "Ingress"),
                        ("egress", "ingress"),
                        ("web", "api"),
                        ("==", "!="),
                        ("&&", "||"),
                    ];
                    let (word, other) = words[random.usize(..words.len())];
                    if !changed[at].contains(word) {
                        continue;
                    }
                    changed[at] = changed[at].replace(word, other);
                }
                _ => {
                    let line = changed[at].clone();
                    changed.insert(at, line);
                }
            }
            let text = changed.join("\n") + "\n";
            if text == output.text {
                continue;
            }
            let mut other = output.clone();
            other.text = text;
            let told = npc_driver::validate(&other, &checked.program, &options, None);
            if !told.is_empty() {
                if told[0].message.contains("something else") {
                    found += 1;
                } else {
                    unread += 1;
                }
                continue;
            }
            same += 1;
            let program = import(FileId(0), &other.text).into_program();
            for _ in 0..300 {
                let connection = connection(&mut random, &cluster);
                assert_eq!(
                    verdict(&program, &connection).denied(),
                    verdict(&checked.program, &connection).denied(),
                    "{} -> {} {}\n{source}\n{}",
                    connection.source,
                    connection.destination,
                    connection.traffic,
                    other.text,
                );
            }
        }
    }
    println!(
        "seed {seed}: of changed outputs {found} found to say something else, {unread} not readable, {same} proved to say the same, 0 of them wrongly"
    );
    assert!(found > 20 && same > 20, "{found} {same}");
}
