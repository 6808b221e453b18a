//! `textDocument/formatting`, `rangeFormatting` and `onTypeFormatting`: the style of `npc fmt`.

use std::ops::Range;

use npc_diagnostics::{FileId, Span};
use npc_syntax::ast::Item;
use npc_syntax::{Parsed, parse};
use similar::{DiffOp, TextDiff};
use tower_lsp::ls_types::TextEdit;

use crate::convert::range;
use crate::core::text::{Encoding, Text};

/// The lines that change. `None` if the text has syntax errors, so that it stays unchanged.
pub(crate) fn edits(text: &Text, parsed: &Parsed, encoding: Encoding) -> Option<Vec<TextEdit>> {
    let after = npc_format::format_parsed(text.text(), parsed).ok()?;
    Some(lines(text, 0, text.text(), &after, None, encoding))
}

/// Formats the items that a span touches. Of lines that are replaced one by one, only those in the span.
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

/// Formats the item that ends at a closing brace that was just typed.
pub(crate) fn on_brace(
    text: &Text,
    parsed: &Parsed,
    offset: u32,
    encoding: Encoding,
) -> Option<Vec<TextEdit>> {
    let item = parsed.tree.items.iter().find(|item| item.span.end == offset)?;
    of_part(text, parsed, item.span, encoding)
}

/// The lines of an item and its doc comment.
fn whole_lines(source: &str, item: &Item) -> Span {
    let start = item.docs.first().map_or(item.span.start, |docs| docs.start);
    let before = source.get(..start as usize).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let behind = source.get(item.span.end as usize..).unwrap_or_default();
    let end = behind.find('\n').map_or(source.len(), |at| item.span.end as usize + at + 1);
    let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
    Span::new(number(start), number(end))
}

/// The edits that turn the lines `before`, which start at offset `start`, into `after`.
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
        // When formatting a part, changed lines are replaced one by one, so that lines outside it can be left
        // out.
        if within.is_some() && from.len() == to.len() {
            from.zip(to).for_each(|(old, new)| add(old..old + 1, new..new + 1));
        } else {
            add(from, to);
        }
    }
    edits
}
