//! Workflow commands, with which GitHub Actions annotates the lines of a change.

use std::fmt::Write as _;

use npc_diagnostics::{Diagnostic, Level, SourceMap};

use crate::Style;

pub(crate) fn render(diagnostics: &[Diagnostic], sources: &SourceMap, style: &Style) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics {
        let command = match diagnostic.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note | Level::Allow => "notice",
        };
        let mut properties = Vec::new();
        if let Some(location) = diagnostic.location() {
            let file = sources.file(location.file);
            let start = file.line_column(location.span.start);
            let end = file.line_column(location.span.end);
            properties.push(format!("file={}", property(&style.path(file.name()))));
            properties.push(format!("line={},endLine={}", start.line, end.line));
            // GitHub accepts columns only for an annotation within one line.
            if start.line == end.line {
                properties.push(format!("col={},endColumn={}", start.column, end.column));
            }
        }
        properties
            .push(format!("title={}", property(&format!("{} {}", diagnostic.code.id, diagnostic.code.name))));
        let mut message = diagnostic.message.clone();
        if let Some(label) = diagnostic.labels.first().filter(|label| !label.text.is_empty()) {
            let _ = write!(message, ": {}", label.text);
        }
        for note in &diagnostic.notes {
            let _ = write!(message, "\n{note}");
        }
        if let Some(help) = &diagnostic.help {
            let _ = write!(message, "\nhelp: {help}");
        }
        let _ = writeln!(out, "::{command} {}::{}", properties.join(","), data(&message));
    }
    out
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
