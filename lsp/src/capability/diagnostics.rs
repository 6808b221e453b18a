//! `textDocument/publishDiagnostics` and `textDocument/diagnostic`: the diagnostics of `npc check`, with the
//! same codes and messages.

use std::collections::HashMap;
use std::path::PathBuf;

use npc_diagnostics::{Code, Diagnostic as Found, Level};
use npc_project::CONFIG;
use tower_lsp::ls_types::{
    CodeDescription, Diagnostic, DiagnosticRelatedInformation, DiagnosticSeverity, DiagnosticTag,
    NumberOrString, Range,
};

use crate::convert::{self, Places};

/// Codes of items without effect. Editors show them faded, like unused code.
const IDLE: [&str; 3] = ["NP0210", "NP0407", "NP0803"];

/// The page that documents the codes.
const PAGES: &str = "https://github.com/npc-lang/npc/blob/main/docs/codes.md";

/// The diagnostics of a program, by file.
pub(crate) fn of_program(places: Places<'_>) -> HashMap<PathBuf, Vec<Diagnostic>> {
    let program = places.program;
    let mut all: HashMap<PathBuf, Vec<Diagnostic>> = HashMap::new();
    for found in &program.checked.report.diagnostics {
        // A diagnostic without labels is shown at the start of the program's first file.
        let file = found.labels.first().map(|label| label.location.file);
        let Some(file) = file.or_else(|| program.files().first().map(|file| file.id)) else { continue };
        all.entry(program.path(file)).or_default().push(one(places, found));
    }
    if let Some(broken) = &program.broken_config {
        let reported = broken.diagnostics.iter().map(|found| {
            let place =
                found.location().map(|place| convert::range(&broken.text, place.span, places.encoding));
            Diagnostic { range: place.unwrap_or_default(), ..plain(found) }
        });
        all.insert(program.folder().join(CONFIG), reported.collect());
    }
    all
}

/// Converts a diagnostic.
pub(crate) fn one(places: Places<'_>, found: &Found) -> Diagnostic {
    let mut labels = found.labels.iter();
    let first = labels.next();
    let related = labels.filter_map(|label| {
        let message = if label.text.is_empty() { "and here".to_owned() } else { label.text.clone() };
        Some(DiagnosticRelatedInformation { location: places.location(label.location)?, message })
    });
    let related: Vec<DiagnosticRelatedInformation> = related.collect();
    Diagnostic {
        range: first.map_or_else(Range::default, |label| places.range(label.location)),
        related_information: (!related.is_empty()).then_some(related),
        ..plain(found)
    }
}

/// Converts a diagnostic without its locations.
fn plain(found: &Found) -> Diagnostic {
    let mut message = found.message.clone();
    if let Some(label) = found.labels.first().filter(|label| !label.text.is_empty()) {
        message.push_str(&format!("\n{}", label.text));
    }
    for note in &found.notes {
        message.push_str(&format!("\nnote: {note}"));
    }
    if let Some(help) = &found.help {
        message.push_str(&format!("\nhelp: {help}"));
    }
    Diagnostic {
        severity: Some(match found.level {
            Level::Error => DiagnosticSeverity::ERROR,
            Level::Warning => DiagnosticSeverity::WARNING,
            _ => DiagnosticSeverity::INFORMATION,
        }),
        code: Some(NumberOrString::String(found.code.id.to_owned())),
        code_description: page(found.code).parse().ok().map(|href| CodeDescription { href }),
        source: Some("npc".to_owned()),
        message,
        tags: IDLE.contains(&found.code.id).then(|| vec![DiagnosticTag::UNNECESSARY]),
        ..Diagnostic::default()
    }
}

/// The URL of a code's section. The anchor is computed as GitHub does for headings.
fn page(code: &Code) -> String {
    let heading = format!("{}: {}", code.id, code.title()).to_lowercase();
    let letters = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    let anchor: String = letters.map(|c| if c == ' ' { '-' } else { c }).collect();
    format!("{PAGES}#{anchor}")
}
