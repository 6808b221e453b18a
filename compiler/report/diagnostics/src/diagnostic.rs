//! The diagnostic type.

use crate::{Code, FileId, Level, Location, SourceMap};

/// A diagnostic. It is independent of the output format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The kind of diagnostic.
    pub code: &'static Code,
    /// The level, after `npc.toml` and comments in the source are applied.
    pub level: Level,
    /// The problem, in the user's terms, in one sentence without a full stop.
    pub message: String,
    /// The locations involved. The first is the location of the problem.
    pub labels: Vec<Label>,
    /// Consequences or reasons.
    pub notes: Vec<String>,
    /// How to fix the problem, as text.
    pub help: Option<String>,
    /// Edits that fix the problem. The fixes are alternatives: each is complete.
    pub fixes: Vec<Fix>,
}

/// A location that is involved in a diagnostic, with an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The location.
    pub location: Location,
    /// The explanation; empty if the message suffices.
    pub text: String,
}

/// A fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// A title in the imperative: "rename to `dns`".
    pub title: String,
    /// The edits. They do not overlap.
    pub edits: Vec<Edit>,
    /// Whether `npc check --fix` applies the fix.
    pub applicability: Applicability,
}

/// Whether a fix may be applied automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applicability {
    /// Certainly what the author intended.
    Automatic,
    /// Possibly not what the author intended: offered in editors, never applied automatically.
    Maybe,
}

/// A replacement of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The location to replace.
    pub location: Location,
    /// The new text.
    pub text: String,
}

impl Diagnostic {
    /// Creates a diagnostic with one label.
    #[must_use]
    pub fn new(
        code: &'static Code,
        message: impl Into<String>,
        location: Location,
        label: impl Into<String>,
    ) -> Self {
        Self {
            code,
            level: code.level,
            message: message.into(),
            labels: vec![Label { location, text: label.into() }],
            notes: Vec::new(),
            help: None,
            fixes: Vec::new(),
        }
    }

    /// Creates a diagnostic without a location in a source file.
    #[must_use]
    pub fn without_place(code: &'static Code, message: impl Into<String>) -> Self {
        Self {
            code,
            level: code.level,
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            help: None,
            fixes: Vec::new(),
        }
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, location: Location, text: impl Into<String>) -> Self {
        self.labels.push(Label { location, text: text.into() });
        self
    }

    /// Adds a note.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Sets the help.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Adds a fix that replaces the text at one location.
    #[must_use]
    pub fn fix(
        self,
        applicability: Applicability,
        title: impl Into<String>,
        location: Location,
        text: impl Into<String>,
    ) -> Self {
        self.fix_edits(applicability, title, vec![Edit { location, text: text.into() }])
    }

    /// Adds a fix with several edits.
    #[must_use]
    pub fn fix_edits(
        mut self,
        applicability: Applicability,
        title: impl Into<String>,
        edits: Vec<Edit>,
    ) -> Self {
        self.fixes.push(Fix { title: title.into(), edits, applicability });
        self
    }

    /// Drops the fixes that `keep` rejects. If that leaves neither an automatic fix nor a help, the titles of
    /// all fixes become the help.
    pub fn retain_fixes(&mut self, keep: impl FnMut(&Fix) -> bool) {
        let advice = self.alternatives();
        let before = self.fixes.len();
        self.fixes.retain(keep);
        let automatic = self.fixes.iter().any(|fix| fix.applicability == Applicability::Automatic);
        if self.fixes.len() < before && !automatic && self.help.is_none() {
            self.help = advice;
        }
    }

    /// The titles of the fixes, joined as alternatives: "write `a` or `b`".
    #[must_use]
    pub fn alternatives(&self) -> Option<String> {
        let (first, rest) = self.fixes.split_first()?;
        let mut text = first.title.clone();
        for fix in rest {
            let title = fix.title.strip_prefix("write ").filter(|_| text.starts_with("write "));
            text.push_str(" or ");
            text.push_str(title.unwrap_or(&fix.title));
        }
        Some(text)
    }

    /// The same diagnostic for another file of the program, with the same text.
    #[must_use]
    pub fn in_file(mut self, file: FileId) -> Self {
        self.locations_mut().for_each(|location| location.file = file);
        self
    }

    fn locations_mut(&mut self) -> impl Iterator<Item = &mut Location> {
        let labels = self.labels.iter_mut().map(|label| &mut label.location);
        let edits = self.fixes.iter_mut().flat_map(|fix| &mut fix.edits).map(|edit| &mut edit.location);
        labels.chain(edits)
    }

    /// The location of the problem, if there is one.
    #[must_use]
    pub fn location(&self) -> Option<Location> {
        self.labels.first().map(|label| label.location)
    }
}

/// The diagnostics of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All diagnostics.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Converts locations in items to locations in files.
    pub fn make_absolute(&mut self, sources: &SourceMap) {
        let locations = self.diagnostics.iter_mut().flat_map(Diagnostic::locations_mut);
        locations.for_each(|location| *location = sources.absolute(*location));
    }

    /// Adds a diagnostic.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Whether there is an error, so that no output may be written.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.level == Level::Error)
    }

    /// The number of diagnostics with `level`.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        self.diagnostics.iter().filter(|d| d.level == level).count()
    }

    /// Sorts by file and offset, so that a reader goes through each file once. Diagnostics without a location
    /// come first. The sort is stable.
    pub fn sort(&mut self) {
        self.diagnostics.sort_by_key(Diagnostic::location);
    }
}
