//! A cluster with unusual namespaces and labels.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use npc_cluster::{Cluster, NAMESPACE_NAME, NamedPort, Namespace, Pod};
use npc_vocabulary::Protocol;
use serde_json::{Value, json};

/// The labels of the namespaces. `None` means that the label is absent.
pub const LABELS: [(&str, &[Option<&str>]); 6] = [
    ("tenant", &[Some("red"), Some("Blue_1"), Some(""), Some("no"), Some("1e3"), None, None]),
    ("env", &[Some("prod"), Some("test"), Some("y"), None]),
    ("stage.example.com/level-1", &[Some("true"), Some("0x1F"), None]),
    ("legacy", &[Some(""), Some("true"), None, None]),
    ("a_b", &[Some("~"), Some("v1.2"), None]),
    ("1st", &[Some("null"), Some("x"), None]),
];

/// Namespace names, many of which YAML parsers read as other types.
pub const NAMES: [&str; 24] = [
    "default", "shop", "payments", "blog", "team-a", "team-b", "team-c-1", "y", "n", "no", "on", "off",
    "null", "true", "1e3", "010", "0x1f", "1-000", "a", "z9", "prod-eu", "eu-prod", "abc", "x1y",
];

/// A cluster with all names, and labels chosen at random from the seed.
#[must_use]
pub fn cluster(seed: u64) -> Cluster {
    let mut random = fastrand::Rng::with_seed(seed);
    let namespaces = NAMES
        .iter()
        .map(|name| {
            let mut labels = BTreeMap::from([(NAMESPACE_NAME.to_owned(), (*name).to_owned())]);
            for (key, values) in LABELS {
                // A tilde is not a valid label value; it means no label.
                if let Some(value) = values[random.usize(..values.len())].filter(|value| *value != "~") {
                    labels.insert(key.to_owned(), value.to_owned());
                }
            }
            Namespace { name: (*name).to_owned(), labels }
        })
        .collect();
    Cluster { namespaces, ..Cluster::default() }
}

/// The namespaces as API objects.
pub fn objects(cluster: &Cluster) -> impl Iterator<Item = Value> {
    cluster.namespaces.iter().map(|namespace| {
        json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace.name, "labels": namespace.labels},
        })
    })
}

/// The namespaces as a YAML stream with every scalar quoted.
#[must_use]
pub fn stream(cluster: &Cluster) -> String {
    objects(cluster).map(|object| format!("---\n{object}\n")).collect()
}

/// The same cluster, with pods whose labels, addresses and ports the random programs use.
#[must_use]
pub fn cluster_with_pods(seed: u64, pods: usize) -> Cluster {
    let mut cluster = cluster(seed);
    cluster.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
    let mut random = fastrand::Rng::with_seed(seed ^ 0x5eed);
    let labels: [(&str, &[&str]); 5] = [
        ("app", &["web", "api", "", "x"]),
        ("tier", &["db", "cache", "y"]),
        ("release", &["1"]),
        ("legacy", &[""]),
        ("app.kubernetes.io/name", &["no", "z"]),
    ];
    let ports = [
        ("http", Protocol::Tcp, 80),
        ("http", Protocol::Tcp, 8080),
        ("http", Protocol::Udp, 80),
        ("other", Protocol::Tcp, 80),
    ];
    for index in 0..pods {
        let mut pod = Pod {
            namespace: random.usize(..cluster.namespaces.len()),
            name: format!("pod-{index:03}"),
            ..Pod::default()
        };
        for (key, values) in labels {
            if random.bool() {
                Arc::make_mut(&mut pod.labels)
                    .insert(key.to_owned(), values[random.usize(..values.len())].to_owned());
            }
        }
        let host = index + 1;
        pod.addresses.push(IpAddr::from([
            10,
            random.u8(0..4),
            random.u8(2..4),
            u8::try_from(host).unwrap_or(1),
        ]));
        if random.bool() {
            let net = if random.bool() { 0xfd00 } else { 0x2001 };
            pod.addresses.push(IpAddr::from([net, 0xdb8, 0, 0, 0, 0, 0, u16::try_from(host).unwrap_or(1)]));
        }
        for (name, protocol, port) in ports {
            if random.u8(..3) == 0 {
                pod.ports.push(NamedPort { name: name.to_owned(), protocol, port });
            }
        }
        cluster.pods.push(pod);
    }
    cluster.pods.sort_by(|a, b| (a.namespace, &a.name).cmp(&(b.namespace, &b.name)));
    cluster
}
