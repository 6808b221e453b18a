//! The syntax tree.
//!
//! The tree holds spans, not text: the text of a [`Word`] is read from the source that was parsed. This keeps
//! the tree small and free of lifetimes.

use std::borrow::Cow;
use std::sync::Arc;

use educe::Educe;
use npc_diagnostics::{FileId, Span};
pub use npc_vocabulary::{Action, Direction, Operator, Tier};

/// The items of a file, in source order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// `//!` comments at the head of the file.
    pub docs: Vec<Span>,
    /// The items. A broken item is included only if its name could be parsed.
    pub items: Vec<Arc<Item>>,
}

/// An item and its documentation. Two items are equal if they are written alike, at the same offset.
#[derive(Clone, Educe)]
#[educe(Debug, PartialEq)]
pub struct Item {
    /// Identifies the item among all that this process parses. It is kept when the item moves, and changes when its
    /// text changes.
    #[educe(Debug(ignore), PartialEq(ignore))]
    pub id: FileId,
    /// From the item's first to its last token.
    pub span: Span,
    /// The `///` comments above it.
    pub docs: Vec<Span>,
    /// The kind, with its content.
    pub kind: ItemKind,
}

impl Item {
    /// The lines of the documentation, without the slashes.
    pub fn documentation<'s>(&'s self, source: &'s str) -> impl Iterator<Item = &'s str> {
        self.docs.iter().map(|span| {
            let line = span.of(source).trim_start_matches('/');
            line.strip_prefix(' ').unwrap_or(line).trim_end()
        })
    }
}

/// The kind of an item, with its content.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    /// `import "sets.np"`
    Import(Import),
    /// `let metadata = 169.254.169.254/32`
    Let(Let),
    /// `policy db for … { … }`
    Policy(Policy),
    /// `kyverno { … }` outside a policy
    Kyverno(Settings),
    /// `test "…" { … }`
    Test(Test),
    /// `assert deny … -> …`
    Assert(Assert),
}

/// A bare word, or a quoted string where a word is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word's span. For a string, it includes the quotes.
    pub span: Span,
}

impl Word {
    /// The word's value: the word itself, or the string without quotes and escapes.
    #[must_use]
    pub fn text(self, source: &str) -> Cow<'_, str> {
        let raw = self.span.of(source);
        let Some(inner) = raw.strip_prefix('"') else { return Cow::Borrowed(raw) };
        let inner = inner.strip_suffix('"').unwrap_or(inner);
        if !inner.contains('\\') {
            return Cow::Borrowed(inner);
        }
        let mut out = String::with_capacity(inner.len());
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            if c == '\\' { out.extend(chars.next()) } else { out.push(c) }
        }
        Cow::Owned(out)
    }

    /// Whether it is a quoted string.
    #[must_use]
    pub fn is_quoted(self, source: &str) -> bool {
        self.span.of(source).starts_with('"')
    }
}

/// `import "sets.np"`
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// The path, relative to the importing file.
    pub path: Word,
}

/// `let NAME = …`
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    /// The set's name.
    pub name: Word,
    /// The members; `None` if they could not be parsed.
    pub terms: Option<Vec<Term>>,
}

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The keyword `audit`, if present.
    pub audit: Option<Span>,
    /// The tier.
    pub tier: Tier,
    /// The keyword of the tier, if present.
    pub tier_span: Option<Span>,
    /// The name.
    pub name: Word,
    /// The number after `priority`.
    pub priority: Option<Word>,
    /// The pods that the policy selects. Empty if the header could not be parsed.
    pub subject: Vec<Term>,
    /// The statements, without the broken ones.
    pub statements: Vec<Statement>,
    /// Kyverno settings that apply to this policy only.
    pub settings: Vec<Settings>,
    /// Whether a part could not be parsed. If so, later checks must not report a part as missing.
    pub broken: bool,
}

/// A statement of a policy.
#[derive(Clone, Debug, PartialEq)]
pub enum Statement {
    /// `allow ingress from … on … log`
    Rule(Rule),
    /// `isolate ingress, egress`
    Isolate(Isolate),
}

/// A rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The whole rule.
    pub span: Span,
    /// The action.
    pub action: Action,
    /// The keyword of the action.
    pub action_span: Span,
    /// The direction.
    pub direction: Direction,
    /// The keyword of the direction.
    pub direction_span: Span,
    /// The peers.
    pub peers: Vec<Peer>,
    /// The ports after `on`; empty if there is no `on`.
    pub ports: Vec<Word>,
    /// The keyword `log`.
    pub log: Option<Span>,
}

/// `isolate ingress, egress`
#[derive(Clone, Debug, PartialEq)]
pub struct Isolate {
    /// The whole statement.
    pub span: Span,
    /// The directions, with their keywords.
    pub directions: Vec<(Direction, Span)>,
}

/// One of the peers of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    /// `anywhere except …`
    Anywhere {
        /// The whole peer.
        span: Span,
        /// The excluded addresses.
        except: Vec<Address>,
    },
    /// Pods, addresses or a set.
    Term(Term),
}

impl Peer {
    /// The whole peer.
    #[must_use]
    pub const fn span(&self) -> Span {
        match self {
            Self::Anywhere { span, .. } => *span,
            Self::Term(term) => term.span(),
        }
    }
}

/// Pods, addresses, a port or a set. A bare word can be any of the last three; name resolution decides which.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// `all pods in …`, `pods { … } in …`
    Pods(Pods),
    /// `kube-dns`, `10.0.0.0/8 except …`, `tcp/80`
    Word(WordTerm),
}

impl Term {
    /// The whole term.
    #[must_use]
    pub const fn span(&self) -> Span {
        match self {
            Self::Pods(pods) => pods.span,
            Self::Word(word) => word.span,
        }
    }
}

/// `all pods in …`, `pods { … } in …`
#[derive(Clone, Debug, PartialEq)]
pub struct Pods {
    /// The whole term.
    pub span: Span,
    /// The selector; `None` for `all pods`.
    pub selector: Option<Selector>,
    /// The namespaces.
    pub scope: Option<Scope>,
}

/// A word, with what may follow it.
#[derive(Clone, Debug, PartialEq)]
pub struct WordTerm {
    /// The whole term.
    pub span: Span,
    /// A set's name, an address or a port.
    pub word: Word,
    /// `in …`, for a set of pods.
    pub scope: Option<Scope>,
    /// `except …`, for addresses.
    pub except: Vec<Address>,
}

/// An address or a set of addresses, optionally with exceptions.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// The whole term.
    pub span: Span,
    /// An address or a set's name.
    pub word: Word,
    /// The excluded addresses.
    pub except: Vec<Address>,
}

/// Namespaces.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Without the `in`.
    pub span: Span,
    /// The namespaces before `except`.
    pub base: ScopeBase,
    /// The excluded namespaces: a namespace is excluded if any of these matches it.
    pub except: Vec<ScopeExcept>,
}

/// Namespaces, before `except`.
#[derive(Clone, Debug, PartialEq)]
pub enum ScopeBase {
    /// `all namespaces`
    All,
    /// `namespace shop`
    Name(Word),
    /// `namespaces (team-*, shop)`
    Globs(Vec<Word>),
    /// `namespaces { env = prod }`
    Selector(Selector),
    /// `same namespace`
    Same,
    /// `namespaces sharing tenant`
    Sharing(Vec<Word>),
}

/// Namespaces that a scope leaves out.
#[derive(Clone, Debug, PartialEq)]
pub enum ScopeExcept {
    /// `kube-*`
    Glob(Word),
    /// `{ env = prod }`
    Selector(Selector),
}

/// `{ app = web, tier in (a, b), !legacy }`
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// With its braces.
    pub span: Span,
    /// The requirements, all of which must hold.
    pub requirements: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    /// The whole requirement.
    pub span: Span,
    /// The label's key.
    pub key: Word,
    /// The operator.
    pub operator: Operator,
    /// The values; empty for `Exists` and `DoesNotExist`.
    pub values: Vec<Word>,
}

/// `kyverno { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The whole block.
    pub span: Span,
    /// The settings, without the broken ones.
    pub entries: Vec<(Word, Word)>,
}

/// `test "…" { … }`
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Its name.
    pub name: Word,
    /// Fixtures and expectations, without the broken ones.
    pub entries: Vec<TestEntry>,
    /// Whether a part could not be parsed.
    pub broken: bool,
}

/// An entry of a test.
#[derive(Clone, Debug, PartialEq)]
pub enum TestEntry {
    /// `cluster "pods.yaml"`
    Cluster(Word),
    /// `namespace shop { … }`
    Namespace {
        /// Its name.
        name: Word,
        /// Its labels.
        labels: Option<Selector>,
    },
    /// `pod web in shop { … } at … ports { … }`
    Pod(Box<TestPod>),
    /// `allow shop/web -> payments/db on tcp/5432`
    Expect(Box<Expect>),
}

/// A pod of a test.
#[derive(Clone, Debug, PartialEq)]
pub struct TestPod {
    /// Its name.
    pub name: Word,
    /// Its namespace.
    pub namespace: Word,
    /// Its labels.
    pub labels: Option<Selector>,
    /// Its addresses.
    pub addresses: Vec<Word>,
    /// Its named ports.
    pub ports: Vec<(Word, Word)>,
}

/// An expectation of a test.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// The whole expectation.
    pub span: Span,
    /// Whether the connection must be allowed.
    pub allowed: bool,
    /// `namespace/pod`, an address or a set of addresses.
    pub source: Word,
    /// `namespace/pod`, an address or a set of addresses.
    pub destination: Word,
    /// The ports; empty for every protocol and port.
    pub ports: Vec<Word>,
}

/// `assert deny … -> … on …`
#[derive(Clone, Debug, PartialEq)]
pub struct Assert {
    /// Whether the connections must be allowed.
    pub allowed: bool,
    /// The pods that the connections come from.
    pub source: Term,
    /// The destination of the connections.
    pub destination: Peer,
    /// The ports; empty for every protocol.
    pub ports: Vec<Word>,
}
