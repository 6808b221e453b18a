//! Evaluates `match` and `exclude` for namespaces.

use std::collections::BTreeMap;

use npc_cluster::Namespace;
use serde::Deserialize;

/// `match` or `exclude`. Only the form with `any` is evaluated.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filters {
    any: Vec<Filter>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    resources: Resources,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    kinds: Vec<String>,
    names: Option<Vec<String>>,
    selector: Option<Selector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
    #[serde(default)]
    match_expressions: Vec<Expression>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expression {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

impl Filters {
    pub(super) fn match_any(&self, namespace: &Namespace) -> bool {
        self.any.iter().any(|filter| filter.resources.matches(namespace))
    }
}

impl Resources {
    fn matches(&self, namespace: &Namespace) -> bool {
        let kind = |kind: &String| matches!(kind.as_str(), "Namespace" | "v1/Namespace");
        self.kinds.iter().any(kind)
            && self
                .names
                .as_ref()
                .is_none_or(|names| names.iter().any(|glob| wildcard(glob, &namespace.name)))
            && self.selector.as_ref().is_none_or(|selector| selector.matches(namespace))
    }
}

impl Selector {
    fn matches(&self, namespace: &Namespace) -> bool {
        let label = |key: &str| namespace.labels.get(key);
        let listed = |one: &Expression| label(&one.key).is_some_and(|value| one.values.contains(value));
        self.match_labels.iter().all(|(key, value)| label(key) == Some(value))
            && self.match_expressions.iter().all(|one| match one.operator {
                Operator::In => listed(one),
                Operator::NotIn => !listed(one),
                Operator::Exists => label(&one.key).is_some(),
                Operator::DoesNotExist => label(&one.key).is_none(),
            })
    }
}

/// Matches a text with Kyverno's wildcards: `*` matches any number of characters, `?` exactly one.
pub(super) fn wildcard(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    // The index of the last `*`, and the index in the text up to which it matches.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match (pattern.get(p), text.get(t)) {
            (Some('*'), _) => {
                star = Some((p, t));
                p += 1;
            }
            (Some('?'), _) => (p, t) = (p + 1, t + 1),
            (Some(a), Some(b)) if a == b => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::wildcard;

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("team-*", "team-a", true),
            ("team-*", "team-", true),
            ("team-*", "teams", false),
            ("*a*b", "xaxbxab", true),
            ("?", "", false),
            ("?", "a", true),
            ("a*", "a", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(wildcard(pattern, text), expected, "{pattern} {text}");
        }
    }
}
