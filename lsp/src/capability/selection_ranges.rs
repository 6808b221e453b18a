//! `textDocument/selectionRange`: from a word outwards to the enclosing syntax.

use npc_diagnostics::Span;
use npc_syntax::ast::{ItemKind, Peer, Statement, Term};
use npc_syntax::{Parsed, TokenKind};
use tower_lsp::ls_types::SelectionRange;

use crate::convert::range;
use crate::core::text::{Encoding, Text};

pub(crate) fn around(text: &Text, parsed: &Parsed, offset: u32, encoding: Encoding) -> SelectionRange {
    let length = u32::try_from(text.text().len()).unwrap_or(u32::MAX);
    let mut spans = vec![Span::new(0, length)];
    let mut add = |span: Span| {
        if span.touches(offset) {
            spans.push(span);
        }
    };
    for comment in &parsed.comments {
        add(comment.span);
    }
    let mut open: Vec<u32> = Vec::new();
    for token in &parsed.tokens {
        let span = token.span.0;
        add(span);
        match token.kind {
            TokenKind::LBrace | TokenKind::LParen => open.push(span.start),
            TokenKind::RBrace | TokenKind::RParen => {
                if let Some(start) = open.pop() {
                    add(Span::new(start, span.end));
                    // The contents of the brackets, without surrounding white space.
                    let inner = Span::new(start + 1, span.start);
                    let within = inner.of(text.text());
                    let before = u32::try_from(within.len() - within.trim_start().len()).unwrap_or(0);
                    let after = u32::try_from(within.len() - within.trim_end().len()).unwrap_or(0);
                    if before + after < inner.end.saturating_sub(inner.start) {
                        add(Span::new(inner.start + before, inner.end - after));
                    }
                }
            }
            _ => {}
        }
    }
    let term = |term: &Term, add: &mut dyn FnMut(Span)| {
        add(term.span());
        match term {
            Term::Pods(pods) => {
                pods.scope.iter().for_each(|scope| add(scope.span));
                pods.selector.iter().flat_map(|own| &own.requirements).for_each(|own| add(own.span));
            }
            Term::Word(word) => {
                word.scope.iter().for_each(|scope| add(scope.span));
                word.except.iter().for_each(|own| add(own.span));
            }
        }
    };
    // All members of a list together.
    let list = |spans: &mut dyn Iterator<Item = Span>, add: &mut dyn FnMut(Span)| {
        spans.reduce(Span::to).into_iter().for_each(add);
    };
    for item in &parsed.tree.items {
        if let Some(docs) = item.docs.first() {
            add(docs.to(item.span));
        }
        add(item.span);
        match &item.kind {
            ItemKind::Let(own) => {
                own.terms.iter().flatten().for_each(|own| term(own, &mut add));
                list(&mut own.terms.iter().flatten().map(Term::span), &mut add);
            }
            ItemKind::Policy(own) => {
                own.subject.iter().for_each(|own| term(own, &mut add));
                list(&mut own.subject.iter().map(Term::span), &mut add);
                own.settings.iter().for_each(|own| add(own.span));
                for statement in &own.statements {
                    match statement {
                        Statement::Isolate(own) => add(own.span),
                        Statement::Rule(rule) => {
                            add(rule.span);
                            list(&mut rule.peers.iter().map(Peer::span), &mut add);
                            list(&mut rule.ports.iter().map(|port| port.span), &mut add);
                            for peer in &rule.peers {
                                add(peer.span());
                                if let Peer::Term(own) = peer {
                                    term(own, &mut add);
                                }
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
    // Largest first; each range must be inside the previous one.
    spans.sort_unstable_by_key(|span| (std::cmp::Reverse(span.end - span.start), span.start));
    spans.dedup();
    let mut found: Option<(Span, SelectionRange)> = None;
    for span in spans {
        if found.as_ref().is_some_and(|(own, _)| span.start < own.start || own.end < span.end) {
            continue;
        }
        let parent = found.map(|(_, parent)| Box::new(parent));
        found = Some((span, SelectionRange { range: range(text, span, encoding), parent }));
    }
    let whole = || SelectionRange { range: range(text, Span::new(0, length), encoding), parent: None };
    found.map_or_else(whole, |(_, range)| range)
}
