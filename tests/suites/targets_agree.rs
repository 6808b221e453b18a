//! The targets agree: what Kyverno generates from its policies is what the target `networkpolicy` writes
//! for the same cluster, object for object, on random programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use npc_targets::Target;
use npc_tests::memory::{Memory, compiled};
use npc_tests::namespaces::cluster;
use npc_tests::random::{program, seed};
use serde::Deserialize as _;
use serde_json::Value;

/// What tells objects apart beside their names, which may hold a label's value with GeneratingPolicies.
fn content(mut object: Value) -> String {
    object["metadata"].as_object_mut().unwrap().remove("name");
    object.to_string()
}

#[test]
fn generated_is_what_networkpolicy_writes() {
    let seed = seed();
    println!("seed {seed} (NPC_TEST_SEED chooses another)");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut programs, mut objects) = (0, 0);
    while programs < 300 {
        let cluster = cluster(random.u64(..));
        let text = program(&mut random, "p");
        let files = Memory::one(&text);
        let Ok(plain) = compiled(&files, Target::NetworkPolicy, Some(&cluster)) else { continue };
        let written: Vec<Value> = serde_yaml::Deserializer::from_str(&plain.text)
            .map(|d| Value::deserialize(d).unwrap())
            .filter(|v| !v.is_null())
            .collect();
        for target in [Target::Kyverno, Target::KyvernoCel] {
            let policies = compiled(&files, target, None).unwrap().text;
            let generated = npc_expand::expand(&policies, &cluster).unwrap().objects;
            let mut theirs: Vec<String> = generated.into_iter().map(|object| content(object.value)).collect();
            let mut ours: Vec<String> = written.iter().cloned().map(content).collect();
            theirs.sort();
            ours.sort();
            assert_eq!(theirs, ours, "seed {seed}, {target}\n{text}");
            objects += ours.len();
        }
        programs += 1;
    }
    println!("{programs} programs, {objects} objects compared, 0 different");
}

/// The same program gives the same bytes.
#[test]
fn compiling_twice_gives_the_same_bytes() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..50 {
        let files = Memory::one(&program(&mut random, "p"));
        for target in [Target::Kyverno, Target::KyvernoCel] {
            let once = compiled(&files, target, None).map(|output| output.text);
            assert_eq!(once, compiled(&files, target, None).map(|output| output.text));
        }
    }
}
