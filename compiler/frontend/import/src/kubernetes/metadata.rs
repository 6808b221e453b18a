//! Reads `metadata`.

use std::sync::Arc;

use npc_diagnostics::Location;
use npc_manifest::{Entry, Fields, Node, Path, Reader, Value};
use npc_program::values::label::{check_key, check_value};
use npc_program::values::name::{is_label, is_subdomain};

/// The fields of an object's metadata (`ObjectMeta`).
const FIELDS: [&str; 16] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
    "selfLink",
    "clusterName",
];

/// Annotations that describe an object, in order of preference.
const DESCRIPTIONS: [&str; 4] = [
    "kubernetes.io/description",
    "policies.kyverno.io/description",
    "description",
    "policies.kyverno.io/title",
];

/// The parts of an object's metadata that are used.
pub(crate) struct Metadata<'n> {
    pub(crate) name: &'n str,
    /// The location of the name.
    pub(crate) location: Location,
    /// The namespace; `default` if none is given.
    pub(crate) namespace: &'n str,
    /// The lines of the description.
    pub(crate) docs: Vec<String>,
    /// The policy of the program that it was compiled from, if the annotation `npc/policy` names one.
    pub(crate) origin: Option<Arc<str>>,
    /// The labels and annotations that the program omits, with their locations.
    pub(crate) dropped: Vec<(String, Location)>,
    /// Whether a namespace is given.
    pub(crate) has_namespace: bool,
}

/// The labels and annotations that the program omits, with their locations. Not among them are the
/// descriptions, the compiler's own annotations (`npc/…`), and the one that `kubectl apply` writes.
pub(crate) fn dropped(metadata: &Node) -> Vec<(String, Location)> {
    let of = |key: &str, word: &str| {
        let entries: &[Entry] = match metadata.get(key).map(|node| &node.value) {
            Some(Value::Map(entries)) => entries,
            _ => &[],
        };
        let is_carried = |entry: &&Entry| {
            key == "annotations"
                && (DESCRIPTIONS.contains(&entry.key.as_str())
                    || entry.key.starts_with("npc/")
                    || entry.key == "kubectl.kubernetes.io/last-applied-configuration")
        };
        let left_out = entries.iter().filter(move |entry| !is_carried(entry));
        left_out.map(|entry| (format!("{word} `{}`", entry.key), entry.location)).collect::<Vec<_>>()
    };
    let mut all = of("labels", "label");
    all.extend(of("annotations", "annotation"));
    all
}

/// Whether a kind is namespaced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Namespaced,
    Cluster,
    /// Not namespaced; a given namespace is ignored.
    ClusterIgnoringNamespace,
}

/// Reads the metadata of an object.
pub(crate) fn metadata<'n>(reader: &mut Reader, object: &Fields<'n>, scope: Scope) -> Option<Metadata<'n>> {
    let path = Path::Root.field("metadata");
    let name_path = path.field("name");
    let Some(node) = object.get("metadata") else {
        reader.require(&name_path, object.location);
        return None;
    };
    let fields = reader.object(&path, node, &FIELDS)?;
    let mut read = |key: &str| {
        let node = fields.get(key)?;
        Some((reader.string(&path.field(key), node)?, node.location))
    };
    let (name, generate, namespace) = (read("name"), read("generateName"), read("namespace"));
    let (name, location) = match name.filter(|(name, _)| !name.is_empty()).or(generate) {
        Some(found) => found,
        None => {
            reader.require(&name_path, fields.location_of("name"));
            return None;
        }
    };
    if !is_subdomain(name) {
        let why = if name.len() > 253 {
            "at most 253 characters"
        } else {
            "lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit"
        };
        reader.report_invalid(&name_path, location, why);
    }
    let namespace = namespace.filter(|(namespace, _)| !namespace.is_empty());
    let has_namespace = namespace.is_some();
    let namespace = match namespace {
        None => "default",
        Some((_, location)) if scope == Scope::Cluster => {
            reader.report_invalid(&path.field("namespace"), location, "this kind is not namespaced");
            ""
        }
        Some(_) if scope == Scope::ClusterIgnoringNamespace => "",
        Some((namespace, location)) => {
            if !is_label(namespace) {
                let why = "at most 63 lower-case letters, digits and `-`, without dots";
                reader.report_invalid(&path.field("namespace"), location, why);
            }
            namespace
        }
    };
    labels(reader, &path, &fields);
    let docs = annotations(reader, &path, &fields);
    let origin = fields.get("annotations").and_then(|annotations| annotations.get("npc/policy"));
    let origin = origin.and_then(Node::as_str).map(Arc::from);
    let dropped = dropped(node);
    Some(Metadata { name, location, namespace, docs, origin, dropped, has_namespace })
}

/// Reads an object of a kind that is not namespaced: its metadata, or `None` if that has errors, and its
/// `spec`. `fields` are the fields that `spec` may have.
pub(crate) fn cluster_object<'n>(
    reader: &mut Reader,
    node: &'n Node,
    scope: Scope,
    fields: &[&str],
) -> Option<(Option<Metadata<'n>>, Fields<'n>)> {
    let known = ["apiVersion", "kind", "metadata", "spec", "status"];
    let object = reader.object(&Path::Root, node, &known)?;
    let metadata = metadata(reader, &object, scope);
    let path = Path::Root.field("spec");
    let Some(spec) = object.get("spec") else {
        reader.require(&path, object.location);
        return None;
    };
    Some((metadata, reader.object(&path, spec, fields)?))
}

/// Checks the labels.
fn labels(reader: &mut Reader, path: &Path<'_>, fields: &Fields<'_>) {
    let path = path.field("labels");
    let Some(labels) = fields.get("labels").and_then(|node| reader.strings(&path, node)) else { return };
    for (entry, value) in labels {
        let checked =
            check_key(&entry.key, entry.location).and_then(|()| check_value(value, entry.node.location));
        if let Err(wrong) = checked {
            reader.report_invalid(&path, wrong.location().unwrap_or(entry.location), wrong.message);
        }
    }
}

/// Checks the annotations and returns the description among them.
fn annotations(reader: &mut Reader, path: &Path<'_>, fields: &Fields<'_>) -> Vec<String> {
    fields.get("annotations").map(|node| described(reader, path, node)).unwrap_or_default()
}

/// The lines of the description among the annotations. `path` is the path of the metadata.
pub(crate) fn described(reader: &mut Reader, path: &Path<'_>, node: &Node) -> Vec<String> {
    let path = path.field("annotations");
    let Some(annotations) = reader.strings(&path, node) else { return Vec::new() };
    for (entry, _) in &annotations {
        // Their keys have the syntax of label keys, but may have capital letters in the prefix.
        if check_key(&entry.key.to_lowercase(), entry.location).is_err() {
            reader.report_invalid(
                &path,
                entry.location,
                format!("`{}` is not a valid annotation key", entry.key),
            );
        }
    }
    let described = DESCRIPTIONS.iter().find_map(|key| {
        annotations.iter().find(|(entry, text)| entry.key == *key && !text.trim().is_empty())
    });
    match described {
        Some((_, text)) => text.trim().lines().map(|line| line.trim_end().to_owned()).collect(),
        None => Vec::new(),
    }
}
