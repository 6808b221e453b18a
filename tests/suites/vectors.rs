//! Test vectors with the API server's verdicts on manifests and kubectl's reading of scalars.
//!
//! They are in `tests/vectors`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::{BTreeMap, BTreeSet};

use npc_diagnostics::{Diagnostic, FileId, Level};
use npc_targets::{AnyTarget, yaml};
use npc_tests::memory::{Memory, compiled};
use npc_tests::to_np;
use npc_tests::vectors::text;
use serde::Deserialize as _;
use serde_json::Value;

/// For manifests that a program can express, the compiler accepts and rejects what the API server does.
#[test]
fn checks_agree_with_the_api_server() {
    let text = text("setV.jsonl");
    let (mut agreed, mut beyond) = (0, BTreeMap::<&str, usize>::new());
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let manifest = &case["manifest"];
        if manifest["kind"] != "NetworkPolicy" {
            *beyond.entry("another kind").or_default() += 1;
            continue;
        }
        let source = match to_np::program(manifest) {
            Ok(source) => source,
            Err(why) => {
                *beyond.entry(why).or_default() += 1;
                continue;
            }
        };
        let id = case["id"].as_str().unwrap();
        let result = compiled(&Memory::one(&source), AnyTarget::NETWORK_POLICY, None);
        // The API accepts a selector that nothing satisfies; for the compiler it is an error.
        let contradiction = matches!(&result, Err(codes) if codes == &["NP0310"]);
        if contradiction && case["admitted"] == true {
            *beyond.entry("a selector that nothing can satisfy").or_default() += 1;
            continue;
        }
        assert_eq!(
            result.is_ok(),
            case["admitted"].as_bool().unwrap(),
            "{id} ({}): {:?}\n{source}",
            case["about"],
            result.map(|output| output.text)
        );
        agreed += 1;
    }
    println!("setV: {agreed} agree with the API server, 0 do not; not for a program to say: {beyond:?}");
    assert!(agreed >= 70, "{agreed}");
}

/// Every scalar that kubectl reads as another type than a string is quoted.
#[test]
fn scalars_are_quoted_for_kubectl() {
    let table = text("yaml-scalars.tsv");
    let mut plain = 0;
    for line in table.lines() {
        let (scalar, read) = line.split_once('\t').unwrap();
        let written = yaml::to_string(scalar).unwrap();
        let is_string = serde_json::from_str::<Value>(read).is_ok_and(|value| value == scalar);
        let quoted = written.starts_with(['\'', '"']);
        assert!(is_string || quoted, "{scalar} is read as {read} and is written as it is");
        let document = serde_yaml::Deserializer::from_str(&written);
        assert_eq!(Value::deserialize(document).unwrap(), scalar);
        plain += usize::from(!quoted);
    }
    println!("{} scalars, {plain} of them need no quotes", table.lines().count());
}

/// Importing accepts and rejects manifests as the API server does, and names the same fields.
#[test]
fn imports_agree_with_the_api_server() {
    let text = text("setV.jsonl");
    let (mut admitted, mut refused, mut beyond, mut wrong) = (0, 0, 0, Vec::new());
    for line in text.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let id = case["id"].as_str().unwrap();
        let manifest = case["manifest"].to_string();
        let import = npc_import::import(FileId(0), &manifest);
        let errors: Vec<&Diagnostic> =
            import.diagnostics.iter().filter(|found| found.level == Level::Error).collect();
        let said: Vec<&str> = errors.iter().map(|found| found.message.as_str()).collect();
        if case["admitted"] == true {
            // Fields of the API's experimental channel are admitted, but a program cannot express them.
            if !errors.is_empty() && errors.iter().all(|found| found.code.id == "NP0904") {
                beyond += 1;
            } else if errors.is_empty() && import.policies.len() == 1 {
                admitted += 1;
            } else {
                wrong.push(format!("{id} is admitted: {said:?}"));
            }
            continue;
        }
        refused += 1;
        if errors.is_empty() || !import.policies.is_empty() {
            wrong.push(format!("{id} is refused: {said:?}"));
        }
        for error in case["result"]["errors"].as_array().into_iter().flatten() {
            let field = format!("`{}`", error["field"].as_str().unwrap());
            if !said.iter().any(|message| message.contains(&field)) {
                wrong.push(format!("{id}: {field} is not named: {said:?}"));
            }
        }
        // No further errors: one field, one error.
        let fields: BTreeSet<&str> = case["result"]["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|error| error["field"].as_str().unwrap())
            .collect();
        if !fields.is_empty()
            && said.len() != fields.len()
            && said.len() > case["result"]["errors"].as_array().unwrap().len()
        {
            wrong.push(format!("{id}: {said:?} for {fields:?}"));
        }
    }
    println!(
        "set V: {admitted} admitted, {refused} refused, {beyond} admitted and not for a program to say, {} wrong",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}
