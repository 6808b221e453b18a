//! Verification of suggested fixes, and the texts that `npc check --fix` writes.
//!
//! The compiler stage that suggests a fix knows only one construct, so a fix may not give a correct program. Each fix
//! is therefore applied in memory, and the program parsed and resolved again. A fix is kept if the lines that it
//! changes have no error then, and no other line has a new error. Automatic fixes are tried together, including those
//! that the next check would apply. A fix that fails becomes help text, which is never applied automatically.
//!
//! In an editor, a check follows each keystroke, and warnings may have thousands of fixes. So the check verifies only
//! automatic fixes, and the others are verified when the editor requests them.

use std::collections::BTreeMap;
use std::sync::Arc;

use npc_diagnostics::{Applicability, Diagnostic, Edit, FileId, Fix, Level, Location, Span};
use npc_program::{Files, Known, Loaded, Memo, ReadError, load, resolve};
use npc_syntax::TOO_MANY;
use rustc_hash::{FxHashMap, FxHashSet};

/// The maximum number of times that a check parses and resolves the program again to verify fixes. Bounds the cost of a
/// file with many errors.
const MAX_TRIALS: usize = 64;
/// The maximum number of source bytes that a check parses again to verify fixes.
const MAX_BYTES: usize = 16 << 20;

/// The maximum number of rounds in which a fix may reveal an error that has an automatic fix.
const MAX_ROUNDS: usize = 100;

/// Texts by file.
pub(crate) type Texts = BTreeMap<FileId, Arc<str>>;

/// The number of errors, by code and message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Errors(FxHashMap<(&'static str, String), usize>);

impl Errors {
    /// Counts errors. Ignores [`TOO_MANY`], which reports how many errors were omitted and so differs between runs.
    pub(crate) fn of(diagnostics: &[Diagnostic]) -> Self {
        let mut errors = Self::default();
        let counted = |found: &&Diagnostic| found.level == Level::Error && found.code != &TOO_MANY;
        for error in diagnostics.iter().filter(counted) {
            *errors.0.entry((error.code.id, error.message.clone())).or_default() += 1;
        }
        errors
    }

    /// Removes one error with this code and message. Returns whether there was one.
    fn take(&mut self, error: &Diagnostic) -> bool {
        let left = self.0.get_mut(&(error.code.id, error.message.clone())).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }
}

/// The result of applying fixes.
#[derive(Default)]
struct Outcome {
    texts: Texts,
    /// The number of rounds of edits. More than one if a fix revealed an error that has a fix.
    rounds: usize,
}

/// The lines that must be free of errors, even of errors that they had before.
#[derive(Clone, Copy)]
enum Lines {
    /// The edited lines.
    Edited,
    /// None: other fixes repair the remaining errors of these lines.
    None,
}

/// A fix: the index of its diagnostic, and its index among the fixes of that diagnostic.
type Candidate = (usize, usize);

/// Tries fixes on a program that was loaded and resolved.
pub(crate) struct FixVerifier<'a, F> {
    files: &'a F,
    roots: Vec<String>,
    loaded: &'a Loaded,
    memo: &'a Memo,
    /// The errors of loading and resolving.
    errors: &'a Errors,
    left: usize,
}

impl<'a, F: Files> FixVerifier<'a, F> {
    pub(crate) fn new(files: &'a F, loaded: &'a Loaded, memo: &'a Memo, errors: &'a Errors) -> Self {
        // Imported files are roots too, so that every file keeps its id.
        let roots = loaded.files.iter().map(|file| file.path.to_string()).collect();
        let bytes: usize = loaded.sources.files().map(|(_, file)| file.text().len()).sum();
        let left = (MAX_BYTES / bytes.max(1)).clamp(2, MAX_TRIALS);
        Self { files, roots, loaded, memo, errors, left }
    }

    /// Keeps the automatic fixes that give a program without new errors, and turns the others into help text. Returns
    /// the texts after the fixes.
    pub(crate) fn automatic(mut self, diagnostics: &mut [Diagnostic]) -> Texts {
        let firsts = candidates(diagnostics, Applicability::Automatic);
        let mut result = Outcome::default();
        // If two fixes overlap, only the first is applied; the next check offers the other one again.
        let (together, clashing) = without_clashes(&firsts, diagnostics);
        let mut good = self.verified(&together, diagnostics, &mut result);
        if !good.is_empty() && good.len() < together.len() {
            match self.run(&good, diagnostics, Lines::Edited) {
                Some(own) => result = own,
                None => {
                    result = Outcome::default();
                    good.clear();
                }
            }
        }
        if result.rounds > 1 {
            self.complete(&good, diagnostics, &result.texts);
        }
        good.extend(self.verified_in_turn(clashing, diagnostics));
        retain(diagnostics, Applicability::Automatic, &good);
        result.texts
    }

    /// Keeps the fixes that need a decision and give a program without new errors, and turns the others into help text.
    pub(crate) fn choices(mut self, diagnostics: &mut [Diagnostic]) {
        let mut choices = candidates(diagnostics, Applicability::Maybe);
        // The fixes of one diagnostic are alternatives, so at most one of them is tried at a time.
        choices.sort_by_key(|(at, index)| (*index, *at));
        let good = self.verified_in_turn(choices, diagnostics);
        retain(diagnostics, Applicability::Maybe, &good);
    }

    /// Like [`Self::verified`], for fixes that may overlap.
    fn verified_in_turn(
        &mut self,
        mut candidates: Vec<Candidate>,
        diagnostics: &[Diagnostic],
    ) -> Vec<Candidate> {
        let mut good = Vec::new();
        while !candidates.is_empty() && self.left > 0 {
            let (together, clashing) = without_clashes(&candidates, diagnostics);
            good.extend(self.verified(&together, diagnostics, &mut Outcome::default()));
            candidates = clashing;
        }
        good
    }

    /// Extends each fix that reveals further errors by the edits that repair those, since an editor offers and
    /// applies each fix by itself.
    fn complete(&mut self, candidates: &[Candidate], diagnostics: &mut [Diagnostic], texts: &Texts) {
        for (at, index) in candidates {
            if self.left == 0 {
                break;
            }
            let own = self.run(&[(*at, *index)], diagnostics, Lines::None);
            let texts = match &own {
                Some(own) if own.rounds == 1 => continue,
                Some(own) => &own.texts,
                None => texts,
            };
            let edits: Vec<Edit> =
                texts.iter().filter_map(|(file, text)| self.difference(*file, text)).collect();
            let fix = diagnostics.get_mut(*at).and_then(|found| found.fixes.get_mut(*index));
            let (Some(fix), [edit, ..]) = (fix, edits.as_slice()) else { continue };
            let is_short = edits.len() == 1 && edit.text.len() <= 80 && !edit.text.contains('\n');
            if fix.title.starts_with("write ") && is_short {
                fix.title = format!("write `{}`", edit.text);
            }
            fix.edits = edits;
        }
    }

    /// The smallest edit of whole words that changes a file to this text.
    fn difference(&self, file: FileId, text: &str) -> Option<Edit> {
        let old = self.loaded.sources.file(file).text();
        let same = old.chars().zip(text.chars()).take_while(|(one, other)| one == other);
        let head: usize = same.map(|(one, _)| one.len_utf8()).sum();
        let head = old.get(..head)?.rfind(|c: char| c.is_ascii_whitespace()).map_or(0, |at| at + 1);
        let (rest, new) = (old.get(head..)?, text.get(head..)?);
        let tail: usize = rest
            .chars()
            .rev()
            .zip(new.chars().rev())
            .take_while(|(one, other)| one == other)
            .map(|(one, _)| one.len_utf8())
            .sum();
        // Extend the edit to the end of a word.
        let behind = rest.get(rest.len() - tail..)?;
        let tail = behind.find(char::is_whitespace).map_or(0, |at| behind.len() - at);
        let span = Span::new(u32::try_from(head).ok()?, u32::try_from(old.len() - tail).ok()?);
        let text = new.get(..new.len() - tail)?.to_owned();
        Some(Edit { location: Location::new(file, span), text })
    }

    /// Returns the fixes that give a program without new errors. Tries all fixes together, and if that fails, each
    /// half recursively. `result` is the outcome of the last successful attempt; it is complete only if all fixes are
    /// returned.
    fn verified(
        &mut self,
        candidates: &[Candidate],
        diagnostics: &[Diagnostic],
        result: &mut Outcome,
    ) -> Vec<Candidate> {
        if candidates.is_empty() || self.left == 0 {
            return Vec::new();
        }
        if let Some(own) = self.run(candidates, diagnostics, Lines::Edited) {
            *result = own;
            return candidates.to_vec();
        }
        if candidates.len() == 1 {
            return Vec::new();
        }
        let (first, second) = candidates.split_at(candidates.len() / 2);
        let mut good = self.verified(first, diagnostics, result);
        good.extend(self.verified(second, diagnostics, result));
        good
    }

    /// Applies fixes, and the automatic fixes of the errors that they reveal. Returns `None` if the result has a new
    /// error, or an error in a line that must be free of errors.
    fn run(&mut self, candidates: &[Candidate], diagnostics: &[Diagnostic], clean: Lines) -> Option<Outcome> {
        let mut allowed = self.errors.clone();
        let mut edits: Vec<Edit> = Vec::new();
        let mut chain = true;
        for (at, index) in candidates {
            let found = diagnostics.get(*at)?;
            let fix = found.fixes.get(*index)?;
            allowed.take(found);
            edits.extend(fix.edits.iter().cloned());
            chain &= fix.applicability == Applicability::Automatic;
        }
        let mut overlay =
            Overlay { files: self.files, loaded: self.loaded, changed: BTreeMap::new(), lines: Vec::new() };
        for rounds in 1..=MAX_ROUNDS {
            if rounds > 1 && self.left == 0 {
                return None;
            }
            self.left = self.left.saturating_sub(1);
            overlay.apply(&edits)?;
            let mut loaded = load(&overlay, &self.roots);
            let mut found = resolve(&loaded, Some(self.memo)).diagnostics;
            found.append(&mut loaded.diagnostics);
            let is_cut = found.iter().any(|found| found.code == &TOO_MANY);
            let mut left = allowed.clone();
            found.retain(|found| {
                let is_left = matches!(clean, Lines::Edited) && overlay.is_edited(found, &loaded);
                let known = left.take(found) && !is_left;
                found.level == Level::Error && found.code != &TOO_MANY && !known
            });
            if found.is_empty() {
                return Some(Outcome { texts: overlay.texts(), rounds });
            }
            // Apply the automatic fixes of the new errors, as the next check would.
            let automatic = |fix: &&Fix| chain && fix.applicability == Applicability::Automatic;
            edits.clear();
            for error in &found {
                let fix = error.fixes.iter().find(automatic)?;
                // A repaired import changes the ids of files.
                let same = |edit: &Edit| {
                    let name = loaded.sources.file(edit.location.file).name();
                    self.loaded.sources.file(edit.location.file).name() == name
                };
                if !fix.edits.iter().all(same) {
                    return None;
                }
                if !clashes(&fix.edits, &edits) {
                    edits.extend(fix.edits.iter().cloned());
                }
            }
            // Repaired errors make room in a truncated list of errors, so the new ones are not caused by these fixes.
            if is_cut {
                return Some(Outcome { texts: overlay.texts(), rounds });
            }
        }
        None
    }
}

/// The fixes of the diagnostics with this applicability.
fn candidates(diagnostics: &[Diagnostic], kind: Applicability) -> Vec<Candidate> {
    let fixes = diagnostics.iter().enumerate().flat_map(|(at, found)| {
        found.fixes.iter().enumerate().map(move |(index, fix)| ((at, index), fix.applicability))
    });
    fixes.filter(|(_, own)| *own == kind).map(|(candidate, _)| candidate).collect()
}

/// Keeps only the good ones of the fixes with this applicability.
fn retain(diagnostics: &mut [Diagnostic], kind: Applicability, good: &[Candidate]) {
    let good: FxHashSet<Candidate> = good.iter().copied().collect();
    for (at, found) in diagnostics.iter_mut().enumerate().filter(|(_, found)| !found.fixes.is_empty()) {
        let mut index = 0;
        found.retain_fixes(|fix| {
            index += 1;
            fix.applicability != kind || good.contains(&(at, index - 1))
        });
    }
}

/// Whether some of the edits overlap with others.
fn clashes(edits: &[Edit], others: &[Edit]) -> bool {
    edits.iter().any(|edit| others.iter().any(|other| overlap(edit.location, other.location)))
}

fn overlap(one: Location, other: Location) -> bool {
    let (a, b) = (one.span, other.span);
    one.file == other.file && (a.start < b.end && b.start < a.end || a == b)
}

/// Splits fixes into those that can be applied together, and those that overlap with one of them or belong to the same
/// diagnostic as one of them.
fn without_clashes(candidates: &[Candidate], diagnostics: &[Diagnostic]) -> (Vec<Candidate>, Vec<Candidate>) {
    // The spans of the accepted fixes, by file and start. They do not overlap.
    let mut taken: BTreeMap<(FileId, u32), u32> = BTreeMap::new();
    let is_free = |taken: &BTreeMap<(FileId, u32), u32>, edit: &Edit| {
        let Location { file, span } = edit.location;
        let before = taken.range(..=(file, span.start)).next_back();
        let clear = before.is_none_or(|((own, start), end)| {
            *own != file || *end <= span.start && (*start, *end) != (span.start, span.end)
        });
        let behind = taken.range((file, span.start)..).find(|((_, start), _)| *start > span.start);
        clear && behind.is_none_or(|((own, start), _)| *own != file || *start >= span.end)
    };
    let (mut together, mut clashing) = (Vec::new(), Vec::new());
    let mut last = None;
    for (at, index) in candidates {
        let Some(fix) = diagnostics.get(*at).and_then(|found| found.fixes.get(*index)) else { continue };
        if last == Some(*at) || !fix.edits.iter().all(|edit| is_free(&taken, edit)) {
            clashing.push((*at, *index));
            continue;
        }
        last = Some(*at);
        for edit in &fix.edits {
            taken.insert((edit.location.file, edit.location.span.start), edit.location.span.end);
        }
        together.push((*at, *index));
    }
    (together, clashing)
}

/// The files of a program with edits applied in memory.
struct Overlay<'a, F> {
    files: &'a F,
    loaded: &'a Loaded,
    changed: BTreeMap<FileId, Known>,
    /// The lines that contain the ends of edits, at the time of the edit.
    lines: Vec<(FileId, u32)>,
}

impl<F> Overlay<'_, F> {
    /// The current version of a file.
    fn file(&self, id: FileId) -> Option<Known> {
        if let Some(changed) = self.changed.get(&id) {
            return Some(changed.clone());
        }
        let file = self.loaded.files.iter().find(|file| file.id == id)?;
        Some(Known { source: self.loaded.sources.shared(id)?, parsed: Arc::clone(&file.parsed) })
    }

    /// Applies edits. Returns `None` if the file or the span of an edit does not exist.
    fn apply(&mut self, edits: &[Edit]) -> Option<()> {
        let mut by_file: BTreeMap<FileId, Vec<&Edit>> = BTreeMap::new();
        for edit in edits {
            by_file.entry(edit.location.file).or_default().push(edit);
        }
        for (id, mut edits) in by_file {
            let before = self.file(id)?;
            let old = before.source.text();
            edits.sort_by_key(|edit| edit.location.span);
            let mut text = String::with_capacity(old.len());
            let (mut from, mut ends) = (0, Vec::new());
            for edit in edits {
                let range = edit.location.span.range();
                text.push_str(old.get(from..range.start)?);
                ends.push(text.len());
                text.push_str(&edit.text);
                ends.push(text.len());
                from = range.end;
            }
            text.push_str(old.get(from..)?);
            let known = Known::again(before.source.name(), text.into(), &before.parsed, old);
            let line = |end: &usize| (id, known.source.line_number(u32::try_from(*end).unwrap_or(u32::MAX)));
            self.lines.extend(ends.iter().map(line));
            self.changed.insert(id, known);
        }
        Some(())
    }

    /// Whether a diagnostic is in an edited line.
    fn is_edited(&self, found: &Diagnostic, loaded: &Loaded) -> bool {
        found.location().is_some_and(|place| {
            let line = loaded.sources.file(place.file).line_number(place.span.start);
            self.lines.contains(&(place.file, line))
        })
    }

    fn texts(&self) -> Texts {
        self.changed.iter().map(|(file, known)| (*file, known.source.text().into())).collect()
    }
}

impl<F: Files> Files for Overlay<'_, F> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        self.files.read(path)
    }

    fn known(&self, path: &str) -> Option<Known> {
        let file = self.loaded.files.iter().find(|file| *file.path == *path);
        file.and_then(|file| self.file(file.id)).or_else(|| self.files.known(path))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use npc_program::UNREADABLE;

    struct One(&'static str);

    impl Files for One {
        fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
            if path == "a.np" { Ok(self.0.into()) } else { Err(ReadError::NotFound(Vec::new())) }
        }
    }

    /// Verifies fixes, each of which replaces a word. Returns the diagnostics with the remaining fixes, and the text
    /// after the automatic ones.
    fn verified(
        text: &'static str,
        fixes: &[(&str, &str, Applicability)],
    ) -> (Vec<Diagnostic>, Option<String>) {
        let (files, roots) = (One(text), ["a.np".to_owned()]);
        let loaded = load(&files, &roots);
        let resolved = resolve(&loaded, None);
        let mut errors = loaded.diagnostics.clone();
        errors.extend(resolved.diagnostics);
        let suggest = |(word, with, sure): &(&str, &str, Applicability)| {
            let start = text.find(word).unwrap() as u32;
            let place = Location::new(FileId(0), Span::new(start, start + word.len() as u32));
            let own = errors.iter().find(|own| own.location() == Some(place));
            let (code, message) = own.map_or((&UNREADABLE, "other"), |own| (own.code, own.message.as_str()));
            Diagnostic::new(code, message, place, "").fix(*sure, format!("write `{with}`"), place, *with)
        };
        let mut diagnostics: Vec<Diagnostic> = fixes.iter().map(suggest).collect();
        let known = Errors::of(&errors);
        let trials = || FixVerifier::new(&files, &loaded, &resolved.memo, &known);
        let texts = trials().automatic(&mut diagnostics);
        trials().choices(&mut diagnostics);
        (diagnostics, texts.get(&FileId(0)).map(ToString::to_string))
    }

    #[test]
    fn a_fix_that_leads_to_an_error_becomes_help() {
        use Applicability::{Automatic, Maybe};
        let text = "policy p for all pods in namespace shop {\n  alow ingress from anywhere\n}\n";
        let (found, fixed) = verified(text, &[("alow", "allow", Automatic)]);
        assert_eq!((found[0].fixes.len(), found[0].help.as_deref()), (1, None));
        assert_eq!(fixed.unwrap(), text.replace("alow", "allow"));
        for (with, sure) in [("deny", Automatic), ("deny", Maybe), ("", Automatic), ("}", Maybe)] {
            let (found, fixed) = verified(text, &[("alow", with, sure)]);
            assert_eq!(found[0].fixes, [], "{with}");
            assert_eq!(found[0].help, Some(format!("write `{with}`")));
            assert_eq!(fixed, None);
        }
    }

    #[test]
    fn fixes_that_belong_together_are_tried_together() {
        use Applicability::Automatic;
        let text = "policy p for all pods in namespace shop {\n  alow ingres from anywhere\n}\n";
        let (found, fixed) = verified(text, &[("alow", "allow", Automatic)]);
        assert_eq!(found[0].fixes[0].title, "write `allow ingress`", "the next check would repair the rest");
        assert_eq!(fixed.unwrap(), text.replace("alow ingres", "allow ingress"));
    }

    #[test]
    fn a_bad_fix_does_not_take_others_with_it() {
        use Applicability::Automatic;
        let text =
            "policy p for all pods in namespace shop {\n  alow ingress from anywhere\n  isolate ingress\n}\n";
        let (found, fixed) = verified(text, &[("alow", "allow", Automatic), ("isolate", "deny", Automatic)]);
        assert_eq!(found.iter().map(|found| found.fixes.len()).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(fixed.unwrap(), text.replace("alow", "allow"));
    }

    #[test]
    fn a_line_with_another_error_is_not_repaired() {
        use Applicability::Automatic;
        let one = "policy p for all pods in namespace shop { ingress deny from anywhere }\n";
        assert_eq!(verified(one, &[("ingress deny", "deny ingress", Automatic)]).1, None);
        let two = "policy p for all pods in namespace shop {\n  alow ingress from anywhere\n  allow egress to nobody\n}\n";
        assert!(verified(two, &[("alow", "allow", Automatic)]).1.is_some(), "of another line it may");
    }
}
