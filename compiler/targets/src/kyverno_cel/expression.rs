//! CEL expressions on a namespace.

use std::sync::Arc;

use npc_program::{Operator, Requirement, Scope, ScopeBase, Selector};

use super::types::Named;
use crate::template::Template;

/// A label of the namespace, as an optional value.
pub(super) fn label(key: &str) -> String {
    format!("object.metadata.?labels[?{}]", string(key))
}

/// The variable that holds a label's value.
pub(super) fn variable(key: &str) -> String {
    let mut name = String::from("label_");
    for c in key.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => name.push(c),
            // Different marks stay different, so that two keys never share a variable.
            '.' => name.push_str("_dot_"),
            '/' => name.push_str("_slash_"),
            '-' => name.push_str("_dash_"),
            _ => name.push_str("__"),
        }
    }
    name
}

/// What an object's name ends in: the value of the label where it can stand in a name, and else,
/// or where there are several, its SHA-256. Different values give different names.
pub(super) fn name_suffix(keys: &[Arc<str>]) -> String {
    match keys {
        [key] => {
            let value = format!("variables.{}", variable(key));
            format!("{value}.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') ? {value} : sha256({value})")
        }
        keys => {
            // A label's value has no slash.
            let values: Vec<String> = keys.iter().map(|key| format!("variables.{}", variable(key))).collect();
            format!("sha256({})", values.join(" + '/' + "))
        }
    }
}

/// The conditions on a namespace, all of which must hold.
pub(super) fn conditions(template: &Template<'_>) -> Vec<Named> {
    let mut conditions = Vec::new();
    let mut add = |name: &str, expression: String| {
        conditions.push(Named { name: name.to_owned(), expression });
    };
    let scopes: Option<Vec<String>> = template.scopes.iter().map(|subject| scope(&subject.scope)).collect();
    // Without an expression for one of them, every namespace is meant.
    if let Some(mut scopes) = scopes {
        scopes.dedup();
        if let [one] = scopes.as_slice() {
            add("scope", one.clone());
        } else {
            let scopes: Vec<String> = scopes.iter().map(|scope| format!("({scope})")).collect();
            add("scope", scopes.join(" || "));
        }
    }
    if !template.except.except_names.is_empty() {
        add("except-names", format!("!({})", names(&template.except.except_names)));
    }
    if let Some(except) = &template.except.except_labels {
        add("except-labels", format!("!({})", selector(except).unwrap_or_else(|| "true".to_owned())));
    }
    if !template.requires.is_empty() {
        let labels: Vec<String> =
            template.requires.iter().map(|key| format!("{}.hasValue()", label(key))).collect();
        add("has-label", labels.join(" && "));
    }
    conditions
}

fn scope(scope: &Scope) -> Option<String> {
    match &scope.base {
        ScopeBase::Names(list) => Some(names(list)),
        ScopeBase::Labels(labels) => selector(labels),
        // A subject's scope is never relative to itself; the checks refuse that.
        ScopeBase::All | ScopeBase::Same | ScopeBase::Sharing(_) => None,
    }
}

/// That the namespace's name is one of these, or matches one of the patterns.
fn names(list: &[Arc<str>]) -> String {
    const NAME: &str = "object.metadata.name";
    let (globs, plain): (Vec<&Arc<str>>, Vec<&Arc<str>>) =
        list.iter().partition(|name| name.contains(['*', '?']));
    let mut parts = Vec::new();
    match plain.as_slice() {
        [] => {}
        [one] => parts.push(format!("{NAME} == {}", string(one))),
        several => {
            let names: Vec<String> = several.iter().map(|name| string(name)).collect();
            parts.push(format!("{NAME} in [{}]", names.join(", ")));
        }
    }
    for glob in globs {
        let inner = glob.trim_matches('*');
        let wild = inner.contains(['*', '?']);
        parts.push(match (glob.starts_with('*'), glob.ends_with('*')) {
            _ if inner.is_empty() && !wild => "true".to_owned(),
            (false, true) if !wild => format!("{NAME}.startsWith({})", string(inner)),
            (true, false) if !wild => format!("{NAME}.endsWith({})", string(inner)),
            _ => {
                // Names of namespaces have no character with a meaning in a regular expression.
                let pattern = glob.replace('*', ".*").replace('?', ".");
                format!("{NAME}.matches({})", string(&format!("^{pattern}$")))
            }
        });
    }
    parts.join(" || ")
}

/// A selector on the namespace's labels; `None` for one that matches everything.
fn selector(selector: &Selector) -> Option<String> {
    let parts: Vec<String> = selector.requirements.iter().map(requirement).collect();
    (!parts.is_empty()).then(|| parts.join(" && "))
}

fn requirement(requirement: &Requirement) -> String {
    let label = label(&requirement.key);
    // A label that is missing reads as a value that no label can have, so that it is told from an
    // empty one.
    let value = format!("{label}.orValue('/')");
    let values: Vec<String> = requirement.values.iter().map(|value| string(value)).collect();
    match (requirement.operator, values.as_slice()) {
        (Operator::In, [one]) => format!("{value} == {one}"),
        (Operator::In, values) => format!("{value} in [{}]", values.join(", ")),
        (Operator::NotIn, [one]) => format!("{value} != {one}"),
        (Operator::NotIn, values) => format!("!({value} in [{}])", values.join(", ")),
        (Operator::Exists, _) => format!("{label}.hasValue()"),
        (Operator::DoesNotExist, _) => format!("!{label}.hasValue()"),
    }
}

/// A string literal. Names and labels have no character that needs an escape.
fn string(text: &str) -> String {
    format!("'{text}'")
}
