//! Hand-written Kyverno policies as input: what Kyverno generates from them, and what it does not generate.
//!
//! The output is compared with snapshots. `tests/suites/kyverno_cli.rs` checks with Kyverno itself
//! which namespaces each of these filters matches.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{err, folder, npc, out};

const CLUSTER: &str = r#"
kind: Namespace
metadata: {name: shop, labels: {tenant: red}}
---
kind: Namespace
metadata: {name: plain}
---
kind: Namespace
metadata: {name: kube-system}
---
kind: Pod
metadata: {name: web, namespace: shop}
status: {podIP: 10.0.0.1}
---
kind: Pod
metadata: {name: db, namespace: plain}
status: {podIP: 10.0.0.2}
---
kind: Pod
metadata: {name: dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
status: {podIP: 10.0.0.3}
"#;

/// A ClusterPolicy that isolates the namespaces that it matches; `rule` and `generate` are added to its
/// fields.
fn closing(spec: &str, rule: &str, generate: &str) -> String {
    let name = if generate.contains("name:") { "" } else { "name: closed, " };
    format!(
        "apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {{name: close}}
spec:
  webhookConfiguration: {{failurePolicy: Ignore, timeoutSeconds: 5}}
{spec}
  rules:
  - name: close
    match: {{any: [{{resources: {{kinds: [Namespace]}}}}]}}
{rule}
    generate: {{{name}apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, namespace: '{{{{request.object.metadata.name}}}}', data: {{spec: {{podSelector: {{}}, policyTypes: [Ingress]}}}}{generate}}}
"
    )
}

const EXISTING: &str = ", generateExisting: true, synchronize: true";

macro_rules! snapshot {
    ($name:literal, $text:expr) => {
        insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

/// The output of importing each policy.
fn imported(policies: &[(&str, String)]) -> String {
    let mut all = String::new();
    for (about, policy) in policies {
        let folder = folder(&[("policy.yaml", policy)]);
        let output = npc(folder.path(), &["import", "policy.yaml"]);
        all.push_str(&format!("# {about}\n{}{}\n", err(&output), out(&output)));
    }
    all
}

#[test]
fn filters_that_ask_for_nothing() {
    let with = |exclude: &str| closing("", &format!("    exclude: {exclude}"), EXISTING);
    snapshot!(
        "kyverno_filters",
        imported(&[
            ("exclude: {}", with("{}")),
            ("an empty filter", with("{resources: {}}")),
            ("one in `any`", with("{any: [{resources: {}}]}")),
            ("null lists", with("{any: [{resources: {names: null, namespaces: , kinds: []}}]}")),
            ("an empty name", with("{any: [{resources: {name: ''}}]}")),
            (
                "one of several in `all` excludes nothing",
                with("{all: [{resources: {}}, {resources: {names: [a]}}]}")
            ),
            ("beside one that does", with("{any: [{resources: {}}, {resources: {names: [a]}}]}")),
            ("`any` and `all` are refused together", with("{any: [], all: [{resources: {names: [a]}}]}")),
            ("empty users", with("{any: [{subjects: [], roles: [], resources: {names: [a]}}]}")),
            ("a selector that is given and empty is refused", with("{any: [{resources: {selector: {}}}]}")),
            ("kinds with wildcards", with("{any: [{resources: {kinds: ['*/*'], names: [a]}}]}")),
            ("a kind that Kyverno refuses", with("{any: [{resources: {kinds: ['*'], names: [a]}}]}")),
            (
                "two fields that the API server refuses together",
                with("{any: [{resources: {name: a, names: [b]}}]}")
            ),
            (
                "other kinds leave out no namespace",
                with("{any: [{resources: {kinds: [Pod], namespaces: [a]}}]}")
            ),
            ("namespaces are names", with("{any: [{resources: {namespaces: [a, 'b-*']}}]}")),
            ("a wildcard in a label", with("{any: [{resources: {selector: {matchLabels: {a: 'x*'}}}}]}")),
            ("operations", with("{any: [{resources: {operations: [UPDATE]}}]}")),
        ])
    );
}

#[test]
fn values_that_a_namespace_may_lack() {
    let named = |name: &str| closing("", "", &format!("{EXISTING}, name: \"{name}\""));
    let labelled = |value: &str| {
        closing("", "", EXISTING)
            .replace("data: {spec", &format!("data: {{metadata: {{labels: {{a: \"{value}\"}}}}, spec"))
    };
    snapshot!(
        "kyverno_values",
        imported(&[
            ("a label in the name", named("x-{{request.object.metadata.labels.tenant}}")),
            ("with a default", named("x-{{request.object.metadata.labels.tenant || 'none'}}")),
            (
                "with an empty one, which makes no name",
                named("{{request.object.metadata.labels.tenant || ''}}-x")
            ),
            ("the namespace's name", named("{{request.object.metadata.name}}-x")),
            ("an annotation", named("{{request.object.metadata.annotations.tenant}}")),
            ("a Helm template", named("{{ .Release.Name }}-x")),
            ("a label of the object", labelled("{{request.object.metadata.labels.tenant}}")),
            ("with a default", labelled("{{request.object.metadata.labels.tenant || 'none'}}")),
        ])
    );
}

#[test]
fn settings_are_carried() {
    let all = closing(
        "  generateExisting: false",
        "",
        ", synchronize: false, orphanDownstreamOnPolicyDelete: true",
    )
    .replace("failurePolicy: Ignore, timeoutSeconds: 5", "failurePolicy: Fail, timeoutSeconds: 30");
    let older = closing(
        "  failurePolicy: Fail\n  webhookTimeoutSeconds: 9\n  generateExistingOnPolicyUpdate: true",
        "",
        ", synchronize: true",
    )
    .replace("  webhookConfiguration: {failurePolicy: Ignore, timeoutSeconds: 5}\n", "");
    let defaults = closing("", "", EXISTING)
        .replace("  webhookConfiguration: {failurePolicy: Ignore, timeoutSeconds: 5}\n", "");
    let dropped = closing("", "", EXISTING).replace(
        "data: {spec",
        "data: {metadata: {labels: {team: a}, annotations: {kubernetes.io/description: Closed., owner: b}}, spec",
    );
    snapshot!(
        "kyverno_settings",
        imported(&[
            ("each setting", all.clone()),
            ("in their older places", older),
            ("what a policy leaves to Kyverno", defaults),
            ("labels and annotations", dropped),
            ("no admission", closing("  admission: false", "", EXISTING)),
            ("a setting of the wrong type", closing("", "", ", synchronize: 'true'")),
        ])
    );
    // The imported program compiles to a policy with the same settings.
    let folder = folder(&[("policy.yaml", &all)]);
    assert!(npc(folder.path(), &["import", "policy.yaml", "-o", "p.np"]).status.success());
    assert!(npc(folder.path(), &["compile", "p.np"]).status.success());
    let compiled = std::fs::read_to_string(folder.path().join("p.kyverno.yaml")).unwrap();
    for setting in [
        "failurePolicy: Fail",
        "timeoutSeconds: 30",
        "generateExisting: false",
        "synchronize: false",
        "orphanDownstreamOnPolicyDelete: true",
    ] {
        assert!(compiled.contains(setting), "{setting}\n{compiled}");
    }
}

#[test]
fn objects_of_other_kinds() {
    let kind = |api_version: &str, kind: &str| {
        closing("", "", EXISTING)
            .replace(
                "apiVersion: networking.k8s.io/v1,",
                &if api_version.is_empty() { String::new() } else { format!("apiVersion: {api_version},") },
            )
            .replace("kind: NetworkPolicy,", &format!("kind: {kind},"))
    };
    snapshot!(
        "kyverno_kinds",
        imported(&[
            ("Cilium's", kind("cilium.io/v2", "CiliumNetworkPolicy")),
            ("Calico's", kind("projectcalico.org/v3", "GlobalNetworkPolicy")),
            ("the cluster's", kind("policy.networking.k8s.io/v1alpha2", "ClusterNetworkPolicy")),
            ("an old version", kind("extensions/v1beta1", "NetworkPolicy")),
            ("no version", kind("", "NetworkPolicy")),
            (
                "another object, whatever else the rule has",
                kind("v1", "ConfigMap").replace(
                    "    generate:",
                    "    preconditions: {all: [{key: a, operator: Equals, value: b}]}\n    generate:"
                )
            ),
            (
                "a rule that validates",
                closing("", "", EXISTING)
                    + "  - name: v\n    match: {any: [{resources: {kinds: [Pod]}}]}\n    validate: {message: x, pattern: {metadata: {name: '?*'}}}\n"
            ),
        ])
    );
}

#[test]
fn what_a_running_cluster_has() {
    let existing = closing("", "", EXISTING);
    let only_new = closing("", "", ", synchronize: true");
    let needs =
        closing("", "", &format!("{EXISTING}, name: 'x-{{{{request.object.metadata.labels.tenant}}}}'"));
    let folder = folder(&[
        ("existing.yaml", &existing),
        ("only-new.yaml", &only_new),
        ("needs.yaml", &needs),
        ("cluster.yaml", CLUSTER),
        ("all.np", "policy closed for all pods in all namespaces { isolate ingress }"),
    ]);
    let mut all = String::new();
    for words in [
        vec!["query", "shop/web", "plain/db", "tcp/80", "existing.yaml", "--cluster", "cluster.yaml"],
        vec!["query", "shop/web", "plain/db", "tcp/80", "only-new.yaml", "--cluster", "cluster.yaml"],
        vec!["query", "shop/web", "plain/db", "tcp/80", "needs.yaml", "--cluster", "cluster.yaml"],
        vec!["query", "plain/db", "shop/web", "tcp/80", "needs.yaml", "--cluster", "cluster.yaml"],
        vec![
            "query",
            "shop/web",
            "kube-system/dns",
            "udp/53",
            "existing.yaml",
            "--cluster",
            "cluster.yaml",
            "--via",
            "program,kyverno",
        ],
        vec![
            "query",
            "shop/web",
            "kube-system/dns",
            "udp/53",
            "all.np",
            "--cluster",
            "cluster.yaml",
            "--via",
            "program,kyverno",
        ],
        vec!["reach", "only-new.yaml", "--cluster", "cluster.yaml"],
        vec!["reach", "existing.yaml", "--cluster", "cluster.yaml"],
        vec!["check", "only-new.yaml"],
        vec!["diff", "existing.yaml", "all.np"],
        vec!["diff", "only-new.yaml", "existing.yaml"],
    ] {
        let output = npc(folder.path(), &words);
        all.push_str(&format!(
            "$ npc {}\n{}{}exit {}\n\n",
            words.join(" "),
            err(&output),
            out(&output),
            output.status.code().unwrap()
        ));
    }
    snapshot!("kyverno_coverage", all);
}

#[test]
fn two_sources_of_one_object() {
    let one = closing("", "", EXISTING);
    let other = one
        .replace("name: close}", "name: close-too}")
        .replace("policyTypes: [Ingress]", "policyTypes: [Egress]");
    let manifest = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed, namespace: shop}\nspec: {podSelector: {}}\n";
    let folder = folder(&[
        ("a/one.yaml", &one),
        ("a/other.yaml", &other),
        ("b/one.yaml", &one),
        ("b/manifest.yaml", manifest),
        ("c/dev.yaml", &one),
        ("c/prod.yaml", &one.replace("Ingress", "Egress")),
        ("old.yaml", &one),
    ]);
    let mut all = String::new();
    for words in
        [vec!["check", "a"], vec!["check", "b"], vec!["check", "c"], vec!["diff", "old.yaml", "a/other.yaml"]]
    {
        let output = npc(folder.path(), &words);
        all.push_str(&format!("$ npc {}\n{}{}\n", words.join(" "), err(&output), out(&output)));
    }
    snapshot!("kyverno_one_object", all);
}

#[test]
fn a_namespace_that_is_assumed() {
    let manifest = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\nspec: {podSelector: {}}\n";
    let folder = folder(&[("np.yaml", manifest), ("cluster.yaml", CLUSTER)]);
    let mut all = String::new();
    for words in [
        vec!["query", "plain/db", "shop/web", "tcp/80", "np.yaml", "--cluster", "cluster.yaml"],
        vec!["query", "plain/db", "shop/web", "tcp/80", "np.yaml", "--cluster", "cluster.yaml", "-n", "shop"],
        vec!["check", "np.yaml"],
        vec!["import", "np.yaml", "--namespace", "shop"],
    ] {
        let output = npc(folder.path(), &words);
        all.push_str(&format!("$ npc {}\n{}{}\n", words.join(" "), err(&output), out(&output)));
    }
    snapshot!("assumed_namespace", all);
}
