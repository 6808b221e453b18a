//! JMESPath functions: the standard ones that both engines evaluate alike, by the `jmespath` crate, and those
//! of Kyverno (`pkg/engine/jmespath`) that depend only on their arguments.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jmespath::{Context, DEFAULT_RUNTIME, Variable};
use serde_json::Value;

use super::{EvaluationError, Result};

/// The standard functions that the crate evaluates. Functions that take an expression are excluded, and so
/// are `sum` and `values`, whose results differ in Kyverno.
const STANDARD_FUNCTIONS: [&str; 18] = [
    "abs",
    "ceil",
    "contains",
    "ends_with",
    "floor",
    "join",
    "keys",
    "length",
    "max",
    "merge",
    "min",
    "not_null",
    "reverse",
    "sort",
    "starts_with",
    "to_array",
    "to_number",
    "type",
];

/// The maximal length of a text that `replace_all` or `join` returns, in bytes.
const MAX_TEXT: usize = 16 << 20;

/// Calls a function.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value> {
    if STANDARD_FUNCTIONS.contains(&name) {
        return standard(name, args);
    }
    let wrong = || EvaluationError::Function(format!("`{name}` does not take these arguments"));
    let texts: Option<Vec<&str>> = args.iter().map(Value::as_str).collect();
    let texts = texts.ok_or_else(wrong);
    match name {
        "to_string" => match args {
            [Value::String(text)] => Ok(Value::String(text.clone())),
            [Value::Bool(value)] => Ok(Value::String(value.to_string())),
            // Go formats numbers and escapes characters differently.
            [_] => Err(EvaluationError::Unsupported(
                "`to_string` of a value that is not a string or a boolean".to_owned(),
            )),
            _ => Err(wrong()),
        },
        "to_lower" => one(&texts?, wrong, |text| text.to_lowercase()),
        "to_upper" => one(&texts?, wrong, |text| text.to_uppercase()),
        "base64_encode" => one(&texts?, wrong, |text| STANDARD.encode(text)),
        "base64_decode" => match texts?.as_slice() {
            [text] => STANDARD
                .decode(text)
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .map(Value::String)
                .ok_or_else(|| EvaluationError::Function("the argument is not base64 text".to_owned())),
            _ => Err(wrong()),
        },
        "split" => match texts?.as_slice() {
            // With an empty separator, Go splits into characters, without empty strings at the ends.
            [text, ""] => Ok(text.chars().map(String::from).map(Value::String).collect()),
            [text, separator] => {
                Ok(text.split(separator).map(|part| Value::String(part.to_owned())).collect())
            }
            _ => Err(wrong()),
        },
        "trim" => match texts?.as_slice() {
            [text, cut] => Ok(Value::String(text.trim_matches(|c| cut.contains(c)).to_owned())),
            _ => Err(wrong()),
        },
        "trim_prefix" => match texts?.as_slice() {
            [text, prefix] => Ok(Value::String(text.strip_prefix(prefix).unwrap_or(text).to_owned())),
            _ => Err(wrong()),
        },
        "replace_all" => match texts?.as_slice() {
            [text, old, new] => {
                let size = text.matches(old).count().saturating_mul(new.len());
                if size > MAX_TEXT {
                    return Err(EvaluationError::Unsupported(format!(
                        "a text of more than {MAX_TEXT} bytes"
                    )));
                }
                Ok(Value::String(text.replace(old, new)))
            }
            _ => Err(wrong()),
        },
        "equal_fold" => match texts?.as_slice() {
            [a, b] if a.is_ascii() && b.is_ascii() => Ok(Value::Bool(a.eq_ignore_ascii_case(b))),
            [_, _] => Err(EvaluationError::Unsupported("`equal_fold` of text that is not ASCII".to_owned())),
            _ => Err(wrong()),
        },
        "parse_yaml" => match texts?.as_slice() {
            [text] => {
                serde_yaml::from_str(text).map_err(|error| EvaluationError::Function(error.to_string()))
            }
            _ => Err(wrong()),
        },
        "parse_json" => match texts?.as_slice() {
            [text] => {
                serde_json::from_str(text).map_err(|error| EvaluationError::Function(error.to_string()))
            }
            _ => Err(wrong()),
        },
        "label_match" => match args {
            [Value::Object(wanted), Value::Object(labels)] => {
                Ok(Value::Bool(wanted.iter().all(|(key, value)| labels.get(key) == Some(value))))
            }
            _ => Err(wrong()),
        },
        _ => Err(EvaluationError::Unsupported(format!("the function `{name}`"))),
    }
}

fn one(
    texts: &[&str],
    wrong: impl Fn() -> EvaluationError,
    function: impl Fn(&str) -> String,
) -> Result<Value> {
    match texts {
        [text] => Ok(Value::String(function(text))),
        _ => Err(wrong()),
    }
}

fn standard(name: &str, args: &[Value]) -> Result<Value> {
    let failed = |why: String| EvaluationError::Function(format!("`{name}`: {why}"));
    let function = DEFAULT_RUNTIME
        .get_function(name)
        .ok_or_else(|| EvaluationError::Unsupported(format!("the function `{name}`")))?;
    if let ("join", [Value::String(separator), Value::Array(items)]) = (name, args)
        && separator.len().saturating_mul(items.len()) > MAX_TEXT
    {
        return Err(EvaluationError::Unsupported(format!("a text of more than {MAX_TEXT} bytes")));
    }
    let args = args
        .iter()
        .map(|arg| Variable::from_serializable(arg).map(jmespath::Rcvar::new))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| failed(error.to_string()))?;
    let mut context = Context::new(name, &DEFAULT_RUNTIME);
    let value = function.evaluate(&args, &mut context).map_err(|error| failed(error.to_string()))?;
    serde_json::to_value(&value).map_err(|error| failed(error.to_string()))
}
