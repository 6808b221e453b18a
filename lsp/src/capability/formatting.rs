//! `textDocument/formatting`, `rangeFormatting` and `onTypeFormatting`: the one style of `npc fmt`.

use std::ops::Range;

use npc_diagnostics::{FileId, Span};
use npc_syntax::ast::Item;
use npc_syntax::{Parsed, parse};
use similar::{DiffOp, TextDiff};
use tower_lsp::ls_types::TextEdit;

use crate::convert::range;
use crate::core::text::{Encoding, Text};

/// The lines that change; nothing where the text cannot be read, so that it stays as it is.
pub(crate) fn edits(text: &Text, parsed: &Parsed, encoding: Encoding) -> Option<Vec<TextEdit>> {
    let after = npc_format::format_parsed(text.text(), parsed).ok()?;
    Some(lines(text, 0, text.text(), &after, None, encoding))
}

/// The same of a part of the text: of the items that it touches, and of lines that are replaced one by one,
/// those.
pub(crate) fn of_part(
    text: &Text,
    parsed: &Parsed,
    within: Span,
    encoding: Encoding,
) -> Option<Vec<TextEdit>> {
    let source = text.text().as_ref();
    let after = npc_format::format_parsed(source, parsed).ok()?;
    let formatted = parse(FileId(0), &after);
    let (old, new) = (&parsed.tree.items, &formatted.tree.items);
    let mut edits = Vec::new();
    for (old, new) in old.iter().zip(new).filter(|_| old.len() == new.len()) {
        let (from, to) = (whole_lines(source, old), whole_lines(&after, new));
        if from.start <= within.end && within.start <= from.end {
            edits.extend(lines(text, from.start, from.of(source), to.of(&after), Some(within), encoding));
        }
    }
    Some(edits)
}

/// The item that a brace which was just typed closes, formatted.
pub(crate) fn on_brace(
    text: &Text,
    parsed: &Parsed,
    offset: u32,
    encoding: Encoding,
) -> Option<Vec<TextEdit>> {
    let item = parsed.tree.items.iter().find(|item| item.span.end == offset)?;
    of_part(text, parsed, item.span, encoding)
}

/// The lines of an item, with its documentation.
fn whole_lines(source: &str, item: &Item) -> Span {
    let start = item.docs.first().map_or(item.span.start, |docs| docs.start);
    let before = source.get(..start as usize).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let behind = source.get(item.span.end as usize..).unwrap_or_default();
    let end = behind.find('\n').map_or(source.len(), |at| item.span.end as usize + at + 1);
    let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Span::new(number(start), number(end))
}

/// The lines of a part of a text, which begins at `start`, that become others.
fn lines(
    text: &Text,
    start: u32,
    before: &str,
    after: &str,
    within: Option<Span>,
    encoding: Encoding,
) -> Vec<TextEdit> {
    let diff = TextDiff::from_lines(before, after);
    let starts = |lines: &[&str]| -> Vec<usize> {
        let ends = lines.iter().scan(0, |end, line| {
            *end += line.len();
            Some(*end)
        });
        std::iter::once(0).chain(ends).collect()
    };
    let (old, new) = (starts(diff.old_slices()), starts(diff.new_slices()));
    let at = |starts: &[usize], line: usize| starts.get(line).copied().unwrap_or(0);
    let mut edits = Vec::new();
    let mut add = |from: Range<usize>, to: Range<usize>| {
        let offset = |line: usize| start + u32::try_from(at(&old, line)).unwrap_or(u32::MAX - start);
        let span = Span::new(offset(from.start), offset(from.end));
        if within.is_none_or(|own| span.start <= own.end && own.start < span.end) {
            let new_text = after.get(at(&new, to.start)..at(&new, to.end)).unwrap_or_default().to_owned();
            edits.push(TextEdit { range: range(text, span, encoding), new_text });
        }
    };
    for op in diff.ops().iter().filter(|op| !matches!(op, DiffOp::Equal { .. })) {
        let (from, to) = (op.old_range(), op.new_range());
        // Of a part, as few lines as can be told apart.
        if within.is_some() && from.len() == to.len() {
            from.zip(to).for_each(|(old, new)| add(old..old + 1, new..new + 1));
        } else {
            add(from, to);
        }
    }
    edits
}
