//! Suggestions for separators in lists and between a label and its value.

use npc_diagnostics::{Applicability, Diagnostic, Span};

use super::Context;
use crate::TokenKind as T;
use crate::codes::SYNTAX;

pub(super) fn lists(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    let end = Span::new(cx.ahead().len() as u32, cx.span.end);
    if cx.wants(T::RParen) && cx.wants(T::Comma) && cx.is(T::Word) && !cx.word_before().is_empty() {
        let comma = cx.at(Span::new(end.start, end.start));
        let diagnostic = cx.diagnostic("expected `,` or `)`", &format!("found `{}`", cx.text));
        return Some(diagnostic.fix(Maybe, "insert a comma", comma, ","));
    }
    if let Some(diagnostic) = equals(cx) {
        return Some(diagnostic);
    }
    if !(cx.wants(T::Comma) || cx.wants(T::Eq) && cx.wants(T::RBrace)) {
        return None;
    }
    let selector = cx.wants(T::RBrace);
    let found = format!("found `{}`", cx.text);
    let gap = cx.source.get(end.start as usize..cx.span.start as usize).unwrap_or("");
    let same_line = !gap.contains('\n');
    match cx.text {
        "or" | "||" if selector => {
            return Some(cx.diagnostic("requirements are separated by commas, and all of them must hold", &found).help(
                "to match either of two values, write `app in (a, b)`; to match either of two labels, write two peers",
            ));
        }
        "and" | "or" | "plus" | "&&" | "||" if cx.is(T::Word) => {
            let behind = cx.word_behind();
            let before = cx.word_before();
            if matches!(behind, "ingress" | "egress" | "from" | "to" | "allow" | "deny")
                && before != "ingress"
                && before != "egress"
            {
                let rest = cx.statement_from(cx.span.end);
                let rule = match behind {
                    "ingress" | "egress" => format!("allow {rest}"),
                    "from" => format!("allow ingress {rest}"),
                    "to" => format!("allow egress {rest}"),
                    action => format!("{action} …"),
                };
                return Some(
                    cx.diagnostic("a rule has one direction", &found)
                        .help(format!("write a separate rule without `{}`: `{rule}`", cx.text)),
                );
            }
            // Between a bare protocol and a port, a comma would be wrong: the protocol may belong to both
            // ports.
            let is_part = |word: &str| {
                matches!(word, "tcp" | "udp" | "sctp" | "port" | "ports")
                    || !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit() || b == b'-')
            };
            if !selector && (is_part(behind) || is_part(before)) {
                return Some(
                    cx.diagnostic("the members of a list are separated by commas", &found)
                        .help("write each port with its protocol, as in `on tcp/53, udp/53`"),
                );
            }
            return Some(cx.diagnostic("the members of a list are separated by commas", &found).fix(
                Automatic,
                "write a comma",
                cx.at(end),
                ",",
            ));
        }
        _ => {}
    }
    if selector
        && cx.wants(T::Eq)
        && let Some(diagnostic) = operator(cx, end)
    {
        return Some(diagnostic);
    }
    if cx.found.is_some_and(T::is_word) && !selector && matches!(cx.word_before(), "tcp" | "udp" | "sctp") {
        let digits = !cx.text.is_empty() && cx.text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        if digits {
            let port = format!("{}/{}", cx.word_before(), cx.text);
            let whole = cx.at(cx.with_word_before());
            return Some(
                Diagnostic::new(&SYNTAX, "a protocol and its port are one word", whole, "found two words")
                    .fix(Automatic, format!("write `{port}`"), whole, port),
            );
        }
    }
    if matches!(cx.found, Some(T::Ingress | T::Egress)) && matches!(cx.word_before(), "ingress" | "egress") {
        let comma = cx.at(Span::new(end.start, end.start));
        return Some(cx.diagnostic("expected `,`", &found).fix(Automatic, "insert a comma", comma, ","));
    }
    // A redundant noun before an address: `cidr 10.0.0.0/8`.
    let written = cx.word_before();
    let filler = written.to_ascii_lowercase();
    let filler = filler.trim_end_matches(':');
    let address = cx.text.contains(['.', '/', ':']) && cx.text.starts_with(|c: char| c.is_ascii_digit());
    if cx.is(T::Word)
        && matches!(
            filler,
            "cidr"
                | "cidrs"
                | "tocidr"
                | "fromcidr"
                | "tocidrset"
                | "fromcidrset"
                | "ip"
                | "ips"
                | "ipblock"
                | "block"
                | "address"
                | "addresses"
                | "net"
                | "range"
                | "subnet"
        )
        && address
    {
        let word = Span::new(cx.before().start, cx.span.start);
        return Some(
            Diagnostic::new(
                &SYNTAX,
                "an address has no keyword before it",
                cx.at(cx.before()),
                "remove this",
            )
            .fix(Automatic, format!("remove `{written}`"), cx.at(word), ""),
        );
    }
    if cx.wants(T::Except) && matches!(cx.text, "unless" | "but" | "without" | "excluding" | "not") {
        return Some(cx.instead("exceptions are written after `except`", "except", Maybe));
    }
    if cx.is(T::Except) && matches!(cx.word_before(), "ingress" | "egress") {
        let direction = cx.word_before();
        let (word, rest) = (if direction == "ingress" { "from" } else { "to" }, cx.tokens_from(cx.span.end));
        let peers = rest.iter().find(|own| !matches!(own.kind, T::From | T::To));
        let peers = peers.map_or_else(|| "…".to_owned(), |own| cx.statement_from(own.span.0.start));
        return Some(
            cx.diagnostic("`isolate` has no exceptions: allow them with a rule", "found `except`")
                .help(format!("keep `isolate {direction}`, and add `allow {direction} {word} {peers}`")),
        );
    }
    if cx.wants(T::On) {
        let next = cx.tokens_from(cx.span.end).into_iter().next();
        let is_port =
            |text: &str| ["tcp", "udp", "sctp"].iter().any(|own| text.split('/').next() == Some(own));
        if cx.is(T::To) && next.is_some_and(|next| is_port(cx.of(&next))) {
            return Some(cx.instead("ports are written after `on`", "on", Automatic));
        }
        let lower = cx.text.to_ascii_lowercase();
        // After `except on` the name of a set is missing.
        if cx.word_before() == "on" {
            return None;
        }
        if matches!(lower.as_str(), "tcp" | "udp" | "sctp")
            || ["tcp/", "udp/", "sctp/"].iter().any(|start| lower.starts_with(start))
        {
            let diagnostic = cx.diagnostic("ports are written after `on`", &found);
            return Some(cx.insert(diagnostic, "insert `on`", "on ", Automatic));
        }
    }
    let word = cx.is(T::Word) || cx.is(T::Str) && selector;
    let like = address
        || cx.text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '"')
            && (selector || cx.text.contains('/'));
    let comma = cx.at(Span::new(end.start, end.start));
    if word && same_line && like && !cx.wants(T::Eq) && !cx.word_before().is_empty() {
        return Some(cx.diagnostic("expected `,`", &found).fix(Maybe, "insert a comma", comma, ","));
    }
    if selector && cx.found.is_none_or(|kind| kind.is_word() || kind == T::LBrace) && cx.wants(T::Comma) {
        return Some(if same_line && word {
            cx.diagnostic("expected `,` or `}`", &found)
                .help("requirements are separated by commas, as in `{ app = web, tier in (a, b), !legacy }`")
        } else {
            Diagnostic::new(&SYNTAX, "this selector is not closed", comma, "`}` expected here").fix(
                Maybe,
                "insert `}`",
                comma,
                " }",
            )
        });
    }
    None
}

/// Suggestions where `=` is expected.
fn equals(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::Automatic;
    if !cx.wants(T::Eq) {
        return None;
    }
    let colon = cx.ahead().ends_with(':').then(|| {
        let end = cx.ahead().len() as u32;
        Span::new(end - 1, end)
    });
    if cx.text == ":" && cx.word_behind().is_empty() && cx.behind().starts_with('=') {
        return Some(cx.diagnostic("a set is defined with `=`", "found `:=`").fix(
            Automatic,
            "write `=`",
            cx.at(cx.span),
            "",
        ));
    }
    if cx.second_before() == "let" {
        let name = cx.word_before().trim_end_matches(':');
        let value = cx.statement_from(cx.span.start);
        let value = value.split(" policy ").next().filter(|value| value.len() < 40).unwrap_or("…");
        let place = colon.unwrap_or(cx.span.at_start());
        let label = if colon.is_some() { "found `:`" } else { "missing `=` before this" };
        let text = if colon.is_some() { " =" } else { "= " };
        return Some(
            Diagnostic::new(
                &SYNTAX,
                format!("the set `{name}` is defined with `=`"),
                cx.at(colon.unwrap_or(cx.span)),
                label,
            )
            .fix(Automatic, format!("write `let {name} = {value}`"), cx.at(place), text),
        );
    }
    let colon = colon?;
    if cx.is(T::LBrace) {
        return Some(
            cx.diagnostic("labels are written directly in the braces of the selector", "unexpected braces")
                .help("as in `pods { app = web, tier in (a, b) }`"),
        );
    }
    let label = if cx.wants(T::RBrace) { "a label value follows `=`" } else { "a value follows `=`" };
    Some(Diagnostic::new(&SYNTAX, "expected `=`, found `:`", cx.at(colon), label).fix(
        Automatic,
        "write `=`",
        cx.at(colon),
        " =",
    ))
}

/// An operator of another language after a label's key. `end` is the span from the end of the key to the end
/// of the token.
fn operator(cx: &Context<'_>, end: Span) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    let whole = cx.at(cx.with_word_before());
    let found = format!("found `{}`", cx.text);
    let alone = cx.behind().starts_with(['}', ',']);
    let sure = if alone { Automatic } else { Maybe };
    let lower = cx.text.to_ascii_lowercase();
    match (cx.word_before(), lower.as_str()) {
        ("exists" | "has" | "Exists", _) if cx.is(T::Word) => {
            let key = cx.text;
            Some(
                Diagnostic::new(
                    &SYNTAX,
                    "to require that a label exists, write only its key",
                    whole,
                    "write only the key",
                )
                .fix(sure, format!("write `{{ {key} }}`"), whole, key),
            )
        }
        ("has" | "exists", "(") => {
            let key = cx.word_behind();
            Some(
                cx.diagnostic("to require that a label exists, write only its key", &found)
                    .help(format!("write `{{ {key} }}`")),
            )
        }
        (key, "exists" | "present") if !key.is_empty() => {
            Some(cx.diagnostic("to require that a label exists, write only its key", &found).fix(
                sure,
                format!("write `{key}`"),
                cx.at(end),
                "",
            ))
        }
        (key, "doesnotexist" | "notexists" | "absent" | "missing") if !key.is_empty() => Some(
            Diagnostic::new(
                &SYNTAX,
                "to require that a label does not exist, write `!` and its key",
                whole,
                "not an operator",
            )
            .fix(sure, format!("write `!{key}`"), whole, format!("!{key}")),
        ),
        ("not", key) if key != "in" => Some(
            Diagnostic::new(
                &SYNTAX,
                "to require that a label does not exist, write `!` and its key",
                whole,
                "not an operator",
            )
            .fix(Maybe, format!("write `!{key}`"), whole, format!("!{}", cx.text)),
        ),
        (_, "not") if cx.word_behind() == "in" => {
            let both = Span::new(cx.span.start, (cx.source.len() - cx.behind().len() + 2) as u32);
            Some(Diagnostic::new(&SYNTAX, "`notin` is one word", cx.at(both), "found `not in`").fix(
                Automatic,
                "write `notin`",
                cx.at(both),
                "notin",
            ))
        }
        (_, "notin" | "not_in" | "not-in" | "in") if cx.is(T::Word) => {
            let with = if lower == "in" { "in" } else { "notin" };
            Some(cx.instead("operators are written in lower case", with, Automatic))
        }
        (_, "is" | "equals" | "eq") if !alone => Some(cx.instead("expected `=`", "=", Maybe)),
        (_, "matches" | "like" | "contains" | "startswith" | "endswith") => {
            Some(cx.diagnostic(&format!("there is no operator `{}`", cx.text), &found).help(OPERATORS))
        }
        _ => None,
    }
}

/// The operators of selectors.
pub(crate) const OPERATORS: &str = "the operators are `=`, `!=`, `in (a, b)` and `notin (a, b)`; regular expressions are not supported, and patterns only for the names of namespaces: `namespaces (team-*)`";
