//! Parses tokens to a tree, each item separately.
//!
//! [`split`](crate::split) finds where items begin and end first, so that an error in one item cannot hide
//! the next. Inside an item, the grammar's own recovery applies. [`unexpected`](crate::stray) reports tokens
//! outside of any item.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use chumsky::Parser as _;
use npc_diagnostics::{Diagnostic, FileId, Location, Span};
use rayon::prelude::*;

use crate::again::Known;
use crate::ast::{Item, ItemKind, Let, Policy, Tier, Tree, Word};
use crate::codes::TOO_MANY;
use crate::grammar::{Built, Parsers, PolicyEntry, PolicyHeader, tokens};
use crate::output::Output;
use crate::split::{Chunk, kind_at, split};
use crate::token::{Comment, CommentKind, Token, TokenKind as T, lex};
use crate::unexpected::{manifest, report_misplaced_doc, report_outside_item};

/// The maximum number of diagnostics that are reported per file.
const MAX_DIAGNOSTICS: usize = 1_000;
/// The number of items that one thread parses at a time: enough to pay for building its parsers.
const SHARE: usize = 256;

/// A parsed file.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// The tree.
    pub tree: Tree,
    /// All tokens, without comments.
    pub tokens: Vec<Token>,
    /// All comments, in source order.
    pub comments: Vec<Comment>,
    /// The syntax errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether an import could not be parsed, so that imported names may be missing.
    pub broken_import: bool,
    /// The items without diagnostics, sorted by start offset.
    pub(crate) whole: Vec<Whole>,
}

impl Parsed {
    /// The start of the last item that ends before `offset`, if there is no error up to its end: the text
    /// from there on can be parsed without the text before. 0 if there is no such item.
    #[must_use]
    pub fn clean_before(&self, offset: u32) -> u32 {
        let wrong =
            self.diagnostics.iter().filter_map(Diagnostic::location).map(|place| place.span.start).min();
        let limit = wrong.map_or(offset, |wrong| wrong.min(offset));
        let behind = self.tree.items.partition_point(|item| item.span.end < limit);
        behind.checked_sub(1).and_then(|at| self.tree.items.get(at)).map_or(0, |item| item.span.start)
    }
}

/// An item that can be reused if its tokens are unchanged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    pub(crate) span: Span,
    pub(crate) body: Option<u32>,
    /// The index in the tree.
    pub(crate) item: usize,
}

/// Parses a file. Never fails: the tree holds the items that could be parsed, the diagnostics report the
/// rest.
#[must_use]
pub fn parse(file: FileId, source: &str) -> Parsed {
    let (tokens, comments) = lex(source);
    parse_tokens(file, source, tokens, comments, None)
}

/// Parses the tokens of a file. Reuses unchanged items of the previous parse.
pub(crate) fn parse_tokens(
    file: FileId,
    source: &str,
    mut tokens: Vec<Token>,
    comments: Vec<Comment>,
    known: Option<&Known<'_>>,
) -> Parsed {
    let mut out = Output { file, source, diagnostics: Vec::new() };
    if let Some(diagnostic) = manifest(&tokens, &out) {
        return Parsed { tokens, comments, diagnostics: vec![diagnostic], ..Parsed::default() };
    }
    let chunks = split(&mut tokens, &mut out);
    let mut error_offsets: Vec<u32> =
        out.diagnostics.iter().filter_map(Diagnostic::location).map(|place| place.span.start).collect();
    error_offsets.sort_unstable();
    let share = |share| parse_share(share, &tokens, &error_offsets, file, source, known);
    let pieces: Vec<Vec<Piece>> = chunks.par_chunks(SHARE).map(share).collect();

    let mut tree = Tree { items: Vec::with_capacity(chunks.len()), docs: Vec::new() };
    let mut broken_import = false;
    let mut whole = Vec::with_capacity(chunks.len());
    let mut docs = Docs::new(&comments, &mut tree.docs);
    let mut before = 0;
    for piece in pieces.into_iter().flatten() {
        let docs = docs.above(before, piece.span, &mut out);
        before = piece.span.end;
        if piece.is_clean && !matches!(piece.kind, Read::Nothing) {
            whole.push(Whole { span: piece.span, body: piece.body, item: tree.items.len() });
        }
        out.diagnostics.extend(piece.diagnostics);
        match piece.kind {
            Read::Known(item) if item.docs == docs => tree.items.push(item),
            Read::Known(item) => {
                let kind = item.kind.clone();
                tree.items.push(Arc::new(Item { id: item.id, span: piece.span, docs, kind }));
            }
            Read::New(kind) => {
                tree.items.push(Arc::new(Item { id: next_id(), span: piece.span, docs, kind }));
            }
            Read::Nothing => broken_import |= piece.first == T::Import,
        }
    }
    docs.rest(&mut out);
    let mut diagnostics = out.diagnostics;
    diagnostics.sort_by_key(Diagnostic::location);
    if diagnostics.len() > MAX_DIAGNOSTICS {
        let rest = diagnostics.len() - MAX_DIAGNOSTICS;
        let last = diagnostics.get(MAX_DIAGNOSTICS).and_then(Diagnostic::location);
        diagnostics.truncate(MAX_DIAGNOSTICS);
        let place = last.unwrap_or(Location::new(file, Span::default()));
        diagnostics.push(Diagnostic::new(
            &TOO_MANY,
            format!("{rest} more diagnostics in this file are not shown"),
            place,
            "the first of them",
        ));
    }
    Parsed { tree, tokens, comments, diagnostics, broken_import, whole }
}

/// A new [`Item::id`].
#[must_use]
pub fn next_id() -> FileId {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    FileId::item(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The result of parsing one chunk.
struct Piece {
    span: Span,
    first: T,
    body: Option<u32>,
    kind: Read,
    /// Whether parsing found no error, reported or not.
    is_clean: bool,
    diagnostics: Vec<Diagnostic>,
}

/// The item of a chunk.
#[allow(clippy::large_enum_variant, reason = "nearly all are new")]
enum Read {
    New(ItemKind),
    Known(Arc<Item>),
    Nothing,
}

/// Parses some chunks. `error_offsets` holds the sorted start offsets of the diagnostics emitted so far.
fn parse_share(
    chunks: &[Chunk],
    tokens: &[Token],
    error_offsets: &[u32],
    file: FileId,
    source: &str,
    known: Option<&Known<'_>>,
) -> Vec<Piece> {
    // Items with invalid characters are parsed without them.
    let cleaned: Vec<(Vec<Token>, Vec<Span>)> = chunks
        .iter()
        .map(|chunk| {
            let all = tokens.get(chunk.start..chunk.end).filter(|_| chunk.bad).unwrap_or_default();
            let is_bad = |token: &&Token| token.kind == T::Bad;
            let bad = all.iter().filter(is_bad).map(|token| token.span.0).collect();
            (all.iter().filter(|token| !is_bad(token)).copied().collect(), bad)
        })
        .collect();
    // Built on first use: not needed if every item is reused.
    let parsers = OnceCell::new();
    let mut pieces = Vec::with_capacity(chunks.len());
    for (chunk, (clean, bad)) in chunks.iter().zip(&cleaned) {
        let chunk_tokens =
            if chunk.bad { clean.as_slice() } else { tokens.get(chunk.start..chunk.end).unwrap_or_default() };
        let Some((first, last)) = chunk_tokens.first().zip(chunk_tokens.last()) else { continue };
        let span = first.span.0.to(last.span.0);
        if let Some(item) = known.and_then(|known| known.item(chunk, span)) {
            let (body, kind) = (chunk.body, Read::Known(item));
            pieces.push(Piece {
                span,
                first: first.kind,
                body,
                kind,
                is_clean: true,
                diagnostics: Vec::new(),
            });
            continue;
        }
        let mut out = Output { file, source, diagnostics: Vec::new() };
        let kind = if chunk.parse {
            let parsers = parsers.get_or_init(Parsers::new);
            item(parsers, chunk, chunk_tokens, first.kind, span, &mut out)
        } else {
            let next = error_offsets.get(error_offsets.partition_point(|at| *at < span.start));
            if next.is_none_or(|at| *at > span.end) {
                report_outside_item(first, &mut out);
            }
            fragment(chunk_tokens, &out)
        };
        // An error that is not reported beside an invalid character is an error once that character is gone.
        let is_clean = out.diagnostics.is_empty();
        if !bad.is_empty() {
            out.drop_on_bad_lines(bad);
        }
        let kind = kind.map_or(Read::Nothing, Read::New);
        let diagnostics = out.diagnostics;
        pieces.push(Piece { span, first: first.kind, body: chunk.body, kind, is_clean, diagnostics });
    }
    pieces
}

/// Parses the tokens of one item.
fn item<'a>(
    parsers: &Parsers<'a>,
    chunk: &Chunk,
    chunk_tokens: &'a [Token],
    first: T,
    span: Span,
    out: &mut Output<'_>,
) -> Option<ItemKind> {
    let mut run = |parser: &Built<'a, ItemKind>| {
        let (kind, errors) = parser.parse(tokens(chunk_tokens, span)).into_output_errors();
        for error in errors {
            out.syntax(error);
        }
        kind
    };
    let kind = match first {
        T::Import => run(&parsers.import),
        T::Let => run(&parsers.set),
        T::Kyverno => run(&parsers.kyverno),
        T::Test => run(&parsers.test),
        T::Assert => run(&parsers.assert),
        _ => return policy(parsers, chunk, chunk_tokens, span, out).map(ItemKind::Policy),
    };
    kind.or_else(|| fragment(chunk_tokens, out))
}

/// Parses a policy: the header and the body separately, each with its own errors.
fn policy<'a>(
    parsers: &Parsers<'a>,
    chunk: &Chunk,
    chunk_tokens: &'a [Token],
    span: Span,
    out: &mut Output<'_>,
) -> Option<Policy> {
    let split = chunk
        .body
        .map(|body| chunk_tokens.partition_point(|token| token.span.0.start < body))
        .unwrap_or(chunk_tokens.len());
    // The parser of the header includes the brace, so that its messages can name it.
    let header_tokens = chunk_tokens.get(..=split).unwrap_or(chunk_tokens);
    let header_end = header_tokens.last().map_or(span, |token| token.span.0);
    let (header, errors) =
        parsers.policy_header.parse(tokens(header_tokens, header_end)).into_output_errors();
    for error in errors {
        out.syntax(error);
    }
    let mut broken = header.is_none();
    let mut entries = Vec::new();
    if let Some(body) = chunk_tokens.get(split..).filter(|body| !body.is_empty()) {
        let (parsed, errors) = parsers.policy_body.parse(tokens(body, span)).into_output_errors();
        for error in errors {
            out.syntax(error);
        }
        match parsed {
            Some((parsed, body_broken)) => {
                entries = parsed;
                broken |= body_broken;
            }
            None => broken = true,
        }
    }
    let header = header.or_else(|| {
        let at = chunk_tokens.iter().position(|token| token.kind == T::Policy)?;
        let name = chunk_tokens.get(at + 1).filter(|token| token.kind.is_word())?;
        // The error is already reported. Keep the tier, so that the policy is not checked as a plain one,
        // which would cause misleading errors.
        let before = chunk_tokens.get(..at).unwrap_or_default();
        let tier = before.iter().rev().find_map(|token| match token.kind {
            T::Admin => Some((Tier::Admin, token.span.0)),
            T::Baseline => Some((Tier::Baseline, token.span.0)),
            _ => None,
        });
        Some(PolicyHeader {
            audit: before.iter().find(|token| token.kind == T::Audit).map(|token| token.span.0),
            tier: tier.map_or(Tier::Namespaced, |(tier, _)| tier),
            tier_span: tier.map(|(_, span)| span),
            name: Word { span: name.span.0 },
            priority: None,
            subject: Vec::new(),
        })
    })?;
    let mut policy = Policy {
        audit: header.audit,
        tier: header.tier,
        tier_span: header.tier_span,
        name: header.name,
        priority: header.priority,
        subject: header.subject,
        statements: Vec::new(),
        settings: Vec::new(),
        broken,
    };
    for entry in entries {
        match entry {
            PolicyEntry::Statement(statement) => policy.statements.push(statement),
            PolicyEntry::Settings(settings) => policy.settings.push(settings),
        }
    }
    Some(policy)
}

/// The part of a broken item that is still useful: the name of a set, so that its uses are not reported as
/// undefined.
fn fragment(chunk_tokens: &[Token], out: &Output<'_>) -> Option<ItemKind> {
    let name =
        chunk_tokens.get(1).filter(|name| name.kind.is_word() && kind_at(chunk_tokens, 0) == Some(T::Let))?;
    let mut span = name.span.0;
    if out.text(span).ends_with(':') {
        span.end -= 1;
    }
    Some(ItemKind::Let(Let { name: Word { span }, terms: None }))
}

/// Assigns the documentation comments to the items below them.
struct Docs<'a> {
    comments: std::iter::Peekable<std::slice::Iter<'a, Comment>>,
    file_docs: &'a mut Vec<Span>,
}

impl<'a> Docs<'a> {
    fn new(comments: &'a [Comment], file_docs: &'a mut Vec<Span>) -> Self {
        Self { comments: comments.iter().peekable(), file_docs }
    }

    /// The `///` comments between the end of the item before and the item.
    fn above(&mut self, before: u32, item: Span, out: &mut Output<'_>) -> Vec<Span> {
        let mut docs = Vec::new();
        while let Some(comment) = self.comments.next_if(|comment| comment.span.start < item.end) {
            match comment.kind {
                CommentKind::Plain => {}
                CommentKind::File => self.file_docs.push(comment.span),
                CommentKind::Doc if comment.span.start < item.start && comment.span.start >= before => {
                    docs.push(comment.span);
                }
                CommentKind::Doc => report_misplaced_doc(comment, out),
            }
        }
        docs
    }

    /// Handles the comments after the last item.
    fn rest(&mut self, out: &mut Output<'_>) {
        for comment in self.comments.by_ref() {
            match comment.kind {
                CommentKind::Plain => {}
                CommentKind::File => self.file_docs.push(comment.span),
                CommentKind::Doc => report_misplaced_doc(comment, out),
            }
        }
    }
}
