//! Writes tokens in source order, with the comments between them.

use npc_diagnostics::Span;
use npc_syntax::{Comment, Token, TokenKind};

use crate::layout::{Break, Breaks, Indent, Piece};

/// The separator between two tokens.
#[derive(Clone, Copy, Debug)]
enum Between {
    Nothing,
    Space,
    Break(Break),
}

/// The indentation of a line that begins only because a comment ends the line before it.
const GOES_ON: i8 = 4;

/// Consumes the tokens of a file one by one. The separator before a token is written together with that
/// token, because comments between the two affect it.
pub(crate) struct Writer<'s> {
    source: &'s str,
    tokens: &'s [Token],
    comments: &'s [Comment],
    pub(crate) pieces: Vec<Piece>,
    between: Between,
    /// The end offset of the last token or comment; 0 before the first.
    end: u32,
    /// Whether the last piece is a comment, which ends its line.
    follows_comment: bool,
}

impl<'s> Writer<'s> {
    pub(crate) const fn new(source: &'s str, tokens: &'s [Token], comments: &'s [Comment]) -> Self {
        Self::behind(0, source, tokens, comments)
    }

    /// A writer for the tokens and comments after an item that ends at `end`.
    pub(crate) const fn behind(
        end: u32,
        source: &'s str,
        tokens: &'s [Token],
        comments: &'s [Comment],
    ) -> Self {
        let between = Between::Nothing;
        Self { source, tokens, comments, pieces: Vec::new(), between, end, follows_comment: false }
    }

    /// The kind of the next token.
    pub(crate) fn next(&self) -> Option<TokenKind> {
        self.tokens.first().map(|token| token.kind)
    }

    fn take(&mut self) -> Option<Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(*first)
    }

    /// Writes the next token.
    pub(crate) fn token(&mut self) {
        self.lead();
        if let Some(token) = self.take() {
            let span = token.span.0;
            self.pieces.push(match token.kind {
                TokenKind::EqEq => Piece::Mark("="),
                _ => Piece::Text(span, columns(span.of(self.source))),
            });
            self.end = span.end;
        }
    }

    /// Writes `count` tokens, with a space between each two.
    pub(crate) fn tokens(&mut self, count: usize) {
        for index in 0..count {
            if index > 0 {
                self.space();
            }
            self.token();
        }
    }

    /// Writes the next token, a comma, followed by a possible break. Comments before the comma are written
    /// after it.
    pub(crate) fn comma(&mut self) {
        if let Some(token) = self.take() {
            self.pieces.push(Piece::Mark(","));
            self.end_with(token);
        }
        self.between = Between::Break(Break { spaces: 1, offset: 0, must: false, blank: true });
    }

    /// Drops the next token.
    pub(crate) fn skip(&mut self) {
        if let Some(token) = self.take() {
            self.end_with(token);
        }
    }

    /// If a comment precedes a token that is moved or dropped, `end` stays before the comment, which is still
    /// to be written.
    fn end_with(&mut self, token: Token) {
        if self.comments.first().is_none_or(|comment| comment.span.start > token.span.0.start) {
            self.end = token.span.0.end;
        }
    }

    pub(crate) fn space(&mut self) {
        self.between = Between::Space;
    }

    /// Adds spaces for alignment.
    pub(crate) fn pad(&mut self, spaces: usize) {
        if spaces > 0 {
            self.pieces.push(Piece::Spaces(u16::try_from(spaces).unwrap_or(u16::MAX)));
        }
    }

    /// Allows a line break here; the next line is indented by `offset` relative to the group.
    pub(crate) fn may_break(&mut self, offset: i8) {
        self.between = Between::Break(Break { spaces: 1, offset, must: false, blank: false });
    }

    /// Breaks the line; the next line is indented by `offset` relative to the group. With `blank`, an empty
    /// line of the source is kept.
    pub(crate) fn line(&mut self, offset: i8, blank: bool) {
        self.between = Between::Break(Break { spaces: 0, offset, must: true, blank });
    }

    pub(crate) fn begin(&mut self, indent: Indent, breaks: Breaks) {
        self.lead();
        self.pieces.push(Piece::Begin(indent, breaks));
    }

    /// Begins a group after the last token, so that the separator before the next token is part of the group.
    pub(crate) fn begin_behind(&mut self, indent: Indent, breaks: Breaks) {
        self.pieces.push(Piece::Begin(indent, breaks));
    }

    pub(crate) fn end(&mut self) {
        self.pieces.push(Piece::End);
    }

    /// Writes no separator here.
    pub(crate) fn tight(&mut self) {
        self.between = Between::Nothing;
    }

    /// Whether there are comments before the next token.
    pub(crate) fn has_comments(&self) -> bool {
        self.comments.first().is_some_and(|comment| comment.span.start < self.start_of_next())
    }

    /// Whether the last piece is a comment.
    pub(crate) const fn follows_comment(&self) -> bool {
        self.follows_comment
    }

    /// The number of line ends before an element that begins `back` tokens before the token at an offset.
    pub(crate) fn lines_before(&self, place: u32, back: usize) -> usize {
        let at = self.tokens.partition_point(|token| token.span.0.start < place).saturating_sub(back);
        let token = |back: usize| at.checked_sub(back).and_then(|before| self.tokens.get(before));
        // A trailing comma is dropped.
        let before = token(1).filter(|token| token.kind != TokenKind::Comma).or_else(|| token(2));
        let (Some(before), Some(first)) = (before, self.tokens.get(at)) else { return usize::MAX };
        let gap = self.source.get(before.span.0.end as usize..first.span.0.start as usize);
        lines(gap.unwrap_or(""))
    }

    /// Writes the comments and the separator before the next token.
    fn lead(&mut self) {
        let next = self.start_of_next();
        self.comments_before(next);
        self.write_between(next);
    }

    fn start_of_next(&self) -> u32 {
        self.tokens.first().map_or(u32::MAX, |token| token.span.0.start)
    }

    /// Writes the comments before the next token, a closing one, inside the block that it closes.
    pub(crate) fn inner_comments(&mut self) {
        self.comments_before(self.start_of_next());
    }

    /// Writes the remaining comments.
    pub(crate) fn finish(&mut self) {
        self.comments_before(u32::MAX);
    }

    /// Writes the comments before an offset. The separator before the next token is kept for that token.
    fn comments_before(&mut self, next: u32) {
        while let Some((comment, rest)) = self.comments.split_first()
            && comment.span.start < next
        {
            self.comments = rest;
            let start = comment.span.start;
            if self.end > 0 && self.lines_to(start) == 0 {
                self.pieces.push(Piece::Spaces(1));
            } else if self.end > 0 {
                // The comment begins a line, so it gets the separator of the token after it.
                self.follows_comment = true;
                let between = self.between;
                self.write_between(start);
                self.between = between;
            }
            self.pieces.push(Piece::Comment(comment.span));
            self.end = comment.span.end;
            self.follows_comment = true;
            // An empty line after the first comment of a block is kept, too.
            if let Between::Break(own) = &mut self.between {
                own.blank |= own.must;
            }
        }
    }

    /// Writes the separator before the token or comment at an offset.
    fn write_between(&mut self, next: u32) {
        let between = std::mem::replace(&mut self.between, Between::Nothing);
        let must = std::mem::take(&mut self.follows_comment);
        let line = |offset| Break { spaces: 0, offset, must: true, blank: false };
        let own = match between {
            _ if self.end == 0 => return,
            Between::Nothing if !must => return,
            Between::Space if !must => return self.pieces.push(Piece::Spaces(1)),
            Between::Nothing => line(0),
            Between::Space => line(GOES_ON),
            Between::Break(own) => own,
        };
        let blank = own.blank && self.lines_to(next) > 1;
        self.pieces.push(Piece::Break(Break { must: own.must || must || blank, blank, ..own }));
    }

    /// The number of line ends between the last token or comment and an offset.
    fn lines_to(&self, place: u32) -> usize {
        lines(self.source.get(self.end as usize..place as usize).unwrap_or(""))
    }
}

/// The number of line ends in a text. A line ends with a line feed, a carriage return, or both.
fn lines(text: &str) -> usize {
    let bytes = text.as_bytes();
    let ends = |(index, byte): &(usize, &u8)| match byte {
        b'\n' => true,
        b'\r' => bytes.get(index + 1) != Some(&b'\n'),
        _ => false,
    };
    bytes.iter().enumerate().filter(ends).count()
}

/// The width of a text in columns.
pub(crate) fn columns(text: &str) -> u16 {
    u16::try_from(if text.is_ascii() { text.len() } else { text.chars().count() }).unwrap_or(u16::MAX)
}

/// The width of the text at a span.
pub(crate) fn columns_of(span: Span, source: &str) -> usize {
    usize::from(columns(span.of(source)))
}
