//! Conditions on a namespace, and their conversion to scopes.

use std::sync::Arc;

use npc_program::values::name::glob_matches;
use npc_program::{Requirement, Scope, ScopeBase, Selector};

/// A condition on a namespace.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    /// True for every namespace, or for none.
    Constant(bool),
    /// The namespace's name is one of these, or matches one of the patterns.
    Name(Vec<Arc<str>>),
    /// A requirement on the namespace's labels.
    Label(Requirement),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

/// One conjunction of a condition in disjunctive normal form: all its parts must hold.
#[derive(Clone, Debug, Default)]
struct Conjunction {
    /// Lists of names and patterns; the namespace's name must match each list.
    names: Vec<Vec<Arc<str>>>,
    except_names: Vec<Arc<str>>,
    labels: Vec<Requirement>,
    except_labels: Vec<Selector>,
}

/// The maximal number of conjunctions of a condition.
const MAX_WAYS: usize = 1_000;

impl Condition {
    /// The condition that all of a selector's requirements hold.
    pub(crate) fn selector(selector: &Selector) -> Self {
        Self::All(selector.requirements.iter().cloned().map(Self::Label).collect())
    }

    /// The scopes that together contain the namespaces for which the condition holds.
    ///
    /// # Errors
    ///
    /// The reason that scopes cannot express the condition.
    pub(crate) fn scopes(&self) -> Result<Vec<Scope>, String> {
        self.folded().ways(true)?.into_iter().filter_map(|way| way.scope().transpose()).collect()
    }

    /// The same condition without nested constants.
    fn folded(&self) -> Self {
        let join = |parts: &[Self], absorbing: bool| {
            let parts: Vec<Self> = parts.iter().map(Self::folded).collect();
            if parts.contains(&Self::Constant(absorbing)) {
                return None;
            }
            Some(parts.into_iter().filter(|part| !matches!(part, Self::Constant(_))).collect::<Vec<_>>())
        };
        match self {
            Self::All(parts) => match join(parts, false) {
                None => Self::Constant(false),
                Some(left) if left.is_empty() => Self::Constant(true),
                Some(left) => Self::All(left),
            },
            Self::Any(parts) => match join(parts, true) {
                None => Self::Constant(true),
                Some(left) if left.is_empty() => Self::Constant(false),
                Some(left) => Self::Any(left),
            },
            Self::Not(inner) => match inner.folded() {
                Self::Constant(holds) => Self::Constant(!holds),
                other => Self::Not(Box::new(other)),
            },
            other => other.clone(),
        }
    }

    /// The conjunctions of the condition, or of its negation if `positive` is false.
    fn ways(&self, positive: bool) -> Result<Vec<Conjunction>, String> {
        let one = |way: Conjunction| Ok(vec![way]);
        match self {
            Self::Constant(holds) if *holds == positive => one(Conjunction::default()),
            Self::Constant(_) => Ok(Vec::new()),
            Self::Name(names) if positive => {
                one(Conjunction { names: vec![names.clone()], ..Conjunction::default() })
            }
            Self::Name(names) => one(Conjunction { except_names: names.clone(), ..Conjunction::default() }),
            Self::Label(requirement) => {
                let requirement = if positive { requirement.clone() } else { requirement.negated() };
                one(Conjunction { labels: vec![requirement], ..Conjunction::default() })
            }
            Self::Not(inner) => inner.ways(!positive),
            // The negation of several label requirements is one `except` with a selector.
            Self::All(parts) if !positive && parts.len() > 1 && parts.iter().all(Self::is_label) => {
                let requirements = parts
                    .iter()
                    .filter_map(|part| match part {
                        Self::Label(requirement) => Some(requirement.clone()),
                        _ => None,
                    })
                    .collect();
                one(Conjunction { except_labels: vec![Selector { requirements }], ..Conjunction::default() })
            }
            Self::All(parts) if positive => all(parts, positive),
            Self::Any(parts) if !positive => all(parts, positive),
            Self::All(parts) | Self::Any(parts) => {
                let mut ways = Vec::new();
                for part in parts {
                    ways.extend(part.ways(positive)?);
                    bounded(&ways)?;
                }
                Ok(ways)
            }
        }
    }

    const fn is_label(&self) -> bool {
        matches!(self, Self::Label(_))
    }
}

fn bounded(ways: &[Conjunction]) -> Result<(), String> {
    if ways.len() > MAX_WAYS { Err("the condition has too many combinations".to_owned()) } else { Ok(()) }
}

/// Combines each conjunction of each part with those of the other parts.
fn all(parts: &[Condition], positive: bool) -> Result<Vec<Conjunction>, String> {
    let mut ways = vec![Conjunction::default()];
    for part in parts {
        let more = part.ways(positive)?;
        ways = ways.iter().flat_map(|way| more.iter().map(|other| way.and(other))).collect();
        bounded(&ways)?;
    }
    Ok(ways)
}

/// Removes patterns that no name of a namespace matches.
fn possible(list: &mut Vec<Arc<str>>) -> Result<(), String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-*?".contains(&byte);
    list.retain(|glob| {
        !glob.is_empty() && glob.bytes().all(inner) && !glob.starts_with('-') && !glob.ends_with('-')
    });
    // The language limits patterns to the length of names.
    match list.iter().find(|glob| glob.len() > 63) {
        Some(long) => Err(format!("the pattern `{long}` is longer than 63 characters")),
        None => Ok(()),
    }
}

impl Conjunction {
    fn and(&self, other: &Self) -> Self {
        fn join<T: Clone + PartialEq>(a: &[T], b: &[T]) -> Vec<T> {
            let mut all = a.to_vec();
            all.extend(b.iter().filter(|one| !a.contains(one)).cloned());
            all
        }
        Self {
            names: join(&self.names, &other.names),
            except_names: join(&self.except_names, &other.except_names),
            labels: join(&self.labels, &other.labels),
            except_labels: join(&self.except_labels, &other.except_labels),
        }
    }

    /// The scope. `None` if it can contain no namespace.
    fn scope(self) -> Result<Option<Scope>, String> {
        let Self { mut names, mut except_names, mut labels, mut except_labels } = self;
        for list in &mut names {
            possible(list)?;
            if list.is_empty() {
                return Ok(None);
            }
        }
        possible(&mut except_names)?;
        let base = match names.as_slice() {
            [] if labels.is_empty() => ScopeBase::All,
            [] => ScopeBase::Labels(Selector { requirements: std::mem::take(&mut labels) }),
            [only] => ScopeBase::Names(only.clone()),
            [first, ..] => {
                // For names without wildcards, each list decides whether it matches them.
                let wild = |name: &Arc<str>| name.contains(['*', '?']);
                let plain = names.iter().find(|list| !list.iter().any(wild)).unwrap_or(first);
                if plain.iter().any(wild) {
                    return Err("it requires a name that matches two patterns".to_owned());
                }
                let holds = |name: &&Arc<str>| {
                    names.iter().all(|list| list.iter().any(|glob| glob_matches(glob, name)))
                };
                let left: Vec<Arc<str>> = plain.iter().filter(holds).cloned().collect();
                if left.is_empty() {
                    return Ok(None);
                }
                ScopeBase::Names(left)
            }
        };
        // A scope by names has no label requirements: exclude the namespaces that violate one.
        except_labels
            .extend(labels.iter().map(|requirement| Selector { requirements: vec![requirement.negated()] }));
        except_names.sort_unstable();
        let base = match base {
            ScopeBase::Names(mut names) => {
                names.sort_unstable();
                names.dedup();
                ScopeBase::Names(names)
            }
            other => other,
        };
        Ok(Some(Scope { base, except_names, except_labels }))
    }
}
