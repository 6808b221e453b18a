//! Tokens and the lexer.

use std::ops::Range;

use logos::Logos;
use npc_diagnostics::Span;

/// The kind of a token. Keywords are contextual: the grammar accepts most of them as names.
///
/// A word contains every character of label keys, addresses, ports and `namespace/pod`. It never ends in `-`
/// or `/`, so that `->` and `//` are separate tokens.
#[derive(Logos, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[logos(skip r"[ \t\r\n\f]+")]
#[allow(missing_docs, reason = "the variants are the keywords and marks that their attributes show")]
#[repr(u8)]
pub enum TokenKind {
    #[token("import")]
    Import,
    #[token("let")]
    Let,
    #[token("policy")]
    Policy,
    #[token("audit")]
    Audit,
    #[token("admin")]
    Admin,
    #[token("baseline")]
    Baseline,
    #[token("priority")]
    Priority,
    #[token("for")]
    For,
    #[token("kyverno")]
    Kyverno,
    #[token("test")]
    Test,
    #[token("assert")]
    Assert,
    #[token("allow")]
    Allow,
    #[token("deny")]
    Deny,
    #[token("pass")]
    Pass,
    #[token("isolate")]
    Isolate,
    #[token("ingress")]
    Ingress,
    #[token("egress")]
    Egress,
    #[token("from")]
    From,
    #[token("to")]
    To,
    #[token("on")]
    On,
    #[token("log")]
    Log,
    #[token("anywhere")]
    Anywhere,
    #[token("except")]
    Except,
    #[token("all")]
    All,
    #[token("pods")]
    Pods,
    #[token("in")]
    In,
    #[token("notin")]
    Notin,
    #[token("namespace")]
    Namespace,
    #[token("namespaces")]
    Namespaces,
    #[token("same")]
    Same,
    #[token("sharing")]
    Sharing,
    #[token("cluster")]
    Cluster,
    #[token("pod")]
    Pod,
    #[token("at")]
    At,
    #[token("ports")]
    Ports,

    #[regex(r"[A-Za-z0-9_.:*?]+((-+|/)[A-Za-z0-9_.:*?]+)*")]
    Word,
    #[regex(r#""([^"\\\r\n]|\\[^\r\n])*""#)]
    Str,

    #[token("{")]
    LBrace,
    #[token("}")]
    RBrace,
    #[token("(")]
    LParen,
    #[token(")")]
    RParen,
    #[token(",")]
    Comma,
    #[token("=")]
    Eq,
    #[token("==")]
    EqEq,
    #[token("!=")]
    NotEq,
    #[token("!")]
    Not,
    #[token("->")]
    Arrow,

    #[regex(r"//[^\r\n]*", allow_greedy = true)]
    Comment,
    /// A string without its closing quote; it ends at the end of the line.
    #[regex(r#""([^"\\\r\n]|\\[^\r\n])*\\?"#)]
    OpenStr,
    /// Characters that cannot begin a token.
    Bad,
}

impl TokenKind {
    /// All keywords, with their kinds.
    pub const KEYWORDS: [(&'static str, Self); 35] = [
        ("import", Self::Import),
        ("let", Self::Let),
        ("policy", Self::Policy),
        ("audit", Self::Audit),
        ("admin", Self::Admin),
        ("baseline", Self::Baseline),
        ("priority", Self::Priority),
        ("for", Self::For),
        ("kyverno", Self::Kyverno),
        ("test", Self::Test),
        ("assert", Self::Assert),
        ("allow", Self::Allow),
        ("deny", Self::Deny),
        ("pass", Self::Pass),
        ("isolate", Self::Isolate),
        ("ingress", Self::Ingress),
        ("egress", Self::Egress),
        ("from", Self::From),
        ("to", Self::To),
        ("on", Self::On),
        ("log", Self::Log),
        ("anywhere", Self::Anywhere),
        ("except", Self::Except),
        ("all", Self::All),
        ("pods", Self::Pods),
        ("in", Self::In),
        ("notin", Self::Notin),
        ("namespace", Self::Namespace),
        ("namespaces", Self::Namespaces),
        ("same", Self::Same),
        ("sharing", Self::Sharing),
        ("cluster", Self::Cluster),
        ("pod", Self::Pod),
        ("at", Self::At),
        ("ports", Self::Ports),
    ];

    /// Whether the token is a word or a keyword, that is, usable as a name where the grammar allows it.
    #[must_use]
    pub const fn is_word(self) -> bool {
        (self as u8) <= Self::Word as u8
    }

    /// Whether the token can refer to a set: a word, or a keyword that has no meaning of its own
    /// where a set is allowed.
    #[must_use]
    pub const fn is_set_name(self) -> bool {
        self.is_word() && !self.is_reserved()
    }

    /// Whether the keyword has a meaning where the name of a set is allowed, so that no set can have this
    /// name.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        matches!(
            self,
            Self::All
                | Self::Pods
                | Self::Anywhere
                | Self::In
                | Self::On
                | Self::Log
                | Self::Except
                | Self::Allow
                | Self::Deny
                | Self::Pass
                | Self::Isolate
                | Self::Policy
                | Self::Let
                | Self::Import
                | Self::Assert
                | Self::Namespace
                | Self::Namespaces
                | Self::Same
        )
    }

    /// Whether the token is the action of a rule.
    #[must_use]
    pub const fn is_action(self) -> bool {
        matches!(self, Self::Allow | Self::Deny | Self::Pass)
    }

    /// The text of a keyword or punctuation mark, or a description of the token.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Word => "a word",
            Self::Str => "a quoted string",
            Self::LBrace => "`{`",
            Self::RBrace => "`}`",
            Self::LParen => "`(`",
            Self::RParen => "`)`",
            Self::Comma => "`,`",
            Self::Eq => "`=`",
            Self::EqEq => "`==`",
            Self::NotEq => "`!=`",
            Self::Not => "`!`",
            Self::Arrow => "`->`",
            Self::Comment => "a comment",
            Self::OpenStr => "a string without its closing quote",
            Self::Bad => "an invalid character",
            keyword => keyword.keyword().unwrap_or("a keyword"),
        }
    }

    /// The text of a keyword.
    #[must_use]
    pub fn keyword(self) -> Option<&'static str> {
        Self::KEYWORDS.iter().find(|(_, kind)| *kind == self).map(|(text, _)| *text)
    }
}

/// The span of a token, with the trait that chumsky requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenSpan(pub Span);

impl chumsky::span::Span for TokenSpan {
    type Context = ();
    type Offset = u32;

    fn new((): (), range: Range<u32>) -> Self {
        Self(Span::new(range.start, range.end))
    }

    fn context(&self) {}

    fn start(&self) -> u32 {
        self.0.start
    }

    fn end(&self) -> u32 {
        self.0.end
    }
}

/// A token and its span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// The kind.
    pub kind: TokenKind,
    /// The span.
    pub span: TokenSpan,
}

/// The purpose of a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommentKind {
    /// `//`: for readers of the source.
    Plain,
    /// `///`: documents the item below it.
    Doc,
    /// `//!`: documents the file.
    File,
}

/// A comment and its span, from the slashes to the end of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comment {
    /// The purpose.
    pub kind: CommentKind,
    /// The span.
    pub span: Span,
}

impl Comment {
    fn new(text: &str, span: Span) -> Self {
        let kind = if text.starts_with("//!") {
            CommentKind::File
        } else if text.starts_with("///") && !text.starts_with("////") {
            CommentKind::Doc
        } else {
            CommentKind::Plain
        };
        Self { kind, span }
    }

    /// The text after the slashes, without one leading space and without trailing white space.
    #[must_use]
    pub fn text(self, source: &str) -> &str {
        let text = self.span.of(source);
        let text = match self.kind {
            CommentKind::Plain => text.trim_start_matches('/'),
            CommentKind::Doc => text.strip_prefix("///").unwrap_or(text),
            CommentKind::File => text.strip_prefix("//!").unwrap_or(text),
        };
        text.strip_prefix(' ').unwrap_or(text).trim_end()
    }
}

/// Splits a text into tokens and comments. Every byte that is neither white space nor part of a token or
/// comment is in a `Bad` token; adjacent bad characters share one token.
pub(crate) fn lex(text: &str) -> (Vec<Token>, Vec<Comment>) {
    // Real programs have about one token per six bytes; an underestimate only costs a reallocation.
    let mut tokens: Vec<Token> = Vec::with_capacity(text.len() / 6);
    let mut comments = Vec::new();
    let mut lexer = TokenKind::lexer(text);
    if text.starts_with('\u{feff}') {
        lexer.bump('\u{feff}'.len_utf8());
    }
    while let Some(result) = lexer.next() {
        let range = lexer.span();
        let span = Span::new(range.start as u32, range.end as u32);
        let kind = result.unwrap_or(TokenKind::Bad);
        match kind {
            TokenKind::Comment => comments.push(Comment::new(lexer.slice(), span)),
            TokenKind::Bad => match tokens.last_mut() {
                Some(last) if last.kind == TokenKind::Bad && last.span.0.end == span.start => {
                    last.span.0.end = span.end;
                }
                _ => tokens.push(Token { kind, span: TokenSpan(span) }),
            },
            _ => tokens.push(Token { kind, span: TokenSpan(span) }),
        }
    }
    (tokens, comments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(TokenKind, &str)> {
        lex(text).0.into_iter().map(|token| (token.kind, token.span.0.of(text))).collect()
    }

    #[test]
    fn words_hold_addresses_ports_keys_and_globs() {
        for word in [
            "169.254.169.254/32",
            "2001:db8::/32",
            "::/0",
            "tcp/8000-8100",
            "app.kubernetes.io/name",
            "team-*",
            "a--b",
            "v1.2",
            "shop/checkout",
            "policy-x",
            "inn",
        ] {
            assert_eq!(kinds(word), [(TokenKind::Word, word)], "{word}");
        }
    }

    #[test]
    fn words_end_before_arrows_and_comments() {
        assert_eq!(
            kinds("a->b//c"),
            [(TokenKind::Word, "a"), (TokenKind::Arrow, "->"), (TokenKind::Word, "b")]
        );
        assert_eq!(kinds("a-"), [(TokenKind::Word, "a"), (TokenKind::Bad, "-")]);
        assert_eq!(kinds("tcp/"), [(TokenKind::Word, "tcp"), (TokenKind::Bad, "/")]);
    }

    #[test]
    fn lines_end_with_a_carriage_return_too() {
        assert_eq!(kinds("// note\rlet"), [(TokenKind::Let, "let")]);
        assert_eq!(kinds("\"a\rlet"), [(TokenKind::OpenStr, "\"a"), (TokenKind::Let, "let")]);
    }

    #[test]
    fn strings_end_with_their_line() {
        assert_eq!(kinds(r#""a \" b" c"#), [(TokenKind::Str, r#""a \" b""#), (TokenKind::Word, "c")]);
        assert_eq!(kinds("\"a\nb"), [(TokenKind::OpenStr, "\"a"), (TokenKind::Word, "b")]);
        assert_eq!(kinds("\"a\\\nb"), [(TokenKind::OpenStr, "\"a\\"), (TokenKind::Word, "b")]);
    }

    #[test]
    fn bad_characters_are_kept_together() {
        assert_eq!(
            kinds("a §§ \0; b"),
            [(TokenKind::Word, "a"), (TokenKind::Bad, "§§"), (TokenKind::Bad, "\0;"), (TokenKind::Word, "b"),]
        );
    }

    #[test]
    fn a_byte_order_mark_is_no_token() {
        assert_eq!(kinds("\u{feff}let"), [(TokenKind::Let, "let")]);
    }

    #[test]
    fn every_keyword_has_its_text() {
        for (text, kind) in TokenKind::KEYWORDS {
            assert_eq!(kinds(text), [(kind, text)]);
            assert_eq!(kind.keyword(), Some(text));
        }
    }

    #[test]
    fn comments_know_what_they_document() {
        let text = "//! file\n/// item\n// note\n//// rule";
        let found: Vec<_> = lex(text).1.into_iter().map(|c| (c.kind, c.text(text))).collect();
        assert_eq!(
            found,
            [
                (CommentKind::File, "file"),
                (CommentKind::Doc, "item"),
                (CommentKind::Plain, "note"),
                (CommentKind::Plain, "rule"),
            ]
        );
    }
}
