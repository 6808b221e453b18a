//! Diagnostics on their way to the user.

use std::io::Write as _;

use npc_diagnostics::{Diagnostic, Level, SourceMap};
use npc_render::{Format, Style, render};

use crate::files::{Error, print};

/// Where and how diagnostics are printed.
pub(crate) struct Reporter {
    pub(crate) format: Format,
    pub(crate) style: Style,
    /// Whether a machine reads them: then they are the output, on standard output.
    pub(crate) is_output: bool,
}

impl Reporter {
    /// Of names that are paths from here.
    pub(crate) fn new(format: impl Into<Format>, colour: bool, is_output: bool) -> Self {
        Self { format: format.into(), style: Style { colour, prefix: String::new() }, is_output }
    }

    /// Prints diagnostics, and for people a line that counts them.
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
        // Nothing can be done where standard error is gone.
        let _ = std::io::stderr().lock().write_all(out.as_bytes());
        Ok(())
    }
}

/// "2 errors and 1 warning", or nothing.
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

/// Prints a line for people.
pub(crate) fn line(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints why the command could not run.
pub(crate) fn error_line(text: &str) {
    line(&format!("npc: {text}"));
}
