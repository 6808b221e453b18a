//! Checks that the output committed beside the examples is current.
//!
//! `INSTA_UPDATE=always cargo test -p npc-tests --test examples` rewrites it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::path::Path;

use npc_cluster::Cluster;
use npc_targets::AnyTarget;
use npc_tests::memory::{Memory, compiled};
use npc_tests::root;
use npc_tests::tools::{examples, sources};

fn compare(path: &Path, text: &str) {
    if npc_tests::settings::update() {
        std::fs::write(path, text).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is not what the example becomes; run with INSTA_UPDATE=always",
        path.display()
    );
}

#[test]
fn committed_output_is_current() {
    let cluster =
        Cluster::parse(&std::fs::read_to_string(root().join("examples/cluster.yaml")).unwrap()).unwrap();
    let mut written = 0;
    for (name, folder) in examples() {
        let sources = sources(&folder);
        let roots: Vec<String> = sources.iter().map(|(name, _)| name.clone()).collect();
        let files = Memory::new(sources);
        let checked = npc_driver::check(&files, &roots, &npc_driver::Config::default(), None);
        let found: Vec<&str> = checked.report.diagnostics.iter().map(|d| d.code.id).collect();
        assert!(found.is_empty(), "{name}: {found:?}");
        if name == "tiers" {
            for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL, AnyTarget::NETWORK_POLICY] {
                let errors = compiled(&files, target, Some(&cluster)).unwrap_err();
                assert_eq!(errors, ["NP0601"; 3], "{target}");
            }
            continue;
        }
        for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL] {
            let options = npc_targets::Options::default();
            let output = npc_driver::compile(&checked, &[target], &options, None).remove(0);
            assert!(!output.text.is_empty(), "{name}");
            compare(&folder.join(format!("{name}.{target}.yaml")), &output.text);
            let mut text = String::new();
            for object in npc_expand::expand(&output.text, &cluster).unwrap().objects {
                text.push_str("---\n");
                npc_targets::yaml::write_to(&mut text, &object.value).unwrap();
            }
            compare(&folder.join(format!("{name}.{target}.expanded.yaml")), &text);
            written += 2;
        }
    }
    println!("{written} files compared");
    assert!(written >= 32);
}
