//! Satisfiability and overlap of selectors and scopes.

use std::sync::Arc;

use npc_syntax::ast::Operator;
use rustc_hash::FxHashSet;

use crate::ir::{PodTerm, Policy, Requirement, Scope, ScopeBase, Selector};
use crate::values::label::NAMESPACE_NAME;
use crate::values::name::{glob_matches, literal_prefix, prefixes_overlap, some_name_matches};

impl Requirement {
    /// The complement of the requirement.
    #[must_use]
    pub fn negated(&self) -> Self {
        let operator = match self.operator {
            Operator::In => Operator::NotIn,
            Operator::NotIn => Operator::In,
            Operator::Exists => Operator::DoesNotExist,
            Operator::DoesNotExist => Operator::Exists,
        };
        Self { key: Arc::clone(&self.key), operator, values: self.values.clone() }
    }

    /// Whether this label value, or an absent label (`None`), satisfies the requirement.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        let listed = || value.is_some_and(|value| self.values.iter().any(|v| **v == *value));
        match self.operator {
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl Selector {
    /// Whether an object with these labels matches.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(label(&requirement.key)))
    }

    /// Whether the selector matches only objects that have the label.
    #[must_use]
    pub fn implies(&self, key: &str) -> bool {
        self.requirements.iter().any(|requirement| {
            *requirement.key == *key && matches!(requirement.operator, Operator::In | Operator::Exists)
        })
    }

    /// Finds requirements on one key that nothing can satisfy together. The second index is the last requirement of the
    /// conflict. The first is a requirement that contradicts it alone, or else the first one on the same key; it can be
    /// the same requirement.
    #[must_use]
    pub fn contradiction(&self) -> Option<(usize, usize)> {
        for (index, last) in self.requirements.iter().enumerate() {
            let upto = self.requirements.get(..=index).unwrap_or_default();
            let same = || upto.iter().filter(|r| r.key == last.key);
            if satisfiable(&same()) {
                continue;
            }
            let with = upto
                .iter()
                .position(|other| other.key == last.key && !satisfiable(&[other, last].into_iter()))
                .or_else(|| upto.iter().position(|other| other.key == last.key));
            return Some((with.unwrap_or(index), index));
        }
        None
    }
}

/// Whether some value of a label, or its absence, satisfies all requirements. All of them must be on one key.
fn satisfiable<'a>(requirements: &(impl Iterator<Item = &'a Requirement> + Clone)) -> bool {
    // It suffices to try an absent label, every value that a requirement lists, and one value that none lists.
    let matches = |value: Option<&str>| requirements.clone().all(|r| r.matches(value));
    matches(None)
        || requirements.clone().flat_map(|r| &r.values).any(|value| matches(Some(value)))
        || !requirements.clone().any(|r| matches!(r.operator, Operator::In | Operator::DoesNotExist))
}

/// Whether some set of labels satisfies all requirements, which may be on several keys.
fn together(requirements: &[&Requirement]) -> bool {
    requirements.iter().all(|one| satisfiable(&requirements.iter().copied().filter(|r| r.key == one.key)))
}

/// Whether both terms can select the same pod in some cluster.
#[must_use]
pub fn overlap(a: &PodTerm, b: &PodTerm) -> bool {
    if have_disjoint_names(&a.scope, &b.scope) || have_disjoint_labels(&a.selector, &b.selector) {
        return false;
    }
    let pods: Vec<&Requirement> = a.selector.requirements.iter().chain(&b.selector.requirements).collect();
    together(&pods) && scopes_overlap(&[&a.scope, &b.scope])
}

/// Whether both scopes are a single namespace name and the names differ. A cheap check that decides most pairs.
fn have_disjoint_names(a: &Scope, b: &Scope) -> bool {
    fn name(scope: &Scope) -> Option<&str> {
        match &scope.base {
            ScopeBase::Names(names) => match names.as_slice() {
                [one] => Some(&**one).filter(|one| !one.contains(['*', '?'])),
                _ => None,
            },
            _ => None,
        }
    }
    name(a).zip(name(b)).is_some_and(|(a, b)| a != b)
}

/// Whether two selectors require disjoint values of the same label. A cheap check before the exact one.
fn have_disjoint_labels(a: &Selector, b: &Selector) -> bool {
    let listed = |one: &&Requirement| one.operator == Operator::In;
    a.requirements.iter().filter(listed).any(|one| {
        let others = b.requirements.iter().filter(listed).filter(|other| other.key == one.key);
        others.into_iter().any(|other| !one.values.iter().any(|value| other.values.contains(value)))
    })
}

/// Whether both policies can select the same pod in some cluster.
#[must_use]
pub fn policies_overlap(a: &Policy, b: &Policy) -> bool {
    a.subjects.iter().any(|a| b.subjects.iter().any(|b| overlap(a, b)))
}

/// Whether some namespace in some cluster can be in all scopes.
///
/// Exact for every scope that a subject can have. `same namespace` and `sharing` depend on another namespace and are
/// treated as all namespaces, or all namespaces with the labels.
#[must_use]
pub fn scopes_overlap(scopes: &[&Scope]) -> bool {
    let mut requirements: Vec<&Requirement> = Vec::new();
    let mut excluded: Vec<&Selector> = Vec::new();
    let mut shared = Vec::new();
    let mut names = Names { wanted: Vec::new(), unwanted: Vec::new() };
    for scope in scopes {
        match &scope.base {
            ScopeBase::All | ScopeBase::Same => {}
            ScopeBase::Names(list) => names.wanted.push(NameList::new(list)),
            ScopeBase::Labels(selector) => requirements.extend(&selector.requirements),
            ScopeBase::Sharing(keys) => shared.extend(keys.iter().map(|key| Requirement {
                key: Arc::clone(key),
                operator: Operator::Exists,
                values: Vec::new(),
            })),
        }
        names.unwanted.push(NameList::new(&scope.except_names));
        excluded.extend(&scope.except_labels);
    }
    requirements.extend(&shared);
    labels_and_names(&requirements, &excluded, &names)
}

impl Scope {
    /// Whether a namespace with this name and these labels is in the scope. `same namespace` and `sharing` depend on
    /// another namespace and are treated as all namespaces, or all namespaces with the labels.
    pub fn holds<'a>(&self, name: &str, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let named = |globs: &[Arc<str>]| globs.iter().any(|glob| glob_matches(glob, name));
        let base = match &self.base {
            ScopeBase::All | ScopeBase::Same => true,
            ScopeBase::Names(globs) => named(globs),
            ScopeBase::Labels(selector) => selector.matches(&label),
            ScopeBase::Sharing(keys) => keys.iter().all(|key| label(key).is_some()),
        };
        base && !named(&self.except_names) && !self.except_labels.iter().any(|labels| labels.matches(&label))
    }
}

/// Whether a namespace can satisfy the requirements and the names, and match none of the excluded selectors. Tries
/// every way to negate one requirement of each excluded selector.
fn labels_and_names(requirements: &[&Requirement], excluded: &[&Selector], names: &Names<'_>) -> bool {
    let Some((selector, rest)) = excluded.split_first() else {
        return together(requirements) && names.exists(requirements);
    };
    selector.requirements.iter().any(|requirement| {
        let negated = requirement.negated();
        let mut with = requirements.to_vec();
        with.push(&negated);
        labels_and_names(&with, rest, names)
    })
}

/// A list of names and patterns.
struct NameList<'a> {
    all: &'a [Arc<str>],
    /// A hash set of the names without wildcards, for lists that are too long for a linear search.
    plain: Option<FxHashSet<&'a str>>,
    globs: Vec<&'a str>,
}

impl<'a> NameList<'a> {
    fn new(all: &'a [Arc<str>]) -> Self {
        let wild = |name: &&str| name.contains(['*', '?']);
        let names = || all.iter().map(|name| &**name);
        let plain = (all.len() > 16).then(|| names().filter(|name| !wild(name)).collect());
        Self { all, plain, globs: names().filter(wild).collect() }
    }

    /// The names without wildcards.
    fn names(&self) -> impl Iterator<Item = &'a str> {
        self.all.iter().map(|name| &**name).filter(|name| !name.contains(['*', '?']))
    }

    fn holds(&self, name: &str) -> bool {
        match &self.plain {
            Some(plain) => plain.contains(name) || self.globs.iter().any(|glob| glob_matches(glob, name)),
            None => self.all.iter().any(|glob| glob_matches(glob, name)),
        }
    }
}

/// The conditions of scopes on a name: every list of `wanted` must contain it, and no list of `unwanted`.
struct Names<'a> {
    wanted: Vec<NameList<'a>>,
    unwanted: Vec<NameList<'a>>,
}

impl Names<'_> {
    /// Whether some name satisfies the conditions, and the requirements on the label `kubernetes.io/metadata.name`,
    /// whose value is always the name.
    fn exists(&self, requirements: &[&Requirement]) -> bool {
        let on_name: Vec<&Requirement> =
            requirements.iter().copied().filter(|requirement| *requirement.key == *NAMESPACE_NAME).collect();
        if on_name.iter().any(|requirement| requirement.operator == Operator::DoesNotExist) {
            return false;
        }
        let fits = |name: &str| {
            on_name.iter().all(|requirement| requirement.matches(Some(name)))
                && self.wanted.iter().all(|list| list.holds(name))
                && !self.unwanted.iter().any(|list| list.holds(name))
        };
        if let Some(listed) = on_name.iter().find(|requirement| requirement.operator == Operator::In) {
            return listed.values.iter().any(|name| fits(name));
        }
        if self.wanted.iter().flat_map(NameList::names).any(fits) {
            return true;
        }
        if self.wanted.iter().any(|list| list.globs.is_empty()) {
            return false;
        }
        let not: Vec<&str> = on_name
            .iter()
            .filter(|requirement| requirement.operator == Operator::NotIn)
            .flat_map(|requirement| requirement.values.iter().map(|value| &**value))
            .chain(self.unwanted.iter().flat_map(|list| list.all.iter().map(|name| &**name)))
            .collect();
        let mut chosen = Vec::with_capacity(self.wanted.len());
        patterns_overlap(&self.wanted, &mut chosen, &not)
    }
}

/// Whether some name matches the chosen patterns, one pattern of each list, and no pattern of `not`.
fn patterns_overlap<'a>(lists: &[NameList<'a>], chosen: &mut Vec<&'a str>, not: &[&str]) -> bool {
    let Some((list, rest)) = lists.split_first() else {
        let all = ["*"];
        return some_name_matches(if chosen.is_empty() { &all } else { chosen }, not);
    };
    list.globs.iter().any(|glob| {
        let prefix = literal_prefix(glob);
        if !chosen.iter().all(|other| prefixes_overlap(prefix, literal_prefix(other))) {
            return false;
        }
        chosen.push(glob);
        let meet = patterns_overlap(rest, chosen, not);
        chosen.pop();
        meet
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(text: &str) -> Requirement {
        let (key, operator, values) = if let Some((key, value)) = text.split_once("!=") {
            (key, Operator::NotIn, value)
        } else if let Some((key, value)) = text.split_once('=') {
            (key, Operator::In, value)
        } else if let Some(key) = text.strip_prefix('!') {
            (key, Operator::DoesNotExist, "")
        } else {
            (text, Operator::Exists, "")
        };
        let values = values.split('|').filter(|v| !v.is_empty()).map(Arc::from).collect();
        Requirement { key: key.into(), operator, values }
    }

    fn selector(text: &str) -> Selector {
        Selector { requirements: text.split(',').filter(|t| !t.is_empty()).map(requirement).collect() }
    }

    fn scope(base: ScopeBase, names: &[&str], labels: Option<&str>) -> Scope {
        Scope {
            base,
            except_names: names.iter().map(|name| Arc::from(*name)).collect(),
            except_labels: labels.into_iter().map(selector).collect(),
        }
    }

    fn names(names: &[&str]) -> ScopeBase {
        ScopeBase::Names(names.iter().map(|name| Arc::from(*name)).collect())
    }

    #[test]
    fn contradictions() {
        for good in ["", "a=x", "a=x|y,a=y|z", "a!=x,a!=y", "!a,a!=x", "a,a!=x"] {
            assert_eq!(selector(good).contradiction(), None, "{good}");
        }
        for (bad, at) in [
            ("a=x,a=y", (0, 1)),
            ("a,b,!a", (0, 2)),
            ("a=x,!a", (0, 1)),
            ("a=x,a!=x", (0, 1)),
            ("a=x|y,a!=x,a!=y", (0, 2)),
        ] {
            assert_eq!(selector(bad).contradiction(), Some(at), "{bad}");
        }
    }

    #[test]
    fn overlapping_scopes() {
        let all = scope(ScopeBase::All, &[], None);
        let prod = scope(ScopeBase::Labels(selector("env=prod")), &[], None);
        let test = scope(ScopeBase::Labels(selector("env=test")), &[], None);
        let teams = scope(names(&["team-*"]), &[], None);
        let not_teams = scope(ScopeBase::All, &["team-*"], None);
        let not_prod = scope(ScopeBase::All, &[], Some("env=prod"));
        let by_label = scope(ScopeBase::Labels(selector("kubernetes.io/metadata.name=team-a")), &[], None);
        assert!(scopes_overlap(&[&all, &prod]));
        assert!(!scopes_overlap(&[&prod, &test]));
        assert!(scopes_overlap(&[&prod, &teams]));
        assert!(!scopes_overlap(&[&teams, &not_teams]));
        assert!(!scopes_overlap(&[&prod, &not_prod]));
        assert!(scopes_overlap(&[&test, &not_prod]));
        assert!(scopes_overlap(&[&by_label, &teams]));
        assert!(!scopes_overlap(&[&by_label, &not_teams]));
        assert!(!scopes_overlap(&[&scope(names(&["a"]), &["a"], None)]));
        assert!(!scopes_overlap(&[&scope(
            ScopeBase::Labels(selector("!kubernetes.io/metadata.name")),
            &[],
            None
        )]));
    }
}
