//! Classifies the namespace names that programs do not name: which sets of patterns can one name match?

use npc_program::values::name::{glob_matches, is_label};
use rustc_hash::FxHashSet;

use crate::ProofError;

/// Names that match the same patterns and that programs do not name individually.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// Whether they match each of the patterns.
    pub(crate) matches: Vec<bool>,
    /// Two of the names.
    pub(crate) examples: [String; 2],
}

/// The classes of names, and the names of classes with too few members, to be treated individually.
#[derive(Clone, Debug, Default)]
pub(crate) struct Classes {
    pub(crate) classes: Vec<Class>,
    pub(crate) alone: Vec<String>,
}

/// The maximum length of a namespace name.
const MAX_NAME: usize = 63;
/// The maximum number of states that a search may visit.
const MAX_STATES: usize = 50_000;

/// The states of a pattern's automaton after some characters of a name, as a bit set: bit `i` means that the
/// first `i` characters of the pattern are consumed.
type Positions = u128;

fn start(glob: &[u8]) -> Positions {
    close(glob, 1)
}

/// Adds the states that are reached when `*` matches nothing.
fn close(glob: &[u8], mut positions: Positions) -> Positions {
    for (index, byte) in glob.iter().enumerate() {
        if *byte == b'*' && positions >> index & 1 == 1 {
            positions |= 1 << (index + 1);
        }
    }
    positions
}

fn step(glob: &[u8], positions: Positions, c: u8) -> Positions {
    let mut next = 0;
    for (index, byte) in glob.iter().enumerate() {
        if positions >> index & 1 == 1 {
            match byte {
                b'*' => next |= 1 << index,
                b'?' => next |= 1 << (index + 1),
                byte if *byte == c => next |= 1 << (index + 1),
                _ => {}
            }
        }
    }
    close(glob, next)
}

fn accepts(glob: &[u8], positions: Positions) -> bool {
    positions >> glob.len() & 1 == 1
}

/// Finds every set of patterns that is matched by a name which is not in `named`.
///
/// # Errors
///
/// If there are too many states to search, or the number of names of a set cannot be determined.
pub(crate) fn classes(globs: &[&str], named: &FxHashSet<&str>) -> Result<Classes, ProofError> {
    let too_large =
        || ProofError("the patterns of namespace names are too many, or too long, to be compared".to_owned());
    if globs.iter().any(|glob| glob.len() >= 120) {
        return Err(too_large());
    }
    let bytes: Vec<&[u8]> = globs.iter().map(|glob| glob.as_bytes()).collect();
    let mut letters: Vec<u8> = bytes.iter().flat_map(|glob| glob.iter().copied()).collect();
    letters.retain(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-');
    // Two characters that no pattern contains represent all others.
    let fresh = (b'a'..=b'z').chain(b'0'..=b'9').filter(|byte| !letters.contains(byte)).take(2);
    let fresh: Vec<u8> = fresh.collect();
    letters.extend(fresh);
    letters.sort_unstable();
    letters.dedup();

    // Every state that some name reaches, with a shortest such name.
    let first: Vec<Positions> = bytes.iter().map(|glob| start(glob)).collect();
    let mut seen: FxHashSet<(Vec<Positions>, bool)> = FxHashSet::default();
    let mut layer: Vec<(Vec<Positions>, String)> = vec![(first, String::new())];
    let mut found: Vec<(Vec<bool>, Vec<String>)> = Vec::new();
    let mut tried = 0;
    for _ in 0..MAX_NAME {
        let mut next = Vec::new();
        for (state, name) in layer {
            for letter in &letters {
                if name.is_empty() && *letter == b'-' {
                    continue;
                }
                let state: Vec<Positions> = bytes
                    .iter()
                    .zip(&state)
                    .map(|(glob, positions)| step(glob, *positions, *letter))
                    .collect();
                if !seen.insert((state.clone(), *letter == b'-')) {
                    continue;
                }
                tried += 1;
                if tried > MAX_STATES {
                    return Err(too_large());
                }
                let mut name = name.clone();
                name.push(char::from(*letter));
                if *letter != b'-' {
                    let matches: Vec<bool> =
                        bytes.iter().zip(&state).map(|(glob, positions)| accepts(glob, *positions)).collect();
                    match found.iter_mut().find(|(other, _)| *other == matches) {
                        Some((_, names)) => names.push(name.clone()),
                        None => found.push((matches, vec![name.clone()])),
                    }
                }
                next.push((state, name));
            }
        }
        layer = next;
    }

    let mut out = Classes::default();
    for (matches, names) in found {
        let members = members(globs, &matches, &names, named);
        match members {
            Members::Many(examples) => out.classes.push(Class { matches, examples }),
            Members::These(all) => {
                out.alone.extend(all.into_iter().filter(|name| !named.contains(name.as_str())));
            }
            Members::Unknown => return Err(too_large()),
        }
    }
    Ok(out)
}

enum Members {
    /// At least two names that programs do not name.
    Many([String; 2]),
    /// Exactly these names.
    These(Vec<String>),
    Unknown,
}

/// The members of a class: two that programs do not name, or all members.
fn members(globs: &[&str], matches: &[bool], seeds: &[String], named: &FxHashSet<&str>) -> Members {
    let belongs = |name: &str| {
        is_label(name)
            && globs.iter().zip(matches).all(|(glob, matches)| glob_matches(glob, name) == *matches)
    };
    let fresh = |name: &str| !named.contains(name) && belongs(name);
    let mut found: Vec<String> = Vec::new();
    // Varies the seeds at up to three positions. A `*` accepts other characters somewhere.
    let mut pool: Vec<String> = seeds.to_vec();
    for _ in 0..3 {
        let mut next = Vec::new();
        for seed in &pool {
            for name in std::iter::once(seed.clone()).chain(variations(seed)) {
                if fresh(&name) && !found.contains(&name) {
                    found.push(name.clone());
                    if let [first, second] = found.as_slice() {
                        return Members::Many([first.clone(), second.clone()]);
                    }
                }
                if belongs(&name) && next.len() < 200 && !pool.contains(&name) && !next.contains(&name) {
                    next.push(name);
                }
            }
        }
        if next.is_empty() {
            // A matching pattern without `*` permits only names of one length, and all of them were tried.
            let finite = globs.iter().zip(matches).any(|(glob, matches)| *matches && !glob.contains('*'));
            return if finite { Members::These(found) } else { Members::Unknown };
        }
        pool = next;
    }
    Members::Unknown
}

/// All names with one character inserted or replaced.
fn variations(name: &str) -> Vec<String> {
    let letters = (b'a'..=b'z').chain(b'0'..=b'9').chain([b'-']);
    let mut out = Vec::new();
    for at in 0..=name.len() {
        let (before, behind) = name.split_at(at);
        for letter in letters.clone() {
            let letter = char::from(letter);
            out.push(format!("{before}{letter}{behind}"));
            if let Some(rest) = behind.get(1..) {
                out.push(format!("{before}{letter}{rest}"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(globs: &[&str], named: &[&str]) -> Vec<(Vec<bool>, usize)> {
        let classes = classes(globs, &named.iter().copied().collect()).unwrap();
        for class in &classes.classes {
            assert_ne!(class.examples[0], class.examples[1]);
            for name in &class.examples {
                assert!(is_label(name) && !named.contains(&name.as_str()), "{name}");
                for (glob, matches) in globs.iter().zip(&class.matches) {
                    assert_eq!(glob_matches(glob, name), *matches, "{glob} {name}");
                }
            }
        }
        let mut found: Vec<(Vec<bool>, usize)> =
            classes.classes.iter().map(|class| (class.matches.clone(), 2)).collect();
        found.sort();
        found
    }

    #[test]
    fn sets_of_patterns() {
        assert_eq!(vectors(&[], &["a"]).len(), 1);
        assert_eq!(vectors(&["team-*"], &["team-a"]).len(), 2);
        assert_eq!(vectors(&["team-*", "team-a*"], &[]).len(), 3);
        assert_eq!(vectors(&["*-prod", "eu-*"], &[]).len(), 4);
        assert_eq!(vectors(&["*"], &[]).len(), 1);
        assert_eq!(vectors(&["kube-*", "*o*"], &["kube-system"]).len(), 4);
        assert_eq!(vectors(&["?", "??"], &["a"]).len(), 3);
        assert_eq!(vectors(&["a?"], &["ab"]).len(), 2);
    }
}
