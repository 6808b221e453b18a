//! Conversions between the types of `core` and those of the protocol.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npc_diagnostics::{Location, Span};
use tower_lsp::ls_types::{
    self, DocumentChanges, OneOf, OptionalVersionedTextDocumentIdentifier, Position, Range, TextDocumentEdit,
    TextEdit, Uri, WorkspaceEdit,
};

use crate::core::program::Program;
use crate::core::program_id::{UNSAVED, is_on_disk};
use crate::core::text::{self, Encoding, Text};

/// Converts an offset to a position of the protocol.
pub(crate) fn position(text: &Text, offset: u32, encoding: Encoding) -> Position {
    let text::Position { line, column } = text.position(offset as usize, encoding);
    Position { line, character: column }
}

/// Converts a span to a range of the protocol.
pub(crate) fn range(text: &Text, span: Span, encoding: Encoding) -> Range {
    Range { start: position(text, span.start, encoding), end: position(text, span.end, encoding) }
}

/// Converts a position of the protocol to a position of `core`.
pub(crate) const fn place(position: Position) -> text::Position {
    text::Position { line: position.line, column: position.character }
}

/// Converts a position of the protocol to an offset.
pub(crate) fn offset(text: &Text, position: Position, encoding: Encoding) -> u32 {
    u32::try_from(text.offset(place(position), encoding)).unwrap_or(u32::MAX)
}

/// Converts a range of the protocol to a span.
pub(crate) fn span(text: &Text, range: Range, encoding: Encoding) -> Span {
    let start = offset(text, range.start, encoding);
    Span::new(start, offset(text, range.end, encoding).max(start))
}

/// The URI of a file or of an unsaved document.
pub(crate) fn uri(path: &Path) -> Option<Uri> {
    if is_on_disk(path) { Uri::from_file_path(path) } else { path.to_str()?.parse().ok() }
}

/// The path of a file. For an unsaved document it is the URI itself, which has no path below it. `None` for
/// other URIs.
pub(crate) fn path(uri: &Uri) -> Option<PathBuf> {
    if uri.scheme().as_str() == "file" {
        return uri.to_file_path().map(std::borrow::Cow::into_owned);
    }
    uri.as_str().starts_with(UNSAVED).then(|| PathBuf::from(uri.as_str()))
}

/// A program with the position encoding: converts locations in the program to the protocol's.
#[derive(Clone, Copy)]
pub(crate) struct Places<'p> {
    pub(crate) program: &'p Program,
    pub(crate) encoding: Encoding,
}

/// Text edits, collected by file. The result carries document versions if the editor supports them.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    files: BTreeMap<PathBuf, Vec<TextEdit>>,
}

/// The versions of the open files. `None` if the editor does not support versioned edits.
pub(crate) type Versions = Option<Arc<BTreeMap<PathBuf, i32>>>;

impl Edits {
    /// Adds edits of a program's files, without duplicates: programs that share a file give the same edits.
    pub(crate) fn add(&mut self, places: Places<'_>, edits: impl IntoIterator<Item = (Location, String)>) {
        for (place, new_text) in edits {
            let edit = TextEdit { range: places.range(place), new_text };
            let file = self.files.entry(places.program.path(place.file)).or_default();
            if !file.contains(&edit) {
                file.push(edit);
            }
        }
    }

    /// Whether there are no edits.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    #[allow(clippy::mutable_key_type, reason = "the protocol's type uses URIs as keys")]
    pub(crate) fn finish(self, versions: &Versions) -> WorkspaceEdit {
        let files = self.files.into_iter().filter_map(|(path, edits)| Some((uri(&path)?, path, edits)));
        match versions {
            None => {
                let changes = Some(files.map(|(uri, _, edits)| (uri, edits)).collect());
                WorkspaceEdit { changes, ..WorkspaceEdit::default() }
            }
            Some(versions) => {
                let changes = files.map(|(uri, path, edits)| TextDocumentEdit {
                    text_document: OptionalVersionedTextDocumentIdentifier {
                        uri,
                        version: versions.get(&path).copied(),
                    },
                    edits: edits.into_iter().map(OneOf::Left).collect(),
                });
                let document_changes = Some(DocumentChanges::Edits(changes.collect()));
                WorkspaceEdit { document_changes, ..WorkspaceEdit::default() }
            }
        }
    }
}

impl Places<'_> {
    pub(crate) fn range(self, location: Location) -> Range {
        let Location { file, span } = self.program.absolute(location);
        range(self.program.text(file), span, self.encoding)
    }

    pub(crate) fn uri(self, location: Location) -> Option<Uri> {
        let location = self.program.absolute(location);
        uri(&self.program.path(location.file))
    }

    pub(crate) fn location(self, location: Location) -> Option<ls_types::Location> {
        Some(ls_types::Location { uri: self.uri(location)?, range: self.range(location) })
    }
}
