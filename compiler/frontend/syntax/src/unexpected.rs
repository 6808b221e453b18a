//! Reports tokens that are not valid anywhere: invalid characters, tokens outside of any item, misplaced
//! documentation comments, and files in another language.

use npc_diagnostics::{Applicability, Diagnostic, Edit, Span};
use npc_suggest::nearest;

use crate::codes::{BAD_CHARACTER, MISPLACED_DOC, SYNTAX};
use crate::output::Output;
use crate::split::begins_item;
use crate::suggestions::OPERATORS;
use crate::token::{Comment, Token, TokenKind as T};

/// Reports a file that is a Kubernetes manifest, with one diagnostic.
pub(crate) fn manifest(tokens: &[Token], out: &Output<'_>) -> Option<Diagnostic> {
    let first = tokens.iter().find(|token| token.kind != T::Bad)?;
    let key = tokens.iter().find(|token| !matches!(token.kind, T::Bad | T::LBrace));
    let is_json = first.kind == T::LBrace
        && key.is_some_and(|key| matches!(out.text(key.span.0), "\"apiVersion\"" | "\"kind\"" | "\"items\""));
    let is_yaml =
        matches!(out.text(first.span.0), "apiVersion:" | "kind:" | "metadata:" | "spec:" | "items:");
    (is_yaml || is_json).then(|| {
        Diagnostic::new(
            &SYNTAX,
            "this is a Kubernetes manifest, not an npc program",
            out.at(first.span.0),
            if is_json { "JSON begins here" } else { "YAML begins here" },
        )
        .help("`npc import FILE.yaml` converts it to a program, and `npc check FILE.yaml` checks it unchanged. In a program, a NetworkPolicy for pods `app: web` is `policy web for pods { app = web } in namespace shop { … }`")
    })
}

/// Reports invalid characters. `again` is true if the item had an invalid character before.
pub(crate) fn bad_character(token: Token, again: bool, out: &mut Output<'_>) {
    let location = out.at(token.span.0);
    let text = out.text(token.span.0);
    const CURLY: [char; 3] = ['\u{201c}', '\u{201d}', '\u{201e}'];
    // Of a pair of quotes or brackets, only the first is reported.
    if again && text.chars().all(|c| CURLY.contains(&c) || "'[]`/".contains(c)) {
        return;
    }
    let shown: String = text.chars().take(20).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let message = match text.chars().next() {
        Some('\0') => "a NUL character (U+0000) is not valid in this language".to_owned(),
        Some(c)
            if c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{feff}') =>
        {
            format!("an invisible character (U+{:04X}) is not valid in this language", c as u32)
        }
        _ => format!("`{shown}` is not valid in this language"),
    };
    let plain = |label: &str| Diagnostic::new(&BAD_CHARACTER, message.clone(), location, label);
    let about = |message: &str, label: &str| Diagnostic::new(&BAD_CHARACTER, message, location, label);
    let rest = out.source.get(token.span.0.end as usize..).unwrap_or("");
    let next = rest.chars().next();
    let joined = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let ahead = out.source.get(..token.span.0.start as usize).unwrap_or("");
    let diagnostic = match text {
        ";" => {
            // If the semicolon separates members of a list, or is part of a `#` comment, removing it is not a
            // complete fix.
            let line = ahead.rsplit('\n').next().unwrap_or(ahead);
            let next = rest.trim_start_matches([' ', '\t', ';']);
            let first = next.split(char::is_whitespace).next().unwrap_or("");
            let ends = next.starts_with(['\n', '\r', '}', '/'])
                || rest.trim().is_empty()
                || matches!(first, "allow" | "deny" | "pass" | "isolate" | "let" | "policy");
            let sure =
                if ends && !line.contains('#') { Applicability::Automatic } else { Applicability::Maybe };
            plain("statements need no terminator").fix(sure, "remove the semicolon", location, "")
        }
        "'" => {
            let line = rest.lines().next().unwrap_or("");
            let diagnostic = plain("strings are written in double quotes");
            match line.find(['\'', '"']).filter(|end| line.get(*end..=*end) == Some("'")) {
                Some(end) => {
                    let close = token.span.0.end + end as u32;
                    let edit = |span| Edit { location: out.at(span), text: "\"".to_owned() };
                    diagnostic.fix_edits(
                        Applicability::Automatic,
                        format!("write `\"{}\"`", line.get(..end).unwrap_or("")),
                        vec![edit(token.span.0), edit(Span::new(close, close + 1))],
                    )
                }
                None => diagnostic,
            }
        }
        "&" | "&&" | "|" | "||" => {
            let braces = ahead.rfind('{') > ahead.rfind('}');
            match (text.starts_with('|'), braces) {
                (true, true) => about(
                    "requirements are separated by commas, and all of them must hold",
                    "expected a comma",
                )
                .help("for either of two values write `app in (a, b)`"),
                (false, true) => about(
                    "requirements are separated by commas, and all of them must hold",
                    "expected a comma",
                )
                .fix(Applicability::Automatic, "write a comma", location, ","),
                _ => about("the members of a list are separated by commas", "expected a comma").fix(
                    Applicability::Maybe,
                    "write a comma",
                    location,
                    ",",
                ),
            }
        }
        "#" => about("comments begin with `//`", "not with `#`").fix(
            Applicability::Automatic,
            "write `//`",
            location,
            "//",
        ),
        "[" | "]" => brackets(ahead, token.span.0, out),
        "-" if next == Some('-') || ahead.ends_with('-') => {
            about("comments begin with `//`", "not with `--`")
        }
        "-" if joined(rest.trim_start_matches(' ').chars().next())
            && ahead.trim_end_matches(' ').ends_with(['\n', '{', '}', ':']) =>
        {
            let word = rest.trim_start_matches(' ');
            let first = word.split(char::is_whitespace).next().unwrap_or("");
            let is_statement = matches!(first, "allow" | "deny" | "pass" | "isolate");
            let what = if is_statement { "a rule" } else { "this" };
            let diagnostic = about(&format!("{what} is not an item of a YAML list"), "unexpected `-`");
            let gap = rest.len() - word.len();
            let dash = Span::new(token.span.0.start, token.span.0.end + gap as u32);
            let sure = if is_statement { Applicability::Automatic } else { Applicability::Maybe };
            diagnostic.fix(sure, "remove the `-`", out.at(dash), "")
        }
        "-" if ahead.trim_end().ends_with("priority") => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let whole = out.at(Span::new(token.span.0.start, token.span.0.end + digits as u32));
            let number = out.text(whole.span);
            Diagnostic::new(
                &BAD_CHARACTER,
                format!("`{number}` is not a priority"),
                whole,
                "a priority is a number from 0 to 1000",
            )
            .help("write `priority 0` for the policy that is evaluated before all others")
            .fix(Applicability::Maybe, "write `0`", whole, "0")
        }
        "-" if ahead.ends_with(' ') || ahead.is_empty() => plain("a word cannot begin with `-`"),
        "-" => about("a word cannot end with `-`", "something is missing after it"),
        "/" if next == Some('*') || ahead.ends_with('*') => {
            about("comments begin with `//`", "not with `/*`")
        }
        "/" if ahead.ends_with(' ') && joined(next) => {
            plain("no space is allowed before a prefix length or a port")
        }
        "/" => about("a word cannot end with `/`", "something is missing after it"),
        ">" if ahead.ends_with('=') || ahead.ends_with('-') => {
            about("an arrow is written `->`", "this is not an arrow")
        }
        "^" | "$" => {
            let word = ahead.rsplit(ENDS_WORD).next().unwrap_or("");
            // Of one regular expression, only the first character is reported.
            if word.contains('^') {
                return;
            }
            regular_expression(token.span.0, out)
        }
        _ if text.chars().all(|c| "~^$\\+%<>@".contains(c)) => {
            let message = if text.starts_with('~') || rest.starts_with('=') {
                let operator = if rest.starts_with('=') { format!("{text}=") } else { text.to_owned() };
                let operator = if ahead.ends_with('=') { format!("={operator}") } else { operator };
                format!("there is no operator `{operator}`")
            } else {
                message.clone()
            };
            about(&message, "invalid character").help(OPERATORS)
        }
        _ if text.contains(CURLY) => plain("strings are written in straight double quotes"),
        _ if !text.is_ascii() => plain(
            "names, labels and ports are written in ASCII; other characters are only allowed in strings and comments",
        ),
        _ => plain("invalid character"),
    };
    out.diagnostics.push(diagnostic);
}

/// Reports brackets, which YAML has around lists and URLs around IPv6 addresses. Of a pair only the first is
/// reported; the fix covers both.
fn brackets(ahead: &str, bracket: Span, out: &Output<'_>) -> Diagnostic {
    let location = out.at(bracket);
    let reported = |message: &str| Diagnostic::new(&BAD_CHARACTER, message, location, "unexpected bracket");
    let lists = "write values in parentheses, `app in (a, b)`; separate peers and ports with commas only";
    let rest = out.source.get(bracket.end as usize..).unwrap_or("");
    let line = rest.lines().next().unwrap_or("");
    let inner = line.find(']').and_then(|end| line.get(..end));
    let Some(inner) = inner.filter(|_| out.text(bracket) == "[") else {
        return reported("lists are not written in brackets").help(lists);
    };
    let close = Span::new(bracket.end + inner.len() as u32, bracket.end + inner.len() as u32 + 1);
    let both = |open: &str, end: &str| {
        let edit = |span, text: &str| Edit { location: out.at(span), text: text.to_owned() };
        vec![edit(bracket, open), edit(close, end)]
    };
    let behind = line.get(inner.len() + 1..).unwrap_or("");
    if inner.contains(':') && inner.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.' | b'/'))
    {
        let diagnostic = reported("an IPv6 address is not written in brackets");
        let port = behind.strip_prefix(':').unwrap_or("");
        let digits = port.bytes().take_while(u8::is_ascii_digit).count();
        return match port.get(..digits).filter(|port| !port.is_empty()) {
            Some(port) => diagnostic
                .help(format!("write `{inner} on tcp/{port}`: the port follows `on`, with its protocol")),
            None if behind.starts_with('/') => diagnostic.help(format!("write `{inner}{}`", length(behind))),
            None => diagnostic.fix_edits(Applicability::Automatic, format!("write `{inner}`"), both("", "")),
        };
    }
    let mut words = ahead.trim_end().rsplit(|c: char| c.is_whitespace() || "{(,".contains(c));
    let word = words.next().unwrap_or("");
    let is_set = word == "=" && words.nth(1) == Some("let");
    match word {
        "=" if is_set => reported("the members of a set are not written in brackets").fix_edits(
            Applicability::Automatic,
            format!("write `= {inner}`"),
            both("", ""),
        ),
        "in" | "notin" | "namespaces" | "except" => reported("lists are written in parentheses").fix_edits(
            Applicability::Automatic,
            format!("write `{word} ({inner})`"),
            both("(", ")"),
        ),
        "from" | "to" | "on" => reported("lists are not written in brackets").fix_edits(
            Applicability::Automatic,
            format!("write `{word} {inner}`"),
            both("", ""),
        ),
        _ => reported("lists are not written in brackets").help(lists),
    }
}

/// Characters that delimit a word.
const ENDS_WORD: [char; 10] = [' ', '\t', '\n', '\r', '(', ')', '{', '}', ',', '"'];

/// Reports a regular expression. Most likely it is meant for names of namespaces, which allow patterns.
fn regular_expression(bad: Span, out: &Output<'_>) -> Diagnostic {
    let ahead = out.source.get(..bad.start as usize).unwrap_or("");
    let start = ahead.rfind(ENDS_WORD).map_or(0, |at| at + 1);
    let rest = out.source.get(bad.start as usize..).unwrap_or("");
    let end = bad.start as usize + rest.find(ENDS_WORD).unwrap_or(rest.len());
    let whole = Span::new(start as u32, end as u32);
    let text = out.text(whole);
    let location = out.at(whole);
    let message = format!("`{text}` is a regular expression, which is not supported");
    let pattern = text.trim_start_matches('^').trim_end_matches('$').replace(".*", "*").replace(".+", "?*");
    let is_pattern = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-*?".contains(&b);
    let diagnostic = Diagnostic::new(&BAD_CHARACTER, message, location, "invalid character");
    let in_list = ahead.trim_end_matches(|c| c != '(').ends_with("namespaces (");
    if pattern.bytes().all(is_pattern) && !pattern.is_empty() && in_list {
        return diagnostic
            .help(format!(
                "write `namespaces ({pattern})`, where `*` matches any characters and `?` matches one"
            ))
            .fix(Applicability::Maybe, format!("write `{pattern}`"), location, pattern);
    }
    diagnostic.help(OPERATORS)
}

/// The prefix length at the start of a text.
fn length(text: &str) -> &str {
    let digits = text.bytes().skip(1).take_while(u8::is_ascii_digit).count();
    text.get(..=digits).unwrap_or("")
}

/// Reports tokens that begin no item.
pub(crate) fn report_outside_item(first: &Token, out: &mut Output<'_>) {
    let text = out.text(first.span.0).to_owned();
    let location = out.at(first.span.0);
    let diagnostic = match first.kind {
        T::RBrace => Diagnostic::new(&SYNTAX, "unmatched `}`", location, "no `{` is open here").fix(
            Applicability::Maybe,
            "remove it",
            location,
            "",
        ),
        T::Allow | T::Deny | T::Pass | T::Isolate => Diagnostic::new(
            &SYNTAX,
            format!("`{text}` is outside of a policy"),
            location,
            "statements belong between the braces of a policy",
        ),
        kind => {
            let diagnostic = Diagnostic::new(
                &SYNTAX,
                "expected `import`, `let`, `policy`, `kyverno`, `test` or `assert`",
                location,
                format!(
                    "found {}",
                    if kind.is_word() { format!("`{text}`") } else { kind.describe().to_owned() }
                ),
            );
            let lower = text.to_ascii_lowercase();
            let meant = match lower.trim_end_matches(':') {
                "networkpolicy"
                | "networkpolicies"
                | "netpol"
                | "ciliumnetworkpolicy"
                | "globalnetworkpolicy"
                | "authorizationpolicy"
                | "clusterpolicy"
                | "rule" => Some("policy"),
                "set" | "var" | "const" | "define" | "group" | "alias" => Some("let"),
                "include" | "use" | "require" | "source" => Some("import"),
                _ => None,
            };
            if let Some(meant) = meant {
                let example = match meant {
                    "policy" => "policy web for pods { app = web } in namespace shop { … }",
                    "let" => "let dns = udp/53, tcp/53",
                    _ => "import \"sets.np\"",
                };
                out.diagnostics.push(diagnostic.help(format!("write `{meant}`, as in `{example}`")));
                return;
            }
            let items = T::KEYWORDS.iter().filter(|(_, kind)| begins_item(*kind)).map(|(word, _)| *word);
            match nearest(&text, items) {
                Some(word) if kind.is_word() => diagnostic.help(format!("did you mean `{word}`?")).fix(
                    Applicability::Maybe,
                    format!("write `{word}`"),
                    location,
                    word,
                ),
                _ => diagnostic,
            }
        }
    };
    out.diagnostics.push(diagnostic);
}

/// Reports a documentation comment without an item below it.
pub(crate) fn report_misplaced_doc(comment: &Comment, out: &mut Output<'_>) {
    let slashes = Span::new(comment.span.start, comment.span.start + 3);
    out.diagnostics.push(
        Diagnostic::new(
            &MISPLACED_DOC,
            "this comment documents nothing",
            out.at(comment.span),
            "`///` documents the item below it",
        )
        .fix(Applicability::Automatic, "make it a plain comment", out.at(slashes), "//"),
    );
}
