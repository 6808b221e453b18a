//! What is given with `--cluster`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = npc_cluster::Cluster::parse(text);
});
