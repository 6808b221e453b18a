//! Label keys and values, by the rules of Kubernetes' API.

use npc_diagnostics::{Diagnostic, Location};

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
}

/// The label that every namespace has, with its name as its value.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

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
