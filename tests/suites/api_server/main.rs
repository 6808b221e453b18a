//! A real API server: all compiled policies are created with strict field validation against Kyverno's
//! definitions and webhooks, and all expanded NetworkPolicies are admitted.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod refusals;

use npc_targets::AnyTarget;
use npc_tests::live::try_kubectl;
use npc_tests::memory::{Memory, compiled};
use npc_tests::namespaces::{NAMES, cluster, objects};
use npc_tests::random::{program, program_with_tiers};
use npc_tests::settings::seed;
use npc_tests::tools::{examples, sources, tools};

/// The number of random programs. The server takes some milliseconds per object.
const PROGRAMS: usize = 40;

fn main() {
    if tools("api_server", "a running API server with Kyverno").is_none() {
        return;
    }
    let seed = seed();
    println!("api_server: seed {seed} (NPC_TEST_SEED chooses another)");
    let cluster = cluster(seed);
    let stream: String = objects(&cluster).map(|object| format!("---\n{object}\n")).collect();
    try_kubectl(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &stream).unwrap();

    let mut programs: Vec<Memory> = examples()
        .into_iter()
        .filter(|(name, _)| name != "tiers")
        .map(|(name, folder)| {
            let main = format!("{name}.np");
            // The first file is compiled, and it imports the sets.
            Memory::new(
                sources(&folder)
                    .into_iter()
                    .map(|(file, text)| if file == main { (format!("!{file}"), text) } else { (file, text) }),
            )
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut made = 0;
    while made < PROGRAMS {
        let files = Memory::one(&program(&mut random, &format!("p{made}")));
        if compiled(&files, AnyTarget::KYVERNO, None).is_ok() {
            programs.push(files);
            made += 1;
        }
    }

    for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL] {
        let (mut policies, mut objects) = (0, 0);
        for files in &programs {
            let output = compiled(files, target, None).unwrap();
            policies += output.objects;
            let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
            try_kubectl(&create, &output.text)
                .unwrap_or_else(|error| panic!("{target}: {error}\n{}", output.text));
            let mut text = String::new();
            for object in npc_expand::expand(&output.text, &cluster).unwrap().objects {
                text.push_str("---\n");
                npc_targets::yaml::write_to(&mut text, &object.value).unwrap();
                objects += 1;
            }
            if !text.is_empty() {
                try_kubectl(&create, &text).unwrap_or_else(|error| panic!("{target}: {error}"));
            }
        }
        println!(
            "api_server: {target}: {} programs, {policies} policies created, {objects} NetworkPolicies admitted, 0 refused",
            programs.len()
        );
    }
    cluster_network_policies(&mut random);
    refusals::refusals(&mut random, &cluster);
    // No controller manager runs, so the finalizers of namespaces must be removed by hand.
    for name in NAMES.iter().filter(|name| **name != "default") {
        try_kubectl(&["delete", "namespace", name, "--wait=false"], "").unwrap();
        let object = try_kubectl(&["get", "namespace", name, "-o", "json"], "").unwrap();
        let mut object: serde_json::Value = serde_json::from_str(&object).unwrap();
        object["spec"]["finalizers"] = serde_json::json!([]);
        let path = format!("/api/v1/namespaces/{name}/finalize");
        try_kubectl(&["replace", "--raw", &path, "-f", "-"], &object.to_string()).unwrap();
    }
}

/// Programs of all tiers, against the definition and validation rules of ClusterNetworkPolicy.
fn cluster_network_policies(random: &mut fastrand::Rng) {
    let (mut programs, mut policies) = (0, 0);
    // Many programs use features that ClusterNetworkPolicy does not have, and do not compile.
    for _ in 0..PROGRAMS * 40 {
        let count = 1 + random.usize(..3);
        let files = Memory::one(&program_with_tiers(random, count));
        let Ok(output) = compiled(&files, AnyTarget::CLUSTER_NETWORK_POLICY, None) else { continue };
        if output.objects == 0 {
            continue;
        }
        let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        try_kubectl(&create, &output.text).unwrap_or_else(|error| panic!("{error}\n{}", output.text));
        programs += 1;
        policies += output.objects;
        if programs == PROGRAMS {
            break;
        }
    }
    println!("api_server: clusternetworkpolicy: {programs} programs, {policies} policies created, 0 refused");
    assert!(programs >= PROGRAMS / 2);
}
