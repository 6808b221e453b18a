//! Compares the objects that `kyverno apply` generates from compiled policies with the expansion: for all
//! examples and random programs, and for both kinds of policies.
//!
//! `NPC_TEST_SEED` selects other programs, `NPC_TEST_PROGRAMS` their number.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use npc_cluster::Cluster;
use npc_targets::AnyTarget;
use npc_tests::memory::{Memory, compiled};
use npc_tests::namespaces::{cluster, stream};
use npc_tests::random::program;
use npc_tests::settings::seed;
use npc_tests::tools::{examples, run, sources, tools};
use serde::Deserialize as _;
use serde_json::{Value, json};

/// The number of programs in one run of the command, which takes a second to start.
const BATCH: usize = 12;

struct Program {
    name: String,
    files: Memory,
    text: String,
}

fn main() {
    let Some(tools) = tools("kyverno_cli", "Kyverno's command line") else { return };
    let kyverno = tools.join("kyverno/kubectl-kyverno");
    let seed = seed();
    let count: usize = npc_tests::settings::amount("NPC_TEST_PROGRAMS", 200, 200);
    println!("kyverno_cli: seed {seed} (NPC_TEST_SEED chooses another)");
    let cluster = cluster(seed);

    let mut programs: Vec<Program> = examples()
        .into_iter()
        .filter(|(name, _)| name != "tiers")
        .map(|(name, folder)| {
            // The program's file must come first in the alphabet, because that file is compiled.
            let mut files = sources(&folder);
            let text = files.iter().map(|(_, text)| text.as_str()).collect();
            files.retain(|(file, _)| *file != format!("{name}.np"));
            let main = std::fs::read_to_string(folder.join(format!("{name}.np"))).unwrap();
            files.push((format!("!{name}.np"), main));
            Program { name, files: Memory::new(files), text }
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut made, mut refused) = (0, 0);
    while made < count {
        let name = format!("p{made}");
        let text = program(&mut random, &name);
        let files = Memory::new([(format!("{name}.np"), text.clone())]);
        match compiled(&files, AnyTarget::KYVERNO, None) {
            Ok(_) => {
                programs.push(Program { name, files, text });
                made += 1;
            }
            // Rejected: a selector that nothing satisfies, or a scope without any namespace.
            Err(codes) if codes.iter().all(|code| ["NP0310", "NP0311"].contains(code)) => refused += 1,
            Err(codes) => panic!("a random program is refused: {codes:?}\n{text}"),
        }
    }

    preconditions(&kyverno, &cluster);
    filters(&kyverno, &cluster);
    jmespath(&kyverno);

    // The command is slow and uses one core, so the two kinds run in parallel.
    let different: usize = std::thread::scope(|scope| {
        let judge = |target| {
            let (programs, kyverno, cluster) = (&programs, &kyverno, &cluster);
            scope.spawn(move || {
                let (mut objects, mut policies, mut different) = (0, 0, 0);
                // The policies of different examples have the same names, so each example is a run of its
                // own.
                let (examples, random) = programs.split_at(programs.len() - made);
                for batch in examples.chunks(1).chain(random.chunks(BATCH)) {
                    let (compared, written, wrong) = compare(kyverno, target, batch, cluster);
                    objects += compared;
                    policies += written;
                    different += wrong;
                }
                println!(
                    "kyverno_cli: {target}: {} programs ({made} random; {refused} more cannot hold), {policies} policies, {} namespaces, {objects} objects compared, {different} different",
                    programs.len(),
                    cluster.namespaces.len(),
                );
                assert!(objects > 100, "too few objects to mean anything");
                different
            })
        };
        let threads = [judge(AnyTarget::KYVERNO), judge(AnyTarget::KYVERNO_CEL)];
        threads.into_iter().map(|thread| thread.join().expect("the comparison ends")).sum()
    });
    assert_eq!(different, 0, "Kyverno makes something else than the expansion says");
}

/// Compares the values of all expressions that the compiler emits with Kyverno's own engine, for labels that
/// are present, missing, empty and unusual.
fn jmespath(kyverno: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("data.json");
    let objects = [
        json!({"metadata": {"name": "shop", "labels": {"tenant": "red", "a.b/c-d": "", "_x": "no", "1st": "{{ x }}", "A": "1e3"}}}),
        json!({"metadata": {"name": "null", "labels": {}}}),
        json!({"metadata": {"name": "1e3"}}),
        json!({"metadata": {"name": "y", "labels": null}}),
    ];
    let keys = ["tenant", "\"a.b/c-d\"", "_x", "\"1st\"", "A", "missing", "\"miss.ing/x\""];
    let mut expressions = vec!["request.object.metadata.name".to_owned()];
    for key in keys {
        expressions.push(format!("request.object.metadata.labels.{key} || ''"));
        // The compiler never omits the default, because without it a missing label is an error.
        expressions.push(format!("request.object.metadata.labels.{key}"));
    }
    let mut compared = 0;
    for object in objects {
        let data = json!({"request": {"object": object}});
        std::fs::write(&file, data.to_string()).unwrap();
        for expression in &expressions {
            let ran = run(Command::new(kyverno).args(["jp", "query", "-i"]).arg(&file).arg(expression));
            let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
            let value = printed.lines().skip(1).collect::<String>();
            let theirs = ran.status.success().then(|| serde_json::from_str::<Value>(&value).unwrap());
            let ours = npc_expand::evaluate_jmespath(expression, &data).ok();
            assert_eq!(ours, theirs, "{expression} on {data}");
            compared += 1;
        }
    }
    // Expressions in policies of other authors, as far as npc evaluates them. npc rejects the others by name.
    let general = [
        "labels.tenant && 'yes'",
        "labels.missing && 'yes'",
        "!labels.tenant",
        "!(labels.missing)",
        "labels.tenant == 'red'",
        "labels.missing != 'red'",
        "number > `3`",
        "number <= `3`",
        "labels.tenant > `3`",
        "list[0]",
        "list[-1]",
        "list[9]",
        "list[1:]",
        "list[::-1]",
        "list[:-1]",
        "list[5:1:-2]",
        "list[-9:9:2]",
        "items[*].name",
        "items[*].missing",
        "items[].tags[]",
        "items[?name == 'a']",
        "items[?name == 'a'].tags",
        "items[?missing == 'a']",
        "items[?tags].name",
        "missing[*].name",
        "missing[]",
        "labels | tenant",
        "labels.missing | 'x'",
        "labels.missing | length(@)",
        "[labels.tenant, labels.missing]",
        "{a: labels.tenant, b: labels.missing}",
        "nothing.a.b",
        "nothing || 'x'",
        "length(list)",
        "length(labels.tenant)",
        "length(number)",
        "contains(list, 'b')",
        "contains(labels.tenant, 'e')",
        "contains(list, `1`)",
        "starts_with(labels.tenant, 'r')",
        "ends_with(labels.tenant, 'r')",
        "join('-', list)",
        "keys(labels) | sort(@)",
        "max(list)",
        "min(list)",
        "merge(labels, {x: 'y'})",
        "not_null(labels.missing, labels.tenant)",
        "reverse(list)",
        "reverse(labels.tenant)",
        "sort(list)",
        "to_array(labels.tenant)",
        "to_array(list)",
        "to_number('12')",
        "to_number('x')",
        "to_string(labels.tenant)",
        "type(list)",
        "type(labels.missing)",
        "abs(number)",
        "split('a-b--c', '-')",
        "split('abc', '')",
        "split('', '-')",
        "split(labels.tenant, 'e')[0]",
        "split(labels.missing, 'e')",
        "to_lower('AbC')",
        "to_upper('AbC')",
        "trim('xxaxx', 'x')",
        "trim_prefix('team-a', 'team-')",
        "replace_all('a-b-c', '-', '_')",
        "base64_encode('hello')",
        "base64_decode('aGVsbG8=')",
        "base64_decode('%')",
        "equal_fold('A', 'a')",
        "parse_yaml('a: [1, b]')",
        "parse_json('{\"a\": 1}')",
        "label_match({tenant: 'red'}, labels)",
        "label_match({tenant: 'blue'}, labels)",
        "to_lower(number)",
        "split('a')",
    ];
    let data = json!({
        "labels": {"tenant": "red", "_x": "no"},
        "number": 3,
        "list": ["b", "a", "c"],
        "items": [{"name": "a", "tags": ["x", "y"]}, {"name": "b", "tags": []}, {"name": "c"}],
        "nothing": null,
    });
    std::fs::write(&file, data.to_string()).unwrap();
    for expression in general {
        let ran = run(Command::new(kyverno).args(["jp", "query", "-i"]).arg(&file).arg(expression));
        let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
        let value = printed.lines().skip(1).collect::<String>();
        let theirs = ran.status.success().then(|| serde_json::from_str::<Value>(&value).unwrap());
        let ours = npc_expand::evaluate_jmespath(expression, &data);
        // Kyverno may print integers with a fraction.
        let plain =
            |value: Value| -> Value { serde_json::from_str(&value.to_string().replace(".0", "")).unwrap() };
        assert_eq!(ours.clone().ok().map(plain), theirs.map(plain), "{expression}: {ours:?}");
        compared += 1;
    }
    println!("kyverno_cli: {compared} JMESPath values compared, 0 different");
}

/// A hand-written policy with preconditions, and with functions in its data.
fn preconditions(kyverno: &Path, cluster: &Cluster) {
    let label = |key: &str| format!("{{{{ request.object.metadata.labels.{key} || '' }}}}");
    let condition = |key: &str, operator: &str, value: Value| json!({"key": label(key), "operator": operator, "value": value});
    let prod = || condition("env", "Equals", json!("prod"));
    let red = || condition("tenant", "AnyIn", json!(["red", "Blue*"]));
    let cases = [
        json!({"all": [prod()]}),
        json!({"any": [prod(), red()]}),
        json!({"all": [prod(), red()]}),
        json!({"any": [prod()], "all": [condition("tenant", "NotEquals", json!(""))]}),
        json!({"all": [condition("tenant", "AllNotIn", json!(["red", "no"]))]}),
        json!({"all": [condition("tenant", "NotEquals", json!("r*"))]}),
        json!({"all": [condition("tenant", "Equals", json!("*e*"))]}),
        json!({"all": [condition("\"1st\"", "Equals", json!("x"))]}),
        json!([prod(), red()]),
        json!({"all": [{"key": ["a", "b"], "operator": "AnyIn", "value": ["b"]}]}),
        json!({"all": [{"key": ["a", "b"], "operator": "AllIn", "value": ["b"]}]}),
        json!({"all": [{"key": ["a", "b"], "operator": "AnyNotIn", "value": ["b"]}]}),
        json!({"all": [{"key": true, "operator": "Equals", "value": true}]}),
        json!({"any": []}),
    ];
    let folder = tempfile::tempdir().unwrap();
    let namespaces = folder.path().join("namespaces.yaml");
    std::fs::write(&namespaces, stream(cluster)).unwrap();
    let (mut objects, count) = (0, cases.len());
    for (index, preconditions) in cases.into_iter().enumerate() {
        let policy = json!({
            "apiVersion": "kyverno.io/v1",
            "kind": "ClusterPolicy",
            "metadata": {"name": format!("p{index}")},
            "spec": {"rules": [{
                "name": "r",
                "match": {"any": [{"resources": {"kinds": ["Namespace"]}}]},
                "preconditions": preconditions,
                "generate": {
                    "generateExisting": true,
                    "synchronize": true,
                    "apiVersion": "networking.k8s.io/v1",
                    "kind": "NetworkPolicy",
                    "name": "made",
                    "namespace": "{{request.object.metadata.name}}",
                    "data": {"spec": {"podSelector": {"matchLabels": {
                        "first": "{{ split(request.object.metadata.name, '-')[0] }}",
                        "upper": "{{ to_upper(request.object.metadata.name) }}",
                    }}, "policyTypes": ["Ingress"]}},
                },
            }]},
        });
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, policy.to_string()).unwrap();
        let out = folder.path().join(format!("out{index}.yaml"));
        let ran = run(Command::new(kyverno)
            .arg("apply")
            .arg(&path)
            .arg("--resource")
            .arg(&namespaces)
            .arg("-o")
            .arg(&out));
        assert!(ran.status.success(), "{policy}\n{}", String::from_utf8_lossy(&ran.stdout));
        let of_object = |object: Value| {
            (object["metadata"]["namespace"].as_str().unwrap().to_owned(), object["spec"].clone())
        };
        let mut theirs: Vec<(String, Value)> = objects_in(&out).into_iter().map(of_object).collect();
        theirs.sort_by(|a, b| a.0.cmp(&b.0));
        let ours: Vec<(String, Value)> = npc_expand::expand(&policy.to_string(), cluster)
            .unwrap_or_else(|error| panic!("{error}\n{policy}"))
            .objects
            .into_iter()
            .map(|object| (object.namespace, object.value["spec"].clone()))
            .collect();
        assert_eq!(
            ours,
            theirs,
            "{preconditions}",
            preconditions = policy["spec"]["rules"][0]["preconditions"]
        );
        objects += ours.len();
    }
    println!("kyverno_cli: {count} sets of preconditions, {objects} objects compared, 0 different");
}

/// Hand-written filters, including empty and null fields: Kyverno generates in the same namespaces as the
/// import determines.
fn filters(kyverno: &Path, cluster: &Cluster) {
    let namespaces = json!({"kinds": ["Namespace"]});
    let exclude = |resources: Value| json!({"any": [{"resources": resources}]});
    let name = cluster.namespaces[0].name.as_str();
    let other = cluster.namespaces[1].name.as_str();
    let label = json!({"matchLabels": {"env": "prod"}});
    // `match`, `exclude` and the name of the object.
    let mut cases = vec![
        (json!({"resources": namespaces}), Value::Null, "made"),
        (
            json!({"all": [{"resources": namespaces}, {"resources": {"kinds": ["v1/Namespace"], "selector": label}}]}),
            Value::Null,
            "made",
        ),
        (
            json!({"any": [{"resources": {"kinds": ["*/Namespace"], "names": [name, other]}}]}),
            json!({}),
            "made",
        ),
        (json!({"all": [{"resources": {"kinds": ["Namespace"], "name": name}}]}), Value::Null, "made"),
    ];
    for resources in [
        json!({}),
        json!({"names": [], "kinds": [], "namespaces": [], "annotations": {}}),
        json!({"names": null, "selector": null, "name": ""}),
        json!({"names": [name]}),
        json!({"namespaces": [name, "t*"]}),
        json!({"namespaces": [name], "names": [other]}),
        json!({"kinds": ["Pod"]}),
        json!({"kinds": ["Pod"], "names": [name]}),
        json!({"kinds": ["*/*"], "names": [name]}),
        json!({"kinds": ["Name*"], "selector": label}),
        json!({"selector": label}),
        json!({"selector": {"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["prod"]}]}}),
        json!({"kinds": ["Namespace"]}),
    ] {
        let all = json!({"any": [{"resources": namespaces}]});
        cases.push((all.clone(), exclude(resources.clone()), "made"));
        cases.push((
            all.clone(),
            json!({"all": [{"resources": resources}, {"resources": {"names": [name]}}]}),
            "made",
        ));
        cases.push((all, json!({"resources": resources}), "made"));
    }
    let all = || json!({"any": [{"resources": namespaces}]});
    cases.push((all(), Value::Null, "{{request.object.metadata.labels.env}}-made"));
    cases.push((all(), Value::Null, "{{ request.object.metadata.labels.env || 'none' }}-made"));
    cases.push((
        all(),
        json!({"any": [{"resources": {}}, {"resources": {"names": [name]}}]}),
        "{{request.object.metadata.name}}-made",
    ));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("namespaces.yaml");
    std::fs::write(&file, stream(cluster)).unwrap();
    let (count, mut objects) = (cases.len(), 0);
    for (index, (matches, excludes, object_name)) in cases.into_iter().enumerate() {
        let mut rule = json!({
            "name": "r",
            "match": matches,
            "generate": {
                "generateExisting": true,
                "synchronize": true,
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "name": object_name,
                "namespace": "{{request.object.metadata.name}}",
                "data": {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}},
            },
        });
        if !excludes.is_null() {
            rule["exclude"] = excludes;
        }
        let policy = json!({
            "apiVersion": "kyverno.io/v1",
            "kind": "ClusterPolicy",
            "metadata": {"name": format!("p{index}")},
            "spec": {"rules": [rule]},
        });
        let path = folder.path().join("policy.yaml");
        std::fs::write(&path, policy.to_string()).unwrap();
        let out = folder.path().join(format!("out{index}.yaml"));
        // The exit code also reports failures for single namespaces.
        let ran = run(Command::new(kyverno)
            .arg("apply")
            .arg(&path)
            .arg("--resource")
            .arg(&file)
            .arg("-o")
            .arg(&out));
        let namespace = |object: Value| object["metadata"]["namespace"].as_str().unwrap().to_owned();
        let mut theirs: Vec<String> = objects_in(&out).into_iter().map(namespace).collect();
        theirs.sort();
        let import = npc_import::import(npc_diagnostics::FileId(0), &policy.to_string());
        let errors = import.diagnostics.iter().filter(|found| found.level == npc_diagnostics::Level::Error);
        assert_eq!(errors.count(), 0, "{policy}\n{:#?}", import.diagnostics);
        let scopes: Vec<_> =
            import.policies.iter().flat_map(|one| &one.policy.subjects).map(|term| &term.scope).collect();
        let mut ours: Vec<String> = cluster
            .namespaces
            .iter()
            .filter(|own| {
                // Kyverno's command line does not check whether the object's name is valid.
                scopes.iter().any(|scope| {
                    let except = scope.except_labels.iter().filter(|except| {
                        except.requirements.iter().any(|one| one.values.iter().any(|value| !value.is_empty()))
                            || except.requirements.iter().any(|one| one.values.is_empty())
                    });
                    let scope =
                        npc_program::Scope { except_labels: except.cloned().collect(), ..(*scope).clone() };
                    scope.holds(&own.name, |key| own.labels.get(key).map(String::as_str))
                })
            })
            .map(|own| own.name.clone())
            .collect();
        ours.sort();
        assert_eq!(ours, theirs, "{policy}\n{}", String::from_utf8_lossy(&ran.stdout));
        objects += ours.len();
    }
    assert!(objects > 100, "too few objects to mean anything");
    println!(
        "kyverno_cli: {count} filters as people write them, {objects} objects, 0 in other namespaces than the import says"
    );
}

/// The objects that Kyverno wrote to a file; none if the file does not exist.
fn objects_in(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    serde_yaml::Deserializer::from_str(&text)
        .filter_map(|document| Option::<Value>::deserialize(document).unwrap())
        .collect()
}

/// Compares one batch. Returns the numbers of objects, policies and differences.
fn compare(kyverno: &Path, target: AnyTarget, batch: &[Program], cluster: &Cluster) -> (usize, usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(kyverno);
    command.arg("apply");
    let (mut expected, mut policies) = (BTreeMap::new(), 0);
    for program in batch {
        let output = compiled(&program.files, target, None).unwrap();
        policies += output.objects;
        let path = folder.path().join(format!("{}.yaml", program.name));
        std::fs::write(&path, &output.text).unwrap();
        command.arg(path);
        let generated = npc_expand::expand(&output.text, cluster)
            .unwrap_or_else(|error| panic!("{error}\n{}\n{}", program.text, output.text));
        for object in generated.objects {
            let key = (object.namespace.clone(), object.name.clone(), program.name.clone());
            assert!(expected.insert(key, object.value).is_none(), "one object twice: {}", object.name);
        }
    }
    let namespaces = folder.path().join("namespaces.yaml");
    std::fs::write(&namespaces, stream(cluster)).unwrap();
    let out = folder.path().join("out.yaml");
    let ran = run(command.arg("--resource").arg(&namespaces).arg("-o").arg(&out));
    if !ran.status.success() {
        let printed =
            [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        // Kyverno prints two lines for each object that it generates.
        let told = printed
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("Generat") && !line.starts_with("Warning"));
        panic!("{}\n{}", ran.status, told.collect::<Vec<_>>().join("\n"));
    }
    let mut found = BTreeMap::new();
    for mut object in objects_in(&out) {
        let metadata = object["metadata"].as_object_mut().unwrap();
        // Kyverno's own labels, which mark generated objects.
        metadata.remove("labels");
        let text =
            |key: &str| metadata[key].as_str().unwrap_or_else(|| panic!("{key} is no string")).to_owned();
        let source = metadata["annotations"]["npc/source"].as_str().unwrap_or_default();
        let program = source.trim_start_matches('!').split_once(".np:").map_or("", |(name, _)| name);
        let key = (text("namespace"), text("name"), program.to_owned());
        assert!(found.insert(key.clone(), object).is_none(), "Kyverno makes one object twice: {key:?}");
    }
    let mut wrong = 0;
    let keys: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    for key in &keys {
        let (says, makes) = (expected.get(key), found.get(key));
        if says != makes {
            wrong += 1;
            if wrong <= 3 {
                let show = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
                let text =
                    batch.iter().find(|program| program.name == key.2).map_or("", |program| &program.text);
                println!(
                    "DIFFERENT {key:?}\n the expansion says {}\n Kyverno makes      {}\n{text}",
                    show(says),
                    show(makes)
                );
            }
        }
    }
    (keys.len(), policies, wrong)
}
