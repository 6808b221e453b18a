//! What the compiler says.

use crate::{Code, FileId, Level, Location};

/// One finding, made once and shown by many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of finding.
    pub code: &'static Code,
    /// How much it weighs, after `npc.toml` and comments have had their say.
    pub level: Level,
    /// What is wrong, in the user's terms, in one sentence without a full stop.
    pub message: String,
    /// The places involved. The first is where the mistake is.
    pub labels: Vec<Label>,
    /// What follows from it, or why it is so.
    pub notes: Vec<String>,
    /// How to repair it, for people.
    pub help: Option<String>,
    /// Repairs that a machine can apply; each is a whole repair of its own.
    pub fixes: Vec<Fix>,
}

/// A place that takes part in a finding, and what it has to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The place.
    pub location: Location,
    /// What is there; may be empty where the message says it all.
    pub text: String,
}

/// A repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// What it does, as a command: "rename to `dns`".
    pub title: String,
    /// The changes, none of which overlap.
    pub edits: Vec<Edit>,
    /// Whether `npc check --fix` applies it without asking.
    pub applicability: Applicability,
}

/// Whether a repair may be applied without asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applicability {
    /// It is what was meant.
    Automatic,
    /// It may not be what was meant: offered, not applied.
    Maybe,
}

/// A replacement of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced.
    pub location: Location,
    /// By what.
    pub text: String,
}

impl Diagnostic {
    /// A finding of `code` at `location`, with what to say at that place.
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

    /// A finding that has no place in a source file.
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

    /// Adds a further place.
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

    /// Says how to repair it.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Adds a repair that replaces one place.
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

    /// Adds a repair of several edits.
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

    /// Leaves some fixes. What the others would do is help for people, where there is no other.
    pub fn retain_fixes(&mut self, keep: impl FnMut(&Fix) -> bool) {
        let advice = self.alternatives();
        let before = self.fixes.len();
        self.fixes.retain(keep);
        let automatic = self.fixes.iter().any(|fix| fix.applicability == Applicability::Automatic);
        if self.fixes.len() < before && !automatic && self.help.is_none() {
            self.help = advice;
        }
    }

    /// The titles of the fixes, between which only a person can choose: "write `a` or `b`".
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

    /// The same finding of the same text as another file of a program.
    #[must_use]
    pub fn in_file(mut self, file: FileId) -> Self {
        let labels = self.labels.iter_mut().map(|label| &mut label.location);
        let edits = self.fixes.iter_mut().flat_map(|fix| &mut fix.edits).map(|edit| &mut edit.location);
        labels.chain(edits).for_each(|location| location.file = file);
        self
    }

    /// The place of the mistake, where it has one.
    #[must_use]
    pub fn location(&self) -> Option<Location> {
        self.labels.first().map(|label| label.location)
    }
}

/// The findings of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All of them.
    pub diagnostics: Vec<Diagnostic>,
}

impl Report {
    /// Adds a finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Whether any finding forbids output.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|d| d.level == Level::Error)
    }

    /// How many findings are of `level`.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        self.diagnostics.iter().filter(|d| d.level == level).count()
    }

    /// Sorts by file and place, so that a reader goes through each file once. Findings without a
    /// place come first. The order of equal places is kept.
    pub fn sort(&mut self) {
        self.diagnostics.sort_by_key(Diagnostic::location);
    }
}
