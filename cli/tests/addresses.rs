//! Tests `npc query` with addresses, Services, nodes and host-network pods.
//!
//! The output is kept as snapshots. When they change, review them as a user would.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{err, folder, npc, npc_with, out};
use serde_json::Value;
use tempfile::TempDir;

/// A shop with a database behind a Service, a load balancer, an ingress controller on the host network, and
/// the API server.
const CLUSTER: &str = r#"
apiVersion: v1
kind: List
items:
- kind: Namespace
  metadata: {name: shop}
- kind: Namespace
  metadata: {name: data}
- kind: Namespace
  metadata: {name: edge}
- kind: Namespace
  metadata: {name: default}
- kind: Node
  metadata: {name: n1}
  status: {addresses: [{type: Hostname, address: n1}, {type: InternalIP, address: 192.0.2.1}]}
- kind: Node
  metadata: {name: n2}
  status: {addresses: [{type: InternalIP, address: 192.0.2.2}, {type: InternalIP, address: 'fd00:2::2'}]}
- kind: Pod
  metadata: {name: web-0, namespace: shop, labels: {app: web}}
  spec: {nodeName: n1, containers: [{ports: [{name: http, containerPort: 8080}]}]}
  status: {podIP: 10.1.0.1, hostIP: 192.0.2.1}
- kind: Pod
  metadata: {name: pg-0, namespace: data, labels: {app: pg}}
  spec: {nodeName: n1, containers: [{ports: [{name: sql, containerPort: 5432}]}]}
  status: {podIPs: [{ip: 10.1.0.7}, {ip: 'fd00:1::7'}], hostIP: 192.0.2.1}
- kind: Pod
  metadata: {name: pg-1, namespace: data, labels: {app: pg, role: standby}}
  spec: {nodeName: n2, containers: [{ports: [{name: sql, containerPort: 6432}]}]}
  status: {podIP: 10.1.0.8, hostIP: 192.0.2.2}
- kind: Pod
  metadata: {name: ingress-h1, namespace: edge, labels: {app: ingress}}
  spec: {nodeName: n2, hostNetwork: true, containers: [{ports: [{name: http, containerPort: 80}]}]}
  status: {podIP: 192.0.2.2, hostIP: 192.0.2.2}
- kind: Pod
  metadata: {name: twin-a, namespace: edge, labels: {app: twin}}
  status: {podIP: 10.1.0.99}
- kind: Pod
  metadata: {name: twin-b, namespace: edge, labels: {app: twin}}
  status: {podIP: 10.1.0.99}
- kind: Service
  metadata: {name: pg, namespace: data}
  spec: {clusterIPs: [10.96.0.7, 'fd96::7'], selector: {app: pg}, ports: [{name: sql, port: 15432, targetPort: sql}]}
- kind: Service
  metadata: {name: pg-each, namespace: data}
  spec: {clusterIP: None, selector: {app: pg}, ports: [{port: 5432}]}
- kind: Service
  metadata: {name: front, namespace: shop}
  spec: {type: LoadBalancer, clusterIP: 10.96.0.1, selector: {app: web}, ports: [{name: web, port: 80, targetPort: 8080, nodePort: 30080}]}
  status: {loadBalancer: {ingress: [{ip: 198.51.100.7}]}}
- kind: Service
  metadata: {name: front-local, namespace: shop}
  spec: {type: LoadBalancer, externalTrafficPolicy: Local, clusterIP: 10.96.0.2, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
  status: {loadBalancer: {ingress: [{ip: 198.51.100.8}]}}
- kind: Service
  metadata: {name: mail, namespace: shop}
  spec: {type: ExternalName, externalName: mail.example.com}
- kind: Service
  metadata: {name: empty, namespace: shop}
  spec: {clusterIP: 10.96.0.3, selector: {app: nobody}, ports: [{port: 80}]}
- kind: Service
  metadata: {name: kubernetes, namespace: default}
  spec: {clusterIP: 10.96.0.254, ports: [{name: https, port: 443, targetPort: 6443}]}
- kind: EndpointSlice
  metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
  addressType: IPv4
  endpoints: [{addresses: [192.0.2.1]}]
  ports: [{name: https, port: 6443}]
- kind: Service
  metadata: {name: manual, namespace: data}
  spec: {clusterIP: 10.96.0.9, ports: [{port: 80, targetPort: 9000}]}
- kind: Endpoints
  metadata: {name: manual, namespace: data}
  subsets: [{addresses: [{ip: 10.1.0.8}, {ip: 203.0.113.80}], ports: [{port: 9000}]}]
"#;

const PROGRAM: &str = "
policy web for pods { app = web } in namespace shop {
  allow egress  to   pods { app = pg } in namespace data on tcp/sql
  allow egress  to   192.0.2.1/32 on tcp/6443
  allow ingress from pods { app = ingress } in namespace edge
  allow ingress from 203.0.113.0/24, 192.0.2.2/32 on tcp/8080
}

policy pg for pods { app = pg, !role } in namespace data {
  allow ingress from pods { app = web } in namespace shop on tcp/sql
}
policy standby for pods { role = standby } in namespace data {
  isolate ingress
}
";

fn project() -> TempDir {
    folder(&[("policies.np", PROGRAM), ("cluster.yaml", CLUSTER)])
}

macro_rules! snapshot {
    ($name:literal, $text:expr) => {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

/// The output and exit code of each query.
fn asked(questions: &[(&str, [&str; 3])]) -> String {
    let folder = project();
    let mut all = String::new();
    for (about, words) in questions {
        let mut arguments = vec!["query"];
        arguments.extend(words);
        arguments.extend(["policies.np", "--cluster", "cluster.yaml", "--via", "program,image"]);
        let both = npc(folder.path(), &arguments);
        arguments.truncate(arguments.len() - 2);
        let output = npc(folder.path(), &arguments);
        // The map image must give the same answers as the program.
        assert_eq!(output.status.code(), both.status.code(), "{about}");
        assert!(!out(&both).contains("bug in npc"), "{}", out(&both));
        all.push_str(&format!(
            "# {about}\n$ npc query {}\n{}{}exit {}\n\n",
            words.join(" "),
            out(&output),
            err(&output),
            output.status.code().unwrap()
        ));
    }
    all
}

#[test]
fn queries_by_address() {
    snapshot!(
        "addresses",
        asked(&[
            ("an address of a pod is resolved to the pod", ["shop/web-0", "10.1.0.7", "tcp/5432"]),
            ("also as a source, and with IPv6", ["fd00:1::7", "shop/web-0", "tcp/8080"]),
            ("both source and destination", ["10.1.0.1", "10.1.0.8", "tcp/6432"]),
            ("no selector matches a host-network pod", ["edge/ingress-h1", "shop/web-0", "tcp/80"]),
            ("the address of a host-network pod is a node's", ["192.0.2.2", "shop/web-0", "tcp/80"]),
            (
                "rules match a host-network pod by its node's address",
                ["edge/ingress-h1", "shop/web-0", "tcp/8080"]
            ),
            ("a named port does not match a host-network pod", ["shop/web-0", "edge/ingress-h1", "tcp/80"]),
            ("a pod's own node can reach it", ["192.0.2.1", "shop/web-0", "tcp/22"]),
            ("two addresses outside", ["203.0.113.9", "198.51.100.99", "tcp/80"]),
            ("two nodes", ["192.0.2.1", "192.0.2.2", "tcp/80"]),
            ("two pods have the address", ["shop/web-0", "10.1.0.99", "tcp/80"]),
        ])
    );
}

#[test]
fn queries_by_service() {
    snapshot!(
        "services",
        asked(&[
            ("by address, with a named target port", ["shop/web-0", "10.96.0.7", "tcp/15432"]),
            ("by name, with a named port", ["shop/web-0", "data/pg", "tcp/sql"]),
            ("by its unambiguous name", ["shop/web-0", "data/svc/pg", "tcp/15432"]),
            ("by its IPv6 address: the source has no IPv6", ["shop/web-0", "fd96::7", "tcp/15432"]),
            ("a port that the Service does not have", ["shop/web-0", "10.96.0.7", "tcp/5432"]),
            ("headless: the port is not translated", ["shop/web-0", "data/pg-each", "tcp/5432"]),
            ("a load balancer hides the client", ["203.0.113.9", "198.51.100.7", "tcp/80"]),
            ("a node port hides the client, too", ["203.0.113.9", "192.0.2.1", "tcp/30080"]),
            ("a pod as the client of a load balancer", ["data/pg-0", "198.51.100.7", "tcp/80"]),
            (
                "a load balancer that preserves the client's address",
                ["203.0.113.9", "198.51.100.8", "tcp/80"]
            ),
            ("another port of a node is the node's own", ["shop/web-0", "192.0.2.1", "tcp/6443"]),
            ("the API server is a node", ["shop/web-0", "10.96.0.254", "tcp/443"]),
            ("the API server by name", ["data/pg-1", "default/kubernetes", "tcp/https"]),
            ("a pod reaches itself, but not through a Service", ["shop/web-0", "shop/svc/front", "tcp/80"]),
            ("endpoints written by hand", ["shop/web-0", "data/manual", "tcp/80"]),
            ("an external name", ["shop/web-0", "shop/mail", "tcp/25"]),
            ("a Service without endpoints", ["shop/web-0", "shop/empty", "tcp/80"]),
            ("a Service cannot be a source", ["data/svc/pg", "shop/web-0", "tcp/80"]),
            ("nor can its address", ["10.96.0.7", "shop/web-0", "tcp/80"]),
            ("only ports are translated", ["shop/web-0", "data/pg", "icmp"]),
            ("no such Service", ["shop/web-0", "data/svc/pgx", "tcp/80"]),
        ])
    );
}

#[test]
fn services_in_json() {
    let folder = project();
    let lines = concat!(
        r#"{"src": "shop/web-0", "dst": "10.96.0.7", "proto": "TCP", "port": 15432}"#,
        "\n",
        r#"{"src": "external", "srcIP": "10.1.0.1", "dst": "external", "dstIP": "10.1.0.7", "proto": "TCP", "port": 5432}"#,
        "\n",
        r#"{"src": "external", "srcIP": "8.8.8.8", "dst": "external", "dstIP": "9.9.9.9", "proto": "TCP", "port": 1}"#,
        "\n"
    );
    let arguments = ["query", "policies.np", "--connections", "-", "--cluster", "cluster.yaml"];
    let output = npc_with(folder.path(), &arguments, lines.as_bytes());
    let text = out(&output);
    let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 3);
    assert_eq!(answers[0]["service"], "data/svc/pg");
    assert_eq!(answers[0]["allowed"], false);
    let endpoints: Vec<(&str, bool)> = answers[0]["endpoints"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["destination"].as_str().unwrap(), one["allowed"].as_bool().unwrap()))
        .collect();
    assert_eq!(endpoints, [("data/pg-0", true), ("data/pg-1", false)]);
    assert_eq!(
        (answers[1]["source"].as_str(), answers[1]["destination"].as_str()),
        (Some("shop/web-0"), Some("data/pg-0"))
    );
    assert_eq!(answers[1]["allowed"], true);
    assert!(answers[2]["error"].as_str().unwrap().starts_with("neither end is a pod"), "{}", answers[2]);
}

#[test]
fn reach_marks_host_network_pods() {
    let folder = project();
    let output =
        npc(folder.path(), &["reach", "policies.np", "--cluster", "cluster.yaml", "--to", "10.1.0.1"]);
    snapshot!("reach_hosts", format!("{}{}", out(&output), err(&output)));
}

#[test]
fn tests_resolve_addresses_to_pods_and_services() {
    let tests = r#"
test "addresses" {
  cluster "cluster.yaml"
  allow shop/web-0 -> 10.1.0.7 on tcp/5432
  deny  10.1.0.8 -> shop/web-0 on tcp/8080
  deny  shop/web-0 -> 10.1.0.0/24 on udp/53
  deny  shop/web-0 -> 10.1.0.0/24 on tcp/5432
  deny  shop/web-0 -> 10.96.0.7 on tcp/15432
  allow shop/web-0 -> 10.96.0.254 on tcp/443
  deny  shop/web-0 -> 10.96.0.7 on tcp/5432
  deny  8.8.8.8 -> 9.9.9.9
  allow shop/web-0 -> 10.1.0.1 on tcp/1
}
"#;
    let folder = folder(&[("policies.np", &format!("{PROGRAM}{tests}")), ("cluster.yaml", CLUSTER)]);
    let output = npc(folder.path(), &["test", "policies.np"]);
    snapshot!("tests_by_address", format!("{}{}", out(&output), err(&output)));
}
