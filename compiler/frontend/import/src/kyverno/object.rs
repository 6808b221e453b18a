//! Reads generated NetworkPolicies, whose values may be read from the namespace.

use std::sync::Arc;

use npc_diagnostics::{Diagnostic, Location};
use npc_manifest::{Entry, Node, Path, Reader, Value};
use npc_program::values::label::NAMESPACE_NAME;
use npc_program::values::name::is_subdomain;
use npc_program::{Policy, Requirement, Scope, ScopeBase, Selector};
use npc_vocabulary::Operator;

use super::{NAME_FROM_LABEL, report_unsupported};
use crate::kubernetes::network_policy::{Place, Selectors, scope_of, spec_with};
use crate::kubernetes::selector::{Checked, selector};

/// A part of a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Literal text, with escapes resolved.
    Text(String),
    /// The name of the namespace.
    Name,
    /// The value of a label of the namespace.
    Label {
        /// Its key.
        key: Arc<str>,
        /// The value if the namespace lacks the label. Without a default, Kyverno generates nothing for such
        /// a namespace.
        default: Option<String>,
        /// Whether the default also replaces an empty value.
        is_for_empty: bool,
    },
    /// A hash of values of the namespace, which consists of letters and digits, with the labels that it
    /// needs.
    Hash(Vec<Arc<str>>),
}

/// The placeholder syntax of a kind of policy.
pub(crate) trait Placeholders {
    /// The parts of a string, at least one.
    ///
    /// # Errors
    ///
    /// The reason that npc cannot tell the value of the string.
    fn parts(&self, text: &str) -> Result<Vec<Part>, String>;
}

/// Whether a string is the name of the trigger, the namespace that Kyverno generates for.
pub(crate) fn is_name(text: &str, placeholders: &impl Placeholders) -> bool {
    placeholders.parts(text).is_ok_and(|parts| parts == [Part::Name])
}

/// The labels that a namespace needs. Without them, Kyverno generates nothing for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequiredLabels {
    /// Labels that the namespace must have.
    pub(crate) labels: Vec<Arc<str>>,
    /// Labels whose value must not be empty.
    not_empty: Vec<Arc<str>>,
}

impl RequiredLabels {
    fn label(&mut self, key: &Arc<str>) {
        if !self.labels.contains(key) {
            self.labels.push(Arc::clone(key));
        }
    }

    /// Adds the labels that the strings of an object need.
    pub(crate) fn of_strings(
        &mut self,
        reader: &mut Reader,
        node: &Node,
        placeholders: &impl Placeholders,
    ) -> Option<()> {
        match &node.value {
            Value::String(text) => match placeholders.parts(text) {
                Ok(parts) => {
                    for part in parts {
                        match part {
                            Part::Label { key, default: None, .. } => self.label(&key),
                            Part::Hash(keys) => keys.iter().for_each(|key| self.label(key)),
                            Part::Text(_) | Part::Name | Part::Label { .. } => {}
                        }
                    }
                    Some(())
                }
                Err(why) => {
                    report_unsupported(reader, "this value", node.location, why);
                    None
                }
            },
            Value::List(list) => list.iter().try_for_each(|one| self.of_strings(reader, one, placeholders)),
            Value::Map(entries) => {
                entries.iter().try_for_each(|entry| self.of_strings(reader, &entry.node, placeholders))
            }
            _ => Some(()),
        }
    }

    /// Reads the name of the generated objects and adds the labels that it needs. Returns the name if it is
    /// the same in every namespace.
    pub(crate) fn of_name(
        &mut self,
        reader: &mut Reader,
        path: &Path<'_>,
        node: &Node,
        placeholders: &impl Placeholders,
    ) -> Option<Option<String>> {
        let text = reader.string(path, node)?;
        self.of_strings(reader, node, placeholders)?;
        // `of_strings` has already reported an error in the placeholders.
        let parts = placeholders.parts(text).unwrap_or_default();
        if let [Part::Text(text)] = parts.as_slice() {
            return Some(Some(text.clone()));
        }
        // The name with this value for the label.
        let with = |asked: &Arc<str>, value: &str| -> String {
            let part = |part: &Part| match part {
                Part::Text(text) => text.clone(),
                Part::Label { key, .. } if key == asked => value.to_owned(),
                Part::Name | Part::Label { .. } | Part::Hash(_) => "x".to_owned(),
            };
            parts.iter().map(part).collect()
        };
        let mut from_label = None;
        for part in &parts {
            let Part::Label { key, default, is_for_empty } = part else { continue };
            from_label = Some(key);
            let makes_no_name = |value: &str| !is_subdomain(&with(key, value));
            let default = default.as_deref();
            let empty = default.filter(|_| *is_for_empty).unwrap_or("");
            if makes_no_name(empty) && !self.not_empty.contains(key) {
                self.not_empty.push(Arc::clone(key));
            }
            if default.is_some_and(makes_no_name) {
                self.label(key);
            }
        }
        if let Some(key) = from_label {
            reader.diagnostics.push(
                Diagnostic::new(
                    &NAME_FROM_LABEL,
                    format!("the object's name is read from the label `{key}` of the namespace"),
                    node.location,
                    "not every value of a label is a valid name",
                )
                .note("Kyverno generates nothing if the value contains capital letters or `_`, but npc evaluates the policy there"),
            );
        }
        Some(None)
    }

    /// Excludes from a scope the namespaces for which nothing is generated.
    fn narrow(&self, scope: &mut Scope) {
        let lacking = |key: &Arc<str>| Requirement {
            key: Arc::clone(key),
            operator: Operator::DoesNotExist,
            values: Vec::new(),
        };
        for key in &self.labels {
            let implied = matches!(&scope.base, ScopeBase::Labels(selector) if selector.implies(key));
            if !implied && !scope.except_labels.iter().any(|except| lacks(except, key)) {
                scope.except_labels.push(Selector { requirements: vec![lacking(key)] });
            }
        }
        for key in &self.not_empty {
            let empty =
                Requirement { key: Arc::clone(key), operator: Operator::In, values: vec![Arc::from("")] };
            let except = Selector { requirements: vec![empty] };
            if !scope.except_labels.contains(&except) {
                scope.except_labels.push(except);
            }
        }
    }
}

/// The `spec` of a NetworkPolicy that a rule generates.
pub(crate) struct Template<'a> {
    pub(crate) spec: &'a Node,
    pub(crate) path: Path<'a>,
    /// The policy or rule that generates it.
    pub(crate) whole: Location,
    pub(crate) place: Place,
}

/// Reads the `spec` of a NetworkPolicy that is generated in the namespaces of `scopes`.
pub(crate) fn generated(
    reader: &mut Reader,
    template: Template<'_>,
    scopes: &[Scope],
    needs: &mut RequiredLabels,
    placeholders: &impl Placeholders,
) -> Option<Policy> {
    let Template { spec, path, whole, place } = template;
    let mut selectors = Generated { placeholders, needs, defaults: Vec::new() };
    if !only_where_they_are_understood(reader, spec, placeholders) {
        return None;
    }
    let policy = spec_with(reader, &path, spec, whole, &Some(place), &mut selectors)?;
    let Generated { needs, defaults, .. } = selectors;
    for (key, location) in defaults {
        let implied = |scope: &Scope| match &scope.base {
            ScopeBase::Labels(selector) if selector.implies(&key) => true,
            _ => scope.except_labels.iter().any(|except| lacks(except, &key)),
        };
        if !scopes.iter().all(implied) {
            report_unsupported(
                reader,
                format!("a default for the label `{key}` here"),
                location,
                "select only namespaces that have the label, so that no default is used",
            );
            return None;
        }
    }
    let term = policy.subjects.first()?;
    let subjects = scopes
        .iter()
        .map(|scope| {
            let mut scope = scope.clone();
            needs.narrow(&mut scope);
            Arc::new(npc_program::PodTerm { scope, ..npc_program::PodTerm::clone(term) })
        })
        .collect();
    Some(Policy { subjects, ..policy })
}

/// Whether the selector requires only that the label is absent.
fn lacks(selector: &Selector, key: &str) -> bool {
    matches!(selector.requirements.as_slice(), [only] if *only.key == *key && only.operator == Operator::DoesNotExist)
}

/// Reads the selectors of a generated NetworkPolicy.
struct Generated<'p, P> {
    placeholders: &'p P,
    needs: &'p mut RequiredLabels,
    /// Labels that are read with a default, with their locations.
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
                let Some(text) = entry.node.as_str() else {
                    left.push(entry);
                    continue;
                };
                let parts = self.placeholders.parts(text);
                match parts.as_deref() {
                    Ok([Part::Text(text)]) => left.push(Entry {
                        node: Node { value: Value::String(text.clone()), location: entry.node.location },
                        ..entry
                    }),
                    Ok([Part::Name]) if entry.key == NAMESPACE_NAME => same = true,
                    Ok([Part::Label { key, default: None, .. }]) if **key == *entry.key => {
                        self.needs.label(key);
                        shared.push(Arc::clone(key));
                    }
                    Ok([Part::Label { key, default: Some(default), .. }])
                        if **key == *entry.key && default.is_empty() =>
                    {
                        self.defaults.push((Arc::clone(key), entry.node.location));
                        shared.push(Arc::clone(key));
                    }
                    _ => {
                        let why = why_not(&entry.key, &parts);
                        report_unsupported(reader, "this value of a label", entry.node.location, why);
                        return None;
                    }
                }
            }
            *labels = left;
        }
        let rest = selector(reader, path, &plain, Checked::ByTheServer)?;
        if !same && shared.is_empty() {
            return Some(Scope::of(scope_of(rest)));
        }
        shared.sort_unstable();
        let mut requirements = rest.requirements;
        let base = if same {
            // A namespace always shares its labels with itself, so only their presence is required.
            requirements.extend(shared.into_iter().map(|key| Requirement {
                key,
                operator: Operator::Exists,
                values: Vec::new(),
            }));
            ScopeBase::Same
        } else {
            ScopeBase::Sharing(shared)
        };
        // Every namespace has the label with its name.
        let always = |one: &Requirement| *one.key == *NAMESPACE_NAME && one.operator == Operator::Exists;
        let except_labels = requirements
            .iter()
            .filter(|requirement| !always(requirement))
            .map(|requirement| Selector { requirements: vec![requirement.negated()] })
            .collect();
        Some(Scope { base, except_names: Vec::new(), except_labels })
    }
}

/// The reason that a program cannot express a label's value in a peer's namespace selector.
fn why_not(key: &str, parts: &Result<Vec<Part>, String>) -> String {
    match parts.as_deref() {
        Ok([Part::Name]) => format!(
            "it is the name of the namespace, which can be compared with `{NAMESPACE_NAME}` only, and not with `{key}`"
        ),
        Ok([Part::Label { key: read, default: Some(default), .. }]) if **read == *key => format!(
            "it gives a namespace without the label the value `{default}`, which the language cannot express"
        ),
        Ok([Part::Label { key: read, .. }]) if **read != *key => {
            format!("it is the value of another label, `{read}`: `{key}` can be compared with `{key}` only")
        }
        Ok(_) => "it consists of several parts".to_owned(),
        Err(why) => why.to_owned(),
    }
}

/// Whether all placeholders are in `matchLabels` of a `namespaceSelector`, the only supported position.
/// Reports one elsewhere.
fn only_where_they_are_understood(
    reader: &mut Reader,
    node: &Node,
    placeholders: &impl Placeholders,
) -> bool {
    match &node.value {
        Value::String(text) => {
            let parts = placeholders.parts(text);
            let plain = matches!(parts.as_deref(), Ok([Part::Text(_)]));
            if !plain {
                let why = parts.err().unwrap_or_else(|| {
                    "npc supports it only in `matchLabels` of a `namespaceSelector`".to_owned()
                });
                report_unsupported(
                    reader,
                    "a value that is read from the namespace here",
                    node.location,
                    why,
                );
            }
            plain
        }
        Value::List(list) => list.iter().all(|one| only_where_they_are_understood(reader, one, placeholders)),
        Value::Map(entries) => entries.iter().all(|entry| {
            if entry.key != "namespaceSelector" {
                return only_where_they_are_understood(reader, &entry.node, placeholders);
            }
            // `Generated::namespaces` reads the placeholders in `matchLabels`.
            match &entry.node.value {
                Value::Map(fields) => fields.iter().all(|field| {
                    field.key == "matchLabels"
                        || only_where_they_are_understood(reader, &field.node, placeholders)
                }),
                _ => true,
            }
        }),
        _ => true,
    }
}
