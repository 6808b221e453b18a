//! What a policy generates: a NetworkPolicy whose values may be read from the namespace.

use std::sync::Arc;

use npc_diagnostics::Location;
use npc_manifest::{Entry, Node, Path, Reader, Value};
use npc_program::values::label::NAMESPACE_NAME;
use npc_program::{Operator, Policy, Requirement, Scope, ScopeBase, Selector};

use super::not_carried;
use crate::kubernetes::network_policy::{Place, Selectors, scope_of, spec_with};
use crate::kubernetes::selector::{Checked, selector};

/// What a string with placeholders stands for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Read {
    /// The string as it is, without escapes.
    Text(String),
    /// The name of the namespace.
    Name,
    /// The value of a label of the namespace.
    Label {
        /// Its key.
        key: Arc<str>,
        /// Whether there is a value where the namespace lacks the label; without one, nothing is
        /// generated for such a namespace.
        has_default: bool,
    },
    /// Something else.
    Other,
}

/// How a kind of policy writes placeholders.
pub(crate) trait Placeholders {
    /// What the string stands for.
    fn read(&self, text: &str) -> Read;
}

/// Reads the specification of a NetworkPolicy that is generated in the namespaces of `scopes`.
pub(crate) fn generated(
    reader: &mut Reader,
    path: &Path<'_>,
    spec: &Node,
    whole: Location,
    place: Place,
    scopes: &[Scope],
    placeholders: &impl Placeholders,
) -> Option<Policy> {
    let mut selectors = Generated { placeholders, needs: Vec::new(), defaults: Vec::new() };
    if !only_where_they_are_understood(reader, spec, placeholders) {
        return None;
    }
    let policy = spec_with(reader, path, spec, whole, &Some(place), &mut selectors)?;
    let Generated { needs, defaults, .. } = selectors;
    for (key, location) in defaults {
        let implied = |scope: &Scope| match &scope.base {
            ScopeBase::Labels(selector) if selector.implies(&key) => true,
            _ => scope.except_labels.iter().any(|except| lacks(except, &key)),
        };
        if !scopes.iter().all(implied) {
            not_carried(
                reader,
                format!("what happens in a namespace without the label `{key}`"),
                location,
                "there, this selects by the value that stands for a missing one",
            );
            return None;
        }
    }
    let term = policy.subjects.first()?;
    let subjects = scopes
        .iter()
        .map(|scope| {
            let mut scope = scope.clone();
            // Nothing is generated where a label is missing that is read without a default.
            for key in &needs {
                let missing = Requirement {
                    key: Arc::clone(key),
                    operator: Operator::DoesNotExist,
                    values: Vec::new(),
                };
                let implied = matches!(&scope.base, ScopeBase::Labels(selector) if selector.implies(key));
                if !implied && !scope.except_labels.iter().any(|except| lacks(except, key)) {
                    scope.except_labels.push(Selector { requirements: vec![missing] });
                }
            }
            Arc::new(npc_program::PodTerm { scope, ..npc_program::PodTerm::clone(term) })
        })
        .collect();
    Some(Policy { subjects, ..policy })
}

/// Whether the selector is the one that a namespace lacks the label.
fn lacks(selector: &Selector, key: &str) -> bool {
    matches!(selector.requirements.as_slice(), [only] if *only.key == *key && only.operator == Operator::DoesNotExist)
}

/// The selectors of a NetworkPolicy that is generated.
struct Generated<'p, P> {
    placeholders: &'p P,
    /// Labels that are read without a default.
    needs: Vec<Arc<str>>,
    /// Labels that are read with one, and where.
    defaults: Vec<(Arc<str>, Location)>,
}

impl<P: Placeholders> Selectors for Generated<'_, P> {
    fn namespaces(&mut self, reader: &mut Reader, path: &Path<'_>, node: &Node) -> Option<Scope> {
        let mut plain = node.clone();
        let mut same = false;
        let mut shared: Vec<Arc<str>> = Vec::new();
        if let Value::Map(fields) = &mut plain.value
            && let Some(labels) = fields.iter_mut().find(|entry| entry.key == "matchLabels")
            && let Value::Map(labels) = &mut labels.node.value
        {
            let mut left = Vec::with_capacity(labels.len());
            for entry in std::mem::take(labels) {
                let read = entry.node.as_str().map(|text| self.placeholders.read(text));
                match read {
                    Some(Read::Name) if entry.key == NAMESPACE_NAME => same = true,
                    Some(Read::Label { key, has_default }) if *key == *entry.key => {
                        if has_default {
                            self.defaults.push((Arc::clone(&key), entry.node.location));
                        } else if !self.needs.contains(&key) {
                            self.needs.push(Arc::clone(&key));
                        }
                        shared.push(key);
                    }
                    Some(Read::Text(text)) => left.push(Entry {
                        node: Node { value: Value::String(text), location: entry.node.location },
                        ..entry
                    }),
                    None => left.push(entry),
                    Some(Read::Name | Read::Label { .. } | Read::Other) => {
                        not_carried(
                            reader,
                            "this value of a label",
                            entry.node.location,
                            "a value that is read from the namespace can be its name, or its own label of this key",
                        );
                        return None;
                    }
                }
            }
            *labels = left;
        }
        let rest = selector(reader, path, &plain, Checked::ByTheServer)?;
        if !same && shared.is_empty() {
            return Some(Scope { base: scope_of(rest), except_names: Vec::new(), except_labels: Vec::new() });
        }
        shared.sort_unstable();
        let mut requirements = rest.requirements;
        let base = if same {
            // The own namespace has every label of its own; which it needs is asked below.
            requirements.extend(shared.into_iter().map(|key| Requirement {
                key,
                operator: Operator::Exists,
                values: Vec::new(),
            }));
            ScopeBase::Same
        } else {
            ScopeBase::Sharing(shared)
        };
        // Every namespace has the label of its name.
        let always = |one: &Requirement| *one.key == *NAMESPACE_NAME && one.operator == Operator::Exists;
        let except_labels = requirements
            .iter()
            .filter(|requirement| !always(requirement))
            .map(|requirement| Selector { requirements: vec![requirement.negated()] })
            .collect();
        Some(Scope { base, except_names: Vec::new(), except_labels })
    }
}

/// Placeholders are understood in the labels of namespaces of peers. Tells one that stands elsewhere.
fn only_where_they_are_understood(
    reader: &mut Reader,
    node: &Node,
    placeholders: &impl Placeholders,
) -> bool {
    match &node.value {
        Value::String(text) => {
            let plain = matches!(placeholders.read(text), Read::Text(_));
            if !plain {
                not_carried(
                    reader,
                    "a value that is read from the namespace here",
                    node.location,
                    "it can stand in the labels of a `namespaceSelector` only",
                );
            }
            plain
        }
        Value::List(list) => list.iter().all(|one| only_where_they_are_understood(reader, one, placeholders)),
        Value::Map(entries) => entries.iter().all(|entry| {
            entry.key == "namespaceSelector"
                || only_where_they_are_understood(reader, &entry.node, placeholders)
        }),
        _ => true,
    }
}
