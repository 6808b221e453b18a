//! Generated objects.

use serde_json::{Map, Value};

/// The objects that Kyverno generates in a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    /// The objects, sorted by namespace and name.
    pub objects: Vec<Object>,
}

/// A generated object, without the labels that Kyverno adds to mark it as its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The whole object.
    pub value: Value,
    /// Whether Kyverno also generates it in namespaces that are older than its policy (`generateExisting`).
    pub for_existing: bool,
}

impl Object {
    /// An object. Its metadata must contain its name and its namespace.
    pub(crate) fn new(value: Value, for_existing: bool) -> Result<Self, String> {
        let field = |pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
                .ok_or_else(|| format!("the generated object has no {pointer}"))
        };
        Ok(Self {
            namespace: field("/metadata/namespace")?,
            name: field("/metadata/name")?,
            value,
            for_existing,
        })
    }
}

/// Replaces every string in a value, including the keys if `keys` is set.
pub(crate) fn map_strings(
    value: &Value,
    replace: &mut impl FnMut(&str) -> Result<Value, String>,
    keys: bool,
) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => replace(text)?,
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| map_strings(item, replace, keys)).collect::<Result<_, _>>()?)
        }
        Value::Object(entries) => {
            let mut out = Map::new();
            for (key, item) in entries {
                let key = if keys {
                    match replace(key)? {
                        Value::String(key) => key,
                        _ => return Err(format!("the key `{key}` becomes a value that is not a string")),
                    }
                } else {
                    key.clone()
                };
                out.insert(key, map_strings(item, replace, keys)?);
            }
            Value::Object(out)
        }
        other => other.clone(),
    })
}
