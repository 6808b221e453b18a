//! The set of tokens that the grammar expected at a position, and the message for it.

use chumsky::DefaultExpected;
use chumsky::error::Error;
use chumsky::input::Input;
use chumsky::label::LabelError;
use chumsky::util::MaybeRef;
use npc_diagnostics::{Applicability, Diagnostic, FileId, Location, Span};
use npc_suggest::near;

use crate::TokenKind;
use crate::codes::{SYNTAX, UNCLOSED, WRONG_PREPOSITION};
use crate::suggestions::{Context, suggest};
use crate::token::TokenSpan;

/// A nonterminal that the grammar can expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the table below says what messages call each")]
#[repr(u8)]
pub enum Expected {
    Name,
    Pods,
    Peers,
    Scope,
    Address,
    Port,
    LabelKey,
    LabelValue,
    Value,
    Glob,
    Statement,
    TestEntry,
    Setting,
    End,
    Set,
    Endpoint,
}

impl Expected {
    /// Each nonterminal with its description in messages: a list, so that a message joins all alternatives
    /// with one "or".
    const ALL: [(Self, &'static [&'static str]); 16] = [
        (Self::Name, &["a name"]),
        (Self::Pods, &["`all pods`", "`pods { … }`", "a set of pods"]),
        (Self::Peers, &["`anywhere`", "pods", "addresses", "a set"]),
        (
            Self::Scope,
            &[
                "`all namespaces`",
                "`namespace NAME`",
                "`namespaces (…)`",
                "`namespaces { … }`",
                "`same namespace`",
                "`namespaces sharing LABEL`",
            ],
        ),
        (Self::Address, &["an address", "a set of addresses"]),
        (Self::Port, &["a port such as `tcp/443`", "a set of ports"]),
        (Self::LabelKey, &["a label key"]),
        (Self::LabelValue, &["a label value"]),
        (Self::Value, &["a value"]),
        (Self::Glob, &["the name of a namespace or a pattern with `*` and `?`"]),
        (Self::Statement, &["a rule (`allow …`)", "`isolate`", "`kyverno { … }`"]),
        (Self::TestEntry, &["`cluster`", "`namespace`", "`pod`", "`allow`", "`deny`"]),
        (Self::Setting, &["a setting"]),
        (Self::End, &["the end of the item"]),
        (Self::Set, &["addresses", "ports", "pods"]),
        (Self::Endpoint, &["`namespace/pod`", "an address", "a set of addresses"]),
    ];

    const fn bit(self) -> u128 {
        1 << (64 + self as u8)
    }

    /// The keywords to suggest for a misspelt word.
    fn keywords(self) -> &'static [&'static str] {
        match self {
            Self::Pods => &["all", "pods"],
            Self::Peers => &["anywhere", "all", "pods"],
            Self::Scope => &["all", "namespace", "namespaces", "same"],
            Self::Statement => &["allow", "deny", "pass", "isolate", "kyverno"],
            Self::TestEntry => &["cluster", "namespace", "pod", "allow", "deny"],
            Self::Set => &["all", "pods"],
            _ => &[],
        }
    }
}

/// A set of tokens and nonterminals. It is a bit set and does not allocate, because the parser creates and
/// drops one for each alternative that it tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExpectedSet(u128);

impl ExpectedSet {
    pub(crate) fn has(self, label: Expected) -> bool {
        self.0 & label.bit() != 0
    }

    pub(crate) fn has_token(self, kind: TokenKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// With a token.
    pub(crate) fn with(self, kind: TokenKind) -> Self {
        Self(self.0 | 1 << kind as u8)
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) fn tokens(self) -> impl Iterator<Item = TokenKind> {
        use TokenKind as T;
        let marks = [
            T::Word,
            T::Str,
            T::LBrace,
            T::RBrace,
            T::LParen,
            T::RParen,
            T::Comma,
            T::Eq,
            T::EqEq,
            T::NotEq,
            T::Not,
            T::Arrow,
        ];
        T::KEYWORDS.into_iter().map(|(_, kind)| kind).chain(marks).filter(move |kind| self.has_token(*kind))
    }

    pub(crate) fn labels(self) -> impl Iterator<Item = (Expected, &'static [&'static str])> {
        Expected::ALL.into_iter().filter(move |(label, _)| self.has(*label))
    }
}

/// A syntax error in an item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SyntaxError {
    /// Another token was expected at the span.
    Unexpected { span: Span, found: Option<TokenKind>, expected: ExpectedSet },
    /// `ingress to` or `egress from`.
    WrongPreposition { span: Span, ingress: bool },
    /// A `{` without its `}`.
    Unclosed { open: Span, end: Span },
}

impl<'a, I> Error<'a, I> for SyntaxError
where
    I: Input<'a, Token = TokenKind, Span = TokenSpan>,
{
    fn merge(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unexpected { span, found, expected: a }, Self::Unexpected { expected: b, .. }) => {
                Self::Unexpected { span, found, expected: ExpectedSet(a.0 | b.0) }
            }
            (Self::Unexpected { .. }, other) => other,
            (this, _) => this,
        }
    }
}

impl<'a, I> LabelError<'a, I, DefaultExpected<'a, TokenKind>> for SyntaxError
where
    I: Input<'a, Token = TokenKind, Span = TokenSpan>,
{
    fn expected_found<E: IntoIterator<Item = DefaultExpected<'a, TokenKind>>>(
        expected: E,
        found: Option<MaybeRef<'a, TokenKind>>,
        span: TokenSpan,
    ) -> Self {
        let mut set = 0;
        for one in expected {
            set |= match one {
                DefaultExpected::Token(kind) => 1 << *kind as u8,
                DefaultExpected::EndOfInput => Expected::End.bit(),
                _ => 0,
            };
        }
        Self::Unexpected { span: span.0, found: found.as_deref().copied(), expected: ExpectedSet(set) }
    }
}

impl<'a, I> LabelError<'a, I, Expected> for SyntaxError
where
    I: Input<'a, Token = TokenKind, Span = TokenSpan>,
{
    fn expected_found<E: IntoIterator<Item = Expected>>(
        expected: E,
        found: Option<MaybeRef<'a, TokenKind>>,
        span: TokenSpan,
    ) -> Self {
        let set = expected.into_iter().fold(0, |set, label| set | label.bit());
        Self::Unexpected { span: span.0, found: found.as_deref().copied(), expected: ExpectedSet(set) }
    }

    fn label_with(&mut self, label: Expected) {
        if let Self::Unexpected { expected, .. } = self {
            *expected = ExpectedSet(label.bit());
        }
    }
}

impl SyntaxError {
    /// Converts the error to a diagnostic.
    pub(crate) fn diagnostic(self, file: FileId, source: &str) -> Diagnostic {
        match self {
            Self::Unexpected { span, found, expected } => unexpected(file, source, span, found, expected),
            Self::WrongPreposition { span, ingress } => {
                let (direction, right, wrong) =
                    if ingress { ("ingress", "from", "to") } else { ("egress", "to", "from") };
                let location = Location::new(file, span);
                Diagnostic::new(
                    &WRONG_PREPOSITION,
                    format!("expected `{right}` after `{direction}`, found `{wrong}`"),
                    location,
                    format!("write `{right}`"),
                )
                .fix(Applicability::Automatic, format!("write `{right}`"), location, right)
            }
            Self::Unclosed { open, end } => Diagnostic::new(
                &UNCLOSED,
                "this `{` is never closed",
                Location::new(file, open),
                "opened here",
            )
            .label(Location::new(file, end.at_end()), "`}` expected here at the latest")
            .fix(
                Applicability::Maybe,
                "close the block",
                Location::new(file, end.at_end()),
                "\n}",
            ),
        }
    }
}

fn unexpected(
    file: FileId,
    source: &str,
    span: Span,
    found: Option<TokenKind>,
    mut expected: ExpectedSet,
) -> Diagnostic {
    // The grammar accepts both prepositions to report the wrong one with a better message; only one is valid.
    if expected.has_token(TokenKind::From) && expected.has_token(TokenKind::To) {
        let ahead = source.get(..span.start as usize).unwrap_or("").trim_end();
        let wrong = if ahead.ends_with("egress") { TokenKind::From } else { TokenKind::To };
        expected.0 &= !(1 << wrong as u8);
    }
    // A plain policy has no priority.
    if expected.has_token(TokenKind::Priority) && !is_tier(source, span) {
        expected.0 &= !(1 << TokenKind::Priority as u8);
    }
    // The next statement is also possible here, but it is not what was intended.
    if expected.0 & !(Expected::Statement.bit() | 1 << TokenKind::RBrace as u8) != 0 {
        expected.0 &= !Expected::Statement.bit();
    }
    let text = span.of(source);
    let context = Context { file, source, span, text, found, expected };
    if found == Some(TokenKind::Word)
        && let Some(keyword) = keyword_of(text, expected)
    {
        let place = Location::new(file, span);
        let message = if text.ends_with(':') {
            "unexpected `:` after a keyword"
        } else {
            "keywords are written in lower case"
        };
        return Diagnostic::new(&SYNTAX, message, place, format!("found `{text}`")).fix(
            Applicability::Automatic,
            format!("write `{keyword}`"),
            place,
            keyword,
        );
    }
    if let Some(diagnostic) = suggest(&context) {
        return diagnostic;
    }
    let place = |span| Location::new(file, span);
    let words: Vec<&str> = expected
        .tokens()
        .filter_map(TokenKind::keyword)
        .chain(expected.labels().flat_map(|(label, _)| label.keywords().iter().copied()))
        .collect();
    // A keyword is not a misspelling, but its singular or plural may be the intended keyword.
    let plural = |a: &str, b: &str| a.strip_suffix('s') == Some(b) || b.strip_suffix('s') == Some(a);
    let meant = match found {
        Some(TokenKind::Word) => near(text, words.iter().copied()),
        Some(_) => words.iter().copied().find(|word| plural(word, text)).map(|word| (word, true)),
        None => None,
    };
    if let Some((meant, alone)) = meant {
        let sure = if alone { Applicability::Automatic } else { Applicability::Maybe };
        return Diagnostic::new(
            &SYNTAX,
            format!("expected {}, found `{text}`", expectation(expected)),
            place(span),
            format!("did you mean `{meant}`?"),
        )
        .fix(sure, format!("write `{meant}`"), place(span), meant);
    }
    let message = format!("expected {}", expectation(expected));
    // A token that is missing at the end of a line is reported there, not at the first token of the next
    // line.
    let ahead = context.ahead();
    let gap = source.get(ahead.len()..span.start as usize).unwrap_or("");
    if !ahead.is_empty() && (found.is_none() || gap.contains('\n')) {
        let end = Span::new(ahead.len() as u32, ahead.len() as u32);
        let last = context.word_before();
        let label =
            if last.is_empty() { "the item ends here".to_owned() } else { format!("missing after `{last}`") };
        let missing = Diagnostic::new(&SYNTAX, message, place(end), label);
        return match (found, expected.has_token(TokenKind::RBrace)) {
            (None, true) => missing.help("close the block with `}`"),
            _ => missing,
        };
    }
    let what_found = match found {
        None => "the item ends here".to_owned(),
        Some(TokenKind::Str) => "found a quoted string".to_owned(),
        Some(TokenKind::Bad | TokenKind::OpenStr) => format!("`{text}` is not valid here"),
        Some(_) => format!("found `{text}`"),
    };
    Diagnostic::new(&SYNTAX, message, place(span), what_found)
}

/// The expected keyword that equals the word except for its case and a trailing colon.
fn keyword_of(text: &str, expected: ExpectedSet) -> Option<&'static str> {
    let word = text.strip_suffix(':').unwrap_or(text);
    let mut keywords = expected
        .tokens()
        .filter_map(TokenKind::keyword)
        .chain(expected.labels().flat_map(|(label, _)| label.keywords().iter().copied()));
    keywords.find(|keyword| keyword.eq_ignore_ascii_case(word) && *keyword != text)
}

/// Whether the position is in the header of an admin or baseline policy, which can have a priority.
fn is_tier(source: &str, span: Span) -> bool {
    let ahead = source.get(..span.start as usize).unwrap_or("");
    let mut words = ahead.rsplit(|c: char| c.is_whitespace()).filter(|word| !word.is_empty());
    words.by_ref().take(8).find(|word| *word == "policy");
    matches!(words.next(), Some("admin" | "baseline"))
}

/// Joins the expectations: "`from`", "`a` or `b`", "`a`, `b` or `c`".
fn expectation(expected: ExpectedSet) -> String {
    let mut words: Vec<String> =
        expected.labels().flat_map(|(_, texts)| texts.iter().map(|text| (*text).to_owned())).collect();
    words.extend(
        expected.tokens().map(|kind| {
            kind.keyword().map_or_else(|| kind.describe().to_owned(), |word| format!("`{word}`"))
        }),
    );
    match words.split_last() {
        None => "something else".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
    }
}
