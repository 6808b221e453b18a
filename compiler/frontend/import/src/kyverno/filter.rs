//! Reads `match` and `exclude` of a ClusterPolicy's rule, for namespaces.
//!
//! Follows Kyverno's `pkg/engine/utils/match.go`: an empty or null field of a filter is no condition, and a
//! filter without conditions matches nothing, so it excludes nothing.

use std::sync::Arc;

use npc_manifest::{Fields, Node, Path, Reader, Value};
use npc_program::values::name::glob_matches;

use super::condition::Condition;
use super::report_unsupported;
use crate::kubernetes::selector::{Checked, selector};

/// Whether a filter is part of `match` or of `exclude`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Match,
    Exclude,
}

/// The forms of `match` and `exclude` in an API version: v2beta1 has no filter outside `any` and `all`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    V1,
    V2Beta1,
}

/// Reads `match` or `exclude` as a condition on a namespace.
pub(crate) fn filters(
    reader: &mut Reader,
    path: &Path<'_>,
    node: Option<&Node>,
    rule: &Fields<'_>,
    role: Role,
    form: Form,
) -> Option<Condition> {
    let Some(node) = node else {
        if role == Role::Exclude {
            return Some(Condition::Constant(false));
        }
        reader.require(path, rule.location);
        return None;
    };
    let known: &[&str] = match form {
        Form::V1 => &["any", "all", "resources", "subjects", "roles", "clusterRoles"],
        Form::V2Beta1 => &["any", "all"],
    };
    let fields = reader.object(path, node, known)?;
    let mut list = |key: &str| -> Option<Vec<Condition>> {
        let path = path.field(key);
        let Some(node) = fields.get(key) else { return Some(Vec::new()) };
        let list = reader.list(&path, node)?;
        let conditions =
            list.iter().enumerate().map(|(index, one)| filter(reader, &path.index(index), one, role));
        conditions.collect()
    };
    let (any, all) = (list("any")?, list("all")?);
    if only_one_of(reader, path, &fields, ["any", "all"]) {
        return None;
    }
    match (any.is_empty(), all.is_empty()) {
        (false, _) => Some(Condition::Any(any)),
        (true, false) => Some(Condition::All(all)),
        (true, true) => filter(reader, path, node, role),
    }
}

/// Reports two fields that the API server rejects together, even if one is empty. Returns whether both are
/// given.
fn only_one_of(reader: &mut Reader, path: &Path<'_>, fields: &Fields<'_>, keys: [&str; 2]) -> bool {
    let both = keys.iter().all(|key| fields.get(key).is_some());
    if both {
        let [one, other] = keys;
        let why = format!("`{one}` and `{other}` cannot be given together, even if one is empty");
        reader.report_invalid(path, fields.location, why);
    }
    both
}

/// Reads one filter as a condition on a namespace.
fn filter(reader: &mut Reader, path: &Path<'_>, node: &Node, role: Role) -> Option<Condition> {
    // `any` and `all` may be given if both are empty.
    let fields =
        reader.object(path, node, &["any", "all", "resources", "subjects", "roles", "clusterRoles"])?;
    for who in ["subjects", "roles", "clusterRoles"] {
        let Some(node) = fields.get(who) else { continue };
        if !reader.list(&path.field(who), node)?.is_empty() {
            let why = "for existing namespaces, it is not known who created them";
            report_unsupported(reader, format!("`{}`", path.field(who)), node.location, why);
            return None;
        }
    }
    let path = path.field("resources");
    let null = Node { value: Value::Null, location: node.location };
    let resources = fields.get("resources").unwrap_or(&null);
    let known = [
        "kinds",
        "name",
        "names",
        "namespaces",
        "annotations",
        "selector",
        "namespaceSelector",
        "operations",
    ];
    let fields = reader.object(&path, resources, &known)?;
    if only_one_of(reader, &path, &fields, ["name", "names"])
        || !check_supported(reader, &path, &fields, role)?
    {
        return None;
    }
    let kinds = strings(reader, &path, &fields, "kinds")?;
    if kinds.iter().any(|kind| **kind == *"*") {
        let why = "Kyverno rejects the kind `*` in a generate rule: list the kinds";
        reader.report_invalid(&path.field("kinds"), fields.location_of("kinds"), why);
        return None;
    }
    if role == Role::Match && (kinds.is_empty() || !kinds.iter().all(|kind| takes_namespaces(kind))) {
        let what = "a rule that matches other kinds than Namespace";
        report_unsupported(reader, what, fields.location_of("kinds"), "the kind must be `Namespace`");
        return None;
    }
    // Without kinds, `exclude` applies to objects of every kind; with other kinds, to no namespace.
    let takes_others = !kinds.is_empty() && !kinds.iter().any(|kind| takes_namespaces(kind));
    let mut all = Vec::new();
    let mut asks = !kinds.is_empty();
    for key in ["names", "namespaces"] {
        // Kyverno compares `namespaces` with a namespace's own name.
        let names = strings(reader, &path, &fields, key)?;
        if !names.is_empty() {
            all.push(Condition::Name(names));
        }
    }
    if let Some(name) = fields.get("name") {
        let name = reader.string(&path.field("name"), name)?;
        if !name.is_empty() {
            all.push(Condition::Name(vec![name.into()]));
        }
    }
    if let Some(node) = fields.get("selector") {
        let path = path.field("selector");
        let is_empty = ["matchLabels", "matchExpressions"].iter().all(|key| match node.get(key) {
            Some(Node { value: Value::Map(entries), .. }) => entries.is_empty(),
            Some(Node { value: Value::List(list), .. }) => list.is_empty(),
            Some(Node { value, .. }) => matches!(value, Value::Null),
            None => true,
        });
        if is_empty && matches!(node.value, Value::Map(_)) {
            reader.report_invalid(&path, node.location, "a selector must have at least one requirement");
            return None;
        }
        let selector = selector(reader, &path, node, Checked::ByTheServer)?;
        all.push(Condition::selector(&selector));
    }
    asks |= !all.is_empty();
    Some(if asks && !takes_others { Condition::All(all) } else { Condition::Constant(false) })
}

/// Reports fields of a filter that a program cannot express. Returns whether there are none.
fn check_supported(reader: &mut Reader, path: &Path<'_>, fields: &Fields<'_>, role: Role) -> Option<bool> {
    let reasons: [(&str, &str); 4] = match role {
        Role::Match => [
            ("namespaces", "Kyverno applies it to new namespaces but not to existing ones: use `names`"),
            ("namespaceSelector", "it never matches a namespace: use `selector`"),
            ("annotations", "the language selects namespaces by names and labels only"),
            ("operations", "existing namespaces have no operation, so Kyverno skips them"),
        ],
        Role::Exclude => [
            ("namespaces", ""),
            ("namespaceSelector", "it never matches a namespace, so it excludes none: use `selector`"),
            ("annotations", "the language selects namespaces by names and labels only"),
            ("operations", "existing namespaces have no operation, so Kyverno does not exclude them"),
        ],
    };
    for (key, why) in reasons {
        let Some(node) = fields.get(key).filter(|_| !why.is_empty()) else { continue };
        let is_empty = match &node.value {
            Value::List(list) => list.is_empty(),
            // An empty selector is still a condition.
            Value::Map(entries) => entries.is_empty() && key == "annotations",
            _ => false,
        };
        if !is_empty {
            report_unsupported(reader, format!("`{}`", path.field(key)), node.location, why);
            return Some(false);
        }
    }
    if let Some(wild) = fields.get("selector").and_then(wildcard) {
        let why = match role {
            Role::Match => "Kyverno applies it to new namespaces but not to existing ones",
            Role::Exclude => "the language has no wildcards in labels",
        };
        report_unsupported(reader, "a wildcard in a selector", wild.location, why);
        return Some(false);
    }
    Some(true)
}

/// Whether a kind of a filter matches namespaces, as Kyverno reads it: `Namespace`, `v1/Namespace`, `*`.
fn takes_namespaces(kind: &str) -> bool {
    let is_version = |text: &str| {
        let rest = text.strip_prefix('v').unwrap_or_default();
        text == "*" || rest.starts_with(|c: char| c.is_ascii_digit())
    };
    let parts: Vec<&str> = kind.split('/').collect();
    let (group, version, kind) = match parts.as_slice() {
        [kind] => ("*", "*", *kind),
        ["*", "*"] => ("*", "*", "*"),
        // `*/status` is a subresource of everything.
        ["*", rest] if rest.to_lowercase() == *rest => return false,
        [version, kind] if is_version(version) => ("*", *version, *kind),
        [group, version, kind] if !is_version(group) => (*group, *version, *kind),
        _ => return false,
    };
    glob_matches(group, "") && glob_matches(version, "v1") && glob_matches(kind, "Namespace")
}

/// Finds a key or value with a wildcard in a selector.
fn wildcard(node: &Node) -> Option<&Node> {
    match &node.value {
        Value::String(text) => text.contains(['*', '?']).then_some(node),
        Value::List(list) => list.iter().find_map(wildcard),
        Value::Map(entries) => entries.iter().find_map(|entry| {
            let in_key = entry.key.contains(['*', '?']).then_some(&entry.node);
            in_key.or_else(|| wildcard(&entry.node))
        }),
        _ => None,
    }
}

fn strings(reader: &mut Reader, path: &Path<'_>, fields: &Fields<'_>, key: &str) -> Option<Vec<Arc<str>>> {
    let path = path.field(key);
    let Some(node) = fields.get(key) else { return Some(Vec::new()) };
    let list = reader.list(&path, node)?;
    list.iter()
        .enumerate()
        .map(|(index, one)| reader.string(&path.index(index), one).map(Arc::from))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::takes_namespaces;

    #[test]
    fn kinds() {
        for kind in ["Namespace", "v1/Namespace", "*/Namespace", "*", "*/*", "Name*", "v1/*"] {
            assert!(takes_namespaces(kind), "{kind}");
        }
        for kind in [
            "Pod",
            "namespace",
            "*/status",
            "Namespace/status",
            "apps/v1/Namespace",
            "v1/Pod",
            "v2/Namespace",
        ] {
            assert!(!takes_namespaces(kind), "{kind}");
        }
    }
}
