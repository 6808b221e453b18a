//! `textDocument/foldingRange`: items, their bodies, imports and comments that span several lines.

use npc_syntax::ast::ItemKind;
use npc_syntax::{Parsed, TokenKind};
use tower_lsp::ls_types::{FoldingRange, FoldingRangeKind};

use crate::core::text::{Encoding, Text};

pub(crate) fn ranges(text: &Text, parsed: &Parsed) -> Vec<FoldingRange> {
    let line = |offset: u32| text.position(offset as usize, Encoding::Utf8).line;
    let mut found = Vec::new();
    let mut add = |start: u32, end: u32, kind: Option<FoldingRangeKind>| {
        if start < end {
            found.push(FoldingRange { start_line: start, end_line: end, kind, ..FoldingRange::default() });
        }
    };
    // Braces and parentheses: from the opening line to the line before the closing one.
    let mut open: Vec<(TokenKind, u32)> = Vec::new();
    for token in &parsed.tokens {
        let place = token.span.0;
        match token.kind {
            TokenKind::LBrace | TokenKind::LParen => open.push((token.kind, line(place.start))),
            TokenKind::RBrace | TokenKind::RParen => {
                if let Some((_, start)) = open.pop() {
                    add(start, line(place.start).saturating_sub(1), None);
                }
            }
            _ => {}
        }
    }
    // A `let` over several lines has no braces.
    for item in parsed.tree.items.iter().filter(|item| matches!(item.kind, ItemKind::Let(_))) {
        add(line(item.span.start), line(item.span.end), None);
    }
    let imports = parsed.tree.items.iter().take_while(|item| matches!(item.kind, ItemKind::Import(_)));
    let lines: Vec<u32> = imports.map(|item| line(item.span.start)).collect();
    if let (Some(first), Some(last)) = (lines.first(), lines.last()) {
        add(*first, *last, Some(FoldingRangeKind::Imports));
    }
    // Comments on consecutive lines.
    let lines: Vec<u32> = parsed.comments.iter().map(|comment| line(comment.span.start)).collect();
    for run in lines.chunk_by(|one, next| one + 1 == *next) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            add(*first, *last, Some(FoldingRangeKind::Comment));
        }
    }
    found.sort_by_key(|range| (range.start_line, range.end_line));
    found.dedup_by_key(|range| (range.start_line, range.end_line));
    found
}
