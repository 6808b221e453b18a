//! Names of policies, sets and namespaces, and name patterns.

use npc_diagnostics::{Applicability, Diagnostic, Location};
use rustc_hash::FxHashSet;

npc_diagnostics::codes! {
    /// # Not a valid name
    ///
    /// The name of a policy becomes the name of a Kubernetes object: lower-case letters, digits, `-` and
    /// `.`, beginning and ending with a letter or digit. The same rule applies to sets. The name of a
    /// set must also not look like an address or a port, and must not be a reserved keyword.
    ///
    /// ```np fails
    /// policy Payments_DB for all pods in namespace payments { isolate ingress }
    /// ```
    ///
    /// ```np
    /// policy payments-db for all pods in namespace payments { isolate ingress }
    /// ```
    BAD_NAME = "NP0308" "bad-name" Error;

    /// # Not a valid namespace name
    ///
    /// The name of a namespace is a DNS label: at most 63 lower-case letters, digits and `-`, beginning
    /// and ending with a letter or digit. In `namespaces (…)` and after `except`, it may contain `*` (any
    /// characters) and `?` (one character).
    ///
    /// ```np fails
    /// policy p for all pods in namespace team.a { isolate ingress }
    /// ```
    ///
    /// ```np
    /// policy p for all pods in namespace team-a { isolate ingress }
    /// ```
    BAD_NAMESPACE = "NP0309" "bad-namespace" Error;
}

/// Whether the word is a DNS-1123 label: the syntax of namespace names.
#[must_use]
pub fn is_label(word: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&word.len())
        && word.bytes().all(inner)
        && !word.starts_with('-')
        && !word.ends_with('-')
}

/// Whether the word is a DNS-1123 subdomain: the syntax of policy names.
#[must_use]
pub fn is_subdomain(word: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    word.len() <= 253 && word.split('.').all(part)
}

/// Checks the name of a policy or a set; `what` is the word for it in messages.
///
/// # Errors
///
/// A diagnostic at `location`, with the rule that the name violates.
pub fn check_name(what: &str, name: &str, location: Location) -> Result<(), Box<Diagnostic>> {
    if is_subdomain(name) {
        return Ok(());
    }
    let why = if name.len() > 253 {
        "at most 253 characters"
    } else {
        "lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit"
    };
    let diagnostic =
        Diagnostic::new(&BAD_NAME, format!("`{name}` cannot be the name of a {what}"), location, why);
    let fixed: String = name
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' { c } else { '-' })
        .collect();
    let fixed = fixed.trim_matches(['-', '.']);
    Err(Box::new(if is_subdomain(fixed) {
        diagnostic.fix(Applicability::Maybe, format!("name it `{fixed}`"), location, fixed)
    } else {
        diagnostic
    }))
}

/// Checks the name of a namespace. It may contain wildcards if `glob` is true.
///
/// # Errors
///
/// A diagnostic at `location`, with the rule that the name violates.
pub fn check_namespace(name: &str, glob: bool, location: Location) -> Result<(), Box<Diagnostic>> {
    let wildcards = name.contains(['*', '?']);
    let plain = if glob { name.replace(['*', '?'], "a") } else { name.to_owned() };
    if is_label(&plain) {
        return Ok(());
    }
    let diagnostic = Diagnostic::new(
        &BAD_NAMESPACE,
        format!("no namespace can have the name `{name}`"),
        location,
        if wildcards && !glob {
            "`namespace` takes one name, without wildcards"
        } else if name.len() > 63 {
            "at most 63 characters"
        } else {
            "lower-case letters, digits and `-`, beginning and ending with a letter or digit"
        },
    );
    let fixed = name.trim_start_matches('^').trim_end_matches('$').replace(".*", "*");
    Err(Box::new(if wildcards && !glob {
        match name {
            "*" => diagnostic.help("write `in all namespaces`"),
            _ => diagnostic.help(format!("write `namespaces ({name})`")),
        }
    } else if glob && fixed != name && is_label(&fixed.replace(['*', '?'], "a")) {
        diagnostic
            .help(format!(
                "regular expressions are not supported: write `{fixed}`, where `*` matches any characters"
            ))
            .fix(Applicability::Maybe, format!("write `{fixed}`"), location, fixed)
    } else {
        diagnostic
    }))
}

/// Whether a glob matches a name: `*` matches any characters, `?` matches one character.
#[must_use]
pub fn glob_matches(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut g, mut n) = (0, 0);
    // The index of the last `*`, and the index in the name up to which it matches.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(n) {
        match glob.get(g) {
            Some(b'*') => {
                star = Some((g, n));
                g += 1;
            }
            Some(pattern) if *pattern == b'?' || pattern == byte => (g, n) = (g + 1, n + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (g, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    glob.iter().skip(g).all(|byte| *byte == b'*')
}

/// The part of a glob before its first wildcard. Every name that the glob matches begins with it.
#[must_use]
pub fn literal_prefix(glob: &str) -> &str {
    glob.split(['*', '?']).next().unwrap_or("")
}

/// Whether some name can begin with both prefixes.
#[must_use]
pub fn prefixes_overlap(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// The initial states of a glob's automaton. State `i` means that the first `i` characters of the glob have matched.
fn start(glob: &str) -> Vec<bool> {
    let mut states = vec![false; glob.len() + 1];
    if let Some(first) = states.first_mut() {
        *first = true;
    }
    skip_stars(glob, &mut states);
    states
}

fn skip_stars(glob: &str, states: &mut [bool]) {
    for (index, byte) in glob.bytes().enumerate() {
        if byte == b'*'
            && states.get(index) == Some(&true)
            && let Some(next) = states.get_mut(index + 1)
        {
            *next = true;
        }
    }
}

fn step(glob: &str, states: &[bool], byte: u8) -> Vec<bool> {
    let mut next = vec![false; states.len()];
    for (index, pattern) in glob.bytes().enumerate() {
        if states.get(index) != Some(&true) {
            continue;
        }
        let target = match pattern {
            b'*' => index,
            b'?' => index + 1,
            literal if literal == byte => index + 1,
            _ => continue,
        };
        if let Some(state) = next.get_mut(target) {
            *state = true;
        }
    }
    skip_stars(glob, &mut next);
    next
}

/// Whether some valid namespace name matches all of `wanted` and none of `unwanted`.
///
/// Searches the product of the globs' automata, over the characters that occur in the globs and one other. After a
/// million steps, which realistic programs do not reach, the answer is true: the caller may then report an overlap that
/// does not exist, but never miss one.
#[must_use]
pub fn some_name_matches(wanted: &[&str], unwanted: &[&str]) -> bool {
    let literal = wanted.iter().find(|glob| !glob.contains(['*', '?']));
    if let Some(name) = literal {
        return wanted.iter().all(|glob| glob_matches(glob, name))
            && !unwanted.iter().any(|glob| glob_matches(glob, name));
    }
    // One letter or digit that occurs in no glob represents all of them. It is never `-`, which cannot begin or end a
    // name.
    let named: FxHashSet<u8> = wanted.iter().chain(unwanted).flat_map(|glob| glob.bytes()).collect();
    let is_inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let other = (b'a'..=b'z').chain(b'0'..=b'9').find(|b| !named.contains(b));
    let alphabet: Vec<u8> = named.iter().copied().filter(is_inner).chain(other).collect();
    let globs: Vec<&str> = wanted.iter().chain(unwanted).copied().collect();

    let accepted = |states: &[Vec<bool>]| {
        let ends = |state: &Vec<bool>| state.last() == Some(&true);
        states.iter().take(wanted.len()).all(ends) && !states.iter().skip(wanted.len()).any(ends)
    };
    let first: Vec<Vec<bool>> = globs.iter().map(|glob| start(glob)).collect();
    let mut seen = FxHashSet::default();
    let mut layer = vec![first];
    let mut steps = 0usize;
    for length in 1..=63 {
        let mut next_layer = Vec::new();
        for states in &layer {
            for byte in &alphabet {
                if *byte == b'-' && (length == 1 || length == 63) {
                    continue;
                }
                steps += globs.len();
                if steps > 1_000_000 {
                    return true;
                }
                let next: Vec<Vec<bool>> =
                    globs.iter().zip(states).map(|(glob, state)| step(glob, state, *byte)).collect();
                if *byte != b'-' && accepted(&next) {
                    return true;
                }
                let alive = next.iter().take(wanted.len()).all(|state| state.contains(&true));
                if alive && seen.insert((*byte == b'-', next.clone())) {
                    next_layer.push(next);
                }
            }
        }
        layer = next_layer;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        assert!(glob_matches("team-*", "team-a"));
        assert!(glob_matches("team-*", "team-"));
        assert!(!glob_matches("team-*", "teams"));
        assert!(glob_matches("*-prod", "a-b-prod"));
        assert!(glob_matches("a?c", "abc"));
        assert!(!glob_matches("a?c", "ac"));
        assert!(glob_matches("*", ""));
        assert!(glob_matches("a**b", "ab"));
    }

    #[test]
    fn names_that_globs_share() {
        assert!(some_name_matches(&["team-*"], &[]));
        assert!(some_name_matches(&["team-*", "*-prod"], &[]));
        assert!(!some_name_matches(&["team-*", "kube-*"], &[]));
        assert!(!some_name_matches(&["team-*"], &["t*"]));
        assert!(some_name_matches(&["t*"], &["team-*"]));
        assert!(!some_name_matches(&["a"], &["?"]));
        assert!(some_name_matches(&["*"], &["?", "??"]));
        assert!(!some_name_matches(&["?"], &["a", "b*", "[c-z]", "?"]));
        assert!(!some_name_matches(&["*-"], &[]));
        assert!(!some_name_matches(&["a-"], &["a-"]));
        // The globs list every letter and digit, so no character is left to represent others.
        let every: Vec<String> = ('a'..='z').chain('0'..='9').map(String::from).collect();
        let every: Vec<&str> = every.iter().map(String::as_str).collect();
        assert!(!some_name_matches(&["?"], &every));
    }
}
