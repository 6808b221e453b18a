//! CEL expressions on a namespace: on `object` if the policy matches namespaces, or on `namespaceObject` if it matches
//! objects in a namespace.

use std::sync::Arc;

use npc_program::{Requirement, Scope, ScopeBase, Selector};
use npc_vocabulary::Operator;

use super::types::Named;
use crate::template::Template;

/// The CEL variable of the matched object, which is a namespace here.
pub(super) const OBJECT: &str = "object";
/// The CEL variable of the matched object's namespace.
pub(crate) const NAMESPACE_OBJECT: &str = "namespaceObject";

/// The expression of a namespace label, as a CEL optional.
pub(super) fn label(namespace: &str, key: &str) -> String {
    format!("{namespace}.metadata.?labels[?{}]", string(key))
}

/// The name of the variable that holds the value of a label.
pub(super) fn variable(key: &str) -> String {
    let mut name = String::from("label_");
    for c in key.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' => name.push(c),
            // A different word for each punctuation mark, so that two keys never share a variable.
            '.' => name.push_str("_dot_"),
            '/' => name.push_str("_slash_"),
            '-' => name.push_str("_dash_"),
            _ => name.push_str("__"),
        }
    }
    name
}

/// The suffix of an object's name: the SHA-256 of the values of the labels. Different values give different names. No
/// object of another policy can have such a name, because the names of those are shorter.
pub(super) fn name_suffix(keys: &[Arc<str>]) -> String {
    // A label value contains no slash, so the concatenation is unambiguous.
    let values: Vec<String> = keys.iter().map(|key| format!("variables.{}", variable(key))).collect();
    format!("sha256({})", values.join(" + '/' + "))
}

/// The match conditions on a namespace. All of them must hold.
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

/// The condition that the namespace is in one of the scopes; `None` if one of them contains every namespace.
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
            // The base may be a disjunction.
            [base, rest @ ..] => Some(format!("({base}) && {}", rest.join(" && "))),
        }
    }))
}

/// The disjunction of the expressions. `None` means true, so the result is `None` if one of them is.
fn any(expressions: impl Iterator<Item = Option<String>>) -> Option<String> {
    let mut expressions: Vec<String> = expressions.collect::<Option<_>>()?;
    expressions.dedup();
    if let [one] = expressions.as_slice() {
        return Some(one.clone());
    }
    let expressions: Vec<String> = expressions.iter().map(|one| format!("({one})")).collect();
    Some(expressions.join(" || "))
}

/// The condition that the namespace is in the scope, without its exceptions; `None` if every namespace is.
fn base(namespace: &str, scope: &Scope) -> Option<String> {
    match &scope.base {
        ScopeBase::Names(list) => Some(names(namespace, list)),
        ScopeBase::Labels(labels) => selector(namespace, labels),
        // The semantic checks reject a subject whose scope is relative to itself.
        ScopeBase::All | ScopeBase::Same | ScopeBase::Sharing(_) => None,
    }
}

fn not_selected(namespace: &str, except: &Selector) -> String {
    format!("!({})", selector(namespace, except).unwrap_or_else(|| "true".to_owned()))
}

/// The condition that the namespace's name is one of the names or matches one of the patterns.
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
                // Namespace names contain no character that is special in a regular expression.
                let pattern = glob.replace('*', ".*").replace('?', ".");
                format!("{name}.matches({})", string(&format!("^{pattern}$")))
            }
        });
    }
    parts.join(" || ")
}

/// The condition that a selector matches the namespace's labels; `None` for the empty selector, which always matches.
fn selector(namespace: &str, selector: &Selector) -> Option<String> {
    let parts: Vec<String> = selector.requirements.iter().map(|one| requirement(namespace, one)).collect();
    (!parts.is_empty()).then(|| parts.join(" && "))
}

fn requirement(namespace: &str, requirement: &Requirement) -> String {
    let label = label(namespace, &requirement.key);
    // The default for a missing label is not a valid label value, so it differs from an empty label.
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

/// A CEL string literal. Names and labels contain no character that must be escaped.
pub(crate) fn string(text: &str) -> String {
    format!("'{text}'")
}
