//! What Kyverno requires of its policies. Each rule was observed on a running Kyverno 1.19.1 and has a test
//! here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use npc_cluster::Cluster;
use npc_driver::{Config, check, compile};
use npc_program::FailurePolicy;
use npc_targets::{AnyTarget, KyvernoVersion, Options};
use npc_tests::memory::Memory;
use serde::Deserialize as _;
use serde_json::{Value, json};

const EVERYTHING: &str = r#"
let metadata = 169.254.169.254/32
/// Says {{ this }}, $(that) and (( those )).
policy one for all pods in namespaces (team-*, no), pods { app = web } in namespaces { env in (prod, y), !legacy } except (kube-*) {
  allow egress to anywhere except metadata
}
policy two for all pods in all namespaces except { system } {
  allow ingress from all pods in namespaces sharing (tenant, stage.example.com/level)
}
policy three for pods { zone = "1e3" } in namespaces { tenant } {
  allow ingress from pods { v = "no" } in namespaces sharing tenant
}
"#;

fn documents(target: AnyTarget, program: &str) -> Vec<Value> {
    documents_with(target, program, &Options::default()).0
}

fn documents_with(target: AnyTarget, program: &str, options: &Options) -> (Vec<Value>, Vec<&'static str>) {
    let files = Memory::one(program);
    let checked = check(&files, &["policies.np".to_owned()], &Config::default(), None);
    assert!(!checked.report.has_errors(), "{:?}", checked.report);
    let output = compile(&checked, &[target], options, None).remove(0);
    let documents =
        serde_yaml::Deserializer::from_str(&output.text).map(|d| Value::deserialize(d).unwrap()).collect();
    (documents, output.diagnostics.iter().map(|d| d.code.id).collect())
}

/// Visits every value in a tree, with its path.
fn walk(value: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, value);
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                walk(value, &format!("{path}/{key}"), visit);
            }
        }
        Value::Array(items) => {
            for value in items {
                walk(value, path, visit);
            }
        }
        _ => {}
    }
}

fn rule(policy: &Value) -> &Value {
    assert_eq!(policy["spec"]["rules"].as_array().unwrap().len(), 1);
    &policy["spec"]["rules"][0]
}

/// The NetworkPolicy in a GeneratingPolicy, with placeholders.
fn template(policy: &Value) -> Value {
    serde_yaml::from_str(policy["spec"]["generate"][0]["template"]["value"].as_str().unwrap()).unwrap()
}

#[test]
fn rule_01_the_trigger_is_a_namespace_chosen_by_names_and_selector_alone() {
    for policy in documents(AnyTarget::KYVERNO, EVERYTHING) {
        for part in ["match", "exclude"] {
            for entry in rule(&policy)[part]["any"].as_array().into_iter().flatten() {
                let resources = entry["resources"].as_object().unwrap();
                assert_eq!(resources["kinds"], json!(["Namespace"]));
                assert!(
                    resources.keys().all(|key| ["kinds", "names", "selector"].contains(&key.as_str())),
                    "{resources:?}"
                );
            }
        }
    }
}

#[test]
fn rule_02_no_operations_in_background_policies() {
    for policy in documents(AnyTarget::KYVERNO, EVERYTHING) {
        walk(&policy, "", &mut |path, value| {
            assert!(!path.ends_with("/operations"), "{path}");
            assert!(!value.as_str().is_some_and(|text| text.contains("request.operation")), "{value}");
        });
    }
}

#[test]
fn rule_03_no_wildcards_in_selectors() {
    for policy in documents(AnyTarget::KYVERNO, EVERYTHING) {
        walk(&policy, "", &mut |path, value| {
            if path.contains("/selector/") {
                assert!(!value.as_str().is_some_and(|text| text.contains(['*', '?'])), "{path} {value}");
            }
        });
    }
}

#[test]
fn rule_04_any_without_all_never_empty_and_no_empty_selector() {
    for policy in documents(AnyTarget::KYVERNO, EVERYTHING) {
        walk(&policy, "", &mut |path, value| {
            assert!(!path.ends_with("/all"), "{path}");
            assert!(!path.ends_with("/any") || value.as_array().is_none_or(|any| !any.is_empty()), "{path}");
            assert!(!path.ends_with("/selector") || *value != json!({}), "{path}");
        });
    }
}

#[test]
fn rule_05_labels_have_a_default_and_are_required_by_the_selector() {
    let policies = documents(AnyTarget::KYVERNO, EVERYTHING);
    let mut seen = 0;
    for policy in &policies {
        walk(policy, "", &mut |_, value| {
            let Some(text) = value.as_str().filter(|text| text.contains("metadata.labels")) else { return };
            assert!(text.ends_with("|| '' }}"), "{text}");
            let selector = &rule(policy)["match"]["any"][0]["resources"]["selector"];
            assert!(selector.to_string().contains("Exists"), "{selector}");
            seen += 1;
        });
    }
    assert_eq!(seen, 3);
}

#[test]
fn rule_06_names_fit_into_labels() {
    let name = "a".repeat(57);
    let files = Memory::one(&format!("policy {name} for all pods in namespace shop {{ isolate ingress }}"));
    for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL] {
        assert_eq!(npc_tests::memory::compiled(&files, target, None).unwrap_err(), ["NP0602"]);
    }
    for policy in documents(AnyTarget::KYVERNO, EVERYTHING) {
        for name in [&policy["metadata"]["name"], &rule(&policy)["name"]] {
            assert!(name.as_str().unwrap().len() <= 63);
        }
    }
}

#[test]
fn rule_07_label_values_are_strings_for_every_yaml_parser() {
    let files = Memory::one(EVERYTHING);
    for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL, AnyTarget::NETWORK_POLICY] {
        let cluster =
            Cluster::parse("kind: Namespace\nmetadata: {name: shop, labels: {tenant: 'no'}}").unwrap();
        let text = npc_tests::memory::compiled(&files, target, Some(&cluster)).unwrap().text;
        for line in text.lines() {
            let value =
                line.trim().split_once(": ").map_or(line.trim().trim_start_matches("- "), |(_, value)| value);
            let read_otherwise = ["no", "y", "1e3", "on", "off", "yes", "n", "null", "~"].contains(&value);
            assert!(!read_otherwise, "{line}");
        }
    }
}

#[test]
fn rule_08_names_depend_on_their_own_policy_alone() {
    let names = |program: &str, target| -> Vec<String> {
        documents(target, program)
            .iter()
            .map(|policy| policy["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let before =
        "policy zero for all pods in namespace zero, pods { a } in namespace x { isolate ingress }\n";
    for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL] {
        let alone = names(EVERYTHING, target);
        let with = names(&EVERYTHING.replacen("/// Says", &format!("{before}/// Says"), 1), target);
        assert!(alone.iter().all(|name| with.contains(name)), "{alone:?} {with:?}");
    }
}

#[test]
fn rule_09_one_rule_in_a_policy() {
    let policies = documents(AnyTarget::KYVERNO, EVERYTHING);
    assert!(policies.len() > 4);
    for policy in &policies {
        rule(policy);
    }
}

#[test]
fn rule_10_text_is_not_interpolated() {
    let cluster = Cluster::parse("kind: Namespace\nmetadata: {name: 'no', labels: {env: prod}}").unwrap();
    for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL] {
        let text = npc_tests::memory::compiled(&Memory::one(EVERYTHING), target, None).unwrap().text;
        let made = npc_expand::expand(&text, &cluster).unwrap().objects;
        let described = made.iter().find(|object| object.name == "one").unwrap();
        assert_eq!(
            described.value["metadata"]["annotations"]["kubernetes.io/description"],
            "Says {{ this }}, $(that) and (( those ))."
        );
        assert_eq!(described.namespace, "no");
    }
}

#[test]
fn rule_11_synchronize_is_on_and_always_written() {
    for policy in documents(AnyTarget::KYVERNO, EVERYTHING) {
        assert_eq!(rule(&policy)["generate"]["synchronize"], true);
    }
    for policy in documents(AnyTarget::KYVERNO_CEL, EVERYTHING) {
        assert_eq!(policy["spec"]["evaluation"]["synchronize"]["enabled"], true);
    }
    // If two policies generate one object, the last one wins silently. So this is an error.
    let twice =
        "policy p for all pods in namespaces (a, b) { allow ingress from all pods in namespaces sharing t }
policy p-sharing-t for all pods in namespace a { isolate egress }";
    assert_eq!(
        npc_tests::memory::compiled(&Memory::one(twice), AnyTarget::KYVERNO, None).unwrap_err(),
        ["NP0603"]
    );
}

#[test]
fn rule_12_only_what_the_published_roles_cover_is_generated() {
    for policy in documents(AnyTarget::KYVERNO, EVERYTHING) {
        let generate = &rule(&policy)["generate"];
        assert_eq!(
            (&generate["apiVersion"], &generate["kind"]),
            (&json!("networking.k8s.io/v1"), &json!("NetworkPolicy"))
        );
    }
    for policy in documents(AnyTarget::KYVERNO_CEL, EVERYTHING) {
        let object = template(&policy);
        assert_eq!(
            (&object["apiVersion"], &object["kind"]),
            (&json!("networking.k8s.io/v1"), &json!("NetworkPolicy"))
        );
    }
}

#[test]
fn rule_13_filtered_namespaces_are_reported() {
    let all = "policy p for all pods in all namespaces { isolate ingress }";
    for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL] {
        assert_eq!(documents_with(target, all, &Options::default()).1, ["NP0606"]);
        let configured = Options { filtered_namespaces: Vec::new(), ..Options::default() };
        assert!(documents_with(target, all, &configured).1.is_empty());
        let excluded = "policy p for all pods in all namespaces except (kube-*, kyverno) { isolate ingress }";
        let (policies, told) = documents_with(target, excluded, &Options::default());
        assert!(told.is_empty());
        assert!(policies[0].to_string().contains("kyverno"), "what is left out is written down");
    }
}

#[test]
fn rule_14_the_failure_policy_is_written() {
    for (setting, written) in [("", "Ignore"), ("kyverno { failure-policy = fail }", "Fail")] {
        let program = format!("{setting}\npolicy p for all pods in namespace shop {{ isolate ingress }}");
        let policies = documents(AnyTarget::KYVERNO, &program);
        assert_eq!(policies[0]["spec"]["webhookConfiguration"]["failurePolicy"], written);
    }
}

#[test]
fn rule_15_generating_policies_select_in_match_conditions_alone() {
    for policy in documents(AnyTarget::KYVERNO_CEL, EVERYTHING) {
        let constraints = policy["spec"]["matchConstraints"].as_object().unwrap();
        assert_eq!(constraints.keys().collect::<Vec<_>>(), ["resourceRules"]);
        assert!(!policy["spec"]["matchConditions"].as_array().unwrap().is_empty());
    }
}

#[test]
fn rule_16_label_access_is_optional_and_operations_are_set() {
    for policy in documents(AnyTarget::KYVERNO_CEL, EVERYTHING) {
        assert_eq!(
            policy["spec"]["matchConstraints"]["resourceRules"][0]["operations"],
            json!(["CREATE", "UPDATE"])
        );
        walk(&policy, "", &mut |path, value| {
            assert!(!path.ends_with("/resourceNames"));
            if let Some(text) = value.as_str().filter(|text| text.contains("labels[")) {
                assert!(text.contains("metadata.?labels[?"), "{text}");
            }
        });
    }
}

#[test]
fn rule_17_templates_are_interpolated_and_keys_are_not() {
    for policy in documents(AnyTarget::KYVERNO_CEL, EVERYTHING) {
        assert_eq!(policy["spec"]["generate"][0]["template"]["interpolate"], "cel");
        walk(&template(&policy), "", &mut |path, _| assert!(!path.contains("(("), "{path}"));
    }
}

#[test]
fn rule_18_existing_objects_are_not_adopted_and_a_guard_prevents_them() {
    // A GeneratingPolicy does not adopt existing objects, and no setting of the policy changes that, so it is
    // documented. A guard prevents such objects; kyverno_live tests it on a running Kyverno.
    let guarded = Options { guard: Some(FailurePolicy::Fail), ..Options::default() };
    let program = "policy p for all pods in namespaces { env = prod } { allow egress to anywhere except 169.254.169.254 }";
    for target in [AnyTarget::KYVERNO, AnyTarget::KYVERNO_CEL] {
        let (policies, told) = documents_with(target, program, &guarded);
        assert!(told.is_empty(), "{told:?}");
        let guard = policies.last().unwrap();
        assert_eq!(
            (&guard["kind"], &guard["spec"]["failurePolicy"]),
            (&json!("ValidatingPolicy"), &json!("Fail"))
        );
        assert_eq!(
            guard["spec"]["matchConditions"][0]["expression"],
            "namespaceObject.metadata.?labels[?'env'].orValue('/') == 'prod'"
        );
        assert_eq!(documents_with(target, program, &Options::default()).0.len() + 1, policies.len());
        // The guard generates nothing.
        let cluster = Cluster::parse("kind: Namespace\nmetadata: {name: a, labels: {env: prod}}").unwrap();
        let text: String = policies.iter().map(|policy| format!("---\n{policy}\n")).collect();
        assert_eq!(npc_expand::expand(&text, &cluster).unwrap().objects.len(), 1);
    }
    let text = std::fs::read_to_string(npc_tests::root().join("docs/kyverno.md")).unwrap();
    assert!(text.contains("stays, and the policy does nothing there"));
    for policy in documents(AnyTarget::KYVERNO_CEL, EVERYTHING) {
        assert!(policy["spec"].get("useServerSideApply").is_none(), "it does not help");
    }
}

#[test]
fn rule_19_a_generating_policy_cannot_refuse_namespaces() {
    let fail =
        "policy p for all pods in namespace shop { isolate ingress kyverno { failure-policy = fail } }";
    assert_eq!(
        npc_tests::memory::compiled(&Memory::one(fail), AnyTarget::KYVERNO_CEL, None).unwrap_err(),
        ["NP0601"]
    );
    assert!(npc_tests::memory::compiled(&Memory::one(fail), AnyTarget::KYVERNO, None).is_ok());
    for policy in documents(AnyTarget::KYVERNO_CEL, EVERYTHING) {
        assert!(policy["spec"]["webhookConfiguration"].get("failurePolicy").is_none());
    }
}

#[test]
fn rule_20_label_values_that_can_become_stale_are_in_the_object_name() {
    let program = |settings: &str| {
        format!(
            "policy p for all pods in namespaces {{ tenant }} {{ allow ingress from all pods in namespaces sharing tenant {settings} }}"
        )
    };
    let (policies, told) = documents_with(AnyTarget::KYVERNO_CEL, &program(""), &Options::default());
    assert_eq!(told, ["NP0608"], "it is said");
    let name = |policy: &Value| template(policy)["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name(&policies[0]).starts_with("p-(( sha256(variables.label_tenant)"), "{}", name(&policies[0]));
    // Without synchronize nothing becomes stale.
    let off = program("kyverno { synchronize = false }");
    let (policies, told) = documents_with(AnyTarget::KYVERNO_CEL, &off, &Options::default());
    assert!(told.is_empty());
    assert_eq!(name(&policies[0]), "p");
    // A ClusterPolicy does not need it.
    let (policies, told) = documents_with(AnyTarget::KYVERNO, &program(""), &Options::default());
    assert!(told.is_empty());
    assert_eq!(rule(&policies[0])["generate"]["name"], "p");
    // Different label values give different names, including values that are not valid in names.
    let labels = ["red", "Red", "r_d", "", "no", "a.b"];
    let cluster: String = labels
        .iter()
        .enumerate()
        .map(|(index, value)| {
            format!("---\nkind: Namespace\nmetadata: {{name: n{index}, labels: {{tenant: '{value}'}}}}\n")
        })
        .collect();
    let text =
        npc_tests::memory::compiled(&Memory::one(&program("")), AnyTarget::KYVERNO_CEL, None).unwrap().text;
    let made = npc_expand::expand(&text, &Cluster::parse(&cluster).unwrap()).unwrap().objects;
    let mut names: Vec<&str> = made.iter().map(|object| object.name.as_str()).collect();
    assert!(names.iter().all(|name| npc_program::values::name::is_subdomain(name)), "{names:?}");
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), labels.len());
}

#[test]
fn rule_21_an_update_keeps_the_names_of_policy_and_object() {
    let edited =
        EVERYTHING.replace("169.254.169.254/32", "169.254.0.0/16").replace("{ tenant }", "{ tenant, env }");
    let names = |program: &str| -> Vec<(Value, Value)> {
        documents(AnyTarget::KYVERNO_CEL, program)
            .iter()
            .map(|policy| (policy["metadata"]["name"].clone(), template(policy)["metadata"]["name"].clone()))
            .collect()
    };
    assert_eq!(names(EVERYTHING), names(&edited));
}

#[test]
fn unsuitable_kyverno_versions_are_reported() {
    let program = "policy p for all pods in namespace shop { isolate ingress }";
    let at = |target, minor, patch| {
        let options = Options { kyverno_version: KyvernoVersion { minor, patch }, ..Options::default() };
        documents_with(target, program, &options).1
    };
    assert_eq!(at(AnyTarget::KYVERNO, 12, 0), ["NP0610"]);
    assert!(at(AnyTarget::KYVERNO, 13, 0).is_empty());
    assert_eq!(at(AnyTarget::KYVERNO, 20, 0), ["NP0611"]);
    assert_eq!(at(AnyTarget::KYVERNO_CEL, 18, 2), ["NP0609"]);
    assert_eq!(at(AnyTarget::KYVERNO_CEL, 19, 0), ["NP0609"]);
    assert!(at(AnyTarget::KYVERNO_CEL, 19, 1).is_empty());
}
