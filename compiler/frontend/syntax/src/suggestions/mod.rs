//! Suggestions for constructs of other languages (YAML, `kubectl`, other policy languages, English): messages
//! that show how to write them in this language.

mod lists;
mod pods;
mod ports;
mod rules;

pub(crate) use lists::OPERATORS;
use npc_diagnostics::{Applicability, Diagnostic, FileId, Location, Span};

use crate::TokenKind as T;
use crate::codes::SYNTAX;
use crate::error::{Expected, ExpectedSet};
use crate::split::begins_item;
use crate::token::{Token, TokenSpan, lex};

/// The number of bytes after the error that a suggestion looks at.
const REACH: usize = 400;
/// The number of words before the error that are searched for the enclosing policy.
const FAR: usize = 20_000;

/// A position where the grammar expected another token.
pub(crate) struct Context<'a> {
    pub(crate) file: FileId,
    pub(crate) source: &'a str,
    /// The unexpected token, or the end of the item.
    pub(crate) span: Span,
    /// The text of the token.
    pub(crate) text: &'a str,
    pub(crate) found: Option<T>,
    pub(crate) expected: ExpectedSet,
}

impl<'a> Context<'a> {
    /// The source before the token, without trailing white space.
    pub(crate) fn ahead(&self) -> &'a str {
        self.source.get(..self.span.start as usize).unwrap_or("").trim_end()
    }

    /// The word right before the token; empty if a punctuation mark is there.
    pub(crate) fn word_before(&self) -> &'a str {
        last_word(self.ahead())
    }

    /// The word before [`Self::word_before`]; empty if one of the two is a punctuation mark.
    fn second_before(&self) -> &'a str {
        let (ahead, last) = (self.ahead(), self.word_before());
        if last.is_empty() {
            return "";
        }
        last_word(ahead.get(..ahead.len() - last.len()).unwrap_or("").trim_end())
    }

    /// The source after the token, without leading white space.
    fn behind(&self) -> &'a str {
        self.source.get(self.span.end as usize..).unwrap_or("").trim_start()
    }

    fn word_behind(&self) -> &'a str {
        let behind = self.behind();
        let end = behind.find(|c: char| c.is_whitespace() || "{}(),=!".contains(c));
        end.map_or(behind, |end| behind.get(..end).unwrap_or(""))
    }

    /// The tokens from an offset on, at most [`REACH`] bytes.
    fn tokens_from(&self, start: u32) -> Vec<Token> {
        let start = self.source.floor_char_boundary(start as usize);
        let end = self.source.floor_char_boundary(start.saturating_add(REACH).min(self.source.len()));
        let base = start as u32;
        let shift = |token: Token| {
            let Span { start, end } = token.span.0;
            Token { kind: token.kind, span: TokenSpan(Span::new(start + base, end + base)) }
        };
        lex(self.source.get(start..end).unwrap_or("")).0.into_iter().map(shift).collect()
    }

    fn of(&self, token: &Token) -> &'a str {
        token.span.0.of(self.source)
    }

    /// The text from an offset to the end of its statement, on one line; `…` if that is empty or over 80
    /// bytes.
    fn statement_from(&self, start: u32) -> String {
        let tokens = self.tokens_from(start);
        let mut depth = 0;
        let mut end = start;
        for token in &tokens {
            let gap = Span::new(end, token.span.0.start).of(self.source);
            match token.kind {
                kind if begins_item(kind) && gap.contains('\n') => break,
                T::LBrace | T::LParen => depth += 1,
                T::RBrace | T::RParen if depth == 0 => break,
                T::RBrace | T::RParen => depth -= 1,
                kind if depth == 0 && (kind.is_action() || kind == T::Isolate || kind == T::Bad) => break,
                _ => {}
            }
            end = token.span.0.end;
        }
        let text = Span::new(start, end).of(self.source);
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() || line.len() > 80 || depth > 0 { "…".to_owned() } else { line }
    }

    /// Whether the position is in an admin or baseline policy, where `deny` is valid.
    fn is_in_tier(&self) -> bool {
        let words = self.ahead().rsplit(char::is_whitespace).filter(|word| !word.is_empty());
        let mut behind = ("", "");
        let mut words = words.take(FAR);
        while let Some(word) = words.next() {
            if word == "policy" && matches!(behind.1, "for" | "priority") {
                return matches!(words.next(), Some("admin" | "baseline"));
            }
            behind = (word, behind.0);
        }
        false
    }

    fn wants(&self, kind: T) -> bool {
        self.expected.has_token(kind)
    }

    fn is(&self, kind: T) -> bool {
        self.found == Some(kind)
    }

    fn at(&self, span: Span) -> Location {
        Location::new(self.file, span)
    }

    /// The span of the word before the token.
    fn before(&self) -> Span {
        let ahead = self.ahead().len();
        Span::new((ahead - self.word_before().len()) as u32, ahead as u32)
    }

    /// The span from the word before the token to the end of the token.
    fn with_word_before(&self) -> Span {
        self.before().to(self.span)
    }

    /// A diagnostic at the token.
    fn diagnostic(&self, message: &str, label: &str) -> Diagnostic {
        Diagnostic::new(&SYNTAX, message, self.at(self.span), label)
    }

    /// A diagnostic at the token, with a fix that replaces it.
    fn instead(&self, message: &str, with: &str, sure: Applicability) -> Diagnostic {
        self.diagnostic(message, &format!("found `{}`", self.text)).fix(
            sure,
            format!("write `{with}`"),
            self.at(self.span),
            with,
        )
    }

    /// Adds a fix that inserts text before the token.
    fn insert(&self, diagnostic: Diagnostic, title: &str, text: &str, sure: Applicability) -> Diagnostic {
        diagnostic.fix(sure, title, self.at(self.span.at_start()), text)
    }

    /// A description of the token that was found.
    fn found(&self) -> String {
        match self.found {
            Some(kind) if kind.is_word() => format!("found `{}`", self.text),
            Some(kind) => format!("found {}", kind.describe()),
            None => "the item ends here".to_owned(),
        }
    }
}

fn last_word(text: &str) -> &str {
    let start = text.rfind(|c: char| c.is_whitespace() || "{}(),=!\"".contains(c)).map_or(0, |at| at + 1);
    // The separator can be longer than a byte, so that `start` may not be a character boundary.
    text.get(start..).unwrap_or("")
}

/// The diagnostic for a known mistake; `None` for any other.
pub(crate) fn suggest(cx: &Context<'_>) -> Option<Diagnostic> {
    header(cx)
        .or_else(|| rules::direction(cx))
        .or_else(|| pods::namespaces(cx))
        .or_else(|| pods::field(cx))
        .or_else(|| pods::workload(cx))
        .or_else(|| ports::phrase(cx))
        .or_else(|| lists::lists(cx))
        .or_else(|| words(cx))
}

/// Mistakes between `policy` and its body.
fn header(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    if cx.is(T::Eq) && (cx.wants(T::For) || cx.word_before() == "priority") {
        return Some(cx.diagnostic("unexpected `=`", "remove it").fix(
            Automatic,
            "remove the `=`",
            cx.at(cx.span),
            "",
        ));
    }
    if cx.expected.has(Expected::Name) && cx.word_before() == "policy" {
        match cx.found {
            Some(T::For) => {
                let subject = cx.statement_from(cx.span.start);
                let subject = subject.split(" {").next().unwrap_or("for …").to_owned();
                return Some(
                    cx.diagnostic("this policy has no name", "the name comes before `for`")
                        .help(format!("write `policy NAME {subject}`, with a name of your choice")),
                );
            }
            Some(T::Str) => {
                let name = cx.text.trim_matches('"');
                let plain = !name.is_empty()
                    && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
                let diagnostic = cx.diagnostic("the name of a policy has no quotes", "found a quoted string");
                return Some(if plain {
                    diagnostic.fix(Automatic, format!("write `{name}`"), cx.at(cx.span), name)
                } else {
                    diagnostic.help(
                        "a name consists of lower-case letters, digits, `-` and `.`: `policy shop-web for …`",
                    )
                });
            }
            _ => {}
        }
    }
    if cx.wants(T::Policy) && cx.is(T::Word) && matches!(cx.word_before(), "admin" | "baseline" | "audit") {
        let diagnostic = cx.diagnostic("expected `policy`", &cx.found());
        return Some(cx.insert(diagnostic, "insert `policy`", "policy ", Automatic));
    }
    let tier = cx.word_before();
    if cx.wants(T::For)
        && cx.is(T::Word)
        && cx.second_before() == "policy"
        && matches!(tier, "admin" | "baseline" | "audit")
    {
        return Some(
            Diagnostic::new(&SYNTAX, "the tier comes before `policy`", cx.at(cx.before()), "a tier")
                .help(format!("write `{tier} policy {} for …`", cx.text)),
        );
    }
    if cx.is(T::Priority) && cx.wants(T::LBrace) && cx.wants(T::Except) {
        return Some(
            cx.diagnostic("`priority` comes before `for`", "found after the pods")
                .help(format!("write `admin policy NAME priority {} for …`", cx.word_behind())),
        );
    }
    if cx.wants(T::For) && cx.word_before() != "policy" {
        let message = "expected `for`";
        if matches!(cx.text, "order" | "precedence" | "weight") && cx.wants(T::Priority) {
            return Some(cx.instead("expected `priority` or `for`", "priority", Maybe));
        }
        if cx.is(T::Str) {
            return Some(
                cx.diagnostic(message, "found a quoted string")
                    .help("to describe a policy, write a comment above it: `/// …`"),
            );
        }
        cx.found?;
        return Some(
            cx.diagnostic(message, &cx.found())
                .help("a policy selects pods, as in `policy db for all pods in namespace payments { … }`"),
        );
    }
    if cx.is(T::LParen) && cx.wants(T::LBrace) && cx.wants(T::Except) && cx.word_before() != "pods" {
        return Some(cx.diagnostic("the rules of a policy must be in braces", "`{` expected here"));
    }
    let colon = cx.ahead().ends_with(':') && !cx.wants(T::Eq);
    let starts = cx.found.is_some_and(|found| found.is_action() || found == T::Isolate);
    if cx.wants(T::LBrace) && starts && !cx.word_before().is_empty() {
        let end = cx.ahead().len() as u32;
        let place = Span::new(end - u32::from(colon), end);
        return Some(
            Diagnostic::new(
                &SYNTAX,
                "the rules of a policy must be in braces",
                cx.at(place),
                "`{` expected here",
            )
            .fix(Maybe, "write `{`, and `}` after the last rule", cx.at(place), " {"),
        );
    }
    None
}

/// Words of other languages that correspond to a keyword.
fn words(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    if cx.wants(T::Str) && cx.is(T::Word) && matches!(cx.word_before(), "import" | "test" | "cluster") {
        let string = format!("\"{}\"", cx.text);
        return Some(cx.instead("expected a quoted string", &string, Automatic));
    }
    if cx.expected.has(Expected::LabelKey) && cx.is(T::Comma) {
        return Some(cx.diagnostic("expected a label key", "found `,`").fix(
            Automatic,
            "remove the comma",
            cx.at(cx.span),
            "",
        ));
    }
    if cx.expected.has(Expected::Statement) {
        return rules::statement(cx);
    }
    if cx.expected.has(Expected::Peers) && (cx.is(T::Not) || cx.is(T::Str)) {
        if cx.is(T::Not) {
            return Some(
                cx.diagnostic("`!` is not valid before a peer", "found `!`")
                    .help(format!("write `anywhere except {}`", cx.word_behind())),
            );
        }
        let name = cx.text.trim_matches('"');
        return Some(cx.diagnostic("peers have no quotes", "found a quoted string").fix(
            Maybe,
            format!("write `{name}`"),
            cx.at(cx.span),
            name,
        ));
    }
    if cx.expected.has(Expected::Port) && matches!(cx.text, "all" | "*") {
        return Some(
            cx.diagnostic("expected a port such as `tcp/443`", &cx.found())
                .help("a rule without `on` covers every port; `on tcp` covers every port of TCP"),
        );
    }
    if cx.expected.has(Expected::Set) && cx.is(T::LBrace) {
        return Some(cx.diagnostic("expected addresses, ports or pods", "found `{`").help(
            "the members of a set are separated by commas, without braces, as in `let dns = udp/53, tcp/53`",
        ));
    }
    if cx.wants(T::Arrow) && matches!(cx.text, "to" | "=" | "from") {
        return Some(cx.instead("expected `->`", "->", Maybe));
    }
    None
}
