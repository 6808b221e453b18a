//! Shows diagnostics. Each form is a file; none of them changes what is said.

mod github;
mod human;
mod json;
mod sarif;
mod short;

use npc_diagnostics::{Code, Diagnostic, SourceMap};

/// How diagnostics are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// With the source and arrows into it, for people.
    #[default]
    Human,
    /// One line each: `file:line:column: level[code]: message`.
    Short,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Workflow commands of GitHub Actions.
    Github,
}

/// What standard input is called.
pub const STDIN: &str = "<stdin>";

/// Where the diagnostics are read.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// Whether to use colours.
    pub colour: bool,
    /// What stands before the names of files, so that they are paths from where the reader is.
    pub prefix: String,
}

impl Style {
    fn path(&self, name: &str) -> String {
        // It has a folder, for what it imports, but is no path.
        if name == STDIN || name.ends_with("/<stdin>") {
            return STDIN.to_owned();
        }
        format!("{}{name}", self.prefix)
    }
}

/// Shows all diagnostics in one text. `codes` are all that the compiler has; SARIF lists those used.
#[must_use]
pub fn render(
    format: Format,
    diagnostics: &[Diagnostic],
    sources: &SourceMap,
    codes: &[&'static Code],
    style: &Style,
) -> String {
    match format {
        Format::Human => human::render(diagnostics, sources, style),
        Format::Short => short::render(diagnostics, sources, style),
        Format::Json => json::render(diagnostics, sources, style),
        Format::Sarif => sarif::render(diagnostics, sources, codes, style),
        Format::Github => github::render(diagnostics, sources, style),
    }
}
