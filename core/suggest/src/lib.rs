//! Finds candidates for "did you mean …?".

/// The candidate nearest to `word`, if one is near enough to be a likely intention.
///
/// Near means a Damerau-Levenshtein distance (insertion, deletion, substitution, swap of neighbours) of at
/// most about a third of the word's length; nothing is near to a word of one letter. Of equally near
/// candidates, the one with the longest common prefix and suffix wins, then the first in alphabetical order,
/// so that the result does not depend on the order of the input.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    near(word, candidates).map(|(candidate, _)| candidate)
}

/// The candidate nearest to `word`, and whether no other is equally near: only then may a fix be automatic.
#[must_use]
pub fn near<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, bool)> {
    // A suggestion for a very long word is useless, and costs the square of its length.
    if word.len() > 64 {
        return None;
    }
    let limit = (word.chars().count() + 1) / 3;
    if limit == 0 {
        return None;
    }
    let mut best: Option<(usize, usize, &'a str)> = None;
    let mut alone = true;
    for candidate in candidates {
        if candidate == word || candidate.len().abs_diff(word.len()) > limit {
            continue;
        }
        let Some(distance) = distance(word, candidate, limit) else { continue };
        // Ties are decided by the longest common prefix and suffix.
        let this = (distance, usize::MAX - alike(word, candidate), candidate);
        match best {
            Some(found) if found.2 == candidate => {}
            Some(found) => {
                alone = if this.0 == found.0 { false } else { alone || this.0 < found.0 };
                best = Some(found.min(this));
            }
            None => best = Some(this),
        }
    }
    best.map(|(_, _, candidate)| (candidate, alone))
}

/// The total length of the common prefix and the common suffix, in bytes.
fn alike(a: &str, b: &str) -> usize {
    let starts = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let ends = a.bytes().rev().zip(b.bytes().rev()).take_while(|(x, y)| x == y).count();
    starts + ends
}

/// The distance of two words, ignoring case; `None` if it exceeds `limit`.
fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    Some(strsim::osa_distance(&a.to_lowercase(), &b.to_lowercase())).filter(|distance| *distance <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let names = ["metadata", "kube-dns", "dns", "checkout"];
        assert_eq!(nearest("metdata", names), Some("metadata"));
        assert_eq!(nearest("kubedns", names), Some("kube-dns"));
        assert_eq!(nearest("dsn", names), Some("dns"));
        assert_eq!(nearest("Metadata", names), Some("metadata"));
        assert_eq!(nearest("namespacs", ["namespace", "namespaces"]), Some("namespaces"));
        assert_eq!(nearest("postgres", names), None);
        assert_eq!(near("iegress", ["ingress", "egress"]).map(|(_, alone)| alone), Some(false));
        assert_eq!(near("ingres", ["ingress", "egress"]), Some(("ingress", true)));
        assert_eq!(near("ingres", ["egress", "ingress"]), Some(("ingress", true)));
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest("pods", ["pass"]), None);
        assert_eq!(nearest("any", ["all", "anywhere"]), None);
        assert_eq!(nearest(&"m".repeat(100), names), None);
    }
}
