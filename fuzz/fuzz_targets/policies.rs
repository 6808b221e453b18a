//! Kyverno policies, evaluated on a small cluster.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use npc_cluster::Cluster;

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    Cluster::parse(
        "kind: Namespace\nmetadata: {name: shop, labels: {env: prod, tenant: red}}\n---\nkind: Namespace\nmetadata: {name: 'no'}",
    )
    .expect("the cluster is one")
});

fuzz_target!(|text: &str| {
    let _ = npc_expand::expand(text, &CLUSTER);
});
