//! Suggestions for rules: the action, the direction and the preposition.

use npc_diagnostics::{Applicability, Diagnostic, Span};

use super::Context;
use crate::TokenKind as T;
use crate::codes::SYNTAX;

const PLAIN: &str = "a plain policy has no `deny`: it denies everything that no rule allows";

const ADMIN: &str = "for a denial that no other policy can override, write an `admin policy` with `deny`";

/// The help that replaces a denial in a plain policy.
fn isolates(directions: &str) -> String {
    format!("write `isolate {directions}`, which denies everything that no rule allows")
}

/// The directions in a statement from an offset on; both if it names none.
fn directions(cx: &Context<'_>, start: u32) -> &'static str {
    let tokens = cx.tokens_from(start);
    let own = |kind: &T| !matches!(kind, T::RBrace | T::Allow | T::Deny | T::Pass | T::Isolate);
    let kinds = tokens.iter().map(|token| token.kind).enumerate();
    let kinds: Vec<T> = kinds.take_while(|(at, kind)| *at == 0 || own(kind)).map(|(_, kind)| kind).collect();
    let has = |kind| kinds.contains(&kind);
    match (has(T::Ingress) || has(T::From), has(T::Egress) || has(T::To)) {
        (true, false) => "ingress",
        (false, true) => "egress",
        _ => "ingress, egress",
    }
}

/// The help that allows everything except the addresses that the statement denies; empty if it names none.
fn all_but(cx: &Context<'_>, start: u32) -> String {
    let tokens = cx.tokens_from(start);
    let preposition = tokens.iter().take(3).find(|token| matches!(token.kind, T::From | T::To));
    let Some(preposition) = preposition else { return String::new() };
    let address = tokens.iter().find(|token| token.span.0.start >= preposition.span.0.end);
    let is_address = address.is_some_and(|token| {
        let text = cx.of(token);
        text.starts_with(|c: char| c.is_ascii_digit()) && text.contains(['.', ':'])
    });
    if !is_address {
        return String::new();
    }
    let (direction, word) = if preposition.kind == T::From { ("ingress", "from") } else { ("egress", "to") };
    let peers = cx.statement_from(preposition.span.0.end);
    let peers = if peers.contains(',') { format!("({peers})") } else { peers };
    format!("`allow {direction} {word} anywhere except {peers}` allows everything else; ")
}

/// Mistakes where a rule or `isolate` is expected.
pub(super) fn statement(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    let lower = cx.text.to_ascii_lowercase();
    match lower.trim_end_matches(':') {
        "permit" | "accept" | "grant" => Some(cx.instead("expected a rule", "allow", Automatic)),
        "block" | "drop" | "reject" | "forbid" | "refuse" | "prohibit" | "disallow" => {
            let found = format!("found `{}`", cx.text);
            Some(if cx.is_in_tier() {
                cx.instead("expected a rule", "deny", Automatic)
            } else {
                cx.diagnostic(PLAIN, &found).help(format!(
                    "{}; {}{ADMIN}",
                    isolates(directions(cx, cx.span.start)),
                    all_but(cx, cx.span.end)
                ))
            })
        }
        "no" | "never" | "only" => Some(
            cx.diagnostic("a plain policy allows only what its rules allow", &cx.found())
                .help(isolates(directions(cx, cx.span.start))),
        ),
        "default" | "default-deny" | "deny-all" | "defaultdeny" => {
            Some(cx.diagnostic("the default is not written as a statement", &cx.found()).help(isolates("ingress, egress")))
        }
        "default-allow" | "allow-all" => Some(cx.diagnostic("expected a rule", &cx.found()).help(
            "to allow everything, write two rules, `allow ingress from anywhere` and `allow egress to anywhere`",
        )),
        "ingress" | "egress" | "inbound" | "outbound" | "from" | "to" => {
            let (direction, preposition) = match lower.trim_end_matches(':') {
                "ingress" | "inbound" | "from" => ("ingress", "from"),
                _ => ("egress", "to"),
            };
            let label = format!("found `{}`", cx.text);
            let diagnostic = cx.diagnostic("a rule begins with its action, `allow`", &label);
            let whole = matches!(cx.found, Some(T::Ingress | T::Egress));
            if whole && cx.word_behind() == preposition {
                return Some(cx.insert(diagnostic, "insert `allow`", "allow ", Maybe));
            }
            Some(diagnostic.help(format!("write `allow {direction} {preposition} …`")))
        }
        word if word.len() < lower.len() => Some(cx.diagnostic("this is YAML, not a rule", &cx.found()).help(
            "a rule is a single statement, as in `allow ingress from pods { app = web } in namespace shop on tcp/443`",
        )),
        _ => None,
    }
}

/// Mistakes in `allow ingress from …`.
pub(super) fn direction(cx: &Context<'_>) -> Option<Diagnostic> {
    if cx.wants(T::Ingress) && cx.wants(T::Egress) {
        return missing_direction(cx);
    }
    let word = match (cx.wants(T::From), cx.wants(T::To)) {
        (true, false) => "from",
        (false, true) => "to",
        _ => return None,
    };
    missing_preposition(cx, word)
}

fn missing_direction(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    let message = "expected `ingress` or `egress`";
    let action = cx.word_before();
    let found = cx.found();
    let reported = || cx.diagnostic(message, &found);
    // The help that splits a rule into two, one per direction.
    let both = |peers: &str| {
        format!("write two rules, `{action} ingress from {peers}` and `{action} egress to {peers}`")
    };
    if action == "deny" && !cx.is_in_tier() && !matches!(cx.text, "inbound" | "outbound" | "in" | "out") {
        if cx.is(T::Word) && npc_suggest::nearest(cx.text, ["ingress", "egress"]).is_some() {
            return None;
        }
        let end = if cx.found.is_some_and(T::is_word) { cx.span.start } else { cx.before().start };
        let help = match all_but(cx, cx.span.start) {
            but if but.is_empty() => isolates(directions(cx, end)),
            but => format!("{}; {but}{ADMIN}", isolates(directions(cx, end))),
        };
        return Some(cx.diagnostic(PLAIN, &found).help(help));
    }
    if action == "isolate" {
        return Some(match cx.text.to_ascii_lowercase().as_str() {
            "all" | "both" | "everything" => cx.instead(message, "ingress, egress", Maybe),
            "inbound" | "incoming" | "in" => cx.instead(message, "ingress", Automatic),
            "outbound" | "outgoing" | "out" => cx.instead(message, "egress", Automatic),
            text if npc_suggest::nearest(text, ["ingress", "egress"]).is_some() => return None,
            _ => reported().help("write `isolate ingress`, `isolate egress` or `isolate ingress, egress`"),
        });
    }
    let lower = cx.text.to_ascii_lowercase();
    Some(match (cx.found, lower.as_str()) {
        (Some(T::From | T::To), _) => {
            let (word, one) = if cx.is(T::From) { ("ingress", "to") } else { ("egress", "from") };
            let peers = cx.statement_from(cx.span.end);
            let diagnostic = reported().help(format!(
                "for connections {one} these pods, write `{action} {word} {} {peers}`; for both directions, {}",
                cx.text,
                both(&peers)
            ));
            cx.insert(diagnostic, &format!("insert `{word}`"), &format!("{word} "), Maybe)
        }
        (Some(T::Word), "only" | "just") => {
            let label = format!("remove `{}`", cx.text);
            let next = cx.source.len() - cx.behind().len();
            let word = Span::new(cx.span.start, next as u32);
            cx.diagnostic("a policy allows only what its rules allow", &label).fix(
                Maybe,
                format!("remove `{}`", cx.text),
                cx.at(word),
                "",
            )
        }
        (_, "inbound" | "incoming" | "in") => cx.instead(message, "ingress", Automatic),
        (_, "outbound" | "outgoing" | "out") => cx.instead(message, "egress", Automatic),
        (Some(T::Word), text) if npc_suggest::nearest(text, ["ingress", "egress"]).is_some() => {
            return None;
        }
        (Some(T::Word), "dns") if action == "allow" => reported().help(
            "write the whole rule for DNS: `allow egress to pods { k8s-app = kube-dns } in namespace kube-system on udp/53, tcp/53`",
        ),
        (Some(T::Word), "icmp" | "icmpv6" | "ping") => {
            cx.diagnostic("the language has no construct for ICMP", &found).help(format!(
                "a rule without `on` covers every protocol, including ICMP: `{action} ingress from anywhere`; a rule for ICMP alone is not possible"
            ))
        }
        (Some(T::Word), text) if ["tcp/", "udp/", "sctp/"].iter().any(|own| text.starts_with(own)) => {
            reported().help(format!(
                "ports come last: `{action} ingress from … on {}` or `{action} egress to … on {}`",
                cx.text, cx.text
            ))
        }
        (Some(T::Word), "ingress/egress" | "egress/ingress" | "ingress&egress" | "ingress+egress") => {
            let preposition = cx.tokens_from(cx.span.end).into_iter().take(2).find(|own| {
                matches!(own.kind, T::From | T::To)
            });
            let peers = preposition.map_or_else(|| "…".to_owned(), |own| cx.statement_from(own.span.0.end));
            cx.diagnostic("a rule has one direction", &found).help(both(&peers))
        }
        (Some(T::All), _) if matches!(cx.word_behind(), "pods" | "namespaces" | "namespace") => {
            reported().help(both(&cx.statement_from(cx.span.start)))
        }
        (Some(T::Pods | T::Anywhere), _) => reported().help(both(&cx.statement_from(cx.span.start))),
        (_, "all" | "any" | "both" | "everything" | "everyone" | "traffic" | "*") => {
            reported().help(format!("for everything, {}", both("anywhere")))
        }
        _ => reported().help(format!("add the direction: `{action} ingress from …` or `{action} egress to …`")),
    })
}

fn missing_preposition(cx: &Context<'_>, word: &str) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    let (action, direction) = (cx.second_before(), cx.word_before());
    let message = format!("expected `{word}`");
    let end = cx.ahead().len() as u32;
    let plain = action == "deny" && !cx.is_in_tier();
    if plain && cx.found.is_none_or(|found| !found.is_word() || found.is_action() || found == T::Isolate) {
        let start = cx.before().start as usize - 1;
        let start = cx.source.get(..start).unwrap_or("").trim_end().len() - action.len();
        let whole = cx.at(Span::new(start as u32, end));
        let statement = format!("isolate {direction}");
        if !cx.is(T::Comma) {
            return Some(
                Diagnostic::new(&SYNTAX, PLAIN, whole, "missing peers").help(isolates(direction)).fix(
                    Maybe,
                    format!("write `{statement}`"),
                    whole,
                    statement,
                ),
            );
        }
    }
    if plain && cx.is(T::Except) {
        let rest = cx.tokens_from(cx.span.end);
        let peers = rest.iter().find(|own| !matches!(own.kind, T::From | T::To));
        let peers = peers.map_or_else(|| "…".to_owned(), |own| cx.statement_from(own.span.0.start));
        return Some(cx.diagnostic(PLAIN, "found `except`").help(format!(
            "write `allow {direction} {word} {peers}`: everything that no rule allows is denied"
        )));
    }
    // Two directions in one rule.
    let joined = matches!(cx.text.to_ascii_lowercase().as_str(), "and" | "or" | "plus" | "," | "/" | "&");
    if joined {
        if plain {
            return Some(cx.diagnostic(PLAIN, &cx.found()).help(isolates("ingress, egress")));
        }
        let tokens = cx.tokens_from(cx.span.end);
        let preposition = tokens.iter().take(4).find(|token| matches!(token.kind, T::From | T::To));
        let peers = preposition.map_or_else(|| "…".to_owned(), |own| cx.statement_from(own.span.0.end));
        let peers = if peers.contains(" and ") { "…" } else { peers.as_str() };
        let action = if action.is_empty() { "allow" } else { action };
        return Some(cx.diagnostic("a rule has one direction", &cx.found()).help(format!(
            "write two rules, `{action} ingress from {peers}` and `{action} egress to {peers}`"
        )));
    }
    if action == "pass" && !cx.is_in_tier() {
        return Some(
            cx.diagnostic("a plain policy has no `pass`", &cx.found())
                .help("remove the rule, or make this an `admin policy`"),
        );
    }
    let nested = cx.is(T::LBrace) || cx.is(T::LParen);
    let inner = cx.tokens_from(cx.span.end).into_iter().next();
    if nested && let Some(inner) = inner.filter(|own| matches!(own.kind, T::From | T::To)) {
        let peers = cx.statement_from(inner.span.0.end);
        let action = if action.is_empty() { "allow" } else { action };
        return Some(
            cx.diagnostic("a rule has no braces", &cx.found())
                .help(format!("write `{action} {direction} {word} {peers}`")),
        );
    }
    let lower = cx.text.to_ascii_lowercase();
    if cx.is(T::Word) && ["tcp/", "udp/", "sctp/"].iter().any(|protocol| lower.starts_with(protocol)) {
        let peers = cx.tokens_from(cx.span.end).into_iter().next();
        let peers = peers.filter(|own| matches!(own.kind, T::From | T::To));
        let peers = peers.map_or_else(|| "…".to_owned(), |own| cx.statement_from(own.span.0.end));
        let action = if action.is_empty() { "allow" } else { action };
        return Some(
            cx.diagnostic(&message, &cx.found())
                .help(format!("ports come last: `{action} {direction} {word} {peers} on {lower}`")),
        );
    }
    let rule = format!("{} {direction} {word}", if action.is_empty() { "allow" } else { action });
    Some(match cx.found {
        Some(T::On) => cx
            .diagnostic(&message, "`on` comes after the peers")
            .help(format!("as in `{rule} anywhere on tcp/443`")),
        Some(T::Word) if npc_suggest::nearest(cx.text, [word]).is_some() => return None,
        Some(T::Word | T::All | T::Pods | T::Anywhere) => {
            let diagnostic = cx.diagnostic(&message, &format!("found `{}`", cx.text));
            cx.insert(diagnostic, &format!("insert `{word}`"), &format!("{word} "), Automatic)
        }
        _ => {
            let question = if word == "from" {
                "missing `from` and the sources"
            } else {
                "missing `to` and the destinations"
            };
            Diagnostic::new(&SYNTAX, message, cx.at(Span::new(end, end)), question)
                .help(format!("to match everyone, write `{rule} anywhere`"))
        }
    })
}
