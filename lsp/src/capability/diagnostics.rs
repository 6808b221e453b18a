//! Diagnostics: what `npc check` finds, with the same codes and words.

use std::collections::HashMap;
use std::path::Path;

use npc_diagnostics::{Diagnostic as Found, FileId, Level, Location};
use tower_lsp::ls_types::{
    Diagnostic, DiagnosticRelatedInformation, DiagnosticSeverity, DiagnosticTag, Location as Place,
    NumberOrString, Range, Uri,
};

use crate::convert::range;
use crate::core::text::{Encoding, Text};
use crate::core::workspace::Program;

/// Codes of what changes nothing: shown as faint as what is not used.
const IDLE: [&str; 3] = ["NP0210", "NP0407", "NP0803"];

/// The texts of a program's files, each made once where it is needed.
pub(crate) struct Texts<'p> {
    program: &'p Program,
    made: HashMap<FileId, Text>,
    encoding: Encoding,
}

impl<'p> Texts<'p> {
    pub(crate) fn new(program: &'p Program, encoding: Encoding) -> Self {
        Self { program, made: HashMap::new(), encoding }
    }

    pub(crate) fn range(&mut self, location: Location) -> Range {
        let sources = self.program.checked.sources();
        let make = || Text::new(sources.file(location.file).text());
        let text = self.made.entry(location.file).or_insert_with(make);
        range(text, location.span, self.encoding)
    }
}

/// The diagnostics of each file of a program that has some.
pub(crate) fn of_program(program: &Program, encoding: Encoding) -> HashMap<FileId, Vec<Diagnostic>> {
    let mut texts = Texts::new(program, encoding);
    let mut all: HashMap<FileId, Vec<Diagnostic>> = HashMap::new();
    for found in &program.checked.report.diagnostics {
        // One without a place is told where the program begins.
        let file = found.labels.first().map_or(FileId(0), |label| label.location.file);
        all.entry(file).or_default().push(one(program, &mut texts, found));
    }
    all
}

/// A diagnostic, as editors show it.
pub(crate) fn one(program: &Program, texts: &mut Texts<'_>, found: &Found) -> Diagnostic {
    let mut message = found.message.clone();
    let mut labels = found.labels.iter();
    let first = labels.next();
    if let Some(label) = first.filter(|label| !label.text.is_empty()) {
        message.push_str(&format!("\n{}", label.text));
    }
    for note in &found.notes {
        message.push_str(&format!("\nnote: {note}"));
    }
    if let Some(help) = &found.help {
        message.push_str(&format!("\nhelp: {help}"));
    }
    let related = labels.filter_map(|label| {
        let message = if label.text.is_empty() { "and here".to_owned() } else { label.text.clone() };
        let uri = uri(&program.path(label.location.file))?;
        let location = Place { uri, range: texts.range(label.location) };
        Some(DiagnosticRelatedInformation { location, message })
    });
    let related: Vec<DiagnosticRelatedInformation> = related.collect();
    Diagnostic {
        range: first.map_or_else(Range::default, |label| texts.range(label.location)),
        severity: Some(match found.level {
            Level::Error => DiagnosticSeverity::ERROR,
            Level::Warning => DiagnosticSeverity::WARNING,
            _ => DiagnosticSeverity::INFORMATION,
        }),
        code: Some(NumberOrString::String(found.code.id.to_owned())),
        source: Some("npc".to_owned()),
        message,
        related_information: (!related.is_empty()).then_some(related),
        tags: IDLE.contains(&found.code.id).then(|| vec![DiagnosticTag::UNNECESSARY]),
        ..Diagnostic::default()
    }
}

/// The address of a file.
pub(crate) fn uri(path: &Path) -> Option<Uri> {
    Uri::from_file_path(path)
}
