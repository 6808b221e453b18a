//! The objects that Kyverno generates from compiled policies equal the output of target `networkpolicy` for
//! the same cluster, on random programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use npc_targets::AnyTarget;
use npc_tests::memory::{Memory, compiled};
use npc_tests::namespaces::cluster;
use npc_tests::random::program;
use npc_tests::settings::seed;
use serde::Deserialize as _;
use serde_json::Value;

/// An object without its name, which may contain a label's value for GeneratingPolicies.
fn content(mut object: Value) -> String {
    object["metadata"].as_object_mut().unwrap().remove("name");
    object.to_string()
}

#[test]
fn generated_objects_equal_target_networkpolicy() {
    let seed = seed();
    println!("seed {seed} (NPC_TEST_SEED chooses another)");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut programs, mut objects) = (0, 0);
    let wanted: u32 = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 60, 300);
    while programs < wanted {
        let cluster = cluster(random.u64(..));
        let text = program(&mut random, "p");
        let files = Memory::one(&text);
        let Ok(plain) = compiled(&files, AnyTarget::NETWORK_POLICY, Some(&cluster)) else { continue };
        let written: Vec<Value> = serde_yaml::Deserializer::from_str(&plain.text)
            .map(|d| Value::deserialize(d).unwrap())
            .filter(|v| !v.is_null())
            .collect();
        for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL] {
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

/// Compiling the same program again gives the same bytes.
#[test]
fn compiling_twice_gives_the_same_bytes() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..50 {
        let files = Memory::one(&program(&mut random, "p"));
        for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL] {
            let once = compiled(&files, target, None).map(|output| output.text);
            assert_eq!(once, compiled(&files, target, None).map(|output| output.text));
        }
    }
}

/// Policies are compiled in parallel: each diagnostic must belong to the right policy, and objects are
/// counted correctly.
#[test]
fn many_policies_are_compiled_and_counted() {
    let program: String = (0..300)
        .map(|i| format!("policy p{i} for all pods in namespace n{i} {{ isolate ingress }}\n"))
        .chain([
            "policy late for all pods in namespace kube-system { isolate ingress }\n".to_owned(),
            "policy x for all pods in namespaces (a, b) { allow ingress from all pods in namespaces sharing t }\n"
                .to_owned(),
            "policy x-sharing-t for all pods in namespace a { isolate egress }\n".to_owned(),
        ])
        .collect();
    let files = Memory::one(&program);
    let checked = files.check(None);
    for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL] {
        let output =
            npc_driver::compile(&checked, &[target], &npc_targets::Options::default(), None).remove(0);
        assert_eq!(output.objects, 304);
        assert_eq!(output.text.matches("\n---\n").count() + 1, 304);
        let told: Vec<(&str, &str)> = output
            .diagnostics
            .iter()
            .filter_map(|d| Some((d.code.id, checked.sources().text(d.location()?))))
            .collect();
        assert!(told.contains(&("NP0606", "namespace kube-system")), "{told:?}");
        assert!(told.contains(&("NP0603", "x-sharing-t")), "{told:?}");
    }
}
