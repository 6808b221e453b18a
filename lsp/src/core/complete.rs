//! Completion candidates. The grammar determines which kinds fit; the program and the cluster provide the
//! names.

use std::collections::BTreeSet;

use npc_diagnostics::Span;
use npc_program::{SETTINGS, Value};
use npc_syntax::{Expectation, Expected, Object, Token, TokenKind as T, expectation};

use super::describe::keyword;
use super::program::Program;

/// The kind of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A keyword.
    Keyword,
    /// A piece of text with placeholders.
    Snippet,
    /// A set.
    Set,
    /// A namespace.
    Namespace,
    /// A label key.
    Key,
    /// The value of a label or of a setting.
    Value,
    /// A port.
    Port,
    /// A setting.
    Setting,
    /// A pod of a test.
    Pod,
    /// A file.
    File,
}

/// A completion candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The text shown in the list.
    pub label: String,
    /// Its kind.
    pub kind: Kind,
    /// A short text shown beside the label.
    pub detail: String,
    /// The documentation.
    pub about: String,
    /// The text to insert. In a snippet, `$1` and `${2:text}` are placeholders.
    pub insert: String,
    /// The sort rank: lower comes first.
    pub rank: u8,
}

/// The completion at one position.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    /// The text typed so far, which the candidate replaces.
    pub typed: Span,
    /// The candidates that fit.
    pub candidates: Vec<Candidate>,
}

/// Completes at `offset` of `source`, the current text of a file of `program`. The text is parsed from
/// `clean` on, which is the start of an item. `program` may be outdated: names come from its last check.
/// `beside` lists the files with a given ending that can be imported or used as the cluster file of a test.
#[must_use]
pub fn complete(
    source: &str,
    clean: u32,
    offset: u32,
    program: Option<(&Program, usize)>,
    beside: &dyn Fn(&str) -> Vec<String>,
) -> Completion {
    let (source, offset) = (source.get(clean as usize..).unwrap_or_default(), offset.saturating_sub(clean));
    let expected = expectation(source, offset);
    let mut typed = expected.typed;
    // For a closed string, the closing quote is replaced too.
    if expected.in_string {
        let rest = source.get(offset as usize..).unwrap_or_default();
        let line = rest.split(['\n', '\r']).next().unwrap_or_default();
        typed.end += line.find('"').map_or(0, |at| u32::try_from(at + 1).unwrap_or(0));
    }
    let mut found = Finder { source, program, expected: &expected, candidates: Vec::new() };
    found.paths(beside);
    if !expected.in_string {
        found.nonterminals();
        found.keywords();
    }
    let mut name_index = BTreeSet::new();
    let mut candidates = found.candidates;
    candidates.retain(|own| name_index.insert((own.label.clone(), own.insert.clone())));
    let typed = Span::new(typed.start + clean, typed.end + clean);
    Completion { typed, candidates }
}

/// The protocols that have ports.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

struct Finder<'a> {
    source: &'a str,
    program: Option<(&'a Program, usize)>,
    expected: &'a Expectation,
    candidates: Vec<Candidate>,
}

impl Finder<'_> {
    fn add(&mut self, kind: Kind, rank: u8, label: &str, detail: &str, about: &str, insert: &str) {
        self.candidates.push(Candidate {
            label: label.to_owned(),
            kind,
            detail: detail.to_owned(),
            about: about.to_owned(),
            insert: insert.to_owned(),
            rank,
        });
    }

    fn plain(&mut self, kind: Kind, rank: u8, text: &str, detail: &str) {
        self.add(kind, rank, text, detail, "", text);
    }

    fn snippet(&mut self, rank: u8, label: &str, about: &str, insert: &str) {
        self.add(Kind::Snippet, rank, label, "", about, insert);
    }

    fn before(&self) -> &[Token] {
        &self.expected.before
    }

    fn kind(&self, back: usize) -> Option<T> {
        let before = self.before();
        before.get(before.len().checked_sub(back)?).map(|token| token.kind)
    }

    fn text(&self, back: usize) -> &str {
        let before = self.before();
        let token = before.len().checked_sub(back).and_then(|at| before.get(at));
        token.map_or("", |token| token.span.0.of(self.source))
    }

    /// File paths, if a string is expected.
    fn paths(&mut self, beside: &dyn Fn(&str) -> Vec<String>) {
        let end = match self.kind(1) {
            Some(T::Import) => ".np",
            Some(T::Cluster) => ".yaml",
            _ => return,
        };
        for path in beside(end) {
            self.add(Kind::File, 1, &path, "", "", &format!("\"{path}\""));
        }
    }

    fn keywords(&mut self) {
        let tier = self.tier();
        for kind in self.expected.tokens.clone() {
            // A plain policy has no priority; `from` goes only with ingress and `to` only with egress.
            let wrong = match kind {
                T::Priority => tier == Some(T::Policy),
                T::From => self.kind(1) == Some(T::Egress),
                T::To => self.kind(1) == Some(T::Ingress),
                _ => false,
            };
            if wrong {
                continue;
            }
            if let Some(word) = kind.keyword() {
                self.add(Kind::Keyword, 3, word, "", keyword(kind).unwrap_or_default(), word);
            } else if kind == T::Arrow {
                self.plain(Kind::Keyword, 3, "->", "");
            }
        }
        let begins = self.before().is_empty() && self.expected.tokens.contains(&T::Policy);
        if begins || self.expected.has(Expected::End) {
            self.items();
        }
    }

    fn items(&mut self) {
        self.snippet(
            4,
            "policy … for …",
            "A policy that selects some pods.",
            "policy ${1:name} for ${2:all pods} in ${3:namespace ${4:default}} {\n  $0\n}",
        );
        self.snippet(4, "admin policy …", "A policy that no other tier can override.", "admin policy ${1:name} priority ${2:10} for ${3:all pods in all namespaces} {\n  ${0:deny egress to 169.254.169.254}\n}");
        self.snippet(4, "baseline policy …", "A policy for connections that no other policy decides.", "baseline policy ${1:name} for ${2:all pods in all namespaces} {\n  ${0:deny ingress from anywhere}\n}");
        self.snippet(4, "let … = …", "A named set.", "let ${1:name} = ${0:tcp/443}");
        self.snippet(4, "import \"…\"", "Imports the sets of another file.", "import \"${0:sets.np}\"");
        self.snippet(4, "test \"…\" { … }", "Connections and their expected verdicts.", "test \"${1:what is expected}\" {\n  namespace ${2:shop}\n  pod ${3:web} in ${2:shop} { ${4:app = web} }\n\n  ${0:deny ${2:shop}/${3:web} -> 10.0.0.1}\n}");
        self.snippet(
            4,
            "assert … -> …",
            "A property of every possible cluster.",
            "assert ${1|deny,allow|} ${2:all pods in all namespaces} -> ${0:169.254.169.254}",
        );
    }

    /// The keyword for the tier of the policy around the position.
    fn tier(&self) -> Option<T> {
        let mut first = self.before().iter().map(|token| token.kind).filter(|kind| *kind != T::Audit);
        first.next().filter(|kind| matches!(kind, T::Policy | T::Admin | T::Baseline))
    }

    fn nonterminals(&mut self) {
        for expected in self.expected.nonterminals.clone() {
            match expected {
                Expected::Statement => self.statements(),
                Expected::TestEntry => self.test_entries(),
                Expected::Pods => {
                    self.pods();
                    self.sets(|value| matches!(value, Value::Pods(_)));
                }
                Expected::Peers => {
                    self.add(
                        Kind::Keyword,
                        2,
                        "anywhere",
                        "",
                        keyword(T::Anywhere).unwrap_or_default(),
                        "anywhere",
                    );
                    self.pods();
                    self.sets(|value| matches!(value, Value::Pods(_) | Value::Addresses(_)));
                }
                Expected::Set => {
                    self.pods();
                    self.sets(|_| true);
                    self.ports();
                }
                Expected::Address => self.sets(|value| matches!(value, Value::Addresses(_))),
                // A port of a test's pod has exactly one protocol.
                Expected::Port if self.kind(1) == Some(T::Eq) => self.protocols(),
                Expected::Port => {
                    self.sets(|value| matches!(value, Value::Ports(_)));
                    self.ports();
                }
                Expected::Endpoint => {
                    self.test_pods();
                    self.sets(|value| matches!(value, Value::Addresses(_)));
                }
                Expected::Scope => self.scopes(),
                Expected::Name if self.kind(1) == Some(T::Namespace) && self.kind(2) != Some(T::Same) => {
                    self.namespaces(false);
                }
                // The namespace of a test's pod.
                Expected::Name if self.kind(1) == Some(T::In) => self.test_namespaces(),
                Expected::Glob => self.namespaces(true),
                Expected::LabelKey => self.keys(),
                Expected::LabelValue => self.values(),
                Expected::Setting => {
                    for setting in &SETTINGS {
                        let insert = format!("{} = ", setting.name);
                        self.add(
                            Kind::Setting,
                            1,
                            setting.name,
                            setting.values.first().unwrap_or(&""),
                            setting.about,
                            &insert,
                        );
                    }
                }
                Expected::Value if self.kind(1) == Some(T::Eq) => {
                    let name = self.text(2).to_owned();
                    for setting in SETTINGS.iter().filter(|setting| setting.name == name) {
                        for value in setting.values {
                            let detail = if *value == setting.default { "default" } else { "" };
                            self.plain(Kind::Value, 1, value, detail);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn statements(&mut self) {
        let tier = self.tier();
        // A setting or a continuation of the last statement may be expected too. Statements rank after those.
        let again = self.expected.nonterminals.len() > 1 || !self.expected.tokens.is_empty();
        let rank = if again { 5 } else { 1 };
        let actions: &[(&str, T)] = match tier {
            Some(T::Admin) => &[("allow", T::Allow), ("deny", T::Deny), ("pass", T::Pass)],
            Some(T::Baseline) => &[("allow", T::Allow), ("deny", T::Deny)],
            _ => &[("allow", T::Allow)],
        };
        for (word, kind) in actions {
            let about = keyword(*kind).unwrap_or_default();
            self.add(Kind::Keyword, rank + 1, word, "", about, word);
            let from = format!("{word} ingress from ${{1:anywhere}} on ${{0:tcp/443}}");
            self.add(Kind::Snippet, rank, &format!("{word} ingress from …"), "", about, &from);
            let to = format!("{word} egress to ${{1:anywhere}} on ${{0:tcp/443}}");
            self.add(Kind::Snippet, rank, &format!("{word} egress to …"), "", about, &to);
        }
        if !matches!(tier, Some(T::Admin | T::Baseline)) {
            let about = keyword(T::Isolate).unwrap_or_default();
            self.add(Kind::Keyword, rank, "isolate", "", about, "isolate");
            self.add(Kind::Keyword, rank, "isolate ingress, egress", "", about, "isolate ingress, egress");
        }
        let about = keyword(T::Kyverno).unwrap_or_default();
        self.add(
            Kind::Snippet,
            rank + 2,
            "kyverno { … }",
            "",
            about,
            "kyverno { ${1:synchronize} = ${0:true} }",
        );
    }

    fn test_entries(&mut self) {
        for (label, kind, insert) in [
            ("namespace …", T::Namespace, "namespace ${0:shop}"),
            ("pod … in …", T::Pod, "pod ${1:web} in ${2:shop} { ${0:app = web} }"),
            ("allow … -> …", T::Allow, "allow ${1:shop/web} -> ${2:shop/db} on ${0:tcp/443}"),
            ("deny … -> …", T::Deny, "deny ${1:shop/web} -> ${2:shop/db} on ${0:tcp/443}"),
            ("cluster \"…\"", T::Cluster, "cluster \"${0:cluster.yaml}\""),
        ] {
            self.snippet(1, label, keyword(kind).unwrap_or_default(), insert);
        }
        for kind in [T::Namespace, T::Pod, T::Allow, T::Deny, T::Cluster] {
            let word = kind.keyword().unwrap_or_default();
            self.add(Kind::Keyword, 2, word, "", keyword(kind).unwrap_or_default(), word);
        }
    }

    fn pods(&mut self) {
        let (all, some) = (keyword(T::All).unwrap_or_default(), keyword(T::Pods).unwrap_or_default());
        self.add(Kind::Keyword, 2, "all pods in", "", all, "all pods in ");
        self.snippet(2, "pods { … } in …", some, "pods { ${1:app = web} } in ${0:namespace}");
        self.add(Kind::Keyword, 3, "all pods", "", all, "all pods");
        self.add(Kind::Keyword, 3, "pods", "", some, "pods");
    }

    fn scopes(&mut self) {
        for (label, kind, insert) in [
            ("all namespaces", T::All, "all namespaces"),
            ("namespace", T::Namespace, "namespace "),
            ("same namespace", T::Same, "same namespace"),
        ] {
            self.add(Kind::Keyword, 2, label, "", keyword(kind).unwrap_or_default(), insert);
        }
        let about = keyword(T::Namespaces).unwrap_or_default();
        self.snippet(2, "namespaces { … }", about, "namespaces { ${0:env = prod} }");
        self.snippet(2, "namespaces (…)", about, "namespaces (${0:team-*})");
        self.snippet(
            2,
            "namespaces sharing …",
            keyword(T::Sharing).unwrap_or_default(),
            "namespaces sharing ${0:tenant}",
        );
        let Some((program, _)) = self.program else { return };
        for name in program.name_index().namespaces.iter().filter(|name| !name.contains(['*', '?'])) {
            let text = format!("namespace {name}");
            self.add(Kind::Namespace, 1, &text, "", "", &text);
        }
    }

    fn namespaces(&mut self, patterns: bool) {
        let Some((program, _)) = self.program else { return };
        let name_index = &program.name_index().namespaces;
        for name in name_index.iter().filter(|name| patterns || !name.contains(['*', '?'])) {
            self.plain(Kind::Namespace, 1, name, "namespace");
        }
    }

    fn sets(&mut self, fits: impl Fn(&Value) -> bool) {
        let Some((program, file)) = self.program else { return };
        // A set cannot refer to itself.
        let own = match self.before() {
            [first, name, ..] if first.kind == T::Let => name.span.0.of(self.source),
            _ => "",
        };
        let mut sets: Vec<_> =
            program.checked.names.seen(file).filter(|set| *set.name != *own && fits(&set.value)).collect();
        sets.sort_by(|a, b| a.name.cmp(&b.name));
        for set in sets {
            let members = program.members(set);
            self.add(Kind::Set, 1, &set.name, set.value.kind(), &members.join("\n"), &set.name);
        }
    }

    fn ports(&mut self) {
        for protocol in PROTOCOLS {
            self.plain(Kind::Port, 2, protocol, "every port");
        }
        self.protocols();
        let Some((program, _)) = self.program else { return };
        for port in &program.name_index().ports {
            self.plain(Kind::Port, 1, port, "port");
        }
    }

    fn protocols(&mut self) {
        for protocol in PROTOCOLS {
            self.add(Kind::Snippet, 2, &format!("{protocol}/…"), "", "", &format!("{protocol}/${{0:443}}"));
        }
    }

    /// Whose labels the selector around the position matches.
    fn selector(&self) -> Object {
        let before = self.before();
        let mut depth = 0usize;
        for (at, token) in before.iter().enumerate().rev() {
            match token.kind {
                T::RBrace | T::RParen => depth += 1,
                T::LBrace | T::LParen if depth > 0 => depth -= 1,
                T::LBrace => {
                    let of =
                        |back: usize| at.checked_sub(back).and_then(|at| before.get(at)).map(|own| own.kind);
                    // `namespaces {`, `except {`, `except (…, {`, and `namespace shop {` of a test.
                    let namespace = matches!(of(1), Some(T::Namespaces | T::Except | T::LParen | T::Comma))
                        || of(2) == Some(T::Namespace);
                    return if namespace { Object::Namespace } else { Object::Pod };
                }
                T::Sharing if depth == 0 => return Object::Namespace,
                _ => {}
            }
        }
        Object::Pod
    }

    fn keys(&mut self) {
        let of = self.selector();
        let Some((program, _)) = self.program else { return };
        for (key, values) in program.name_index().labels(of) {
            let some: Vec<&str> = values.iter().map(String::as_str).take(3).collect();
            let key = npc_print::word(key);
            self.plain(Kind::Key, 1, &key, &some.join(", "));
        }
    }

    fn values(&mut self) {
        let of = self.selector();
        // The key is before the operator, and before the parenthesis of a list.
        let before = self.before();
        let operator = before
            .iter()
            .rposition(|token| matches!(token.kind, T::Eq | T::EqEq | T::NotEq | T::In | T::Notin));
        let key = operator.and_then(|at| before.get(at.checked_sub(1)?));
        let key = key.map_or("", |key| key.span.0.of(self.source)).trim_matches('"').to_owned();
        let Some((program, _)) = self.program else { return };
        for value in program.name_index().labels(of).get(&key).into_iter().flatten() {
            let value = npc_print::word(value);
            self.plain(Kind::Value, 1, &value, &key);
        }
    }

    /// The namespaces that the test declares.
    fn test_namespaces(&mut self) {
        let names: Vec<String> = self.pairs(T::Namespace).map(|(name, _)| name).collect();
        for name in names {
            self.plain(Kind::Namespace, 1, &name, "namespace");
        }
    }

    fn test_pods(&mut self) {
        let names: Vec<String> =
            self.pairs(T::Pod).map(|(name, namespace)| format!("{namespace}/{name}")).collect();
        for name in names {
            self.plain(Kind::Pod, 1, &name, "pod");
        }
    }

    fn pairs(&self, keyword: T) -> impl Iterator<Item = (String, String)> {
        let before = self.before();
        let text = |at: usize| before.get(at).map_or("", |own| own.span.0.of(self.source)).to_owned();
        let found = before.iter().enumerate().filter(move |(at, own)| {
            let name = before.get(at + 1).is_some_and(|next| next.kind.is_word());
            own.kind == keyword
                && name
                && (keyword != T::Pod || before.get(at + 2).is_some_and(|own| own.kind == T::In))
        });
        found.map(move |(at, _)| (text(at + 1), text(at + 3))).collect::<Vec<_>>().into_iter()
    }
}
