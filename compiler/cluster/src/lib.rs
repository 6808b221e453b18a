//! Reads what `kubectl get namespaces -o yaml` (or `json`) prints.
//!
//! ```
//! let cluster = npc_cluster::Cluster::parse(
//!     "kind: Namespace\nmetadata: {name: shop, labels: {env: prod}}",
//! )
//! .unwrap();
//! assert_eq!(cluster.namespaces[0].labels["env"], "prod");
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

npc_diagnostics::codes! {
    /// # Not a cluster file
    ///
    /// `--cluster` takes what `kubectl get namespaces -A -o yaml` prints: a `List`, a stream of
    /// documents, or single objects, as YAML or JSON. It needs at least one Namespace; objects of
    /// other kinds are passed over.
    BAD_CLUSTER = "NP0702" "bad-cluster" Error;
}

/// The label that the API server puts on every namespace, with its name as its value.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// A cluster, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// Its namespaces, by name.
    pub namespaces: Vec<Namespace>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels. [`NAMESPACE_NAME`] is always among them, also where an inventory leaves it out.
    pub labels: BTreeMap<String, String>,
}

/// Why a text is no cluster file, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Any object, or a list of them: only what is needed of it.
#[derive(Deserialize)]
struct Object {
    kind: Option<Text>,
    metadata: Option<Metadata>,
    items: Option<Vec<Object>>,
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<Text>,
    labels: Option<BTreeMap<Text, Text>>,
}

/// A string that is one in YAML too: `12` and `true` without quotes are no names but values of
/// another type, which the API server would refuse.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl Visitor<'_> for Strings {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string (put it in quotes)")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<Text, E> {
                Ok(Text(text))
            }
        }
        deserializer.deserialize_any(Strings)
    }
}

impl Cluster {
    /// Reads a cluster file.
    ///
    /// # Errors
    ///
    /// Where the text is not YAML or JSON, holds something that is no object, or no Namespace.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut namespaces = BTreeMap::new();
        if text.trim_start().starts_with('{') {
            // What kubectl prints as JSON is one object; a hundred times as fast to read as YAML.
            let object: Object = serde_json::from_str(text).map_err(|error| Error(error.to_string()))?;
            collect(object, &mut namespaces)?;
        } else {
            for document in serde_yaml::Deserializer::from_str(text) {
                let object =
                    Option::<Object>::deserialize(document).map_err(|error| Error(error.to_string()))?;
                if let Some(object) = object {
                    collect(object, &mut namespaces)?;
                }
            }
        }
        if namespaces.is_empty() {
            return Err(Error("it holds no Namespace".to_owned()));
        }
        Ok(Self { namespaces: namespaces.into_values().collect() })
    }
}

fn collect(object: Object, namespaces: &mut BTreeMap<String, Namespace>) -> Result<(), Error> {
    if let Some(items) = object.items {
        for item in items {
            if item.items.is_some() {
                return Err(Error("a list in a list".to_owned()));
            }
            collect(item, namespaces)?;
        }
        return Ok(());
    }
    match object.kind {
        Some(Text(kind)) if kind == "Namespace" => {}
        Some(_) => return Ok(()),
        None => return Err(Error("a document without `kind`".to_owned())),
    }
    let Some(Metadata { name: Some(Text(name)), labels }) = object.metadata else {
        return Err(Error("a Namespace without `metadata.name`".to_owned()));
    };
    let mut labels: BTreeMap<String, String> =
        labels.into_iter().flatten().map(|(Text(key), Text(value))| (key, value)).collect();
    labels.entry(NAMESPACE_NAME.to_owned()).or_insert_with(|| name.clone());
    if namespaces.contains_key(&name) {
        return Err(Error(format!("the namespace `{name}` is there twice")));
    }
    namespaces.insert(name.clone(), Namespace { name, labels });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_streams_and_json() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- kind: Namespace\n  metadata: {name: b, labels: {x: ''}}\n- kind: Pod\n  metadata: {name: p}\n- kind: Namespace\n  metadata: {name: a}\n";
        let cluster = Cluster::parse(list).unwrap();
        let names: Vec<&str> = cluster.namespaces.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(cluster.namespaces[1].labels["x"], "");
        assert_eq!(cluster.namespaces[1].labels[NAMESPACE_NAME], "b");

        let stream =
            "---\nkind: Namespace\nmetadata: {name: a}\n---\nkind: Namespace\nmetadata: {name: 'no'}\n---\n";
        assert_eq!(Cluster::parse(stream).unwrap().namespaces.len(), 2);
        let json = r#"{"kind":"List","items":[{"kind":"Namespace","metadata":{"name":"a"}}]}"#;
        assert_eq!(Cluster::parse(json).unwrap().namespaces.len(), 1);
    }

    #[test]
    fn what_is_no_cluster_file() {
        for bad in [
            "",
            "hello",
            "- a\n- b",
            "kind: Pod\nmetadata: {name: x}",
            "kind: Namespace\nmetadata: {}",
            "kind: Namespace\nmetadata: {name: 12}",
            "kind: Namespace\nmetadata: {name: a, labels: {x: true}}",
            "kind: Namespace\nmetadata: {name: a}\n---\nkind: Namespace\nmetadata: {name: a}",
            "{\"kind\": ",
            "metadata: {name: a}",
        ] {
            assert!(Cluster::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn aliases_that_explode_are_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..20 {
            let before = level - 1;
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(", ")));
        }
        text.push_str("kind: Namespace\nmetadata: {name: a}\n");
        // Whether it is refused or passed over does not matter: it must be quick.
        let _ = Cluster::parse(&text);
    }
}
