//! The syntax tree.
//!
//! The tree holds places, not text: a [`Word`] is a span, and its text is read from the source that
//! was parsed. That keeps the tree small and free of lifetimes.

use std::borrow::Cow;
use std::sync::Arc;

use npc_diagnostics::Span;

/// A file's items, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// `//!` comments at the head of the file.
    pub docs: Vec<Span>,
    /// The items. A broken one is left out, unless its name could be made out.
    pub items: Vec<Arc<Item>>,
}

/// An item and its documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// From its first to its last token.
    pub span: Span,
    /// The `///` comments above it.
    pub docs: Vec<Span>,
    /// What it is.
    pub kind: ItemKind,
}

impl Item {
    /// The lines of its documentation, without their slashes.
    pub fn documentation<'s>(&'s self, source: &'s str) -> impl Iterator<Item = &'s str> {
        self.docs.iter().map(|span| {
            let line = span.of(source).trim_start_matches('/');
            line.strip_prefix(' ').unwrap_or(line).trim_end()
        })
    }
}

/// What an item is.
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

/// A bare word, or a string in quotes where a word may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its place; of a string, with the quotes.
    pub span: Span,
}

impl Word {
    /// What it says: the word itself, or the string without quotes and escapes.
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

    /// Whether it is a string in quotes.
    #[must_use]
    pub fn is_quoted(self, source: &str) -> bool {
        self.span.of(source).starts_with('"')
    }
}

/// `import "sets.np"`
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// The path, relative to the file that imports.
    pub path: Word,
}

/// `let NAME = …`
#[derive(Clone, Debug, PartialEq)]
pub struct Let {
    /// The set's name.
    pub name: Word,
    /// What it holds; `None` where that could not be read.
    pub terms: Option<Vec<Term>>,
}

/// The tier of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// Decides first.
    Admin,
    /// Kubernetes' own: isolation and allowances.
    Namespaced,
    /// Decides where no policy isolates.
    Baseline,
}

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The keyword `audit`, where it is one.
    pub audit: Option<Span>,
    /// Its tier.
    pub tier: Tier,
    /// The keyword of the tier, where one is written.
    pub tier_span: Option<Span>,
    /// Its name.
    pub name: Word,
    /// The number behind `priority`.
    pub priority: Option<Word>,
    /// The pods that it is for. Empty where the header could not be read.
    pub subject: Vec<Term>,
    /// Its statements, without the broken ones.
    pub statements: Vec<Statement>,
    /// Settings for Kyverno of this policy alone.
    pub settings: Vec<Settings>,
    /// Whether part of it could not be read, so that what is missing is no mistake of its own.
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
    /// What it does.
    pub action: Action,
    /// The keyword of the action.
    pub action_span: Span,
    /// The direction that it speaks of.
    pub direction: Direction,
    /// The keyword of the direction.
    pub direction_span: Span,
    /// Whom it names.
    pub peers: Vec<Peer>,
    /// The ports behind `on`; empty where there is no `on`.
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

/// What a rule does with a connection that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Lets it through.
    Allow,
    /// Refuses it.
    Deny,
    /// Leaves it to the policies below the admin tier.
    Pass,
}

/// A direction, seen from the pod that a policy is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Towards the pod.
    Ingress,
    /// From the pod.
    Egress,
}

/// One of the peers of a rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    /// `anywhere except …`
    Anywhere {
        /// The whole peer.
        span: Span,
        /// The addresses that it leaves out.
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

/// Pods, addresses, a port or a set: which of them, a word alone does not tell.
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

/// An address or a set of them, less others.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// The whole term.
    pub span: Span,
    /// An address or a set's name.
    pub word: Word,
    /// What is taken away.
    pub except: Vec<Address>,
}

/// Namespaces.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// Without the `in`.
    pub span: Span,
    /// Which.
    pub base: ScopeBase,
    /// Which not: those that any of these means.
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
    /// All of which must hold.
    pub requirements: Vec<Requirement>,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq)]
pub struct Requirement {
    /// The whole requirement.
    pub span: Span,
    /// The label's key.
    pub key: Word,
    /// What it asks of the label.
    pub operator: Operator,
    /// The values; empty for `Exists` and `DoesNotExist`.
    pub values: Vec<Word>,
}

/// The operators of Kubernetes' label selectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// `=`, `==`, `in`
    In,
    /// `!=`, `notin`
    NotIn,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
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
    /// Whether part of it could not be read.
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

/// What a test expects.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// The whole expectation.
    pub span: Span,
    /// Whether the connection is to be allowed.
    pub allowed: bool,
    /// `namespace/pod`, an address or a set of addresses.
    pub source: Word,
    /// `namespace/pod`, an address or a set of addresses.
    pub destination: Word,
    /// The ports; empty for any protocol.
    pub ports: Vec<Word>,
}

/// `assert deny … -> … on …`
#[derive(Clone, Debug, PartialEq)]
pub struct Assert {
    /// Whether the connections are to be allowed.
    pub allowed: bool,
    /// The pods that they come from.
    pub source: Term,
    /// Where they go.
    pub destination: Peer,
    /// The ports; empty for every protocol.
    pub ports: Vec<Word>,
}
