//! `textDocument/formatting`: the one style of `npc fmt`.

use npc_diagnostics::{FileId, Span};
use similar::{DiffOp, TextDiff};
use tower_lsp::ls_types::TextEdit;

use crate::convert::range;
use crate::core::text::{Encoding, Text};

/// The lines that change; nothing where the text cannot be read, so that it stays as it is.
pub(crate) fn edits(text: &Text, encoding: Encoding) -> Option<Vec<TextEdit>> {
    let before = text.text().as_ref();
    let after = npc_format::format(FileId(0), before).ok()?;
    let diff = TextDiff::from_lines(before, &after);
    let starts = |lines: &[&str]| -> Vec<usize> {
        let ends = lines.iter().scan(0, |end, line| {
            *end += line.len();
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    };
    let (old, new) = (starts(diff.old_slices()), starts(diff.new_slices()));
    let at = |starts: &[usize], line: usize| starts.get(line).copied().unwrap_or(0);
    let changed = diff.ops().iter().filter(|op| !matches!(op, DiffOp::Equal { .. }));
    let edits = changed.map(|op| {
        let (from, to) = (op.old_range(), op.new_range());
        let offset = |line: usize| u32::try_from(at(&old, line)).unwrap_or(u32::MAX);
        TextEdit {
            range: range(text, Span::new(offset(from.start), offset(from.end)), encoding),
            new_text: after.get(at(&new, to.start)..at(&new, to.end)).unwrap_or_default().to_owned(),
        }
    });
    Some(edits.collect())
}
