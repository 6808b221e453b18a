//! The diagnostics of a file while it is parsed.

use npc_diagnostics::{Applicability, Diagnostic, FileId, Location, Span};

use crate::codes::UNTERMINATED_STRING;
use crate::error::SyntaxError;

/// Collects the diagnostics of a file.
pub(crate) struct Output<'a> {
    pub(crate) file: FileId,
    pub(crate) source: &'a str,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

impl Output<'_> {
    pub(crate) fn at(&self, span: Span) -> Location {
        Location::new(self.file, span)
    }

    pub(crate) fn text(&self, span: Span) -> &str {
        span.of(self.source)
    }

    pub(crate) fn syntax(&mut self, error: SyntaxError) {
        self.diagnostics.push(error.diagnostic(self.file, self.source));
    }

    pub(crate) fn open_string(&mut self, span: Span) {
        self.diagnostics.push(
            Diagnostic::new(
                &UNTERMINATED_STRING,
                "this string has no closing quote",
                self.at(span),
                "the string begins here and must end on this line",
            )
            .fix(Applicability::Maybe, "close the string", self.at(span.at_end()), "\""),
        );
    }

    /// Removes diagnostics in lines with an invalid character: they are most likely consequences of it.
    pub(crate) fn drop_on_bad_lines(&mut self, bad: &[Span]) {
        let line = |span: &Span| {
            let (ahead, behind) = self.source.split_at(self.source.floor_char_boundary(span.start as usize));
            let start = ahead.rfind('\n').map_or(0, |at| at + 1);
            let end = behind.find('\n').map_or(self.source.len(), |at| ahead.len() + at);
            start..=end
        };
        let lines: Vec<_> = bad.iter().map(line).collect();
        let beside = |at: usize| {
            // The lines are sorted, because the invalid characters are in source order.
            let behind = lines.partition_point(|line| *line.end() < at);
            lines.get(behind).is_some_and(|line| line.contains(&at))
        };
        self.diagnostics.retain(|d| d.location().is_none_or(|place| !beside(place.span.start as usize)));
    }
}
