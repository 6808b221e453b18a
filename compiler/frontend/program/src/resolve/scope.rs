//! Resolution of pod terms, selectors and scopes.

use std::sync::Arc;

use npc_diagnostics::{Applicability, Diagnostic, Location};
use npc_syntax::ast::{
    Operator, Pods, Scope as ScopeTree, ScopeBase as BaseTree, ScopeExcept, Selector as SelectorTree, Word,
};

use super::Context;
use super::sets::{Value, WRONG_KIND};
use crate::ir::{PodTerm, Requirement, Scope, ScopeBase, Selector};
use crate::load::ItemSource;
use crate::selector::scopes_overlap;
use crate::values::label::{NAMESPACE_NAME, check_key, check_value};
use crate::values::name::check_namespace;

npc_diagnostics::codes! {
    /// # A selector that matches nothing
    ///
    /// All requirements of a selector must hold: a label cannot have two values, or be both present and
    /// absent.
    ///
    /// ```np fails
    /// policy p for pods { app = web, app = api } in all namespaces { isolate ingress }
    /// ```
    ///
    /// To match either of two values, use `in`:
    ///
    /// ```np
    /// policy p for pods { app in (web, api) } in all namespaces { isolate ingress }
    /// ```
    UNSATISFIABLE = "NP0310" "unsatisfiable" Error;

    /// # A scope that contains no namespace
    ///
    /// `except` excludes every namespace of the scope.
    ///
    /// ```np fails
    /// policy p for all pods in namespaces (team-a, team-b) except (team-*) { isolate ingress }
    /// ```
    ///
    /// ```np
    /// policy p for all pods in namespaces (team-*) except (team-b) { isolate ingress }
    /// ```
    EMPTY_SCOPE = "NP0311" "empty-scope" Error;

    /// # The set already has a scope
    ///
    /// A set of pods that is defined with namespaces cannot be used with `in`.
    ///
    /// ```np fails
    /// let web = pods { app = web } in namespace shop
    /// policy p for web in namespace blog { isolate ingress }
    /// ```
    ///
    /// If the namespaces differ between uses, define the set without them:
    ///
    /// ```np
    /// let web = pods { app = web }
    /// policy p for web in namespace blog { isolate ingress }
    /// ```
    SCOPE_TWICE = "NP0312" "scope-twice" Error;
}

impl Context<'_> {
    /// Resolves a selector. Returns `None` if it has an error.
    pub(super) fn selector(&mut self, source: ItemSource, tree: &SelectorTree) -> Option<Selector> {
        let mut requirements: Vec<Requirement> = Vec::with_capacity(tree.requirements.len());
        // The indices of requirements that repeat another one.
        let mut again = Vec::new();
        let mut complete = true;
        for (place, one) in tree.requirements.iter().enumerate() {
            let key = self.name(source, one.key);
            complete &= self.ok(check_key(&key, source.at(one.key.span))).is_some();
            self.keys.push((Arc::clone(&key), source.at(one.key.span)));
            let mut values = Vec::with_capacity(one.values.len());
            for word in &one.values {
                let value = self.name(source, *word);
                complete &= self.ok(check_value(&value, source.at(word.span))).is_some();
                values.push(value);
            }
            values.sort_unstable();
            values.dedup();
            let requirement = Requirement { key, operator: one.operator, values };
            if requirements.contains(&requirement) {
                again.push(place);
            } else {
                requirements.push(requirement);
            }
        }
        if !complete {
            return None;
        }
        let selector = Selector { requirements };
        let Some((first, second)) = selector.contradiction() else { return Some(selector) };
        let place = |index: usize| {
            let said = tree.requirements.iter().enumerate().filter(|(place, _)| !again.contains(place));
            source.at(said.map(|(_, one)| one.span).nth(index).unwrap_or(tree.span))
        };
        let emit = |label: String| {
            Diagnostic::new(&UNSATISFIABLE, "this selector matches nothing", place(second), label)
        };
        let mut diagnostic = if first == second {
            emit("no label can satisfy this".to_owned())
        } else {
            let other = self.sources.text(place(first));
            emit(format!("contradicts `{other}`")).label(place(first), "required here")
        };
        let pair = selector.requirements.get(first).zip(selector.requirements.get(second));
        if let Some((a, b)) = pair
            && a.operator == Operator::In
            && b.operator == Operator::In
            && a.key == b.key
        {
            let mut values: Vec<&str> = a.values.iter().chain(&b.values).map(|v| &**v).collect();
            values.sort_unstable();
            values.dedup();
            diagnostic = diagnostic.help(format!(
                "for pods with either value write `{} in ({})`",
                a.key,
                values.join(", ")
            ));
        }
        self.emit(diagnostic);
        None
    }

    /// Resolves a pod term. Returns `None` if it has an error.
    pub(super) fn pods(&mut self, source: ItemSource, tree: &Pods) -> Option<PodTerm> {
        let selector = match &tree.selector {
            None => Some(Selector::default()),
            Some(selector) => self.selector(source, selector),
        };
        let location = source.at(tree.span);
        let (scope, scope_location) = match &tree.scope {
            None => (Some(Scope::own()), None),
            Some(scope) => (self.scope(source, scope), Some(source.at(scope.span))),
        };
        Some(PodTerm { selector: selector?, scope: scope?, location, scope_location })
    }

    /// Resolves a scope. Returns `None` if it has an error.
    pub(super) fn scope(&mut self, source: ItemSource, tree: &ScopeTree) -> Option<Scope> {
        let mut complete = true;
        let base = match &tree.base {
            BaseTree::All => ScopeBase::All,
            BaseTree::Same => ScopeBase::Same,
            BaseTree::Name(word) => {
                let name = self.name(source, *word);
                complete &= self.ok(check_namespace(&name, false, source.at(word.span))).is_some();
                ScopeBase::Names(vec![name])
            }
            BaseTree::Globs(words) => ScopeBase::Names(self.globs(source, words, &mut complete)),
            BaseTree::Selector(selector) => ScopeBase::Labels(self.selector(source, selector)?),
            BaseTree::Sharing(words) => {
                let mut keys = Vec::with_capacity(words.len());
                for word in words {
                    let key = self.name(source, *word);
                    complete &= self.ok(check_key(&key, source.at(word.span))).is_some();
                    keys.push(key);
                }
                keys.sort_unstable();
                keys.dedup();
                ScopeBase::Sharing(keys)
            }
        };
        let (mut except_names, mut except_labels) = (Vec::new(), Vec::new());
        for except in &tree.except {
            let tree = match except {
                ScopeExcept::Glob(word) => {
                    except_names.push(*word);
                    continue;
                }
                ScopeExcept::Selector(tree) => tree,
            };
            let selector = self.selector(source, tree)?;
            if selector.requirements.is_empty() {
                self.emit(
                    Diagnostic::new(
                        &EMPTY_SCOPE,
                        "an empty selector excludes every namespace",
                        source.at(tree.span),
                        "every namespace matches this",
                    )
                    .help("write the labels of the namespaces to exclude"),
                );
                return None;
            }
            if !except_labels.contains(&selector) {
                except_labels.push(selector);
            }
        }
        let except_names = self.globs(source, &except_names, &mut complete);
        if !complete {
            return None;
        }
        let scope = Scope { base, except_names, except_labels };
        if !is_surely_inhabited(&scope) && !scopes_overlap(&[&scope]) {
            self.emit(Diagnostic::new(
                &EMPTY_SCOPE,
                "this scope contains no namespace",
                source.at(tree.span),
                "no namespace can match this",
            ));
            return None;
        }
        Some(scope)
    }

    fn globs(&mut self, source: ItemSource, words: &[Word], complete: &mut bool) -> Vec<Arc<str>> {
        let mut names = Vec::with_capacity(words.len());
        for word in words {
            let name = self.name(source, *word);
            *complete &= self.ok(check_namespace(&name, true, source.at(word.span))).is_some();
            names.push(name);
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Adds the scope of a use to the members of a set of pods.
    pub(super) fn narrow(
        &mut self,
        name: &str,
        value: &Value,
        scope: Option<Scope>,
        scope_location: Location,
        location: Location,
    ) -> Value {
        let pods = match value {
            Value::Pods(pods) => pods,
            Value::Broken => return Value::Broken,
            Value::Addresses(_) | Value::Ports(_) => {
                self.emit(Diagnostic::new(
                    &WRONG_KIND,
                    format!("only pods have namespaces, and `{name}` is not a set of pods"),
                    location,
                    "not a set of pods",
                ));
                return Value::Broken;
            }
        };
        if let Some(scoped) = pods.iter().find_map(|pods| pods.scope_location) {
            let whole = Location::new(
                scope_location.file,
                npc_diagnostics::Span::new(location.span.end, scope_location.span.end),
            );
            self.emit(
                Diagnostic::new(
                    &SCOPE_TWICE,
                    format!("the set `{name}` already has a scope"),
                    scope_location,
                    "a second scope",
                )
                .label(scoped, "its scope")
                .fix(Applicability::Maybe, "remove the namespaces here", whole, ""),
            );
            return Value::Broken;
        }
        let Some(scope) = scope else { return Value::Broken };
        Value::Pods(
            pods.iter()
                .map(|pods| {
                    Arc::new(PodTerm {
                        selector: pods.selector.clone(),
                        scope: scope.clone(),
                        location,
                        scope_location: Some(scope_location),
                    })
                })
                .collect(),
        )
    }
}

/// Whether some namespace is in the scope, by a cheap check that is true only if the scope has no exceptions and no
/// requirement on the label `kubernetes.io/metadata.name`.
fn is_surely_inhabited(scope: &Scope) -> bool {
    let plain = |selector: &Selector| selector.requirements.iter().all(|one| *one.key != *NAMESPACE_NAME);
    scope.except_names.is_empty()
        && scope.except_labels.is_empty()
        && match &scope.base {
            ScopeBase::Labels(selector) => plain(selector),
            // A pattern may match only invalid names, such as names that end in a hyphen.
            ScopeBase::Names(names) => names.iter().any(|name| !name.contains(['*', '?'])),
            ScopeBase::All | ScopeBase::Same | ScopeBase::Sharing(_) => true,
        }
}

impl Scope {
    /// A scope without exceptions.
    #[must_use]
    pub const fn of(base: ScopeBase) -> Self {
        Self { base, except_names: Vec::new(), except_labels: Vec::new() }
    }

    /// The scope of the subject's own namespace.
    #[must_use]
    pub const fn own() -> Self {
        Self::of(ScopeBase::Same)
    }

    /// The scope of the namespaces with this name or pattern.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::of(ScopeBase::Names(vec![Arc::from(name)]))
    }
}
