//! Renders diagnostics. Each output format has a module; all of them show the same diagnostics.

mod github;
mod human;
mod json;
mod sarif;
mod short;

use npc_diagnostics::{Code, Diagnostic, SourceMap};

/// An output format for diagnostics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Source excerpts with annotations, for people.
    #[default]
    Human,
    /// One line per diagnostic: `file:line:column: level[code]: message`.
    Short,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Workflow commands of GitHub Actions.
    Github,
}

/// The name of standard input.
pub const STDIN: &str = "<stdin>";

/// Options for the reader's environment.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// Whether to use colours.
    pub colour: bool,
    /// A prefix for file names, so that they are relative to the reader's folder.
    pub prefix: String,
}

impl Style {
    fn path(&self, name: &str) -> String {
        // Standard input has a folder, which its imports are relative to, but the name is not a path.
        if name == STDIN || name.ends_with("/<stdin>") {
            return STDIN.to_owned();
        }
        format!("{}{name}", self.prefix)
    }
}

/// Renders all diagnostics. `codes` lists all codes of the compiler; SARIF output contains those that are
/// used.
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
