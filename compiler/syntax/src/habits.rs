//! What people write out of habit (from YAML, from `kubectl`, from English), and how it is written
//! here.

use npc_diagnostics::{Applicability, Diagnostic, FileId, Location, Span};

use crate::TokenKind as T;
use crate::codes::SYNTAX;
use crate::error::{Expected, ExpectedSet};

/// Where the grammar expected something else.
pub(crate) struct Context<'a> {
    pub(crate) file: FileId,
    pub(crate) source: &'a str,
    /// The token that was found, or the end of the item.
    pub(crate) span: Span,
    /// Its text.
    pub(crate) text: &'a str,
    pub(crate) found: Option<T>,
    pub(crate) expected: ExpectedSet,
}

impl Context<'_> {
    /// The source before the place, without the white space at its end.
    pub(crate) fn ahead(&self) -> &str {
        self.source.get(..self.span.start as usize).unwrap_or("").trim_end()
    }

    /// The word right before the place; empty where that is a mark.
    pub(crate) fn word_before(&self) -> &str {
        let ahead = self.ahead();
        let start =
            ahead.rfind(|c: char| c.is_whitespace() || "{}(),=!\"".contains(c)).map_or(0, |at| at + 1);
        // The character found may be longer than a byte.
        ahead.get(start..).unwrap_or("")
    }

    /// The source behind the token that was found, without the white space at its start.
    fn behind(&self) -> &str {
        self.source.get(self.span.end as usize..).unwrap_or("").trim_start()
    }

    fn word_behind(&self) -> &str {
        let behind = self.behind();
        let end = behind.find(|c: char| c.is_whitespace() || "{}(),=!".contains(c));
        end.map_or(behind, |end| behind.get(..end).unwrap_or(""))
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

    /// The word before the place, with the place itself.
    fn with_word_before(&self) -> Span {
        let ahead = self.ahead().len();
        Span::new((ahead - self.word_before().len()) as u32, self.span.end)
    }

    /// A finding at the token.
    fn tell(&self, message: &str, label: &str) -> Diagnostic {
        Diagnostic::new(&SYNTAX, message, self.at(self.span), label)
    }

    /// A finding at the token, which something else stands for.
    fn instead(&self, message: &str, with: &str, sure: Applicability) -> Diagnostic {
        self.tell(message, &format!("found `{}`", self.text)).fix(
            sure,
            format!("write `{with}`"),
            self.at(self.span),
            with,
        )
    }

    /// Text that is missing before the token.
    fn insert(&self, diagnostic: Diagnostic, title: &str, text: &str, sure: Applicability) -> Diagnostic {
        diagnostic.fix(sure, title, self.at(self.span.at_start()), text)
    }
}

/// The finding for a mistake that is well known; `None` for any other.
pub(crate) fn habit(cx: &Context<'_>) -> Option<Diagnostic> {
    header(cx)
        .or_else(|| direction(cx))
        .or_else(|| namespaces(cx))
        .or_else(|| lists(cx))
        .or_else(|| words(cx))
}

/// Between `policy` and its body.
fn header(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    if cx.is(T::Eq) && (cx.wants(T::For) || cx.word_before() == "priority") {
        return Some(cx.tell("no `=` belongs here", "leave it out").fix(
            Automatic,
            "remove the `=`",
            cx.at(cx.span),
            "",
        ));
    }
    if cx.wants(T::For) && !cx.is(T::LBrace) && cx.word_before() != "policy" {
        let message = "expected `for`";
        if cx.is(T::Str) {
            return Some(
                cx.tell(message, "found a string in quotes")
                    .help("what a policy is for is told by a comment above it: `/// …`"),
            );
        }
        let found = cx.found?;
        return Some(
            cx.tell(message, &format!("found {}", if found.is_word() { format!("`{}`", cx.text) } else { found.describe().to_owned() }))
                .help("a policy says which pods it is for, as in `policy db for all pods in namespace payments { … }`"),
        );
    }
    let colon = cx.ahead().ends_with(':') && !cx.wants(T::Eq);
    let starts = cx.found.is_some_and(|found| found.is_action() || found == T::Isolate);
    if cx.wants(T::LBrace) && starts && !cx.word_before().is_empty() {
        let end = cx.ahead().len() as u32;
        let place = Span::new(end - u32::from(colon), end);
        return Some(
            Diagnostic::new(&SYNTAX, "the policy's rules stand in braces", cx.at(place), "`{` expected here")
                .fix(Maybe, "write `{`, and `}` behind the last rule", cx.at(place), " {"),
        );
    }
    None
}

/// `allow ingress from …`
fn direction(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    if cx.wants(T::Ingress) && cx.wants(T::Egress) {
        let insert = |word: &str| {
            let found = format!("found `{}`", cx.text);
            cx.insert(
                cx.tell("expected `ingress` or `egress`", &found),
                &format!("insert `{word}`"),
                &format!("{word} "),
                Automatic,
            )
        };
        return Some(match (cx.found, cx.text) {
            (Some(T::From), _) if cx.word_before() != "isolate" => insert("ingress"),
            (Some(T::To), _) if cx.word_before() != "isolate" => insert("egress"),
            (_, "inbound" | "incoming" | "in") => {
                cx.instead("expected `ingress` or `egress`", "ingress", Automatic)
            }
            (_, "outbound" | "outgoing" | "out") => {
                cx.instead("expected `ingress` or `egress`", "egress", Automatic)
            }
            (Some(T::Word), text) if npc_diagnostics::nearest(text, ["ingress", "egress"]).is_some() => {
                return None;
            }
            (_, "all" | "both" | "everything") if cx.word_before() == "isolate" => {
                cx.instead("expected `ingress` or `egress`", "ingress, egress", Maybe)
            }
            (_, text) => {
                let found = match cx.found {
                    Some(kind) if kind.is_word() => format!("found `{text}`"),
                    Some(kind) => format!("found {}", kind.describe()),
                    None => "it ends here".to_owned(),
                };
                let help = match cx.word_before() {
                    "isolate" => {
                        "say which: `isolate ingress`, `isolate egress` or `isolate ingress, egress`"
                    }
                    "deny" => "to refuse what no policy allows, write `isolate ingress, egress`",
                    _ => "say the direction: `allow ingress from …`, `allow egress to …`",
                };
                cx.tell("expected `ingress` or `egress`", &found).help(help)
            }
        });
    }
    let word = match (cx.wants(T::From), cx.wants(T::To)) {
        (true, false) => "from",
        (false, true) => "to",
        _ => return None,
    };
    let rule = if word == "from" { "allow ingress from" } else { "allow egress to" };
    let message = format!("expected `{word}`");
    Some(match cx.found {
        Some(T::On) => cx
            .tell(&message, "`on` stands behind the peers")
            .help(format!("as in `{rule} anywhere on tcp/443`")),
        Some(T::Comma) => cx
            .tell(&message, "a rule has one direction")
            .help("write two rules, `allow ingress from …` and `allow egress to …`"),
        Some(T::Word) if npc_diagnostics::nearest(cx.text, [word]).is_some() => return None,
        Some(T::Word | T::All | T::Pods | T::Anywhere) => {
            let diagnostic = cx.tell(&message, &format!("found `{}`", cx.text));
            cx.insert(diagnostic, &format!("insert `{word}`"), &format!("{word} "), Automatic)
        }
        _ => {
            let end = cx.ahead().len() as u32;
            let question = if word == "from" { "from whom?" } else { "to whom?" };
            Diagnostic::new(&SYNTAX, message, cx.at(Span::new(end, end)), question)
                .help(format!("for everyone write `{rule} anywhere`"))
        }
    })
}

/// Pods and their namespaces.
fn namespaces(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    let found = format!("found `{}`", cx.text);
    let names = matches!(cx.found, Some(T::Namespace | T::Namespaces | T::Same));
    if names
        && (cx.expected.has(Expected::Peers)
            || cx.expected.has(Expected::Pods)
            || cx.expected.has(Expected::Set))
    {
        let diagnostic =
            cx.tell("a rule and a policy speak of pods, and of namespaces only behind `in`", &found);
        return Some(cx.insert(diagnostic, "write `all pods in` before it", "all pods in ", Automatic));
    }
    if cx.is(T::Namespaces) && cx.wants(T::Pods) && cx.word_before() == "all" {
        let diagnostic = cx.tell("expected `pods`", &found);
        return Some(cx.insert(diagnostic, "write `all pods in all namespaces`", "pods in all ", Automatic));
    }
    if names && cx.wants(T::In) {
        return Some(cx.insert(cx.tell("expected `in`", &found), "insert `in`", "in ", Automatic));
    }
    if cx.expected.has(Expected::Scope) {
        return match (cx.found?, cx.text) {
            (T::Word, "this" | "own") => Some(cx.instead("expected namespaces", "same", Maybe)),
            (T::Word, text) if npc_diagnostics::nearest(text, ["namespace", "namespaces"]).is_none() => {
                let diagnostic = cx.tell("expected namespaces", &found);
                Some(cx.insert(diagnostic, &format!("write `namespace {text}`"), "namespace ", Maybe))
            }
            _ => None,
        };
    }
    // `namespaces shop`, `namespace { … }`, `namespace (a, b)`
    if cx.word_before() == "namespaces" && cx.is(T::Word) {
        let word = cx.at(Span::new(cx.with_word_before().start, cx.ahead().len() as u32));
        return Some(cx.tell("expected `(`, `{` or `sharing`", &found).fix(
            Maybe,
            format!("write `namespace {}`", cx.text),
            word,
            "namespace",
        ));
    }
    if cx.word_before() == "namespace" && matches!(cx.found, Some(T::LBrace | T::LParen)) {
        let word = cx.at(Span::new(cx.with_word_before().start, cx.ahead().len() as u32));
        return Some(cx.tell("`namespace` is followed by one name", "these may be several").fix(
            Automatic,
            "write `namespaces`",
            word,
            "namespaces",
        ));
    }
    if cx.word_before() == "pods" && cx.wants(T::LBrace) {
        let word = cx.at(Span::new(cx.with_word_before().start, cx.ahead().len() as u32));
        return Some(match cx.found {
            Some(T::LParen) => {
                cx.tell("expected `{`", "labels stand in braces").help("as in `pods { app = web }`")
            }
            Some(T::In) => {
                cx.tell("expected `{`", "which pods?").fix(Maybe, "write `all pods`", word, "all pods")
            }
            Some(T::Word) => {
                cx.tell("expected `{`", "labels stand in braces").help("as in `pods { app = web }`")
            }
            _ => Diagnostic::new(&SYNTAX, "expected `{`", word, "which pods?")
                .help("write `all pods`, or `pods { app = web }`"),
        });
    }
    None
}

/// What stands between the members of a list.
fn lists(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    let end = Span::new(cx.ahead().len() as u32, cx.span.end);
    if cx.ahead().ends_with(':') && cx.wants(T::Eq) {
        let colon = Span::new(cx.ahead().len() as u32 - 1, cx.ahead().len() as u32);
        return Some(
            Diagnostic::new(
                &SYNTAX,
                "expected `=`, found `:`",
                cx.at(colon),
                "a label's value stands behind `=`",
            )
            .fix(Automatic, "write `=`", cx.at(colon), " ="),
        );
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
            return Some(cx.tell("requirements are separated by commas, and all of them must hold", &found).help(
                "for either of two values write `app in (a, b)`; for either of two labels name the pods twice",
            ));
        }
        "and" | "or" | "plus" | "&&" | "||" if cx.is(T::Word) => {
            return Some(cx.tell("the members of a list are separated by commas", &found).fix(
                Automatic,
                "write a comma",
                cx.at(end),
                ",",
            ));
        }
        _ => {}
    }
    if selector && cx.wants(T::Eq) {
        let whole = cx.at(cx.with_word_before());
        match (cx.word_before(), cx.text) {
            (key, "exists") if !key.is_empty() => {
                let extra = cx.at(end);
                return Some(cx.tell("a label's key alone means that the label is there", &found).fix(
                    Maybe,
                    format!("write `{key}`"),
                    extra,
                    "",
                ));
            }
            ("not", key) => {
                if key == "in" {
                    return None;
                }
                return Some(
                    Diagnostic::new(&SYNTAX, "that a label is not there is written with `!`", whole, "this")
                        .fix(Maybe, format!("write `!{key}`"), whole, format!("!{key}")),
                );
            }
            (_, "not") if cx.word_behind() == "in" => {
                let both = Span::new(cx.span.start, (cx.source.len() - cx.behind().len() + 2) as u32);
                return Some(
                    Diagnostic::new(&SYNTAX, "`notin` is one word", cx.at(both), "found `not in`").fix(
                        Automatic,
                        "write `notin`",
                        cx.at(both),
                        "notin",
                    ),
                );
            }
            _ => {}
        }
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
    // A filler: `cidr 10.0.0.0/8`, `port 80`.
    let filler = cx.word_before();
    let address = cx.text.contains(['.', '/', ':']) && cx.text.starts_with(|c: char| c.is_ascii_digit());
    if cx.is(T::Word)
        && matches!(filler, "cidr" | "ip" | "ipBlock" | "block" | "address" | "net" | "range" | "subnet")
        && address
    {
        let word = Span::new(cx.with_word_before().start, cx.span.start);
        return Some(
            Diagnostic::new(
                &SYNTAX,
                "addresses are written as they are",
                cx.at(Span::new(word.start, cx.ahead().len() as u32)),
                "leave this out",
            )
            .fix(Automatic, format!("remove `{filler}`"), cx.at(word), ""),
        );
    }
    if cx.is(T::Word) && matches!(filler, "port" | "ports" | "protocol") {
        return Some(
            Diagnostic::new(
                &SYNTAX,
                "ports are written with their protocol and nothing else",
                cx.at(Span::new(cx.with_word_before().start, cx.ahead().len() as u32)),
                "leave this out",
            )
            .help("as in `on tcp/80, udp/53`"),
        );
    }
    if cx.wants(T::On) {
        if matches!(cx.text, "port" | "ports" | "at" | "via" | "over" | "with") {
            return Some(cx.instead("ports stand behind `on`", "on", Maybe));
        }
        if matches!(cx.text, "unless" | "but" | "without" | "excluding" | "not") && cx.wants(T::Except) {
            return Some(cx.instead("what is left out stands behind `except`", "except", Maybe));
        }
        if matches!(cx.text, "tcp" | "udp" | "sctp")
            || ["tcp/", "udp/", "sctp/"].iter().any(|start| cx.text.starts_with(start))
        {
            let diagnostic = cx.tell("ports stand behind `on`", &found);
            return Some(cx.insert(diagnostic, "insert `on`", "on ", Automatic));
        }
    }
    let word = cx.is(T::Word) || cx.is(T::Str) && selector;
    let like = address
        || cx.text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '"')
            && (selector || cx.text.contains('/'));
    let comma = cx.at(Span::new(end.start, end.start));
    if word && same_line && like && !cx.wants(T::Eq) && !cx.word_before().is_empty() {
        return Some(cx.tell("expected `,`", &found).fix(Maybe, "insert a comma", comma, ","));
    }
    if selector && cx.found.is_none_or(|kind| kind.is_word() || kind == T::LBrace) && cx.wants(T::Comma) {
        return Some(if same_line && word {
            cx.tell("expected `,` or `}`", &found)
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

/// Words of other languages for a keyword of this one.
fn words(cx: &Context<'_>) -> Option<Diagnostic> {
    use Applicability::{Automatic, Maybe};
    if cx.wants(T::Str) && cx.is(T::Word) && matches!(cx.word_before(), "import" | "test" | "cluster") {
        let string = format!("\"{}\"", cx.text);
        return Some(cx.instead("expected a string in quotes", &string, Automatic));
    }
    if cx.expected.has(Expected::LabelKey) && cx.is(T::Comma) {
        return Some(cx.tell("expected a label's key", "found `,`").fix(
            Automatic,
            "remove the comma",
            cx.at(cx.span),
            "",
        ));
    }
    if cx.expected.has(Expected::Statement) {
        return match cx.text {
            "permit" | "accept" => Some(cx.instead("expected a rule", "allow", Automatic)),
            "block" | "drop" | "reject" | "forbid" | "refuse" => {
                Some(cx.instead("expected a rule", "deny", Maybe))
            }
            "ingress" | "egress" => {
                let diagnostic = cx.tell("a rule begins with `allow`", &format!("found `{}`", cx.text));
                Some(cx.insert(diagnostic, "insert `allow`", "allow ", Maybe))
            }
            _ => None,
        };
    }
    if cx.wants(T::Arrow) && matches!(cx.text, "to" | "=" | "from") {
        return Some(cx.instead("expected `->`", "->", Maybe));
    }
    None
}
