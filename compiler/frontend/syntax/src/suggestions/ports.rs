//! Suggestions for ports.

use npc_diagnostics::{Applicability, Diagnostic, Span};

use super::Context;
use crate::TokenKind as T;
use crate::codes::SYNTAX;
use crate::token::Token;

const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

/// Ports that are written as a phrase, such as `port 443 protocol tcp`.
#[derive(Default)]
struct Phrase {
    end: u32,
    /// Whether a token follows that may be part of the phrase.
    goes_on: bool,
    numbers: Vec<String>,
    /// Ports with their protocol.
    whole: Vec<String>,
    protocol: Option<String>,
}

impl Phrase {
    /// The ports in this language's syntax, and whether the protocol is certain. `None` if the phrase has no
    /// port.
    fn ports(&self) -> Option<(String, bool)> {
        let protocol = self.protocol.as_deref();
        let mut ports = self.whole.clone();
        let numbers = self.numbers.iter();
        ports.extend(numbers.map(|number| format!("{}/{number}", protocol.unwrap_or("tcp"))));
        if ports.is_empty() {
            ports.extend(protocol.map(str::to_owned));
        }
        let sure = protocol.is_some() || self.numbers.is_empty();
        (!ports.is_empty()).then(|| (ports.join(", "), sure))
    }

    /// Adds a word. Returns whether it can be part of a phrase.
    fn take(&mut self, word: &str) -> bool {
        let lower = word.to_ascii_lowercase();
        let lower = lower.trim_end_matches(':');
        let is_protocol = |text: &str| PROTOCOLS.contains(&text);
        let parts = lower.split_once(['/', ':']);
        match parts {
            Some((protocol, port)) if is_protocol(protocol) && !port.is_empty() => {
                self.whole.push(format!("{protocol}/{port}"));
            }
            Some((port, protocol)) if is_number(port) && is_protocol(protocol) => {
                self.whole.push(format!("{protocol}/{port}"));
            }
            None if is_number(lower) => self.numbers.push(lower.to_owned()),
            None if is_protocol(lower) && self.protocol.is_none() => self.protocol = Some(lower.to_owned()),
            _ => return is_filler(lower),
        }
        true
    }
}

/// Words before ports in other languages.
fn is_filler(word: &str) -> bool {
    matches!(word, "port" | "ports" | "protocol" | "protocols" | "proto" | "toports" | "number")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

/// Reads the phrase at an offset.
fn read(cx: &Context<'_>, start: u32) -> Phrase {
    let tokens = cx.tokens_from(start);
    let mut phrase = Phrase { end: start, ..Phrase::default() };
    let is_word = |token: Option<&Token>| token.is_some_and(|own| matches!(own.kind, T::Word | T::Ports));
    for (at, token) in tokens.iter().enumerate() {
        let next = tokens.get(at + 1);
        let goes_on = match token.kind {
            T::Word | T::Ports | T::Str => phrase.take(cx.of(token).trim_matches('"')),
            T::On | T::Eq | T::EqEq => is_word(next) && phrase.numbers.is_empty(),
            T::Comma => next.is_some_and(|next| {
                let text = cx.of(next);
                text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains(['.', '/', ':'])
            }),
            _ => false,
        };
        if !goes_on {
            phrase.goes_on = matches!(token.kind, T::Comma | T::Word);
            break;
        }
        if matches!(token.kind, T::Word | T::Ports | T::Str) {
            phrase.end = token.span.0.end;
        }
    }
    phrase
}

/// `port 443 protocol tcp`, after peers or after `on`.
pub(super) fn phrase(cx: &Context<'_>) -> Option<Diagnostic> {
    let lower = cx.text.to_ascii_lowercase();
    let text = lower.trim_end_matches(':');
    let lead = is_filler(text) || matches!(text, "at" | "via" | "over" | "with");
    let before = cx.word_before().to_ascii_lowercase();
    let before = before.trim_end_matches(':');
    let is_after_on = cx.second_before() == "on" && (is_filler(before) || PROTOCOLS.contains(&before));
    let (start, prefix) = if cx.wants(T::On) && lead && cx.found.is_some_and(T::is_word) {
        (cx.span.start, "on ")
    } else if is_after_on && (is_filler(before) || is_filler(text) || is_number(text)) {
        (cx.before().start, "")
    } else {
        return None;
    };
    let phrase = if prefix.is_empty() || is_filler(text) { read(cx, start) } else { read(cx, cx.span.end) };
    let label =
        if prefix.is_empty() { "remove the words around the port" } else { "ports are written after `on`" };
    let span = Span::new(start, phrase.end.max(cx.span.end));
    let (message, label) = if prefix.is_empty() && !is_filler(before) && !is_filler(text) {
        ("a protocol and its port are one word", "found two words")
    } else {
        ("ports are written as `PROTOCOL/PORT`", label)
    };
    let diagnostic = Diagnostic::new(&SYNTAX, message, cx.at(span), label);
    let ports = phrase.ports().map(|(ports, sure)| (ports, sure, phrase.goes_on));
    Some(match ports {
        Some((ports, true, true)) => diagnostic.help(format!("write `{prefix}{ports}`")),
        Some((ports, true, false)) => diagnostic.fix(
            Applicability::Automatic,
            format!("write `{prefix}{ports}`"),
            cx.at(span),
            format!("{prefix}{ports}"),
        ),
        Some((ports, false, _)) => {
            let udp = ports.replace("tcp/", "udp/");
            diagnostic
                .fix(
                    Applicability::Maybe,
                    format!("write `{prefix}{ports}`"),
                    cx.at(span),
                    format!("{prefix}{ports}"),
                )
                .fix(
                    Applicability::Maybe,
                    format!("write `{prefix}{udp}`"),
                    cx.at(span),
                    format!("{prefix}{udp}"),
                )
        }
        None => diagnostic.help("as in `on tcp/80, udp/53`"),
    })
}
