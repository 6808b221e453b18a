//! One line per diagnostic, in the classic format of compilers.

use std::fmt::Write as _;

use npc_diagnostics::{Diagnostic, SourceMap};

use crate::Style;

pub(crate) fn render(diagnostics: &[Diagnostic], sources: &SourceMap, style: &Style) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        line(&mut out, diagnostic, sources, style);
    }
    out
}

pub(crate) fn line(out: &mut String, diagnostic: &Diagnostic, sources: &SourceMap, style: &Style) {
    if let Some(location) = diagnostic.location() {
        let file = sources.file(location.file);
        let at = file.line_column(location.span.start);
        // Writing to a string cannot fail.
        let _ = write!(out, "{}:{}:{}: ", style.path(file.name()), at.line, at.column);
    }
    let _ = write!(out, "{}[{}]: {}", diagnostic.level, diagnostic.code.id, diagnostic.message);
    if let Some(label) = diagnostic.labels.first().filter(|label| !label.text.is_empty()) {
        let _ = write!(out, ": {}", label.text);
    }
    out.push('\n');
}
