//! A target that a contributor adds, as CONTRIBUTING describes it: NetworkPolicies as JSON.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use npc_diagnostics::Level;
use npc_driver::Checked;
use npc_import::import;
use npc_targets::{AnyTarget, Capabilities, Emitted, Input, Options, Output, ReadBack, Target};
use npc_tests::memory::Memory;
use serde::Deserialize as _;
use serde_json::Value;

/// Writes one JSON document per NetworkPolicy. With a bug, it omits the last rule.
struct Json {
    has_bug: bool,
}

impl Target for Json {
    fn name(&self) -> &'static str {
        if self.has_bug { "json-with-bug" } else { "json" }
    }

    fn nouns(&self) -> [&'static str; 2] {
        ["document", "documents"]
    }

    fn extension(&self) -> &'static str {
        "json"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { tiers: false, text: true, by_kyverno: false, per_cluster: true }
    }

    fn emit(&self, input: &Input<'_>) -> Emitted {
        let mut emitted = AnyTarget::NETWORK_POLICY.emit(input);
        let documents = serde_yaml::Deserializer::from_str(&emitted.text);
        let objects = documents.map(|document| Value::deserialize(document).unwrap());
        let mut objects: Vec<Value> = objects.filter(|object| !object.is_null()).collect();
        if self.has_bug {
            let rules = objects.last_mut().unwrap()["spec"]["ingress"].as_array_mut().unwrap();
            rules.pop();
        }
        emitted.text = objects.iter().map(|object| format!("---\n{object}\n")).collect();
        emitted
    }

    fn read(&self, output: &Output) -> Result<ReadBack, String> {
        let import = import(npc_diagnostics::FileId(0), &output.text);
        match import.diagnostics.iter().find(|found| found.level == Level::Error) {
            None => Ok(ReadBack::Policies(import.policies)),
            Some(found) => Err(found.message.clone()),
        }
    }
}

fn program() -> Checked {
    let checked = Memory::one(
        "policy web for pods { app = web } in namespace shop {
           allow ingress from pods { app = front } in same namespace on tcp/80
           allow ingress from 10.0.0.0/8 on tcp/443
         }",
    )
    .check(None);
    assert!(!checked.report.has_errors());
    checked
}

fn compiled(target: &'static Json) -> Output {
    npc_driver::compile(&program(), &[AnyTarget::new(target)], &Options::default(), None).remove(0)
}

#[test]
fn output_is_read_back_and_proved() {
    static JSON: Json = Json { has_bug: false };
    let output = compiled(&JSON);
    assert!(output.diagnostics.is_empty(), "{:#?}", output.diagnostics);
    assert_eq!(output.objects, 1);
    let object: Value = serde_json::from_slice(output.bytes().strip_prefix(b"---\n").unwrap()).unwrap();
    assert_eq!(object["kind"], "NetworkPolicy");
}

#[test]
fn bug_of_the_target_is_reported() {
    static JSON: Json = Json { has_bug: true };
    let output = compiled(&JSON);
    let codes: Vec<&str> = output.diagnostics.iter().map(|found| found.code.id).collect();
    assert_eq!(codes, ["NP0618"], "{:#?}", output.diagnostics);
}
