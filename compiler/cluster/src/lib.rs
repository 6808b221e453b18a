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

/// A string that is one in YAML too, or nothing: `12` and `true` without quotes are values of another
/// type, which the API server would refuse where it wants a string.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Some(text.to_owned())))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<Text, E> {
                Ok(Text(Some(text)))
            }
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Text, A::Error> {
                while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
                while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
                Ok(Text(None))
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
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_start().starts_with('{') {
            // What kubectl prints as JSON is one object; a hundred times as fast to read as YAML.
            let object: Object = serde_json::from_str(text).map_err(|error| Error(error.to_string()))?;
            collect(object, None, &mut namespaces)?;
        } else {
            for document in serde_yaml::Deserializer::from_str(text) {
                let object =
                    Option::<Object>::deserialize(document).map_err(|error| Error(error.to_string()))?;
                if let Some(object) = object {
                    collect(object, None, &mut namespaces)?;
                }
            }
        }
        if namespaces.is_empty() {
            return Err(Error("it holds no Namespace".to_owned()));
        }
        Ok(Self { namespaces: namespaces.into_values().collect() })
    }
}

/// Adds the namespaces of an object. In a list of one kind (`NamespaceList`) the items need not say
/// theirs.
fn collect(
    object: Object,
    list: Option<&str>,
    namespaces: &mut BTreeMap<String, Namespace>,
) -> Result<(), Error> {
    let kind = object.kind.and_then(|Text(kind)| kind);
    if let Some(items) = object.items {
        let of = kind.as_deref().and_then(|kind| kind.strip_suffix("List")).filter(|kind| !kind.is_empty());
        for item in items {
            if item.items.is_some() {
                return Err(Error("a list in a list".to_owned()));
            }
            collect(item, of, namespaces)?;
        }
        return Ok(());
    }
    match kind.as_deref().or(list) {
        Some("Namespace") => {}
        Some(_) => return Ok(()),
        None => return Err(Error("a document without `kind`".to_owned())),
    }
    let Some(Metadata { name: Some(name), labels }) = object.metadata else {
        return Err(Error("a Namespace without `metadata.name`".to_owned()));
    };
    let no_string = |what: &str| Error(format!("{what} is not a string: put it in quotes"));
    let name = name.0.ok_or_else(|| no_string("the name of a Namespace"))?;
    let mut all = BTreeMap::new();
    for (Text(key), Text(value)) in labels.into_iter().flatten() {
        let what = || no_string(&format!("a label of the namespace `{name}`"));
        all.insert(key.ok_or_else(what)?, value.ok_or_else(what)?);
    }
    all.entry(NAMESPACE_NAME.to_owned()).or_insert_with(|| name.clone());
    if namespaces.contains_key(&name) {
        return Err(Error(format!("the namespace `{name}` is there twice")));
    }
    namespaces.insert(name.clone(), Namespace { name, labels: all });
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
        let list = "\u{feff}apiVersion: v1\nkind: NamespaceList\nitems:\n- metadata: {name: a}\n---\nkind: Pod\nmetadata: {name: 12}\n";
        assert_eq!(Cluster::parse(list).unwrap().namespaces.len(), 1);
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
