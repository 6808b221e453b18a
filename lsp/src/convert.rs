//! Between the core's words and the protocol's.

use npc_diagnostics::Span;
use tower_lsp::ls_types::{Position, Range};

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
