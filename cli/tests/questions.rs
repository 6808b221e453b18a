//! Tests `npc query`, `reach`, `test`, `diff`, `check` and `import`.
//!
//! The output is kept as snapshots. When they change, review them as a user would.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{err, folder, npc, npc_with, out};
use serde_json::Value;
use tempfile::TempDir;

const CLUSTER: &str = "
apiVersion: v1
kind: List
items:
- kind: Namespace
  metadata: {name: shop}
- kind: Namespace
  metadata: {name: payments, labels: {env: prod}}
- kind: Pod
  metadata: {name: checkout, namespace: shop, labels: {app: checkout}}
  status: {podIPs: [{ip: 10.1.0.1}, {ip: 'fd00::1'}], hostIP: 192.0.2.1}
- kind: Pod
  metadata: {name: web-5d9c7, namespace: shop, labels: {app: web}}
  status: {podIP: 10.1.0.2, hostIP: 192.0.2.1}
- kind: Pod
  metadata: {name: postgres, namespace: payments, labels: {app: postgres}}
  spec: {containers: [{ports: [{name: sql, containerPort: 5432}]}]}
  status: {podIPs: [{ip: 10.1.0.3}, {ip: 'fd00::3'}], hostIP: 192.0.2.2}
- kind: Pod
  metadata: {name: done, namespace: shop}
  status: {phase: Succeeded, podIP: 10.1.0.3}
";

const PROGRAM: &str = "
let metadata = 169.254.169.254/32

admin policy no-metadata priority 10 for all pods in all namespaces {
  deny egress to metadata
}

policy database for pods { app = postgres } in namespace payments {
  allow ingress from pods { app = checkout } in namespace shop on tcp/sql
  isolate egress
}

test \"who reaches the database\" {
  cluster \"cluster.yaml\"
  allow shop/checkout -> payments/postgres on tcp/5432
  deny  shop/checkout -> payments/postgres on tcp/22
  allow shop/web-5d9c7 -> payments/postgres on tcp/5432
}

assert deny all pods in all namespaces -> metadata
assert deny all pods in namespace shop -> pods { app = postgres } in namespace payments
";

const MANIFESTS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: database
  namespace: payments
  annotations: {kubernetes.io/description: Only checkout reaches the database.}
spec:
  podSelector: {matchLabels: {app: postgres}}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}
      podSelector: {matchLabels: {app: checkout}}
    ports: [{port: sql}]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: {name: no-metadata}
spec:
  tier: Admin
  priority: 10
  subject: {namespaces: {}}
  egress:
  - {name: metadata, action: Deny, to: [{networks: [169.254.169.254/32]}]}
";

fn project() -> TempDir {
    folder(&[("policies.np", PROGRAM), ("cluster.yaml", CLUSTER), ("yaml/policies.yaml", MANIFESTS)])
}

macro_rules! snapshot {
    ($name:literal, $text:expr) => {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

#[test]
fn queries() {
    let folder = project();
    let mut all = String::new();
    for words in [
        vec!["shop/checkout", "payments/postgres", "tcp/5432"],
        vec!["shop/checkout", "payments/postgres", "tcp/sql"],
        vec!["shop/web-5d9c7", "payments/postgres", "tcp/22"],
        vec!["shop/checkout", "169.254.169.254", "tcp/80"],
        vec!["shop/checkout", "shop/checkout", "udp/53"],
        vec!["192.0.2.2", "payments/postgres", "tcp/22"],
        vec!["10.9.9.9", "fd00::7", "other"],
        vec!["shop/checkout", "payments/postgres", "tcp/5432", "yaml"],
        vec!["shop/web-5d9c7", "payments/postgres", "tcp/5432", "yaml/policies.yaml"],
        vec!["shop/web", "payments/postgres", "tcp/5432"],
        vec!["shop/done", "payments/postgres", "tcp/5432"],
        vec!["shp/web", "payments/postgres", "tcp/5432"],
        vec!["shop/checkout", "payments/postgres", "tcp/http"],
        vec!["shop/checkout", "payments/postgres", "http"],
        vec!["shop/checkout", "payments/postgres", "tcp/0"],
        vec!["fd00::1", "shop/web-5d9c7", "tcp/80"],
        vec!["checkout", "payments/postgres", "tcp/80"],
    ] {
        let mut arguments = vec!["query"];
        let files = words.len() > 3;
        arguments.extend(&words);
        if !files {
            arguments.push("policies.np");
        }
        arguments.extend(["--cluster", "cluster.yaml"]);
        let output = npc(folder.path(), &arguments);
        all.push_str(&format!("$ npc {}\n{}{}\n", arguments.join(" "), out(&output), err(&output)));
    }
    snapshot!("queries", all);
}

#[test]
fn queries_via_targets() {
    let folder = project();
    let ways = "program,clusternetworkpolicy,image";
    let arguments = [
        "query",
        "shop/web-5d9c7",
        "payments/postgres",
        "tcp/5432",
        "policies.np",
        "--cluster",
        "cluster.yaml",
    ];
    let output = npc(folder.path(), &[&arguments[..], &["--via", ways]].concat());
    snapshot!("via", out(&output));
    let output = npc(folder.path(), &[&arguments[..], &["--via", ways, "--format", "json"]].concat());
    let value: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(value["allowed"], false);
    assert_eq!(value["deniedBy"], "ingress");
    assert_eq!(value["via"]["clusternetworkpolicy"]["deniedBy"], "ingress");
    // Target `kyverno` has no tiers and reports that.
    let output = npc(folder.path(), &[&arguments[..], &["--via", "kyverno"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("NP0601"), "{}", err(&output));
}

#[test]
fn queries_from_json_lines() {
    let folder = project();
    let lines = r#"{"src": "shop/checkout", "dst": "payments/postgres", "proto": "TCP", "port": 5432, "more": 1}
{"src": "shop/checkout", "srcIP": "fd00::1", "dst": "payments/postgres", "dstIP": "fd00::3", "proto": "TCP", "port": "sql"}
not json

{"src": "shop/gone", "dst": "payments/postgres", "proto": "TCP", "port": 5432}
{"src": "external", "srcIP": "8.8.8.8", "dst": "payments/postgres", "proto": "UDP", "port": 53}
{"src": "shop/checkout", "srcIP": "10.1.0.2", "dst": "payments/postgres", "proto": "TCP", "port": 5432}
"#;
    let arguments = ["query", "--connections", "-", "policies.np", "--cluster", "cluster.yaml"];
    let output = npc_with(folder.path(), &arguments, lines.as_bytes());
    assert_eq!(output.status.code(), Some(1));
    let answers: Vec<Value> = out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let brief: Vec<String> = answers
        .iter()
        .map(|answer| format!("{} {} {}", answer["allowed"], answer["deniedBy"], answer["error"]))
        .collect();
    snapshot!("connections", format!("{}\n{}", brief.join("\n"), err(&output)));
    // `--verdicts` gives the same answers without reasons.
    let short = npc_with(folder.path(), &[&arguments[..], &["--verdicts"]].concat(), lines.as_bytes());
    assert_eq!(short.status.code(), Some(1));
    let short: Vec<Value> = out(&short).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(short.len(), answers.len());
    for (short, mut answer) in short.into_iter().zip(answers) {
        for side in ["egress", "ingress"] {
            answer.as_object_mut().unwrap().remove(side);
        }
        assert_eq!(short, answer);
    }
}

#[test]
fn reach() {
    let folder = project();
    let mut all = String::new();
    for (file, more) in [
        ("policies.np", vec![]),
        ("yaml", vec!["--to", "payments/postgres"]),
        ("policies.np", vec!["--from", "outside", "--to", "shop", "--format", "csv"]),
        ("policies.np", vec!["--to", "payments", "--format", "dot"]),
        ("policies.np", vec!["--from", "shop/checkout", "--to", "payments", "--format", "json"]),
        ("policies.np", vec!["--from", "shp"]),
        ("policies.np", vec!["--from", "shop/web"]),
        ("policies.np", vec!["--from", "fd00::7", "--to", "outside"]),
        ("nowhere.np", vec![]),
    ] {
        let arguments = [&["reach", file, "--cluster", "cluster.yaml"][..], &more].concat();
        let output = npc(folder.path(), &arguments);
        let text = out(&output).replace('\r', "");
        all.push_str(&format!("$ npc {}\n{text}{}\n", arguments.join(" "), err(&output)));
    }
    snapshot!("reach", all);
    let namespaces = "kind: Namespace\nmetadata: {name: shop}\n";
    std::fs::write(folder.path().join("empty.yaml"), namespaces).unwrap();
    let output = npc(folder.path(), &["reach", "policies.np", "--cluster", "empty.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("empty.yaml has no running pods"), "{}", err(&output));
}

/// With more groups than a picture can show, the error states how to select fewer.
#[test]
fn too_many_groups_for_a_picture() {
    let folder = TempDir::new().unwrap();
    let pods: String = (0..401)
        .map(|index| {
            let labels = format!("{{app: a{index}}}");
            format!("---\nkind: Pod\nmetadata: {{name: p{index}, namespace: n, labels: {labels}}}\n")
        })
        .collect();
    let cluster = format!("kind: Namespace\nmetadata: {{name: n}}\n{pods}");
    let program: String = (0..401)
        .map(|index| {
            format!("policy p{index} for pods {{ app = a{index} }} in namespace n {{ allow ingress from 10.0.0.{} }}\n", index % 256)
        })
        .collect();
    std::fs::write(folder.path().join("cluster.yaml"), cluster).unwrap();
    std::fs::write(folder.path().join("policies.np"), program).unwrap();
    for format in ["svg", "html"] {
        let output = npc(folder.path(), &["reach", "--cluster", "cluster.yaml", "--format", format]);
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains("select namespaces with `--from`"), "{}", err(&output));
        assert_eq!(out(&output), "");
    }
    let output = npc(folder.path(), &["reach", "--cluster", "cluster.yaml", "--format", "csv"]);
    assert!(out(&output).lines().count() > 400);
}

#[test]
fn tests_and_assertions() {
    let folder = project();
    let output = npc(folder.path(), &["test"]);
    assert_eq!(output.status.code(), Some(1));
    snapshot!("test", out(&output));
    let output = npc(folder.path(), &["test", "--format", "junit"]);
    snapshot!("test-junit", out(&output));
    let output = npc(folder.path(), &["test", "--format", "json"]);
    let value: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((&value["passed"], &value["failed"]), (&1.into(), &2.into()));
    // The counterexample is a test that fails for the same reason.
    let test = value["tests"][2]["failures"][0]["counterexample"].as_str().unwrap();
    std::fs::write(folder.path().join("more.np"), test).unwrap();
    let output = npc(folder.path(), &["test", "--filter", "counterexample"]);
    assert_eq!(output.status.code(), Some(1), "{}", out(&output));
    let output = npc(folder.path(), &["test", "--filter", "metadata"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    let output = npc(folder.path(), &["test", "--filter", "nobody"]);
    assert_eq!(err(&output), "no test or assertion has `nobody` in its name\n");
}

#[test]
fn diff_shows_changed_connections() {
    let folder = project();
    // The program and the manifests have the same meaning.
    let output = npc(folder.path(), &["diff", "policies.np", "yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", out(&output), err(&output));
    assert_eq!(out(&output), "no connection changes, in any cluster\n");
    let changed = PROGRAM.replace("on tcp/sql", "on tcp/sql, udp/53").replace("isolate egress", "");
    std::fs::write(folder.path().join("changed.np"), changed).unwrap();
    let output = npc(folder.path(), &["diff", "policies.np", "changed.np"]);
    assert_eq!(output.status.code(), Some(1));
    snapshot!("diff", out(&output));
    let output = npc(folder.path(), &["diff", "changed.np", "yaml", "--format", "json"]);
    let value: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(value["equal"], false);
    assert!(value["gained"].as_array().unwrap().is_empty());
    assert!(!value["lost"].as_array().unwrap().is_empty());
}

/// `npc diff -t kyverno` lists how Kyverno applies an update.
#[test]
fn diff_lists_kyverno_updates() {
    let folder = project();
    let old = r"
policy web for pods { app = web } in all namespaces {
  allow ingress from anywhere on tcp/80
}
policy db for pods { app = db } in all namespaces { isolate ingress }
policy dns for all pods in namespaces { env = prod } { allow egress to anywhere on udp/53 }
";
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("old.np", old);
    // A change of the rules is applied in place; a change of the namespaces is not; one policy is removed.
    let new = old
        .replace("tcp/80", "tcp/443")
        .replace("{ env = prod }", "{ env = stage }")
        .replace("policy db for pods { app = db } in all namespaces { isolate ingress }\n", "");
    write("new.np", &new);
    let output = npc(folder.path(), &["diff", "old.np", "new.np", "-t", "kyverno"]);
    let text = out(&output);
    snapshot!("updates", text.split_once("to apply the change").unwrap().1);
    // A GeneratingPolicy applies all changes in place.
    let output = npc(folder.path(), &["diff", "old.np", "new.np", "-t", "kyverno-cel", "--format", "json"]);
    let value: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(value["updates"].as_array().unwrap().len(), 1, "{value}");
    assert_eq!(value["updates"][0]["kind"], "removed");
    // For programs, no target is mentioned unless `-t` names it.
    assert!(!out(&npc(folder.path(), &["diff", "old.np", "new.np"])).contains("Kyverno"));
    // Compiled manifests give the same result, and a change of kinds is reported.
    for (name, target) in [("old", "kyverno"), ("new", "kyverno"), ("new", "kyverno-cel")] {
        let program = format!("{name}.np");
        let output = npc(folder.path(), &["compile", &program, "-t", target, "-o", "-"]);
        write(&format!("{name}-{target}.yaml"), &out(&output));
    }
    let output = npc(folder.path(), &["diff", "old-kyverno.yaml", "new-kyverno.yaml"]);
    assert_eq!(
        out(&output).split_once("to apply the change").unwrap().1,
        text.split_once("to apply the change").unwrap().1
    );
    let output = npc(folder.path(), &["diff", "new-kyverno.yaml", "new-kyverno-cel.yaml"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(out(&output).contains("netpol-web: the kind changes"), "{}", out(&output));
}

/// Pods whose addresses are outside `pod-cidrs` of `npc.toml`.
#[test]
fn pods_outside_pod_cidrs_are_reported() {
    let folder = project();
    std::fs::write(folder.path().join("npc.toml"), "[cluster]\npod-cidrs = [\"10.1.0.0/24\"]\n").unwrap();
    let output =
        npc(folder.path(), &["check", "policies.np", "--cluster", "cluster.yaml", "--format", "short"]);
    let told = out(&output) + &err(&output);
    assert!(
        told.contains("NP0809") && told.contains("addresses of 2 pods, such as payments/postgres (fd00::3)"),
        "{told}"
    );
    std::fs::write(
        folder.path().join("npc.toml"),
        "[cluster]\npod-cidrs = [\"10.1.0.0/24\", \"fd00::/64\"]\n",
    )
    .unwrap();
    let output = npc(folder.path(), &["check", "policies.np", "--cluster", "cluster.yaml"]);
    assert!(!(out(&output) + &err(&output)).contains("NP0809"));
}

/// Manifests are linted, and diagnostics point at their lines.
#[test]
fn manifests_are_checked() {
    let folder = TempDir::new().unwrap();
    let manifests = "apiVersion: v1
kind: List
items:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: no-metadata, namespace: shop}
  spec:
    podSelector: {}
    policyTypes: [Egress]
    egress:
    - to:
      - ipBlock: {cidr: 0.0.0.0/0, except: [169.254.169.254/32]}
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: web, namespace: shop}
  spec:
    podSelector: {matchLabels: {app: web}}
    policyTypes: [Egress]
    ingress: [{}]
    egress:
    - to:
      - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: data}}
        podSelector: {matchLabels: {app: db}}
      ports: [{port: 5432}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: data}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
  - from: [{podSelector: {}}]
";
    std::fs::write(folder.path().join("policies.yaml"), manifests).unwrap();
    std::fs::write(folder.path().join("npc.toml"), "[lints]\none-family = \"allow\"\n").unwrap();
    let output = npc(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    snapshot!("check-manifests", out(&output) + &err(&output));
    let output = npc(
        folder.path(),
        &["check", "policies.yaml", "--cni", "cilium@1.20", "--format", "short", "--deny", "warnings"],
    );
    assert_eq!(output.status.code(), Some(1));
    snapshot!("check-manifests-cni", out(&output) + &err(&output));
    std::fs::write(folder.path().join("npc.toml"), "[cluster]\ncni = \"calico@3\"\n").unwrap();
    let output = npc(folder.path(), &["check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("the CNI calico needs a version, as in `cilium@1.20`"), "{}", err(&output));
    let output = npc(folder.path(), &["check", "--fix", "policies.yaml"]);
    assert!(err(&output).contains("`npc import` converts them to a program"), "{}", err(&output));
}

#[test]
fn imports() {
    let folder = project();
    let output = npc(folder.path(), &["import", "yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    snapshot!("import", out(&output));
    std::fs::write(folder.path().join("imported.np"), out(&output)).unwrap();
    let output = npc(folder.path(), &["diff", "yaml", "imported.np"]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    // All errors are reported with their locations, and nothing is written.
    let broken = format!(
        "{MANIFESTS}---\napiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: x}}\n---\n{}---\na: [\n",
        MANIFESTS.replace("port: sql", "port: 0, prt: 1").replace("app: postgres", "app: 'a b'")
    );
    std::fs::write(folder.path().join("broken.yaml"), broken).unwrap();
    let output = npc(folder.path(), &["import", "broken.yaml", "-o", "out.np"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!folder.path().join("out.np").exists());
    snapshot!("import-broken", err(&output));
}

/// `query`, `reach` and `test` print errors only, so they run the lints only if the configuration makes one an error.
#[test]
fn a_lint_that_is_an_error_stops_a_query() {
    let program = "policy a for all pods in namespace shop { allow ingress from anywhere }\n\
                   policy b for all pods in namespace shop { allow ingress from anywhere on tcp/80 }\n";
    let folder = folder(&[("p.np", program), ("cluster.yaml", CLUSTER)]);
    let query = ["query", "shop/checkout", "shop/web-5d9c7", "tcp/80", "p.np", "--cluster", "cluster.yaml"];
    let warned = npc(folder.path(), &query);
    assert_eq!((warned.status.code(), err(&warned).contains("NP0803")), (Some(0), false), "{}", err(&warned));
    std::fs::write(folder.path().join("npc.toml"), "[lints]\nNP0803 = \"error\"\n").unwrap();
    let stopped = npc(folder.path(), &query);
    assert_eq!(stopped.status.code(), Some(2), "{}", err(&stopped));
    assert!(err(&stopped).contains("NP0803"), "{}", err(&stopped));
}
