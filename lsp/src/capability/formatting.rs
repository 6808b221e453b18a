//! `textDocument/formatting`, `rangeFormatting` and `onTypeFormatting`: the one style of `npc fmt`.

use npc_diagnostics::Span;
use npc_syntax::Parsed;
use similar::{DiffOp, TextDiff};
use tower_lsp::ls_types::TextEdit;

use crate::convert::range;
use crate::core::text::{Encoding, Text};

/// The lines that change, of those that touch a part of the text where one is named; nothing where the text
/// cannot be read, so that it stays as it is.
pub(crate) fn edits(
    text: &Text,
    parsed: &Parsed,
    within: Option<Span>,
    encoding: Encoding,
) -> Option<Vec<TextEdit>> {
    let before = text.text().as_ref();
    let after = npc_format::format_parsed(before, parsed).ok()?;
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
    let edits = changed.filter_map(|op| {
        let (from, to) = (op.old_range(), op.new_range());
        let offset = |line: usize| u32::try_from(at(&old, line)).unwrap_or(u32::MAX);
        let span = Span::new(offset(from.start), offset(from.end));
        let touches = within.is_none_or(|own| span.start <= own.end && own.start <= span.end);
        touches.then(|| TextEdit {
            range: range(text, span, encoding),
            new_text: after.get(at(&new, to.start)..at(&new, to.end)).unwrap_or_default().to_owned(),
        })
    });
    Some(edits.collect())
}

/// The item that a brace which was just typed closes, formatted.
pub(crate) fn on_brace(
    text: &Text,
    parsed: &Parsed,
    offset: u32,
    encoding: Encoding,
) -> Option<Vec<TextEdit>> {
    let item = parsed.tree.items.iter().find(|item| item.span.end == offset)?;
    edits(text, parsed, Some(item.span), encoding)
}
