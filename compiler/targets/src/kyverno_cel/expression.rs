//! CEL expressions on a namespace: on `object`, where it is what is looked at, or on the
//! `namespaceObject` of an object in it.

use std::sync::Arc;

use npc_program::{Operator, Requirement, Scope, ScopeBase, Selector};

use super::types::Named;
use crate::template::Template;

/// The namespace, where it is what is looked at.
pub(super) const OBJECT: &str = "object";
/// The namespace of what is looked at.
pub(crate) const NAMESPACE_OBJECT: &str = "namespaceObject";

/// A label of the namespace, as an optional value.
pub(super) fn label(namespace: &str, key: &str) -> String {
    format!("{namespace}.metadata.?labels[?{}]", string(key))
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

/// What an object's name ends in: the SHA-256 of the values of the labels. Different values give
/// different names, and none that another policy's object can have: those are shorter.
pub(super) fn name_suffix(keys: &[Arc<str>]) -> String {
    // A label's value has no slash.
    let values: Vec<String> = keys.iter().map(|key| format!("variables.{}", variable(key))).collect();
    format!("sha256({})", values.join(" + '/' + "))
}

/// The conditions on a namespace, all of which must hold.
pub(super) fn conditions(template: &Template<'_>) -> Vec<Named> {
    let mut conditions = Vec::new();
    let mut add = |name: &str, expression: String| {
        conditions.push(Named { name: name.to_owned(), expression });
    };
    let scopes = template.scopes.iter().map(|subject| base(OBJECT, &subject.scope));
    if let Some(scope) = any(scopes) {
        add("scope", scope);
    }
    if !template.except.except_names.is_empty() {
        add("except-names", format!("!({})", names(OBJECT, &template.except.except_names)));
    }
    let except: Vec<String> =
        template.except.except_labels.iter().map(|except| not_selected(OBJECT, except)).collect();
    if !except.is_empty() {
        add("except-labels", except.join(" && "));
    }
    if !template.requires.is_empty() {
        let labels: Vec<String> =
            template.requires.iter().map(|key| format!("{}.hasValue()", label(OBJECT, key))).collect();
        add("has-label", labels.join(" && "));
    }
    conditions
}

/// That the namespace is in one of the scopes; `None` where every one is.
pub(crate) fn in_scopes<'a>(namespace: &str, scopes: impl Iterator<Item = &'a Scope>) -> Option<String> {
    any(scopes.map(|scope| {
        let mut parts: Vec<String> = base(namespace, scope).into_iter().collect();
        if !scope.except_names.is_empty() {
            parts.push(format!("!({})", names(namespace, &scope.except_names)));
        }
        parts.extend(scope.except_labels.iter().map(|except| not_selected(namespace, except)));
        match parts.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            // The first may be joined by "or".
            [base, rest @ ..] => Some(format!("({base}) && {}", rest.join(" && "))),
        }
    }))
}

/// That one of the expressions holds; `None` where one is none, which always holds.
fn any(expressions: impl Iterator<Item = Option<String>>) -> Option<String> {
    let mut expressions: Vec<String> = expressions.collect::<Option<_>>()?;
    expressions.dedup();
    if let [one] = expressions.as_slice() {
        return Some(one.clone());
    }
    let expressions: Vec<String> = expressions.iter().map(|one| format!("({one})")).collect();
    Some(expressions.join(" || "))
}

/// A scope, without what it leaves out.
fn base(namespace: &str, scope: &Scope) -> Option<String> {
    match &scope.base {
        ScopeBase::Names(list) => Some(names(namespace, list)),
        ScopeBase::Labels(labels) => selector(namespace, labels),
        // A subject's scope is never relative to itself; the checks refuse that.
        ScopeBase::All | ScopeBase::Same | ScopeBase::Sharing(_) => None,
    }
}

fn not_selected(namespace: &str, except: &Selector) -> String {
    format!("!({})", selector(namespace, except).unwrap_or_else(|| "true".to_owned()))
}

/// That the namespace's name is one of these, or matches one of the patterns.
fn names(namespace: &str, list: &[Arc<str>]) -> String {
    let name = format!("{namespace}.metadata.name");
    let (globs, plain): (Vec<&Arc<str>>, Vec<&Arc<str>>) =
        list.iter().partition(|name| name.contains(['*', '?']));
    let mut parts = Vec::new();
    match plain.as_slice() {
        [] => {}
        [one] => parts.push(format!("{name} == {}", string(one))),
        several => {
            let names: Vec<String> = several.iter().map(|one| string(one)).collect();
            parts.push(format!("{name} in [{}]", names.join(", ")));
        }
    }
    for glob in globs {
        let inner = glob.trim_matches('*');
        let wild = inner.contains(['*', '?']);
        parts.push(match (glob.starts_with('*'), glob.ends_with('*')) {
            _ if inner.is_empty() && !wild => "true".to_owned(),
            (false, true) if !wild => format!("{name}.startsWith({})", string(inner)),
            (true, false) if !wild => format!("{name}.endsWith({})", string(inner)),
            _ => {
                // Names of namespaces have no character with a meaning in a regular expression.
                let pattern = glob.replace('*', ".*").replace('?', ".");
                format!("{name}.matches({})", string(&format!("^{pattern}$")))
            }
        });
    }
    parts.join(" || ")
}

/// A selector on the namespace's labels; `None` for one that matches everything.
fn selector(namespace: &str, selector: &Selector) -> Option<String> {
    let parts: Vec<String> = selector.requirements.iter().map(|one| requirement(namespace, one)).collect();
    (!parts.is_empty()).then(|| parts.join(" && "))
}

fn requirement(namespace: &str, requirement: &Requirement) -> String {
    let label = label(namespace, &requirement.key);
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
pub(crate) fn string(text: &str) -> String {
    format!("'{text}'")
}
