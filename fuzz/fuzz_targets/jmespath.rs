//! JMESPath expressions.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

static DATA: LazyLock<Value> = LazyLock::new(|| {
    json!({"a": {"b": "x", "c": ["y", 1, null]}, "request": {"object": {"metadata": {"name": "shop", "labels": {}}}}})
});

fuzz_target!(|text: &str| {
    let _ = npc_expand::evaluate_jmespath(text, &DATA);
});
