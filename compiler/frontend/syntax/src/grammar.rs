//! The grammar of items, on tokens.
//!
//! Each function returns a parser for one rule of `grammar/np.ebnf`. The parsers are built once for a
//! group of items and parse the tokens of one item at a time. [`split`](crate::split) finds the items first,
//! so that an error in one item cannot hide the next.

use chumsky::extra;
use chumsky::input::{Input, MapExtra, MappedInput};
use chumsky::prelude::*;

use crate::ast::{
    Action, Address, Assert, Direction, Expect, Import, Isolate, ItemKind, Let, Operator, Peer, Pods,
    Requirement, Rule, Scope, ScopeBase, ScopeExcept, Selector, Settings, Statement, Term, Test, TestEntry,
    TestPod, Tier, Word, WordTerm,
};
use crate::error::{Expected, SyntaxError};
use crate::token::{Token, TokenKind as T, TokenSpan};
use npc_diagnostics::Span;

/// The tokens of an item.
pub(crate) type Tokens<'a> =
    MappedInput<'a, T, TokenSpan, &'a [Token], fn(&'a Token) -> (&'a T, &'a TokenSpan)>;
type Extra = extra::Err<SyntaxError>;

/// A parser of the grammar.
pub(crate) trait Grammar<'a, O>: Parser<'a, Tokens<'a>, O, Extra> + Clone {}
impl<'a, O, P> Grammar<'a, O> for P where P: Parser<'a, Tokens<'a>, O, Extra> + Clone {}

/// Converts an item's tokens to the parser's input.
pub(crate) fn tokens<'a>(tokens: &'a [Token], end: Span) -> Tokens<'a> {
    fn split(token: &Token) -> (&T, &TokenSpan) {
        (&token.kind, &token.span)
    }
    tokens.map(TokenSpan(end.at_end()), split)
}

/// The span of the parser that just ran.
fn span<'a>(extra: &mut MapExtra<'a, '_, Tokens<'a>, Extra>) -> Span {
    extra.span().0
}

/// A bare word, keywords included: a user-defined name.
fn word<'a>() -> impl Grammar<'a, Word> {
    select! { kind = e if T::is_word(kind) => Word { span: span(e) } }
}

/// A bare word or a quoted string.
fn word_or_string<'a>() -> impl Grammar<'a, Word> {
    select! { kind = e if T::is_word(kind) || kind == T::Str => Word { span: span(e) } }
}

fn string<'a>() -> impl Grammar<'a, Word> {
    just(T::Str).map_with(|_, e| Word { span: span(e) })
}

/// A word that may name a set, an address or a port.
fn set_word<'a>() -> impl Grammar<'a, Word> {
    select! { kind = e if T::is_set_name(kind) => Word { span: span(e) } }
}

fn name<'a>() -> impl Grammar<'a, Word> {
    word().labelled(Expected::Name)
}

/// `ONE` or `( ONE, … )`.
fn one_or_many<'a, O>(one: impl Grammar<'a, O>) -> impl Grammar<'a, Vec<O>> {
    choice((
        comma_separated(one.clone()).delimited_by(just(T::LParen), just(T::RParen)),
        one.map(|one| vec![one]),
    ))
}

fn comma_separated<'a, O>(one: impl Grammar<'a, O>) -> impl Grammar<'a, Vec<O>> {
    one.separated_by(just(T::Comma)).at_least(1).allow_trailing().collect()
}

fn selector<'a>() -> impl Grammar<'a, Selector> {
    let key = || word_or_string().labelled(Expected::LabelKey);
    let value = || word_or_string().labelled(Expected::LabelValue);
    let values = || comma_separated(value()).delimited_by(just(T::LParen), just(T::RParen));
    let test = choice((
        one_of([T::Eq, T::EqEq]).ignore_then(value()).map(|v| (Operator::In, vec![v])),
        just(T::NotEq).ignore_then(value()).map(|v| (Operator::NotIn, vec![v])),
        just(T::In).ignore_then(values()).map(|vs| (Operator::In, vs)),
        just(T::Notin).ignore_then(values()).map(|vs| (Operator::NotIn, vs)),
    ));
    let requirement = choice((
        just(T::Not).ignore_then(key()).map(|key| (key, Operator::DoesNotExist, Vec::new())),
        key().then(test.or_not()).map(|(key, test)| match test {
            Some((operator, values)) => (key, operator, values),
            None => (key, Operator::Exists, Vec::new()),
        }),
    ))
    .map_with(|(key, operator, values), e| Requirement { span: span(e), key, operator, values });
    requirement
        .separated_by(just(T::Comma))
        .allow_trailing()
        .collect()
        .delimited_by(just(T::LBrace), just(T::RBrace))
        .map_with(|requirements, e| Selector { span: span(e), requirements })
        .boxed()
}

/// The scope after `in`.
fn scope<'a>() -> impl Grammar<'a, Scope> {
    let glob = || word().labelled(Expected::Glob);
    let base = choice((
        just([T::All, T::Namespaces]).to(ScopeBase::All),
        just(T::Namespace).ignore_then(word_or_string().labelled(Expected::Name)).map(ScopeBase::Name),
        just(T::Namespaces).ignore_then(choice((
            selector().map(ScopeBase::Selector),
            comma_separated(glob()).delimited_by(just(T::LParen), just(T::RParen)).map(ScopeBase::Globs),
            just(T::Sharing)
                .ignore_then(one_or_many(word_or_string().labelled(Expected::LabelKey)))
                .map(ScopeBase::Sharing),
        ))),
        just([T::Same, T::Namespace]).to(ScopeBase::Same),
    ))
    .labelled(Expected::Scope);
    let one = choice((selector().map(ScopeExcept::Selector), glob().map(ScopeExcept::Glob)));
    let except = just(T::Except).ignore_then(one_or_many(one));
    base.then(except.or_not().map(Option::unwrap_or_default))
        .map_with(|(base, except), e| Scope { span: span(e), base, except })
        .boxed()
}

/// `all pods in …`, `pods { … } in …`
fn pods<'a>() -> impl Grammar<'a, Pods> {
    choice((just([T::All, T::Pods]).to(None), just(T::Pods).ignore_then(selector()).map(Some)))
        .then(just(T::In).ignore_then(scope()).or_not())
        .map_with(|(selector, scope), e| Pods { span: span(e), selector, scope })
        .boxed()
}

/// The exception list after addresses.
fn except<'a>(address: impl Grammar<'a, Address>) -> impl Grammar<'a, Vec<Address>> {
    let alone = set_word()
        .map_with(|word, e| vec![Address { span: span(e), word, except: Vec::new() }])
        .labelled(Expected::Address);
    just(T::Except)
        .ignore_then(choice((comma_separated(address).delimited_by(just(T::LParen), just(T::RParen)), alone)))
        .or_not()
        .map(Option::unwrap_or_default)
}

fn address<'a>() -> impl Grammar<'a, Address> {
    recursive(|address| {
        set_word()
            .labelled(Expected::Address)
            .then(except(address))
            .map_with(|(word, except), e| Address { span: span(e), word, except })
            .boxed()
    })
}

/// Pods, addresses, a port or a set.
fn term<'a>() -> impl Grammar<'a, Term> {
    choice((
        pods().map(Term::Pods),
        set_word().then(just(T::In).ignore_then(scope()).or_not()).then(except(address())).map_with(
            |((word, scope), except), e| Term::Word(WordTerm { span: span(e), word, scope, except }),
        ),
    ))
    .boxed()
}

fn on_ports<'a>() -> impl Grammar<'a, Vec<Word>> {
    just(T::On)
        .ignore_then(comma_separated(set_word().labelled(Expected::Port)))
        .or_not()
        .map(Option::unwrap_or_default)
}

fn direction<'a>() -> impl Grammar<'a, (Direction, Span)> {
    choice((just(T::Ingress).to(Direction::Ingress), just(T::Egress).to(Direction::Egress)))
        .map_with(|direction, e| (direction, span(e)))
}

/// `anywhere`, pods or addresses.
fn peer<'a>() -> impl Grammar<'a, Peer> {
    let anywhere = just(T::Anywhere)
        .ignore_then(except(address()))
        .map_with(|except, e| Peer::Anywhere { span: span(e), except });
    choice((anywhere, term().map(Peer::Term))).labelled(Expected::Peers)
}

/// The peers after `from` or `to`.
fn peers<'a>() -> impl Grammar<'a, Vec<Peer>> {
    // After a trailing comma, `kyverno {` begins settings.
    comma_separated(peer().and_is(just([T::Kyverno, T::LBrace]).not())).boxed()
}

fn rule<'a>() -> impl Grammar<'a, Rule> {
    let action = choice((
        just(T::Allow).to(Action::Allow),
        just(T::Deny).to(Action::Deny),
        just(T::Pass).to(Action::Pass),
    ))
    .map_with(|action, e| (action, span(e)));
    let from = just(T::Ingress)
        .map_with(|_, e| (Direction::Ingress, span(e)))
        .then(choice((just(T::From).to(true), just(T::To).to(false))).map_with(|ok, e| (ok, span(e))));
    let to = just(T::Egress)
        .map_with(|_, e| (Direction::Egress, span(e)))
        .then(choice((just(T::To).to(true), just(T::From).to(false))).map_with(|ok, e| (ok, span(e))));
    let towards = choice((from, to)).validate(|((direction, at), (right, span)), _, emitter| {
        if !right {
            let ingress = direction == Direction::Ingress;
            emitter.emit(SyntaxError::WrongPreposition { span, ingress });
        }
        (direction, at)
    });
    action
        .then(towards)
        .then(peers())
        .then(on_ports())
        .then(just(T::Log).map_with(|_, e| span(e)).or_not())
        .map_with(|((((action, direction), peers), ports), log), e| Rule {
            span: span(e),
            action: action.0,
            action_span: action.1,
            direction: direction.0,
            direction_span: direction.1,
            peers,
            ports,
            log,
        })
        .boxed()
}

fn isolate<'a>() -> impl Grammar<'a, Isolate> {
    just(T::Isolate)
        .ignore_then(comma_separated(direction()))
        .map_with(|directions, e| Isolate { span: span(e), directions })
}

/// Skips the tokens of a broken entry: up to the next entry, or to the last brace of the item.
fn skip<'a>(starts_entry: impl Grammar<'a, ()>) -> impl Grammar<'a, ()> {
    let stop = choice((starts_entry, just(T::RBrace).then(end()).ignored()));
    any().then(any().and_is(stop.not()).repeated()).ignored()
}

/// The body of an item: a block of entries, each of which can be broken. The second value is true if an entry
/// was broken or the block is not closed.
fn block<'a, O: 'a>(
    entry: impl Grammar<'a, O> + 'a,
    starts_entry: impl Grammar<'a, ()> + 'a,
) -> impl Grammar<'a, (Vec<O>, bool)> {
    let close = just(T::RBrace).ignored();
    let entry = entry.map(Some).recover_with(via_parser(skip(starts_entry).map(|()| None)));
    let entries = entry.and_is(close.then(end()).not()).repeated().collect::<Vec<Option<O>>>();
    let open = just(T::LBrace).map_with(|_, e| span(e));
    open.then(entries)
        .then(choice((close.to(true), end().to(false))))
        .validate(|((open, entries), closed), e, emitter| {
            let broken = entries.iter().any(Option::is_none);
            if !closed && !broken {
                emitter.emit(SyntaxError::Unclosed { open, end: span(e) });
            }
            (entries.into_iter().flatten().collect(), broken || !closed)
        })
        .boxed()
}

/// A statement of a policy, or settings for Kyverno.
pub(crate) enum PolicyEntry {
    Statement(Statement),
    Settings(Settings),
}

fn setting<'a>() -> impl Grammar<'a, (Word, Word)> {
    word()
        .labelled(Expected::Setting)
        .then_ignore(just(T::Eq))
        .then(word_or_string().labelled(Expected::Value))
}

/// `kyverno { … }` as an item of its own.
fn settings<'a>() -> impl Grammar<'a, Settings> {
    just(T::Kyverno)
        .ignore_then(block(setting(), word().then(just(T::Eq)).ignored()))
        .map_with(|(entries, _), e| Settings { span: span(e), entries })
}

/// `kyverno { … }` in a policy. If it is broken, the recovery of the policy's body skips it.
fn nested_settings<'a>() -> impl Grammar<'a, Settings> {
    just(T::Kyverno)
        .ignore_then(setting().repeated().collect().delimited_by(just(T::LBrace), just(T::RBrace)))
        .map_with(|entries, e| Settings { span: span(e), entries })
}

fn policy_body<'a>() -> impl Grammar<'a, (Vec<PolicyEntry>, bool)> {
    let entry = choice((
        rule().map(|rule| PolicyEntry::Statement(Statement::Rule(rule))),
        isolate().map(|isolate| PolicyEntry::Statement(Statement::Isolate(isolate))),
        nested_settings().map(PolicyEntry::Settings),
    ))
    .labelled(Expected::Statement);
    let keyword = one_of([T::Allow, T::Deny, T::Pass, T::Isolate]);
    let continues = one_of([
        T::Eq,
        T::EqEq,
        T::NotEq,
        T::Comma,
        T::RBrace,
        T::RParen,
        T::In,
        T::Notin,
        T::On,
        T::Log,
        T::Except,
    ]);
    let starts = choice((keyword.then(continues.not()).ignored(), just([T::Kyverno, T::LBrace]).ignored()));
    // Tokens after a rule that do not begin a statement are part of the error in that rule, not an error of
    // their own.
    let next = choice((starts, just(T::RBrace).ignored(), end())).labelled(Expected::Statement);
    block(entry.then_ignore(next.rewind()), starts)
}

/// The part of a policy before its body.
pub(crate) struct PolicyHeader {
    pub(crate) audit: Option<Span>,
    pub(crate) tier: Tier,
    pub(crate) tier_span: Option<Span>,
    pub(crate) name: Word,
    pub(crate) priority: Option<Word>,
    pub(crate) subject: Vec<Term>,
}

/// The name of a policy. A `for` in this position means that the name is missing.
fn policy_name<'a>() -> impl Grammar<'a, Word> {
    let forgotten = just(T::For).then(one_of([T::For, T::Priority]).not());
    word().and_is(forgotten.not()).labelled(Expected::Name)
}

fn policy_header<'a>() -> impl Grammar<'a, PolicyHeader> {
    let tier = choice((just(T::Admin).to(Tier::Admin), just(T::Baseline).to(Tier::Baseline)))
        .map_with(|tier, e| (tier, span(e)))
        .or_not();
    let subject = comma_separated(term().labelled(Expected::Pods));
    just(T::Audit)
        .map_with(|_, e| span(e))
        .or_not()
        .then(tier)
        .then_ignore(just(T::Policy))
        .then(policy_name())
        .then(just(T::Priority).ignore_then(word().labelled(Expected::Value)).or_not())
        .then_ignore(just(T::For))
        .then(subject)
        .map(|((((audit, tier), name), priority), subject)| PolicyHeader {
            audit,
            tier: tier.map_or(Tier::Namespaced, |(tier, _)| tier),
            tier_span: tier.map(|(_, span)| span),
            name,
            priority,
            subject,
        })
}

fn import<'a>() -> impl Grammar<'a, Import> {
    just(T::Import).ignore_then(string()).map(|path| Import { path })
}

fn set<'a>() -> impl Grammar<'a, Let> {
    just(T::Let)
        .ignore_then(name())
        .then_ignore(just(T::Eq))
        .then(comma_separated(term().labelled(Expected::Set)))
        .map(|(name, terms)| Let { name, terms: Some(terms) })
}

fn allowed<'a>() -> impl Grammar<'a, bool> {
    choice((just(T::Allow).to(true), just(T::Deny).to(false)))
}

fn assert<'a>() -> impl Grammar<'a, Assert> {
    just(T::Assert)
        .ignore_then(allowed())
        .then(term().labelled(Expected::Pods))
        .then_ignore(just(T::Arrow))
        .then(peer())
        .then(on_ports())
        .map(|(((allowed, source), destination), ports)| Assert { allowed, source, destination, ports })
}

fn test_entry<'a>() -> impl Grammar<'a, TestEntry> {
    let addresses = just(T::At)
        .ignore_then(comma_separated(word().labelled(Expected::Address)))
        .or_not()
        .map(Option::unwrap_or_default);
    let port = name().then_ignore(just(T::Eq)).then(word().labelled(Expected::Port));
    let ports = just(T::Ports)
        .ignore_then(
            port.separated_by(just(T::Comma))
                .allow_trailing()
                .collect()
                .delimited_by(just(T::LBrace), just(T::RBrace)),
        )
        .or_not()
        .map(Option::unwrap_or_default);
    let pod = just(T::Pod)
        .ignore_then(name())
        .then_ignore(just(T::In))
        .then(name())
        .then(selector().or_not())
        .then(addresses)
        .then(ports)
        .map(|((((name, namespace), labels), addresses), ports)| {
            TestEntry::Pod(Box::new(TestPod { name, namespace, labels, addresses, ports }))
        });
    let end = || word().labelled(Expected::Endpoint);
    let expect = allowed().then(end()).then_ignore(just(T::Arrow)).then(end()).then(on_ports()).map_with(
        |(((allowed, source), destination), ports), e| {
            let span = span(e);
            TestEntry::Expect(Box::new(Expect { span, allowed, source, destination, ports }))
        },
    );
    choice((
        just(T::Cluster).ignore_then(string()).map(TestEntry::Cluster),
        just(T::Namespace)
            .ignore_then(name())
            .then(selector().or_not())
            .map(|(name, labels)| TestEntry::Namespace { name, labels }),
        pod,
        expect,
    ))
    .labelled(Expected::TestEntry)
}

fn test<'a>() -> impl Grammar<'a, Test> {
    let starts = choice((
        just([T::Cluster, T::Str]).ignored(),
        just(T::Namespace).then(word()).ignored(),
        just(T::Pod).then(word()).then(just(T::In)).ignored(),
        one_of([T::Allow, T::Deny]).then(word()).then(just(T::Arrow)).ignored(),
    ));
    just(T::Test)
        .ignore_then(string())
        .then(block(test_entry(), starts))
        .map(|(name, (entries, broken))| Test { name, entries, broken })
}

pub(crate) type Built<'a, O> = Boxed<'a, 'a, Tokens<'a>, O, Extra>;

/// The parsers for each kind of item.
pub(crate) struct Parsers<'a> {
    pub(crate) policy_header: Built<'a, PolicyHeader>,
    pub(crate) policy_body: Built<'a, (Vec<PolicyEntry>, bool)>,
    pub(crate) import: Built<'a, ItemKind>,
    pub(crate) set: Built<'a, ItemKind>,
    pub(crate) kyverno: Built<'a, ItemKind>,
    pub(crate) test: Built<'a, ItemKind>,
    pub(crate) assert: Built<'a, ItemKind>,
}

impl Parsers<'_> {
    pub(crate) fn new() -> Self {
        Self {
            policy_header: policy_header().then_ignore(just(T::LBrace)).boxed(),
            policy_body: policy_body().then_ignore(end()).boxed(),
            import: import().map(ItemKind::Import).then_ignore(end()).boxed(),
            set: set().map(ItemKind::Let).then_ignore(end()).boxed(),
            kyverno: settings().map(ItemKind::Kyverno).then_ignore(end()).boxed(),
            test: test().map(ItemKind::Test).then_ignore(end()).boxed(),
            assert: assert().map(ItemKind::Assert).then_ignore(end()).boxed(),
        }
    }
}
