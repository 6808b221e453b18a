//! Between the core's words and the protocol's.

use std::path::Path;

use npc_diagnostics::{Location, Span};
use tower_lsp::ls_types::{self, Position, Range, Uri};

use crate::core::program::Program;
use crate::core::text::{self, Encoding, Text};

/// The protocol's place of a byte.
pub(crate) fn position(text: &Text, offset: u32, encoding: Encoding) -> Position {
    let text::Position { line, column } = text.position(offset as usize, encoding);
    Position { line, character: column }
}

/// The protocol's places of a part of a text.
pub(crate) fn range(text: &Text, span: Span, encoding: Encoding) -> Range {
    Range { start: position(text, span.start, encoding), end: position(text, span.end, encoding) }
}

/// The core's place of one of the protocol's.
pub(crate) const fn place(position: Position) -> text::Position {
    text::Position { line: position.line, column: position.character }
}

/// The byte at one of the protocol's places.
pub(crate) fn offset(text: &Text, position: Position, encoding: Encoding) -> u32 {
    u32::try_from(text.offset(place(position), encoding)).unwrap_or(u32::MAX)
}

/// The part of a text that the protocol names.
pub(crate) fn span(text: &Text, range: Range, encoding: Encoding) -> Span {
    let start = offset(text, range.start, encoding);
    Span::new(start, offset(text, range.end, encoding).max(start))
}

/// The address of a file.
pub(crate) fn uri(path: &Path) -> Option<Uri> {
    Uri::from_file_path(path)
}

/// The places of a program, as the protocol has them.
#[derive(Clone, Copy)]
pub(crate) struct Places<'p> {
    pub(crate) program: &'p Program,
    pub(crate) encoding: Encoding,
}

impl Places<'_> {
    pub(crate) fn range(self, location: Location) -> Range {
        range(self.program.text(location.file), location.span, self.encoding)
    }

    pub(crate) fn uri(self, location: Location) -> Option<Uri> {
        uri(&self.program.path(location.file))
    }

    pub(crate) fn location(self, location: Location) -> Option<ls_types::Location> {
        Some(ls_types::Location { uri: self.uri(location)?, range: self.range(location) })
    }
}
