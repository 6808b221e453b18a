//! The tokens that the grammar expects at a position, for completion. The answer comes from the parser
//! itself, so that no second description of the grammar is needed.

use chumsky::Parser as _;
use npc_diagnostics::{FileId, Span};

use crate::error::{ExpectedSet, SyntaxError};
use crate::grammar::{Parsers, tokens};
use crate::output::Output;
use crate::split::split;
use crate::token::{Token, TokenKind as T, TokenSpan, lex};

pub use crate::error::Expected;

/// The tokens and nonterminals that are expected at a position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// The keywords and marks.
    pub tokens: Vec<T>,
    /// The nonterminals.
    pub nonterminals: Vec<Expected>,
    /// The tokens of the item before the position; empty where an item can begin.
    pub before: Vec<Token>,
    /// The unfinished word or string that ends at the position. It is not one of the tokens in `before`.
    pub typed: Span,
    /// Whether the position is inside an unclosed string.
    pub in_string: bool,
}

impl Expectation {
    /// Whether a nonterminal is expected.
    #[must_use]
    pub fn has(&self, nonterminals: Expected) -> bool {
        self.nonterminals.contains(&nonterminals)
    }
}

/// The keywords that can begin an item.
const ITEMS: [T; 9] =
    [T::Import, T::Let, T::Policy, T::Audit, T::Admin, T::Baseline, T::Kyverno, T::Test, T::Assert];

/// The tokens that the grammar expects at `offset`. Empty inside a comment.
#[must_use]
pub fn expectation(source: &str, offset: u32) -> Expectation {
    let before = source.get(..offset as usize).unwrap_or(source);
    let end = before.len() as u32;
    let place = Span::new(end, end);
    let mut found = Expectation { typed: place, ..Expectation::default() };
    let (mut all, comments) = lex(before);
    // A comment extends to the end of its line.
    if comments.last().is_some_and(|last| last.span.end == end) {
        return found;
    }
    if let Some((typed, count)) = typed(&all, before, end) {
        found.typed = typed;
        found.in_string = typed.of(before).starts_with('"');
        all.truncate(all.len() - count);
    }
    // A token that fits nowhere is placed at the position: the parser's error lists what it expected instead.
    all.push(Token { kind: T::Bad, span: TokenSpan(place) });
    let mut out = Output { file: FileId(0), source: before, diagnostics: Vec::new() };
    let Some(chunk) = split(&mut all, &mut out).pop() else { return found };
    let own = all.get(chunk.start..chunk.end).unwrap_or_default();
    let set = match own {
        [_] => of_items(ExpectedSet::default()),
        // Items that are nested too deeply are not parsed.
        _ if !chunk.parse => return found,
        _ => ask(own, chunk.body, place),
    };
    found.tokens = set.tokens().collect();
    found.nonterminals = set.labels().map(|(label, _)| label).collect();
    found.before = own.split_last().map(|(_, before)| before.to_vec()).unwrap_or_default();
    found
}

/// The unfinished word at the end of the text, and its number of tokens.
fn typed(all: &[Token], before: &str, end: u32) -> Option<(Span, usize)> {
    let (last, rest) = all.split_last()?;
    let span = last.span.0;
    if span.end != end {
        return None;
    }
    match last.kind {
        T::OpenStr => Some((span, 1)),
        kind if kind.is_word() => Some((span, 1)),
        // A complete word never ends in these characters, but an unfinished one can.
        T::Bad if span.of(before).chars().all(|c| matches!(c, '-' | '/')) => {
            let word = rest.last().filter(|word| word.kind.is_word() && word.span.0.end == span.start)?;
            Some((word.span.0.to(span), 2))
        }
        _ => None,
    }
}

fn of_items(set: ExpectedSet) -> ExpectedSet {
    ITEMS.into_iter().fold(set, ExpectedSet::with)
}

/// The expectations of the grammar after the given first tokens of an item.
fn ask(own: &[Token], body: Option<u32>, place: Span) -> ExpectedSet {
    let parsers = Parsers::new();
    let input = |own| tokens(own, place);
    let errors = match own.first().map(|first| first.kind) {
        Some(T::Import) => parsers.import.parse(input(own)).into_errors(),
        Some(T::Let) => parsers.set.parse(input(own)).into_errors(),
        Some(T::Kyverno) => parsers.kyverno.parse(input(own)).into_errors(),
        Some(T::Test) => parsers.test.parse(input(own)).into_errors(),
        Some(T::Assert) => parsers.assert.parse(input(own)).into_errors(),
        _ => match body.and_then(|body| own.get(own.partition_point(|token| token.span.0.start < body)..)) {
            Some(body) => parsers.policy_body.parse(input(body)).into_errors(),
            None => parsers.policy_header.parse(input(own)).into_errors(),
        },
    };
    let here = errors.into_iter().filter_map(|error| match error {
        SyntaxError::Unexpected { span, expected, .. } if span.start >= place.start => Some(expected),
        _ => None,
    });
    let set = here.fold(ExpectedSet::default(), ExpectedSet::union);
    // After a complete item without a block, another item can begin.
    if set.has(Expected::End) { of_items(set) } else { set }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expectations at the position of `|`.
    fn at(text: &str) -> (Vec<&'static str>, Vec<Expected>, String) {
        let (before, after) = text.split_once('|').unwrap_or((text, ""));
        let found = expectation(&format!("{before}{after}"), before.len() as u32);
        let tokens = found.tokens.iter().map(|kind| kind.keyword().unwrap_or(kind.describe())).collect();
        (tokens, found.nonterminals, found.typed.of(before).to_owned())
    }

    #[test]
    fn the_grammar_says_what_fits() {
        let items = ["import", "let", "policy", "audit", "admin", "baseline", "kyverno", "test", "assert"];
        assert_eq!(at("|").0, items);
        assert_eq!(at("policy p for all pods in namespace a { isolate ingress }\npo|").0, items);
        assert_eq!(at("policy p for all pods in namespace a { isolate ingress }\npo|").2, "po");
        assert_eq!(at("admin |").0, ["policy"]);
        assert_eq!(at("policy p |").0, ["priority", "for"]);
        assert_eq!(at("policy p for |").1, [Expected::Pods]);
        assert_eq!(at("policy p for all |").0, ["pods"]);
        assert_eq!(at("policy p for all pods |").0, ["in", "`{`", "`,`"]);
        assert_eq!(at("policy p for all pods in |").1, [Expected::Scope]);
        assert_eq!(at("policy p for all pods in namespace |").1, [Expected::Name]);
        assert_eq!(at("policy p for pods { |").1, [Expected::LabelKey]);
        assert_eq!(at("policy p for pods { app = |").1, [Expected::LabelValue]);
        assert_eq!(at("policy p for all pods in all namespaces { |").1, [Expected::Statement]);
        assert_eq!(at("policy p for all pods in all namespaces { al|").1, [Expected::Statement]);
        assert_eq!(at("policy p for all pods in all namespaces { allow |").0, ["ingress", "egress"]);
        let body = "policy p for all pods in all namespaces { allow ingress from ";
        assert_eq!(at(&format!("{body}|")).1, [Expected::Peers]);
        assert_eq!(at(&format!("{body}anywhere |\n}}")).0, ["on", "log", "except", "`,`"]);
        assert_eq!(at(&format!("{body}anywhere |\n}}")).1, [Expected::Statement]);
        assert_eq!(at(&format!("{body}anywhere on |\n}}")).1, [Expected::Port]);
        assert_eq!(at(&format!("{body}anywhere on tcp/|\n}}")).2, "tcp/");
        assert_eq!(at("let x = |").1, [Expected::Set]);
        assert_eq!(at("test \"t\" { |").1, [Expected::TestEntry]);
        assert_eq!(at("test \"t\" { pod web in shop allow |").1, [Expected::Endpoint]);
        assert_eq!(at("kyverno { |").1, [Expected::Setting]);
        assert_eq!(at("kyverno { failure-policy = |").1, [Expected::Value]);
        assert_eq!(at("import \"se|"), (vec!["a quoted string"], Vec::new(), "\"se".to_owned()));
        assert_eq!(at("// note |"), (Vec::new(), Vec::new(), String::new()));
    }
}
