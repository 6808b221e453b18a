//! Random programs have the same verdicts in every representation.

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
use npc_driver::{Checked, compile, round_trip};
use npc_image::{Image, read};
use npc_import::import;
use npc_model::{Evaluator, verdict};
use npc_program::Program;
use npc_targets::{AnyTarget, Options};
use npc_tests::memory::Memory;
use npc_tests::{namespaces, random};
use npc_vocabulary::{Connection, Decision, Endpoint, Protocol, Route, Traffic, Verdict};

/// A random connection in a cluster.
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
        cluster.endpoint(place, address).unwrap()
    };
    let (source, destination) = if first { (end(true), end(false)) } else { (end(false), end(true)) };
    let ports = [53, 80, 8050, 9, 65535, 8080, 1];
    let traffic = match random.u8(..8) {
        0 => Traffic::Other,
        _ => Traffic::Port(Protocol::ALL[random.usize(..3)], ports[random.usize(..ports.len())]),
    };
    let node = Endpoint::Node { address: "10.2.3.4".parse().unwrap(), name: None };
    let route = match random.u8(..6) {
        0 => Route::Service,
        1 => Route::Masqueraded(node),
        _ => Route::Direct,
    };
    Connection { source, destination, traffic, route }
}

fn errors(found: &[Diagnostic]) -> Vec<&str> {
    found.iter().filter(|found| found.level == Level::Error).map(|found| found.message.as_str()).collect()
}

#[test]
fn all_representations_give_the_same_verdicts() {
    let seed = npc_tests::settings::seed();
    let programs: u64 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 40, 300);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 100_000 + index);
        let source = random::program(&mut random, "p");
        let checked = Memory::one(&source).check(None);
        if checked.report.has_errors() {
            continue;
        }
        let cluster = namespaces::cluster_with_pods(seed * 7 + index, 30);
        let options = Options { filtered_namespaces: Vec::new(), ..Options::default() };
        let mut ways: Vec<(String, Program)> = Vec::new();
        for target in [AnyTarget::NETWORK_POLICY, AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL] {
            // A target reports what it cannot express.
            let outputs = compile(&checked, &[target], &options, Some(&cluster));
            let own = |found: &&Diagnostic| matches!(found.code.id, "NP0618" | "NP0620");
            let faults: Vec<_> = outputs[0].diagnostics.iter().filter(own).collect();
            assert!(faults.is_empty(), "{faults:#?}\n{source}");
            if !errors(&outputs[0].diagnostics).is_empty() {
                continue;
            }
            let read = round_trip(target, &checked.program, checked.sources(), &options, &cluster).unwrap();
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

/// Programs of all tiers, small and large, and pods of every kind. The reasons must be equal too.
#[test]
fn evaluator_and_image_agree_with_the_interpreter() {
    let seed = npc_tests::settings::seed();
    let programs: u64 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 40, 300);
    let (mut asked, mut by_tier) = (0, BTreeMap::new());
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 400_000 + index);
        let policies = if index % 10 == 0 { 300 } else { 1 + random.usize(..20) };
        let source = random::program_with_tiers(&mut random, policies);
        // A program with errors has a meaning too: that of its policies without errors.
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
        let image = image(&checked);
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
            assert_eq!(
                npc_image::verdict(&image, &connection),
                expected,
                "by the image, {} -> {} {}\n{source}",
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
    assert!(by_tier.len() == 3 && by_tier.values().all(|count| *count > programs * 5), "{by_tier:?}");
}

/// The image of a program, written, validated and read.
fn image(checked: &Checked) -> Image {
    let output = compile(checked, &[AnyTarget::EBPF], &Options::default(), None).remove(0);
    assert!(output.diagnostics.is_empty(), "{:#?}", output.diagnostics);
    read(&output.image).unwrap()
}

/// Changes one thing in an image.
fn change(random: &mut Rng, image: &mut Image) {
    fn any<'i, T>(random: &mut Rng, list: &'i mut [T]) -> Option<&'i mut T> {
        let place = random.usize(..list.len().max(1));
        list.get_mut(place)
    }
    fn toggle(sets: &mut Vec<u32>, set: u32) {
        match sets.binary_search(&set) {
            Ok(place) => drop(sets.remove(place)),
            Err(place) => sets.insert(place, set),
        }
    }
    let (terms, count) = (image.pod_terms.len() as u32, image.addresses.count);
    let classes = image.addresses.classes.len() as u32;
    let ports = image.ports.named.len() as u32;
    let kind = random.u8(..12);
    match kind {
        0 => {
            if let Some((_, class)) = any(random, &mut image.addresses.v4) {
                *class = random.u32(..classes);
            }
        }
        1 => {
            if let Some((_, class)) = any(random, &mut image.addresses.v6) {
                *class = random.u32(..classes);
            }
        }
        2 if count > 0 => {
            if let Some(class) = any(random, &mut image.addresses.classes) {
                toggle(class, random.u32(..count));
            }
        }
        3 if count > 0 => toggle(&mut image.addresses.of_unknown, random.u32(..count)),
        4 if ports > 0 => {
            if let Some(class) = any(random, &mut image.ports.classes) {
                toggle(class, random.u32(..ports));
            }
        }
        5 => {
            if let Some(named) = any(random, &mut image.ports.named) {
                named.clear();
            }
        }
        6 => {
            if let Some(term) = any(random, &mut image.pod_terms) {
                term.selector = 0;
            }
        }
        _ => {
            let Some(policy) = any(random, &mut image.policies) else { return };
            match kind {
                7 => policy.priority ^= 1,
                8 => policy.isolates[random.usize(..2)] ^= true,
                9 if terms > 0 => policy.subjects.push(random.u32(..terms)),
                10 => {
                    if let Some(rule) = any(random, &mut policy.rules) {
                        rule.pods.pop();
                    }
                }
                _ => {
                    if let Some(rule) = any(random, &mut policy.rules) {
                        rule.ports = None;
                    }
                }
            }
        }
    }
}

/// A changed image is rejected when it is read or validated, unless the change has no effect.
#[test]
fn changed_images_are_rejected() {
    let seed = npc_tests::settings::seed();
    let programs: u64 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 30, 200);
    let (mut found, mut same) = (0, 0);
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 500_000 + index);
        let policies = 1 + random.usize(..6);
        let source = random::program_with_tiers(&mut random, policies);
        let checked = Memory::one(&source).check(None);
        if checked.report.has_errors() {
            continue;
        }
        let cluster = namespaces::cluster_with_pods(seed * 13 + index, 30);
        let options = Options::default();
        let mut output = compile(&checked, &[AnyTarget::EBPF], &options, None).remove(0);
        let original = read(&output.image).unwrap();
        for _ in 0..10 {
            let mut image = original.clone();
            change(&mut random, &mut image);
            if image == original {
                continue;
            }
            output.image = npc_image::write(&image);
            let Ok(image) = read(&output.image) else {
                // For example, a subject that depends on another pod.
                found += 1;
                continue;
            };
            if !npc_driver::validate(&output, &checked.program, &options, None).is_empty() {
                found += 1;
                continue;
            }
            same += 1;
            for _ in 0..200 {
                let connection = connection(&mut random, &cluster);
                assert_eq!(
                    npc_image::verdict(&image, &connection),
                    verdict(&checked.program, &connection),
                    "{source}"
                );
            }
        }
    }
    println!("seed {seed}: {found} changed images refused; {same} mean the same, 0 of them another thing");
    assert!(found > programs * 2, "{found}");
}

/// Changes the compiled output at random. If the prover finds the meaning unchanged, the interpreter finds no
/// difference; changes with an effect are reported.
#[test]
fn changed_outputs_are_reported() {
    let seed = npc_tests::settings::seed();
    let programs: u64 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 30, 200);
    let (mut found, mut unread, mut same) = (0, 0, 0);
    for index in 0..programs {
        let mut random = Rng::with_seed(seed * 200_000 + index);
        let source = random::program(&mut random, "p");
        let checked = Memory::one(&source).check(None);
        if checked.report.has_errors() {
            continue;
        }
        let cluster = namespaces::cluster_with_pods(seed * 9 + index, 30);
        let target = [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL][random.usize(..2)];
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
                if told[0].message.contains("is not equivalent") {
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
        "seed {seed}: of changed outputs {found} found not equivalent, {unread} not readable, {same} proved equivalent, 0 of them wrongly"
    );
    assert!(found > programs / 4 && same > programs / 2, "{found} {same}");
}

/// No selector matches a host-network pod: its verdicts are those of its address, in every representation.
#[test]
fn host_network_pod_has_the_verdicts_of_its_address() {
    let seed = npc_tests::settings::seed();
    let (mut asked, mut denied) = (0, 0);
    for index in 0..60 {
        let mut random = Rng::with_seed(seed * 700_000 + index);
        let policies = 1 + random.usize(..20);
        let checked = Memory::one(&random::program_with_tiers(&mut random, policies)).check(None);
        let mut cluster = namespaces::cluster_with_pods(seed * 17 + index, 40);
        cluster.pods.iter_mut().step_by(3).for_each(|pod| pod.host_network = true);
        let evaluator = Evaluator::new(&checked.program, &cluster);
        let image = image(&checked);
        for _ in 0..200 {
            let hosts: Vec<usize> = (0..cluster.pods.len()).step_by(3).collect();
            let host = hosts[random.usize(..hosts.len())];
            let other = random.usize(..cluster.pods.len());
            let Some(address) = cluster.pods[host].addresses.first().copied() else { continue };
            if host == other {
                continue;
            }
            let pod = cluster.endpoint(host, Some(address)).unwrap();
            let as_address = Endpoint::Node { address, name: None };
            let outside = Endpoint::Outside(address);
            let peer = cluster.endpoint(other, cluster.pods[other].addresses.first().copied()).unwrap();
            let traffic = connection(&mut random, &cluster).traffic;
            for egress in [true, false] {
                let between = |end| match egress {
                    true => Connection::direct(peer, end, traffic),
                    false => Connection::direct(end, peer, traffic),
                };
                let expected = verdict(&checked.program, &between(pod));
                asked += 1;
                denied += usize::from(!expected.allowed());
                for end in [pod, as_address, outside] {
                    let connection = between(end);
                    let found = [
                        verdict(&checked.program, &connection),
                        evaluator.verdict(&connection),
                        npc_image::verdict(&image, &connection),
                    ];
                    assert!(
                        found.iter().all(|found| found.denied() == expected.denied()),
                        "{found:?} {expected:?}"
                    );
                }
            }
        }
    }
    println!(
        "seed {seed}: {asked} connections of pods on their node's network, {denied} denied, 0 different by address"
    );
    assert!(denied > 1_000 && asked - denied > 1_000, "{denied} of {asked}");
}
