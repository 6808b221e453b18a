//! Test vectors: manifests, a cluster, and connections with their verdicts. See `tests/vectors/README.md`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use npc_cluster::Cluster;
use npc_vocabulary::{Connection, Endpoint, Protocol, Traffic};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::root;
use crate::settings::skip;

/// Reads a file of `tests/vectors`, which may be compressed.
///
/// # Panics
///
/// If it cannot be read.
#[must_use]
#[allow(clippy::expect_used, reason = "a test helper")]
pub fn text(name: &str) -> String {
    let path = root().join("tests/vectors").join(name);
    if let Ok(text) = std::fs::read_to_string(&path) {
        return text;
    }
    let packed = std::fs::File::open(path.with_added_extension("gz")).expect("the vectors are there");
    let mut text = String::new();
    GzDecoder::new(packed).read_to_string(&mut text).expect("the vectors can be read");
    text
}

/// The sets of cases with these letters. Set R is not part of this project: it is read from the folder in
/// `NPC_VECTORS`, or from `shared/vectors` beside the checkout, and left out if it does not exist.
#[must_use]
#[allow(clippy::expect_used, reason = "a test helper")]
pub fn sets(test: &str, letters: &str) -> Vec<(char, Vec<Case>)> {
    let read = |letter| {
        let name = format!("set{letter}.jsonl");
        let text = if letter == 'R' { outside(test, &name)? } else { text(&name) };
        Some((letter, text.lines().map(|line| serde_json::from_str(line).expect("a case")).collect()))
    };
    letters.chars().filter_map(read).collect()
}

fn outside(test: &str, name: &str) -> Option<String> {
    let Some(folder) = std::env::var_os("NPC_VECTORS") else {
        skip(
            "setR",
            &format!("{test}: {name} is not part of the project; NPC_VECTORS is not set to its folder"),
        );
        return None;
    };
    let path = PathBuf::from(folder).join(name);
    Some(std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// A test case.
#[derive(Deserialize)]
pub struct Case {
    /// Its name.
    pub id: String,
    /// Namespaces and pods.
    pub inventory: Value,
    /// Manifests.
    pub policies: Vec<Value>,
    /// Connections.
    pub probes: Vec<Probe>,
}

/// A connection and its expected verdict.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// `namespace/pod`, or `external`.
    pub src: String,
    /// Its address.
    #[serde(rename = "srcIP")]
    pub src_ip: Option<IpAddr>,
    /// `namespace/pod`, or `external`.
    pub dst: String,
    /// Its address.
    #[serde(rename = "dstIP")]
    pub dst_ip: Option<IpAddr>,
    /// TCP, UDP or SCTP.
    pub proto: String,
    /// The port.
    pub port: u16,
    /// The verdict.
    pub allowed: bool,
    /// The side that denies it, if known.
    pub denied_by: Option<String>,
    /// CNIs that give a different verdict.
    #[serde(default)]
    pub cni: BTreeMap<String, Otherwise>,
}

/// Why a CNI gives a different verdict.
#[derive(Debug, Deserialize)]
pub struct Otherwise {
    /// The cause in a word or two.
    pub cause: String,
}

impl Case {
    /// The manifests as a YAML stream.
    #[must_use]
    pub fn manifests(&self) -> String {
        self.policies.iter().map(|policy| format!("---\n{policy}\n")).collect()
    }

    /// The cluster, as kubectl prints it.
    #[must_use]
    pub fn cluster_text(&self) -> String {
        let list = |key: &str| self.inventory[key].as_array().cloned().unwrap_or_default();
        let mut items: Vec<Value> = list("namespaces")
            .into_iter()
            .map(|one| json!({"kind": "Namespace", "metadata": {"name": one["name"], "labels": one["labels"]}}))
            .collect();
        for pod in list("pods") {
            let ports: Vec<Value> = pod["ports"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|port| json!({"name": port["name"], "containerPort": port["port"], "protocol": port["protocol"]}))
                .collect();
            let ips: Vec<Value> =
                pod["ips"].as_array().into_iter().flatten().map(|ip| json!({"ip": ip})).collect();
            items.push(json!({
                "kind": "Pod",
                "metadata": {"name": pod["name"], "namespace": pod["namespace"], "labels": pod["labels"]},
                "spec": {"containers": [{"ports": ports}], "hostNetwork": pod["hostNetwork"]},
                "status": {"podIPs": ips, "phase": pod["phase"]},
            }));
        }
        json!({"kind": "List", "items": items}).to_string()
    }

    /// The parsed cluster.
    ///
    /// # Panics
    ///
    /// If it is invalid.
    #[must_use]
    #[allow(clippy::expect_used, reason = "a test helper")]
    pub fn cluster(&self) -> Cluster {
        Cluster::parse(&self.cluster_text()).expect("a cluster")
    }
}

impl Probe {
    /// The connection.
    ///
    /// # Panics
    ///
    /// If a pod is not in the cluster.
    #[must_use]
    #[allow(clippy::expect_used, clippy::panic, reason = "a test helper")]
    pub fn connection<'c>(&self, cluster: &'c Cluster) -> Connection<'c> {
        let end = |name: &str, address: Option<IpAddr>| match name.split_once('/') {
            Some((namespace, pod)) => {
                let place = cluster.pod(namespace, pod).unwrap_or_else(|| panic!("there is no {name}"));
                cluster.endpoint(place, address).expect("its namespace")
            }
            None => Endpoint::Outside(address.expect("an address")),
        };
        let protocol =
            Protocol::ALL.into_iter().find(|protocol| protocol.api_name() == self.proto).expect("a protocol");
        Connection::direct(
            end(&self.src, self.src_ip),
            end(&self.dst, self.dst_ip),
            Traffic::Port(protocol, self.port),
        )
    }
}
