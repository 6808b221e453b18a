//! Evaluates `preconditions`, as Kyverno's `pkg/engine/variables` does.

use serde::Deserialize;
use serde_json::Value;

use super::matching::wildcard;
use super::variables::substitute;

/// `preconditions`: `any` and `all`, or the older form, a list.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Conditions {
    /// Every condition must hold.
    List(Vec<Condition>),
    /// At least one of `any` must hold, if `any` is given, and every one of `all`.
    AnyAll(AnyAll),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AnyAll {
    any: Option<Vec<Condition>>,
    #[serde(default)]
    all: Vec<Condition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "a message does not change the generated objects")]
pub(super) struct Condition {
    key: Value,
    operator: String,
    value: Value,
    message: Option<String>,
}

impl Conditions {
    /// Whether the conditions hold.
    pub(super) fn hold(&self, context: &Value) -> Result<bool, String> {
        let (any, all) = match self {
            Self::List(all) => (None, all),
            Self::AnyAll(conditions) => (conditions.any.as_ref(), &conditions.all),
        };
        if let Some(any) = any {
            let mut found = false;
            for condition in any {
                if condition.holds(context)? {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        for condition in all {
            if !condition.holds(context)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Condition {
    fn holds(&self, context: &Value) -> Result<bool, String> {
        let key = substitute(&self.key, context)?;
        let value = substitute(&self.value, context)?;
        let unsupported = |what: &str| {
            Err(format!("npc does not evaluate the precondition operator `{}` {what}", self.operator))
        };
        match self.operator.to_ascii_lowercase().as_str() {
            "equal" | "equals" => equal(&key, &value),
            "notequal" | "notequals" => not_equal(&key, &value),
            operator @ ("anyin" | "allin" | "anynotin" | "allnotin") => {
                let Some(keys) = scalars(&key) else {
                    return unsupported("for a key that is not a scalar or a list of scalars");
                };
                let Value::Array(_) = value else { return unsupported("with a value that is not a list") };
                let Some(values) = scalars(&value) else { return unsupported("with a list of non-scalars") };
                if !key.is_array() {
                    // For a single value, `any` and `all` are the same.
                    let found = keys.iter().any(|key| listed(key, &values));
                    return Ok(found == matches!(operator, "anyin" | "allin"));
                }
                Ok(match operator {
                    "anyin" => keys.iter().any(|key| listed(key, &values)),
                    "allin" => keys.iter().all(|key| listed(key, &values)),
                    "anynotin" => keys.iter().any(|key| !listed(key, &values)),
                    _ => keys.iter().all(|key| !listed(key, &values)),
                })
            }
            _ => unsupported("with any key and value"),
        }
    }
}

/// Converts a string, number or boolean, or a list of them, to strings. `None` for other values.
fn scalars(value: &Value) -> Option<Vec<String>> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        // Go formats whole numbers below this limit without an exponent.
        Value::Number(number) => number.as_i64().filter(|n| n.abs() < 1 << 20).map(|n| n.to_string()),
        _ => None,
    };
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        one => scalar(one).map(|text| vec![text]),
    }
}

/// Whether a value of the list matches the key. Either may be a pattern.
fn listed(key: &str, values: &[String]) -> bool {
    values.iter().any(|value| wildcard(value, key) || wildcard(key, value))
}

fn equal(key: &Value, value: &Value) -> Result<bool, String> {
    match (key, value) {
        (Value::String(key), Value::String(value)) => {
            if key == value {
                return Ok(true);
            }
            if is_measure(key) && is_measure(value) {
                return Err(format!("npc does not compare the quantities `{key}` and `{value}`"));
            }
            // A quantity equals no other text, even if that is a pattern. Other texts may match a pattern.
            Ok(!is_quantity(key) && wildcard(value, key))
        }
        (Value::Bool(key), Value::Bool(value)) => Ok(key == value),
        (Value::Number(key), Value::Number(value)) => Ok(key.as_f64() == value.as_f64()),
        (Value::Array(_), Value::Array(_)) | (Value::Object(_), Value::Object(_)) => Ok(key == value),
        (Value::Number(_), Value::String(_)) | (Value::String(_), Value::Number(_)) => {
            Err("npc does not compare a number with a string".to_owned())
        }
        _ => Ok(false),
    }
}

fn not_equal(key: &Value, value: &Value) -> Result<bool, String> {
    match (key, value) {
        // For null, neither `Equals` nor `NotEquals` holds.
        (Value::Null, _) => Ok(false),
        // Kyverno compares an empty string as a string, even with a quantity.
        (Value::String(key), Value::String(value)) if value.is_empty() => Ok(!key.is_empty()),
        _ => equal(key, value).map(|equal| !equal),
    }
}

/// Whether Kyverno might parse the text as a quantity or a duration. Also true for some other texts.
fn is_measure(text: &str) -> bool {
    is_quantity(text) || text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
}

/// Whether the text is a Kubernetes quantity (apimachinery's `resource.ParseQuantity`).
fn is_quantity(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number = unsigned.trim_start_matches(|c: char| c.is_ascii_digit());
    let whole = unsigned.len() - number.len();
    let (fraction, suffix) = match number.strip_prefix('.') {
        Some(rest) => {
            let suffix = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            (rest.len() - suffix.len(), suffix)
        }
        None => (0, number),
    };
    if whole + fraction == 0 {
        return false;
    }
    let exponent = |digits: &str| {
        let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
    };
    matches!(
        suffix,
        "" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei"
    ) || suffix.strip_prefix(['e', 'E']).is_some_and(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hold(conditions: Value) -> Result<bool, String> {
        let conditions: Conditions = serde_json::from_value(conditions).unwrap();
        conditions.hold(&json!({"request": {"object": {"metadata": {"labels": {"env": "prod", "n": "10"}}}}}))
    }

    fn condition(key: &str, operator: &str, value: impl Into<Value>) -> Value {
        json!({"key": key, "operator": operator, "value": value.into()})
    }

    #[test]
    fn any_and_all() {
        let env = "{{ request.object.metadata.labels.env }}";
        let yes = condition(env, "Equals", json!("prod"));
        let no = condition(env, "NotEquals", json!("prod"));
        assert_eq!(hold(json!([yes])), Ok(true));
        assert_eq!(hold(json!([yes, no])), Ok(false));
        assert_eq!(hold(json!({"any": [no, yes], "all": [yes]})), Ok(true));
        assert_eq!(hold(json!({"any": [no], "all": [yes]})), Ok(false));
        assert_eq!(hold(json!({"all": [no]})), Ok(false));
        assert_eq!(hold(json!({"all": [condition(env, "AnyIn", json!(["test", "pr*"]))]})), Ok(true));
        assert_eq!(hold(json!({"all": [condition(env, "AllNotIn", json!(["test"]))]})), Ok(true));
        assert!(hold(json!({"all": [condition("{{ request.object.x }}", "Equals", json!(""))]})).is_err());
        assert!(hold(json!({"all": [condition(env, "GreaterThan", json!(3))]})).is_err());
    }

    #[test]
    fn quantities_are_compared_as_such_or_refused() {
        assert_eq!(equal(&json!("10"), &json!("10")), Ok(true));
        assert!(equal(&json!("10"), &json!("10.0")).is_err());
        assert_eq!(equal(&json!("10"), &json!("ten")), Ok(false));
        assert_eq!(equal(&json!("10"), &json!("*")), Ok(false));
        assert_eq!(equal(&json!("ten"), &json!("t*")), Ok(true));
        for text in ["1", "-1.5", "1Ki", "1e3", ".5", "100m"] {
            assert!(is_quantity(text), "{text}");
        }
        for text in ["", "a", "1x", ".", "1e", "Ki", "1 k"] {
            assert!(!is_quantity(text), "{text}");
        }
    }
}
