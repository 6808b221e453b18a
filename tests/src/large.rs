//! Large clusters and programs, with the structure that companies have: many namespaces with several
//! applications each, most of which connect within their own namespace.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use fastrand::Rng;
use npc_cluster::{Cluster, NAMESPACE_NAME, Namespace, Pod};
use npc_vocabulary::{Connection, Endpoint, Protocol, Traffic};

/// The number of different label sets of pods in each namespace.
const APPS: usize = 10;

/// A cluster with this many pods: 100 in each namespace, with 10 label sets.
#[must_use]
pub fn cluster(pods: usize) -> Cluster {
    let each = 100.min(pods);
    let namespaces = (0..pods.div_ceil(each))
        .map(|index| {
            let name = name(index);
            let labels = [
                (NAMESPACE_NAME, name.clone()),
                ("team", format!("team-{}", index % 50)),
                ("env", ["prod", "test"][index % 2].to_owned()),
            ];
            Namespace {
                name,
                labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            }
        })
        .collect();
    let pods = (0..pods)
        .map(|index| {
            let app = index % each * APPS / each;
            let labels = [
                ("app", format!("app-{app}")),
                ("tier", ["web", "api", "db"][app % 3].to_owned()),
                ("app.kubernetes.io/part-of", format!("product-{}", index / each)),
            ];
            let [_, a, b, c] = u32::try_from(index + 1).unwrap_or(1).to_be_bytes();
            Pod {
                namespace: index / each,
                name: format!("app-{app}-{:05}", index % each),
                labels: Arc::new(labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
                addresses: vec![IpAddr::from([10, a, b, c])],
                ..Pod::default()
            }
        })
        .collect();
    Cluster { namespaces, pods, ..Cluster::default() }
}

fn name(namespace: usize) -> String {
    format!("ns-{namespace:05}")
}

/// A program with this many policies for this many namespaces. Each selects one application of one namespace,
/// except one in a hundred, which selects the namespaces of a team.
#[must_use]
pub fn program(policies: usize, namespaces: usize) -> String {
    let mut out = String::from(
        "let dns = udp/53, tcp/53\nlet kube-dns = pods { k8s-app = kube-dns } in namespace kube-system\n",
    );
    for index in 0..policies {
        let own = name(index % namespaces);
        let app = index / namespaces % APPS;
        let subject = if index % 100 == 99 {
            format!("pods {{ tier = web }} in namespaces {{ team = team-{} }}", index / 100 % 50)
        } else {
            format!("pods {{ app = app-{app} }} in namespace {own}")
        };
        // Writing to a string cannot fail.
        let _ = write!(
            out,
            "policy p-{index} for {subject} {{
  allow ingress from pods {{ app = app-{} }} in same namespace on tcp/{}
  allow ingress from pods {{ tier = web }} in namespace {} on tcp/443
  allow egress to kube-dns on dns
  allow egress to all pods in same namespace
  allow egress to 192.0.2.0/24 on tcp/443
}}
",
            (app + 1) % APPS,
            8000 + app,
            name((index + 1) % namespaces),
        );
    }
    out
}

/// Random connections of the cluster's pods: about half within a namespace, some to addresses outside.
#[must_use]
pub fn connections<'c>(random: &mut Rng, cluster: &'c Cluster, count: usize) -> Vec<Connection<'c>> {
    let pod = |place: usize| {
        let address = cluster.pods.get(place).and_then(|pod| pod.addresses.first().copied());
        cluster.endpoint(place, address)
    };
    let ports = [80, 443, 8000, 8003, 53];
    (0..count)
        .filter_map(|_| {
            let from = random.usize(..cluster.pods.len());
            let near = (from / 100 * 100 + random.usize(..100)).min(cluster.pods.len() - 1);
            let destination = match random.u8(..8) {
                0 => Endpoint::Outside(IpAddr::from([192, 0, random.u8(2..4), random.u8(..)])),
                1..4 => pod(random.usize(..cluster.pods.len()))?,
                _ => pod(near)?,
            };
            let traffic = Traffic::Port(Protocol::Tcp, *ports.get(random.usize(..ports.len()))?);
            Some(Connection::direct(pod(from)?, destination, traffic))
        })
        .collect()
}

/// The cluster as `kubectl get namespaces,pods -A -o json` prints it.
#[must_use]
pub fn objects(cluster: &Cluster) -> String {
    let labels = |labels: &BTreeMap<String, String>| serde_json::json!(labels);
    let namespaces = cluster.namespaces.iter().map(|namespace| {
        let metadata = serde_json::json!({"name": namespace.name, "labels": labels(&namespace.labels)});
        serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    });
    let pods = cluster.pods.iter().map(|pod| {
        let namespace = cluster.namespaces.get(pod.namespace).map(|namespace| &namespace.name);
        let addresses: Vec<_> = pod.addresses.iter().map(|ip| serde_json::json!({"ip": ip})).collect();
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod.name, "namespace": namespace, "labels": labels(&pod.labels)},
            "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
            "status": {"phase": "Running", "podIP": pod.addresses.first(), "podIPs": addresses},
        })
    });
    let items: Vec<String> = namespaces.chain(pods).map(|object| object.to_string()).collect();
    format!("{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n{}\n]}}\n", items.join(",\n"))
}
