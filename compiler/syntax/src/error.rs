//! What the grammar expected, and the message made of it.

use chumsky::DefaultExpected;
use chumsky::error::Error;
use chumsky::input::Input;
use chumsky::label::LabelError;
use chumsky::util::MaybeRef;
use npc_diagnostics::{Applicability, Diagnostic, FileId, Location, Span, nearest};

use crate::TokenKind;
use crate::codes::{SYNTAX, UNCLOSED, WRONG_PREPOSITION};
use crate::token::TokenSpan;

/// Something larger than a token that the grammar may expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Expected {
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
    const ALL: [(Self, &'static str); 16] = [
        (Self::Name, "a name"),
        (Self::Pods, "pods: `all pods`, `pods { … }` or a set"),
        (Self::Peers, "peers: `anywhere`, pods, addresses or a set"),
        (
            Self::Scope,
            "namespaces: `all namespaces`, `namespace NAME`, `namespaces (…)`, `namespaces { … }`, `same namespace` or `namespaces sharing LABEL`",
        ),
        (Self::Address, "an address or a set of them"),
        (Self::Port, "a port such as `tcp/443`, or a set of them"),
        (Self::LabelKey, "a label's key"),
        (Self::LabelValue, "a label's value"),
        (Self::Value, "a value"),
        (Self::Glob, "a namespace's name, which may hold `*` and `?`"),
        (Self::Statement, "a rule (`allow`, `deny`, `pass`), `isolate` or `kyverno`"),
        (Self::TestEntry, "`cluster`, `namespace`, `pod`, `allow` or `deny`"),
        (Self::Setting, "a setting"),
        (Self::End, "the end of the item"),
        (Self::Set, "addresses, ports or pods"),
        (Self::Endpoint, "`namespace/pod`, an address or a set of them"),
    ];

    const fn bit(self) -> u128 {
        1 << (64 + self as u8)
    }

    /// The keywords that a misspelt word may have been meant to be.
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

/// A set of tokens and larger things, kept without allocation: the parser makes and drops one of
/// these for each alternative that it tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExpectedSet(u128);

impl ExpectedSet {
    fn has(self, label: Expected) -> bool {
        self.0 & label.bit() != 0
    }

    fn has_token(self, kind: TokenKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    fn tokens(self) -> impl Iterator<Item = TokenKind> {
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

    fn labels(self) -> impl Iterator<Item = (Expected, &'static str)> {
        Expected::ALL.into_iter().filter(move |(label, _)| self.has(*label))
    }
}

/// Why a piece of the program could not be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum SyntaxError {
    /// Something else was expected at the place.
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
    /// The diagnostic for users.
    pub(crate) fn diagnostic(self, file: FileId, source: &str) -> Diagnostic {
        match self {
            Self::Unexpected { span, found, expected } => unexpected(file, source, span, found, expected),
            Self::WrongPreposition { span, ingress } => {
                let (direction, right, wrong) =
                    if ingress { ("ingress", "from", "to") } else { ("egress", "to", "from") };
                let location = Location::new(file, span);
                Diagnostic::new(
                    &WRONG_PREPOSITION,
                    format!("`{direction}` goes with `{right}`, not with `{wrong}`"),
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
    // The grammar takes both prepositions, to tell the wrong one better; only one is right.
    if expected.has_token(TokenKind::From) && expected.has_token(TokenKind::To) {
        let wrong = if before(source, span).ends_with("egress") { TokenKind::From } else { TokenKind::To };
        expected.0 &= !(1 << wrong as u8);
    }
    let location = Location::new(file, span);
    let text = span.of(source);
    let what_found = match found {
        None => "the item ends here".to_owned(),
        Some(TokenKind::Str) => "found a string in quotes".to_owned(),
        Some(TokenKind::Bad | TokenKind::OpenStr) => format!("`{text}` has no meaning here"),
        Some(_) => format!("found `{text}`"),
    };

    let words: Vec<&str> = expected
        .tokens()
        .filter_map(TokenKind::keyword)
        .chain(expected.labels().flat_map(|(label, _)| label.keywords().iter().copied()))
        .collect();
    if found.is_some_and(TokenKind::is_word)
        && let Some(meant) = nearest(text, words.iter().copied())
    {
        return Diagnostic::new(
            &SYNTAX,
            format!("expected {}, found `{text}`", expectation(expected)),
            location,
            format!("did you mean `{meant}`?"),
        )
        .fix(Applicability::Automatic, format!("write `{meant}`"), location, meant);
    }

    let diagnostic =
        Diagnostic::new(&SYNTAX, format!("expected {}", expectation(expected)), location, what_found);
    hint(diagnostic, source, location, found, expected)
}

/// The source before a place, without white space at its end.
fn before(source: &str, span: Span) -> &str {
    source.get(..span.start as usize).unwrap_or("").trim_end()
}

/// Adds what usually lies behind a mistake of this shape.
fn hint(
    diagnostic: Diagnostic,
    source: &str,
    location: Location,
    found: Option<TokenKind>,
    expected: ExpectedSet,
) -> Diagnostic {
    let text = location.span.of(source);
    if expected.has_token(TokenKind::For) && expected.has_token(TokenKind::Priority) {
        return diagnostic.help(
            "a policy says which pods it is for, as in `policy db for all pods in namespace payments { … }`",
        );
    }
    if expected.has_token(TokenKind::From) || expected.has_token(TokenKind::To) {
        let word = if expected.has_token(TokenKind::From) { "from" } else { "to" };
        return diagnostic.fix(
            Applicability::Automatic,
            format!("insert `{word}`"),
            Location::new(location.file, location.span.at_start()),
            format!("{word} "),
        );
    }
    if expected.has_token(TokenKind::Ingress) && expected.has_token(TokenKind::Egress) {
        return diagnostic.help(
            "say the direction: `allow ingress from …`, `allow egress to …`, `isolate ingress, egress`",
        );
    }
    let ahead = before(source, location.span);
    if ahead.ends_with(':') && (expected.has_token(TokenKind::Eq) || expected.has_token(TokenKind::Comma)) {
        let colon = Span::new(ahead.len() as u32 - 1, ahead.len() as u32);
        return diagnostic.help("write `=`, not `:`").fix(
            Applicability::Automatic,
            "write `=`",
            Location::new(location.file, colon),
            " =",
        );
    }
    if expected.has(Expected::LabelKey) && text == "," {
        return diagnostic.fix(Applicability::Automatic, "remove the comma", location, "");
    }
    if expected.has_token(TokenKind::Comma)
        && expected.has_token(TokenKind::RBrace)
        && found.is_some_and(TokenKind::is_word)
    {
        return diagnostic
            .help("requirements are separated by commas, as in `{ app = web, tier in (a, b), !legacy }`");
    }
    if found.is_none() && expected.has_token(TokenKind::RBrace) {
        return diagnostic.help("close the block with `}`");
    }
    diagnostic
}

/// "`from`", "`a` or `b`", "`a`, `b` or `c`".
fn expectation(expected: ExpectedSet) -> String {
    let mut words: Vec<String> = expected.labels().map(|(_, text)| text.to_owned()).collect();
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
