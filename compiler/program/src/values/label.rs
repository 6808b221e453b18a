//! Label keys and values, by the rules of Kubernetes' API.

use std::sync::Arc;

use npc_diagnostics::{Applicability, Diagnostic, Location, nearest};
use rustc_hash::FxHashMap;

use super::name::is_subdomain;

npc_diagnostics::codes! {
    /// # Not a label's key
    ///
    /// A key is a name of at most 63 letters, digits, `-`, `_` and `.`, beginning and ending with a
    /// letter or digit; before it may stand a DNS subdomain of at most 253 characters and a `/`.
    /// The API server refuses anything else.
    ///
    /// ```np fails
    /// policy p for pods { app/kubernetes/name = web } in all namespaces { isolate ingress }
    /// ```
    ///
    /// ```np
    /// policy p for pods { app.kubernetes.io/name = web } in all namespaces { isolate ingress }
    /// ```
    LABEL_KEY = "NP0306" "label-key" Error;

    /// # Not a label's value
    ///
    /// A value has at most 63 letters, digits, `-`, `_` and `.`, and begins and ends with a letter
    /// or digit. It may be empty: `""`. The API server refuses anything else.
    ///
    /// ```np fails
    /// policy p for pods { app = "my web" } in all namespaces { isolate ingress }
    /// ```
    ///
    /// ```np
    /// policy p for pods { app = my-web } in all namespaces { isolate ingress }
    /// ```
    LABEL_VALUE = "NP0307" "label-value" Error;

    /// # A label's key that may be misspelt
    ///
    /// A selector on a label that nothing has selects nothing, in silence. This key stands here only,
    /// and differs by a letter or two from one that the program uses often, or from one of
    /// Kubernetes' own (the prefixes `kubernetes.io` and `k8s.io` are reserved for those).
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

/// Keys that Kubernetes itself gives a meaning (its page "Well-Known Labels, Annotations and Taints").
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

/// The keys of a program: how often each is used, and where first.
#[derive(Default)]
pub(crate) struct KeysUsed {
    keys: FxHashMap<Arc<str>, (usize, Location)>,
}

/// How many keys are compared with all others.
const MAX_COMPARED: usize = 200;

impl KeysUsed {
    /// Of uses in the order of files and lines.
    pub(crate) fn count(uses: &[(Arc<str>, Location)]) -> Self {
        let mut all = Self::default();
        for (key, location) in uses {
            match all.keys.get_mut(key) {
                Some((count, _)) => *count += 1,
                None => {
                    all.keys.insert(Arc::clone(key), (1, *location));
                }
            }
        }
        all
    }

    /// The uses of another part of the program.
    pub(crate) fn extend(&mut self, other: Self) {
        for (key, (uses, place)) in other.keys {
            let (all, first) = self.keys.entry(key).or_insert((0, place));
            *all += uses;
            *first = (*first).min(place);
        }
    }

    /// The keys that may be misspelt.
    pub(crate) fn misspelt(&self) -> Vec<Diagnostic> {
        let often: Vec<&str> =
            self.keys.iter().filter(|(_, (uses, _))| *uses >= 3).map(|(key, _)| &**key).collect();
        let mut once: Vec<(&str, Location)> = self
            .keys
            .iter()
            .filter(|(_, (uses, _))| *uses == 1)
            .map(|(key, (_, place))| (&**key, *place))
            .collect();
        once.sort_unstable_by_key(|(_, place)| *place);
        let reserved = |key: &str| key.contains("kubernetes.io/") || key.contains("k8s.io/");
        once.into_iter()
            .filter(|(key, _)| key.len() >= 5 && !WELL_KNOWN.contains(key))
            .take(MAX_COMPARED)
            .filter_map(|(key, place)| {
                let known = WELL_KNOWN.into_iter().filter(|_| reserved(key));
                let meant = often.iter().copied().chain(known).filter(|meant| is_near(key, meant)).min()?;
                // A number at the end, or one letter more, tells two keys apart on purpose.
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
                        "a selector on a label that nothing has selects nothing",
                    )
                    .help(format!("did you mean `{meant}`?"))
                    .fix(Applicability::Maybe, format!("write `{meant}`"), place, meant)
                })
            })
            .collect()
    }
}

/// The label that every namespace has, with its name as its value.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Whether two keys have one part in common, and the other is nearly the same.
fn is_near(key: &str, other: &str) -> bool {
    let ((prefix, name), (other_prefix, other_name)) = (parts(key), parts(other));
    let near = |a: &str, b: &str| nearest(a, [b]).is_some();
    if prefix == other_prefix {
        near(name, other_name)
    } else {
        name == other_name && near(prefix, other_prefix)
    }
}

/// The prefix, which may be empty, and the name.
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

/// Checks a key.
///
/// # Errors
///
/// The rule that it breaks, as a diagnostic at `location`.
pub fn check_key(key: &str, location: Location) -> Result<(), Box<Diagnostic>> {
    let wrong = |why: String| {
        Err(Box::new(Diagnostic::new(&LABEL_KEY, format!("`{key}` is not a label's key"), location, why)))
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
        Err(why) => wrong(format!("the name has: {why}")),
    }
}

/// Checks a value. The empty value is one.
///
/// # Errors
///
/// The rule that it breaks, as a diagnostic at `location`.
pub fn check_value(value: &str, location: Location) -> Result<(), Box<Diagnostic>> {
    if value.is_empty() {
        return Ok(());
    }
    let why = if value.contains(['*', '?']) {
        "a selector takes values as they are: there are no wildcards"
    } else {
        match check_part(value) {
            Ok(()) => return Ok(()),
            Err(why) => why,
        }
    };
    Err(Box::new(Diagnostic::new(&LABEL_VALUE, format!("`{value}` is not a label's value"), location, why)))
}
