//! Prints the compiler's tokens, to compare another grammar with them. One line of JSON per file: its path,
//! whether it has a syntax error, and the span and class of each token and comment. A keyword that is used as
//! a name has the class `name`.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::HashSet;

use npc_diagnostics::{FileId, Level};
use npc_syntax::{CommentKind, TokenKind, parse, visit_words};

fn main() {
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path).unwrap();
        let parsed = parse(FileId(0), &text);
        let broken = parsed.diagnostics.iter().any(|own| own.level == Level::Error);
        let mut names = HashSet::new();
        for item in &parsed.tree.items {
            visit_words(item, &mut |_, word| {
                names.insert(word.span.start);
            });
        }
        let token = |own: &npc_syntax::Token| {
            let span = own.span.0;
            let class = match own.kind {
                TokenKind::Str => "string",
                kind if kind.is_word() && names.contains(&span.start) => "name",
                kind if kind.keyword().is_some() => "keyword",
                TokenKind::Arrow => "arrow",
                _ => "other",
            };
            (span.start, span.end, class)
        };
        let comment = |own: &npc_syntax::Comment| {
            let class = if own.kind == CommentKind::Plain { "comment" } else { "documentation" };
            (own.span.start, own.span.end, class)
        };
        let all = parsed.tokens.iter().map(token).chain(parsed.comments.iter().map(comment));
        let all: Vec<String> =
            all.map(|(start, end, class)| format!("[{start},{end},\"{class}\"]")).collect();
        println!("{{\"path\":{path:?},\"broken\":{broken},\"tokens\":[{}]}}", all.join(","));
    }
}
