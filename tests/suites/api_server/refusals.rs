//! Every object that `npc import` reports as rejected by the API server must be rejected by it: objects
//! changed in one place are given to both.

use fastrand::Rng;
use npc_diagnostics::{FileId, Level};
use npc_targets::AnyTarget;
use npc_tests::live::try_kubectl;
use npc_tests::memory::{Memory, compiled};
use npc_tests::random::{program, program_with_tiers};
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

/// The number of changed objects per kind. The server takes some tens of milliseconds for each.
const CHANGES: usize = 120;

pub(crate) fn refusals(random: &mut Rng, cluster: &npc_cluster::Cluster) {
    for kind in ["NetworkPolicy", "ClusterPolicy", "GeneratingPolicy", "ClusterNetworkPolicy"] {
        let (mut tried, mut claimed, mut unseen) = (0, 0, Vec::new());
        while tried < CHANGES {
            let Some(mut object) = object(kind, random, cluster) else { continue };
            let change = change(&mut object, random);
            let claim = claim(&object.to_string());
            let create = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
            let answer = try_kubectl(&create, &object.to_string());
            tried += 1;
            match (claim, answer) {
                (Claim::Refused(why), answer) => {
                    // A reason about the generated object must hold if the object itself is given to the API
                    // server.
                    let generated = generated(&object).filter(|_| answer.is_ok());
                    let answer = generated.map_or(answer, |object| try_kubectl(&create, &object.to_string()));
                    assert!(
                        answer.is_err(),
                        "{kind}: {change}: the API server takes it, and npc says: {why}\n{object:#}"
                    );
                    claimed += 1;
                }
                (Claim::Taken, Err(why)) => unseen.push(format!("{change}: {}", why.trim())),
                (Claim::Other, _) | (Claim::Taken, Ok(_)) => {}
            }
        }
        println!(
            "api_server: {kind}: {tried} objects changed in one place: {claimed} refused by npc in the API server's name, \
             all of them by it too; {} that it refuses taken by npc",
            unseen.len()
        );
        for line in &unseen {
            println!("  {line}");
        }
        assert!(unseen.len() * 20 <= tried, "npc takes too much that the API server refuses");
    }
}

/// The object that a Kyverno policy generates, in namespace `default`. If `data` is no object, Kyverno cannot
/// generate it, and the value itself is returned.
fn generated(object: &Value) -> Option<Value> {
    if object["kind"] == "ClusterPolicy" {
        let generate = object.pointer("/spec/rules/0/generate")?;
        let mut made = generate.get("data")?.clone();
        let Some(fields) = made.as_object_mut() else { return Some(made) };
        for key in ["apiVersion", "kind"] {
            fields.insert(key.to_owned(), generate.get(key)?.clone());
        }
        let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
        if let Some(metadata) = metadata.as_object_mut() {
            metadata.insert("name".to_owned(), generate.get("name")?.clone());
            metadata.insert("namespace".to_owned(), json!("default"));
        }
        return Some(made);
    }
    let text = object.pointer("/spec/generate/0/template/value")?.as_str()?;
    let text = text.replace("(( object.metadata.name ))", "default");
    first_document(&text)
}

/// The first document of a YAML stream.
fn first_document(text: &str) -> Option<Value> {
    Value::deserialize(serde_yaml::Deserializer::from_str(text).next()?).ok()
}

/// npc's verdict on an object.
enum Claim {
    /// The API server rejects it.
    Refused(String),
    /// It has another error, or npc cannot express it.
    Other,
    /// No errors.
    Taken,
}

fn claim(text: &str) -> Claim {
    let import = npc_import::import(FileId(0), text);
    let said: Vec<String> = import.diagnostics.iter().map(|found| found.message.clone()).collect();
    if let Some(why) = said.iter().find(|message| message.starts_with("the API server")) {
        return Claim::Refused(why.clone());
    }
    let errors = import.diagnostics.iter().any(|found| found.level == Level::Error);
    if errors { Claim::Other } else { Claim::Taken }
}

/// A random object of a kind, as npc writes it.
fn object(kind: &str, random: &mut Rng, cluster: &npc_cluster::Cluster) -> Option<Value> {
    let target = match kind {
        "GeneratingPolicy" => AnyTarget::KYVERNO_CEL,
        "ClusterNetworkPolicy" => AnyTarget::CLUSTER_NETWORK_POLICY,
        _ => AnyTarget::KYVERNO,
    };
    let text =
        if kind == "ClusterNetworkPolicy" { program_with_tiers(random, 1) } else { program(random, "p") };
    let output = compiled(&Memory::one(&text), target, None).ok()?;
    let text = match kind {
        "NetworkPolicy" => {
            let objects = npc_expand::expand(&output.text, cluster).ok()?.objects;
            let mut text = String::new();
            npc_targets::yaml::write_to(&mut text, &objects.first()?.value).ok()?;
            text
        }
        _ => output.text,
    };
    first_document(&text).filter(|object| object["kind"] == kind)
}

/// Changes an object in one place, and describes the change.
fn change(object: &mut Value, random: &mut Rng) -> String {
    loop {
        let mut places = Vec::new();
        places_of(object, String::new(), &mut places);
        let place = random.choice(&places).unwrap().clone();
        if ["/metadata", "/metadata/name", "/metadata/namespace", "/kind", "/apiVersion"]
            .contains(&place.as_str())
        {
            continue;
        }
        let (parent, last) = place.rsplit_once('/').unwrap();
        let parent = object.pointer_mut(parent).unwrap();
        match random.u8(..4) {
            0 => {
                match parent {
                    Value::Object(fields) => drop(fields.remove(&last.replace("~1", "/"))),
                    Value::Array(items) => drop(items.remove(last.parse().unwrap())),
                    _ => unreachable!(),
                }
                return format!("without {place}");
            }
            1 => {
                let Value::Object(fields) = parent else { continue };
                fields.insert("surplus".to_owned(), json!(1));
                return format!("{place}: a field beside it");
            }
            _ => {
                let values = [
                    Value::Null,
                    json!(true),
                    json!(0),
                    json!(-1),
                    json!(65_536),
                    json!("x"),
                    json!("UPPER_case"),
                    json!(""),
                    json!([]),
                    json!([""]),
                    Value::Object(Map::new()),
                    json!({"x": "y"}),
                ];
                let value = random.choice(&values).unwrap().clone();
                let said = format!("{place} = {value}");
                *object.pointer_mut(&place).unwrap() = value;
                return said;
            }
        }
    }
}

fn places_of(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                places_of(value, format!("{at}/{}", key.replace('/', "~1")), places);
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                places_of(value, format!("{at}/{index}"), places);
            }
        }
        _ => {}
    }
    if !at.is_empty() {
        places.push(at);
    }
}
