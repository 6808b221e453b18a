//! Prints diagnostics.

use std::io::Write as _;

use npc_diagnostics::{Diagnostic, Level, SourceMap};
use npc_render::{Format, Style, render};

use crate::files::{Error, print};

/// Options for printing diagnostics.
pub(crate) struct Reporter {
    pub(crate) format: Format,
    pub(crate) style: Style,
    /// Whether machine-readable diagnostics are the output of the command, and go to standard output.
    pub(crate) is_output: bool,
}

impl Reporter {
    /// Creates a reporter for names that are relative to the current folder.
    pub(crate) fn new(format: impl Into<Format>, colour: bool, is_output: bool) -> Self {
        Self { format: format.into(), style: Style { colour, prefix: String::new() }, is_output }
    }

    /// Prints diagnostics, and in the human format a summary line.
    pub(crate) fn print(&self, diagnostics: &[Diagnostic], sources: &SourceMap) -> Result<(), Error> {
        let text = render(self.format, diagnostics, sources, &npc_driver::codes(), &self.style);
        if self.is_output && matches!(self.format, Format::Json | Format::Sarif | Format::Github) {
            return print(&text);
        }
        let mut out = text;
        if self.format == Format::Human
            && let Some(line) = summary(diagnostics)
        {
            out.push('\n');
            out.push_str(&line);
            out.push('\n');
        }
        // A closed standard error cannot be reported.
        let _ = std::io::stderr().lock().write_all(out.as_bytes());
        Ok(())
    }
}

/// "2 errors, 1 warning"; `None` if there are no diagnostics.
fn summary(diagnostics: &[Diagnostic]) -> Option<String> {
    let count = |level: Level, one: &str| {
        let count = diagnostics.iter().filter(|d| d.level == level).count();
        match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {one}s")),
        }
    };
    let parts: Vec<String> = [(Level::Error, "error"), (Level::Warning, "warning"), (Level::Note, "note")]
        .into_iter()
        .filter_map(|(level, word)| count(level, word))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Prints a line to standard error.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints the reason why the command could not run.
pub(crate) fn error_line(text: &str) {
    line(&format!("npc: {text}"));
}
