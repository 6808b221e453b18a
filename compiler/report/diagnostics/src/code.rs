//! Stable codes and their explanations.

use std::fmt;

/// The severity of a diagnostic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Not shown.
    Allow,
    /// Informational; nothing is wrong.
    Note,
    /// Probably not what the author intended. Output is written.
    Warning,
    /// An error: no output is written.
    Error,
}

impl Level {
    /// The word used in output and in `npc.toml`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A kind of diagnostic: its stable identifier and the page that `npc explain` prints.
///
/// Declared with [`codes!`](crate::codes), next to the check that reports it; the doc comment there is the
/// page.
#[derive(Debug)]
pub struct Code {
    /// `NP` and four digits. An id is never reused for another diagnostic.
    pub id: &'static str,
    /// A short name, such as `unknown-name`.
    pub name: &'static str,
    /// The default level.
    pub level: Level,
    /// The page, in Markdown: a heading, an explanation, an example and its fix.
    pub page: &'static str,
}

impl Code {
    /// The heading of the page, without the `#`.
    #[must_use]
    pub fn title(&self) -> &'static str {
        let first = self.page.trim_start().lines().next().unwrap_or("");
        first.trim_start_matches('#').trim()
    }

    /// The page for display: the code is added to the heading, and the words after code fences, which only
    /// the tests use, are removed.
    #[must_use]
    pub fn explained(&self) -> String {
        let mut text = String::new();
        for line in self.page.lines() {
            let line = line.strip_prefix(' ').unwrap_or(line);
            text.push_str(if line.starts_with("```np") { "```np" } else { line });
            text.push('\n');
        }
        match text.trim_start().strip_prefix("# ") {
            Some(rest) => format!("# {}: {rest}", self.id),
            None => text,
        }
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Code {}

/// Declares codes with their pages, and `CODES`, a list of all of them.
///
/// ```
/// npc_diagnostics::codes! {
///     /// # Nothing to see
///     ///
///     /// The page of the code.
///     EXAMPLE = "NP9999" "example" Warning;
/// }
/// assert_eq!(EXAMPLE.title(), "Nothing to see");
/// assert_eq!(CODES.len(), 1);
/// ```
#[macro_export]
macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $id:literal $slug:literal $level:ident;)*) => {
        $(
            $(#[doc = $doc])*
            pub static $name: $crate::Code = $crate::Code {
                id: $id,
                name: $slug,
                level: $crate::Level::$level,
                page: concat!($($doc, "\n"),*),
            };
        )*
        /// The codes declared here.
        pub static CODES: &[&$crate::Code] = &[$(&$name),*];
    };
}
