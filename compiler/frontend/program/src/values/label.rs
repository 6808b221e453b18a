//! Label keys and values, checked by the rules of the Kubernetes API.

use std::sync::Arc;

use npc_diagnostics::{Applicability, Diagnostic, Location, SourceMap};
use npc_suggest::nearest;
use rustc_hash::FxHashMap;

use super::name::is_subdomain;

npc_diagnostics::codes! {
    /// # Not a valid label key
    ///
    /// A key is a name, optionally with a prefix and a `/` before it. The name has at most 63 letters,
    /// digits, `-`, `_` and `.`, and begins and ends with a letter or digit. The prefix is a DNS
    /// subdomain of at most 253 characters. The API server rejects other keys.
    ///
    /// ```np fails
    /// policy p for pods { app/kubernetes/name = web } in all namespaces { isolate ingress }
    /// ```
    ///
    /// ```np
    /// policy p for pods { app.kubernetes.io/name = web } in all namespaces { isolate ingress }
    /// ```
    LABEL_KEY = "NP0306" "label-key" Error;

    /// # Not a valid label value
    ///
    /// A value has at most 63 letters, digits, `-`, `_` and `.`, and begins and ends with a letter or
    /// digit. It may be empty: `""`. The API server rejects other values.
    ///
    /// ```np fails
    /// policy p for pods { app = "my web" } in all namespaces { isolate ingress }
    /// ```
    ///
    /// ```np
    /// policy p for pods { app = my-web } in all namespaces { isolate ingress }
    /// ```
    LABEL_VALUE = "NP0307" "label-value" Error;

    /// # A label key may be misspelt
    ///
    /// A selector on a label that no object has selects nothing, and nothing reports this in the
    /// cluster. The program uses this key once, and it differs by one or two letters from a key that
    /// the program uses often, or from a well-known label of Kubernetes (the prefixes `kubernetes.io`
    /// and `k8s.io` are reserved for these).
    ///
    /// ```np fails
    /// policy p for pods { app.kubernetes.io/nmae = web } in namespace shop { isolate ingress }
    /// ```
    ///
    /// ```np
    /// policy p for pods { app.kubernetes.io/name = web } in namespace shop { isolate ingress }
    /// ```
    NEAR_KEY = "NP0314" "near-label-key" Warning;
}

/// Keys of the page "Well-Known Labels, Annotations and Taints" of the Kubernetes documentation.
const WELL_KNOWN: [&str; 20] = [
    NAMESPACE_NAME,
    "app.kubernetes.io/component",
    "app.kubernetes.io/created-by",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/version",
    "apps.kubernetes.io/pod-index",
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-completion-index",
    "batch.kubernetes.io/job-name",
    "pod-security.kubernetes.io/audit",
    "pod-security.kubernetes.io/enforce",
    "pod-security.kubernetes.io/enforce-version",
    "pod-security.kubernetes.io/warn",
    "statefulset.kubernetes.io/pod-name",
    "kubernetes.io/hostname",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// The label keys of a program, each with the number of its uses and the location of one of them.
#[derive(Default)]
pub(crate) struct KeysUsed {
    keys: FxHashMap<Arc<str>, (usize, Location)>,
}

/// The maximum number of keys that are compared with all others.
const MAX_COMPARED: usize = 200;

impl KeysUsed {
    /// Adds uses.
    pub(crate) fn add(&mut self, uses: &[(Arc<str>, Location)]) {
        for (key, location) in uses {
            match self.keys.get_mut(key) {
                Some((count, _)) => *count += 1,
                None => {
                    self.keys.insert(Arc::clone(key), (1, *location));
                }
            }
        }
    }

    /// Adds the uses of another part of the program.
    pub(crate) fn extend(&mut self, other: Self) {
        for (key, (uses, place)) in other.keys {
            self.keys.entry(key).or_insert((0, place)).0 += uses;
        }
    }

    /// The warnings for keys that may be misspelt: keys with one use that are similar to a key with at least three
    /// uses, or to a well-known key.
    pub(crate) fn misspelt(&self, sources: &SourceMap) -> Vec<Diagnostic> {
        let often: Vec<&str> =
            self.keys.iter().filter(|(_, (uses, _))| *uses >= 3).map(|(key, _)| &**key).collect();
        let mut once: Vec<(&str, Location)> = self
            .keys
            .iter()
            .filter(|(_, (uses, _))| *uses == 1)
            .map(|(key, (_, place))| (&**key, *place))
            .collect();
        once.sort_unstable_by_key(|(_, place)| sources.absolute(*place));
        let reserved = |key: &str| key.contains("kubernetes.io/") || key.contains("k8s.io/");
        once.into_iter()
            .filter(|(key, _)| key.len() >= 5 && !WELL_KNOWN.contains(key))
            .take(MAX_COMPARED)
            .filter_map(|(key, place)| {
                let known = WELL_KNOWN.into_iter().filter(|_| reserved(key));
                let meant = often.iter().copied().chain(known).filter(|meant| is_near(key, meant)).min()?;
                // Keys that differ in a digit, or where one is a prefix of the other, usually differ on purpose.
                let differs = meant.len().abs_diff(key.len()) <= 1
                    && !meant
                        .bytes()
                        .zip(key.bytes())
                        .any(|(a, b)| a != b && (a.is_ascii_digit() || b.is_ascii_digit()))
                    && !meant.starts_with(key)
                    && !key.starts_with(meant);
                differs.then(|| {
                    Diagnostic::new(
                        &NEAR_KEY,
                        format!("the label `{key}` may be misspelt"),
                        place,
                        "a selector on a label that no object has selects nothing",
                    )
                    .help(format!("did you mean `{meant}`?"))
                    .fix(Applicability::Maybe, format!("write `{meant}`"), place, meant)
                })
            })
            .collect()
    }
}

pub use npc_vocabulary::NAMESPACE_NAME;

/// Whether one part of the two keys (prefix or name) is equal and the other is similar.
fn is_near(key: &str, other: &str) -> bool {
    let ((prefix, name), (other_prefix, other_name)) = (parts(key), parts(other));
    let near = |a: &str, b: &str| nearest(a, [b]).is_some();
    if prefix == other_prefix {
        near(name, other_name)
    } else {
        name == other_name && near(prefix, other_prefix)
    }
}

/// Splits a key into its prefix, which may be empty, and its name.
fn parts(key: &str) -> (&str, &str) {
    key.rsplit_once('/').unwrap_or(("", key))
}

fn check_part(part: &str) -> Result<(), &'static str> {
    if part.len() > 63 {
        return Err("at most 63 characters");
    }
    if !part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err("letters, digits, `-`, `_` and `.` only");
    }
    let ends = |byte: Option<u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric());
    if !ends(part.bytes().next()) || !ends(part.bytes().last()) {
        return Err("begins and ends with a letter or digit");
    }
    Ok(())
}

/// Checks a label key.
///
/// # Errors
///
/// A diagnostic at `location`, with the rule that the key violates.
pub fn check_key(key: &str, location: Location) -> Result<(), Box<Diagnostic>> {
    let wrong = |why: String| {
        Err(Box::new(Diagnostic::new(&LABEL_KEY, format!("`{key}` is not a valid label key"), location, why)))
    };
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if name.contains('/') {
        return wrong("a key has at most one `/`".to_owned());
    }
    if name.is_empty() {
        return wrong("the name is empty".to_owned());
    }
    if let Some(prefix) = prefix
        && !is_subdomain(prefix)
    {
        return wrong(format!(
            "`{prefix}` is not a DNS subdomain: lower-case letters, digits, `-` and `.`, at most 253 characters"
        ));
    }
    if key.ends_with(':') || key.contains(':') {
        return wrong("labels are written `key = value`".to_owned());
    }
    match check_part(name) {
        Ok(()) => Ok(()),
        Err(why) => wrong(format!("invalid name: {why}")),
    }
}

/// Checks a label value. The empty value is valid.
///
/// # Errors
///
/// A diagnostic at `location`, with the rule that the value violates.
pub fn check_value(value: &str, location: Location) -> Result<(), Box<Diagnostic>> {
    if value.is_empty() {
        return Ok(());
    }
    let why = if value.contains(['*', '?']) {
        "selectors do not support wildcards in values"
    } else {
        match check_part(value) {
            Ok(()) => return Ok(()),
            Err(why) => why,
        }
    };
    Err(Box::new(Diagnostic::new(
        &LABEL_VALUE,
        format!("`{value}` is not a valid label value"),
        location,
        why,
    )))
}
