//! Parsing a text again that changed in one place: what lies before and behind it is taken over.
//!
//! Every token lies within one line, so that the lines which changed are lexed and no others. Where items
//! begin and end is found out again, of all tokens; an item whose tokens are the same is the same.

use std::sync::Arc;

use npc_diagnostics::{FileId, Span};

use crate::ast::Item;
use crate::items::{Parsed, parse_tokens};
use crate::shift::Shift;
use crate::split::Chunk;
use crate::token::{Comment, Token, TokenSpan, lex};

/// What changed: `before` says where, in the text that was, and `after` in the one that is.
#[derive(Clone, Copy, Debug)]
struct Change {
    before: Span,
    after: Span,
}

/// How many bytes are compared at once.
const STEP: usize = 256;

/// How many bytes are the same, of parts of two texts.
fn common<'t, I: Iterator<Item = &'t u8>>(
    parts: impl Iterator<Item = (&'t [u8], &'t [u8])>,
    bytes: impl Fn(&'t [u8]) -> I,
) -> usize {
    let mut same = 0;
    for (one, other) in parts {
        if one != other {
            return same + bytes(one).zip(bytes(other)).take_while(|(one, other)| one == other).count();
        }
        same += one.len();
    }
    same
}

impl Change {
    /// Between two texts, in whole lines; nothing where they are the same.
    fn between(old: &str, new: &str) -> Option<Self> {
        let (a, b) = (old.as_bytes(), new.as_bytes());
        let same = common(a.chunks(STEP).zip(b.chunks(STEP)), |part| part.iter());
        if same == a.len() && same == b.len() {
            return None;
        }
        let most = a.len().min(b.len()) - same;
        let tail = common(a.rchunks(STEP).zip(b.rchunks(STEP)), |part| part.iter().rev()).min(most);
        let ends = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let start = a.get(..same)?.iter().rposition(ends).map_or(0, |at| at + 1);
        // Up to where the line ends that the change ends in, in both.
        let rest = a.get(a.len() - tail..)?;
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        let number = |at: usize| u32::try_from(at).ok();
        Some(Self {
            before: Span::new(number(start)?, number(a.len() - tail + end)?),
            after: Span::new(number(start)?, number(b.len() - tail + end)?),
        })
    }

    const fn shift(self) -> Shift {
        Shift(self.after.end as i64 - self.before.end as i64)
    }
}

/// What may be taken over of a text that was parsed before.
pub(crate) struct Known<'a> {
    before: &'a Parsed,
    change: Change,
}

impl Known<'_> {
    /// The item of a chunk, where one with the same tokens was parsed before and nothing was wrong with it.
    pub(crate) fn item(&self, chunk: &Chunk, span: Span) -> Option<Arc<Item>> {
        let Change { before, after } = self.change;
        let shift = match () {
            () if span.end <= before.start => Shift(0),
            () if span.start >= after.end => self.change.shift(),
            () => return None,
        };
        if !chunk.parse || chunk.bad {
            return None;
        }
        let back = Shift(-shift.0);
        let was = back.span(span);
        let at = self.before.whole.binary_search_by_key(&was.start, |own| own.span.start).ok()?;
        let own = self.before.whole.get(at)?;
        if own.span != was || own.body != chunk.body.map(|body| back.offset(body)) {
            return None;
        }
        let item = self.before.tree.items.get(own.item)?;
        if shift.0 == 0 {
            return Some(Arc::clone(item));
        }
        let mut moved = Item::clone(item);
        shift.item(&mut moved);
        Some(Arc::new(moved))
    }
}

/// Parses a file as [`parse`](crate::parse) does, with what is known of the text that it was before.
#[must_use]
pub fn parse_again(file: FileId, source: &str, before: &Parsed, old: &str) -> Parsed {
    let Some(change) = Change::between(old, source) else { return before.clone() };
    let known = Known { before, change };
    // A keyword that was misspelt is no more so among the tokens; and what begins with a byte order mark is
    // lexed as the head of a file.
    let part = change.after.of(source);
    let all = !before.diagnostics.is_empty() || part.starts_with('\u{feff}');
    let (tokens, comments) = if all { lex(source) } else { spliced(&known, part) };
    parse_tokens(file, source, tokens, comments, Some(&known))
}

/// The tokens and comments, of which those of the lines that changed are lexed.
fn spliced(known: &Known<'_>, part: &str) -> (Vec<Token>, Vec<Comment>) {
    let Known { before, change } = known;
    let (new, new_comments) = lex(part);
    let (moved, shift) = (Shift(i64::from(change.after.start)), change.shift());
    let head = before.tokens.partition_point(|token| token.span.0.start < change.before.start);
    let tail = before.tokens.partition_point(|token| token.span.0.start < change.before.end);
    let token = |shift: Shift| {
        move |token: &Token| Token { kind: token.kind, span: TokenSpan(shift.span(token.span.0)) }
    };
    let mut tokens = Vec::with_capacity(before.tokens.len() + new.len());
    tokens.extend_from_slice(before.tokens.get(..head).unwrap_or_default());
    tokens.extend(new.iter().map(token(moved)));
    tokens.extend(before.tokens.get(tail..).unwrap_or_default().iter().map(token(shift)));
    let head = before.comments.partition_point(|own| own.span.start < change.before.start);
    let tail = before.comments.partition_point(|own| own.span.start < change.before.end);
    let comment = |shift: Shift| move |own: &Comment| Comment { kind: own.kind, span: shift.span(own.span) };
    let mut comments = Vec::with_capacity(before.comments.len() + new_comments.len());
    comments.extend_from_slice(before.comments.get(..head).unwrap_or_default());
    comments.extend(new_comments.iter().map(comment(moved)));
    comments.extend(before.comments.get(tail..).unwrap_or_default().iter().map(comment(shift)));
    (tokens, comments)
}
