//! Substitutes `{{ }}`, as Kyverno's `pkg/engine/variables` does.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::jmespath::evaluate;
use crate::object::map_strings;

/// Kyverno's own regular expressions (`pkg/engine/variables/regex`). Their syntax means the same in Go and in
/// Rust.
static VARIABLE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(^|[^\\])(\{\{(?:\{[^{}]*\}|[^{}])*\}\})").ok());
static REFERENCE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^\$\(.[^\ ]*\)|[^\\]\$\(.[^\ ]*\)").ok());
static ESCAPED_REFERENCE: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\\\$\(.[^\ \)]*\)").ok());

/// Replaces every variable in a value, including those in keys.
pub(super) fn substitute(value: &Value, context: &Value) -> Result<Value, String> {
    map_strings(value, &mut |text| substitute_text(text, context), true)
}

fn substitute_text(text: &str, context: &Value) -> Result<Value, String> {
    let (Some(variable), Some(reference), Some(escaped)) = (&*VARIABLE, &*REFERENCE, &*ESCAPED_REFERENCE)
    else {
        return Err("a regular expression for variables does not compile".to_owned());
    };
    // References are resolved before variables.
    if let Some(found) = reference.find(text) {
        return Err(format!("npc does not evaluate the reference in `{}`", found.as_str()));
    }
    let mut text = text.to_owned();
    let escapes: Vec<String> = escaped.find_iter(&text).map(|found| found.as_str().to_owned()).collect();
    for escape in escapes {
        text = text.replace(&escape, escape.trim_start_matches('\\'));
    }
    // A value that contains a variable is substituted again. Limited, since a value may contain itself.
    for _ in 0..64 {
        let Some(found) = variable.captures(&text).and_then(|captures| captures.get(2)) else {
            return Ok(Value::String(text.replace("\\{{", "{{")));
        };
        let inner = found.as_str().trim_start_matches('{').trim_end_matches('}');
        if inner.starts_with('-') {
            return Err(format!("npc does not evaluate `{}`", found.as_str()));
        }
        let value = evaluate(inner.trim(), context).map_err(|error| error.to_string())?;
        if found.as_str() == text {
            return Ok(value);
        }
        let value = match value {
            Value::String(value) => value,
            other => other.to_string(),
        };
        text.replace_range(found.range(), &value);
    }
    Err("variables are nested more than 64 deep".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(text: &str) -> Result<Value, String> {
        let context = json!({"request": {"object": {"metadata": {
            "name": "shop", "labels": {"tenant": "red", "a.b/c": "x", "empty": ""},
        }}}});
        substitute(&json!(text), &context)
    }

    #[test]
    fn variables() {
        assert_eq!(run("{{request.object.metadata.name}}"), Ok(json!("shop")));
        assert_eq!(run("a-{{ request.object.metadata.name }}-b"), Ok(json!("a-shop-b")));
        assert_eq!(run("{{ request.object.metadata.labels.tenant || '' }}"), Ok(json!("red")));
        assert_eq!(run("{{ request.object.metadata.labels.\"a.b/c\" || '' }}"), Ok(json!("x")));
        assert_eq!(run("{{ request.object.metadata.labels.other || '' }}"), Ok(json!("")));
        assert_eq!(run("{{ request.object.metadata.labels.empty || '' }}"), Ok(json!("")));
        assert!(run("{{ request.object.metadata.labels.other }}").is_err());
        assert_eq!(
            run("{{ request.object.metadata.labels }}").map(|v| v["tenant"].clone()),
            Ok(json!("red"))
        );
    }

    #[test]
    fn escapes() {
        assert_eq!(run("\\{{ x }}"), Ok(json!("{{ x }}")));
        assert_eq!(run("\\$(x)"), Ok(json!("$(x)")));
        assert_eq!(run("$(a b)"), Ok(json!("$(a b)")));
        assert!(run("$(x)").is_err());
        assert!(run("a $(x)").is_err());
    }
}
