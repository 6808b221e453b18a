//! The formatter.
//!
//! [`format`] keeps every comment, and at most one consecutive blank line of the author's. The output has the
//! same syntax tree as the input, and formatting it again does not change it.

mod items;
mod layout;
mod terms;
mod writer;

use std::sync::Arc;

use npc_diagnostics::{Diagnostic, FileId, Level};
use npc_syntax::ast::Item;
use npc_syntax::{Parsed, Token, TokenKind, parse};
use rayon::prelude::*;

use crate::layout::Layout;
use crate::writer::Writer;

/// Formats a program. Line ends follow the first line of the source.
///
/// # Errors
///
/// Returns the syntax errors if the source does not parse. The file must then stay unchanged.
pub fn format(file: FileId, source: &str) -> Result<String, Vec<Diagnostic>> {
    format_parsed(source, &parse(file, source))
}

/// Formats a text that is already parsed.
///
/// # Errors
///
/// As for [`format`].
pub fn format_parsed(source: &str, parsed: &Parsed) -> Result<String, Vec<Diagnostic>> {
    let errors: Vec<Diagnostic> =
        parsed.diagnostics.iter().filter(|own| own.level == Level::Error).cloned().collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let items = &parsed.tree.items;
    let pads = items::names(&Writer::new(source, &parsed.tokens, &parsed.comments), items, source);
    let pads: Vec<&[usize]> = pads.chunks(SHARE).collect();
    let mut shares: Vec<&[Arc<Item>]> = items.chunks(SHARE).collect();
    if shares.is_empty() {
        shares.push(&[]);
    }
    // The comments between two items belong to the second item; those after the last item are written last.
    let last = shares.len().saturating_sub(1);
    let write = |(number, items): (usize, &&[Arc<Item>])| {
        let end = |share: &[Arc<Item>]| share.last().map_or(0, |item| item.span.end);
        let before =
            number.checked_sub(1).and_then(|before| shares.get(before)).map_or(0, |share| end(share));
        let until = if number == last { u32::MAX } else { end(items) };
        let tokens = within(&parsed.tokens, before, until, |token| token.span.0.start);
        let comments = within(&parsed.comments, before, until, |comment| comment.span.start);
        let mut out = String::with_capacity((until.min(source.len() as u32) - before) as usize * 9 / 8);
        let mut writer = Writer::behind(before, source, tokens, comments);
        let mut layout = Layout::default();
        for (item, pad) in items.iter().zip(pads.get(number).copied().unwrap_or_default()) {
            writer.line(0, true);
            items::item(&mut writer, item, *pad, source);
            layout.write(&writer.pieces, source, &mut out);
            writer.pieces.clear();
        }
        if number == last {
            writer.line(0, true);
            writer.finish();
            layout.write(&writer.pieces, source, &mut out);
        }
        out
    };
    let mut out: String = shares.par_iter().enumerate().map(write).collect::<Vec<String>>().concat();
    if !out.is_empty() {
        out.push('\n');
    }
    if source
        .find(['\r', '\n'])
        .is_some_and(|at| source.get(at..).is_some_and(|rest| rest.starts_with("\r\n")))
    {
        out = out.replace('\n', "\r\n");
    }
    Ok(out)
}

/// The number of items that one task formats; tasks run in parallel.
const SHARE: usize = 64;

/// The elements that start in a range of offsets.
fn within<E>(all: &[E], from: u32, until: u32, start: impl Fn(&E) -> u32) -> &[E] {
    let at = |place: u32| all.partition_point(|own| start(own) < place);
    all.get(at(from)..at(until)).unwrap_or_default()
}

/// Whether the formatted text has the same tokens and comments as the source. Callers check this before they
/// overwrite a file, to guard against a bug in the formatter.
#[must_use]
pub fn is_same(before: &Parsed, source: &str, text: &str) -> bool {
    let after = parse(FileId(0), text);
    after.diagnostics.iter().all(|own| own.level != Level::Error)
        && words(&before.tokens, source).eq(words(&after.tokens, text))
        && notes(before, source).eq(notes(&after, text))
}

/// The tokens except commas, because trailing commas are dropped.
fn words<'t>(tokens: &'t [Token], source: &'t str) -> impl Iterator<Item = (TokenKind, &'t str)> {
    let kept = tokens.iter().filter(|token| token.kind != TokenKind::Comma);
    kept.map(|token| match token.kind {
        TokenKind::EqEq => (TokenKind::Eq, "="),
        kind => (kind, token.span.0.of(source)),
    })
}

fn notes<'t>(parsed: &'t Parsed, source: &'t str) -> impl Iterator<Item = &'t str> {
    parsed.comments.iter().map(|comment| comment.span.of(source).trim_end())
}
