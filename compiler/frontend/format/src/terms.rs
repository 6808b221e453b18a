//! Formats sets, peers, selectors and scopes.

use npc_syntax::TokenKind as T;
use npc_syntax::ast::{Address, Peer, Pods, Scope, ScopeBase, ScopeExcept, Selector, Term};

use crate::layout::{Breaks, Indent};
use crate::writer::Writer;

/// How to break a list that does not fit on one line: plain words fill the lines, other elements get a line
/// each.
fn breaks(words: bool) -> Breaks {
    if words { Breaks::Some } else { Breaks::All }
}

/// Formats elements with commas between them, without a trailing comma.
fn list<E>(writer: &mut Writer<'_>, elements: &[E], mut each: impl FnMut(&mut Writer<'_>, &E)) {
    for (index, element) in elements.iter().enumerate() {
        each(writer, element);
        if writer.next() != Some(T::Comma) {
            continue;
        }
        if index + 1 < elements.len() { writer.comma() } else { writer.skip() }
    }
}

/// A list whose continuation lines are aligned with its first element.
fn here<E>(writer: &mut Writer<'_>, elements: &[E], words: bool, each: impl FnMut(&mut Writer<'_>, &E)) {
    writer.begin(Indent::Here, breaks(words));
    list(writer, elements, each);
    writer.end();
}

/// A list in parentheses, or a single element without them, as in the source. Parentheses are neither added
/// nor removed, because they delimit the operands of `except`.
fn many<E>(writer: &mut Writer<'_>, elements: &[E], mut each: impl FnMut(&mut Writer<'_>, &E)) {
    if writer.next() != Some(T::LParen) {
        // A comma after the element belongs to the enclosing list.
        return elements.iter().for_each(|element| each(writer, element));
    }
    writer.token();
    here(writer, elements, true, each);
    writer.tight();
    writer.token();
}

/// Formats words with commas between them; continuation lines are aligned with the first.
pub(crate) fn words<E>(writer: &mut Writer<'_>, elements: &[E]) {
    here(writer, elements, true, |writer, _| writer.token());
}

/// Formats the members of a `let`: after the `=`, or on the lines below.
pub(crate) fn set(writer: &mut Writer<'_>, terms: &[Term]) {
    writer.begin_behind(Indent::By(2), Breaks::All);
    writer.may_break(0);
    writer.begin(Indent::By(0), breaks(terms.iter().all(is_word)));
    list(writer, terms, |writer, own| term(writer, own, GOES_ON));
    writer.end();
    writer.end();
}

/// Formats the pods that a policy selects.
pub(crate) fn subject(writer: &mut Writer<'_>, terms: &[Term]) {
    writer.begin(Indent::By(4), breaks(terms.iter().all(is_word)));
    // These lines are already indented further than the body.
    list(writer, terms, |writer, own| term(writer, own, 0));
    writer.end();
}

pub(crate) fn peers(writer: &mut Writer<'_>, peers: &[Peer]) {
    let is_word = |peer: &Peer| match peer {
        Peer::Anywhere { except, .. } => except.is_empty(),
        Peer::Term(term) => is_word(term),
    };
    here(writer, peers, peers.iter().all(is_word), peer);
}

fn is_word(term: &Term) -> bool {
    matches!(term, Term::Word(word) if word.scope.is_none() && word.except.is_empty())
}

pub(crate) fn peer(writer: &mut Writer<'_>, peer: &Peer) {
    match peer {
        Peer::Anywhere { except, .. } => {
            writer.begin(Indent::By(GOES_ON), Breaks::Some);
            writer.token();
            but(writer, except);
            writer.end();
        }
        Peer::Term(own) => term(writer, own, GOES_ON),
    }
}

/// The indentation of a term's continuation lines.
const GOES_ON: u8 = 2;

/// Formats a term. `in` and `except` can start a continuation line, indented by `goes_on`.
pub(crate) fn term(writer: &mut Writer<'_>, term: &Term, goes_on: u8) {
    writer.begin(Indent::By(goes_on), Breaks::Some);
    match term {
        Term::Pods(own) => pods(writer, own),
        Term::Word(word) => {
            writer.token();
            in_scope(writer, word.scope.as_ref());
            but(writer, &word.except);
        }
    }
    writer.end();
}

fn pods(writer: &mut Writer<'_>, pods: &Pods) {
    writer.token();
    writer.space();
    match &pods.selector {
        Some(own) => selector(writer, own),
        None => writer.token(),
    }
    in_scope(writer, pods.scope.as_ref());
}

fn in_scope(writer: &mut Writer<'_>, scope: Option<&Scope>) {
    let Some(scope) = scope else { return };
    writer.may_break(0);
    writer.token();
    writer.space();
    match &scope.base {
        ScopeBase::All | ScopeBase::Same | ScopeBase::Name(_) => writer.tokens(2),
        ScopeBase::Selector(own) => {
            writer.token();
            writer.space();
            selector(writer, own);
        }
        ScopeBase::Globs(globs) => {
            writer.token();
            writer.space();
            many(writer, globs, |writer, _| writer.token());
        }
        ScopeBase::Sharing(keys) => {
            writer.tokens(2);
            writer.space();
            many(writer, keys, |writer, _| writer.token());
        }
    }
    if scope.except.is_empty() {
        return;
    }
    writer.may_break(0);
    writer.token();
    writer.space();
    many(writer, &scope.except, |writer, except| match except {
        ScopeExcept::Glob(_) => writer.token(),
        ScopeExcept::Selector(own) => selector(writer, own),
    });
}

/// Formats `except …` after addresses, on the same line or the next.
fn but(writer: &mut Writer<'_>, except: &[Address]) {
    if !except.is_empty() {
        writer.may_break(0);
        addresses(writer, except);
    }
}

fn addresses(writer: &mut Writer<'_>, except: &[Address]) {
    writer.token();
    writer.space();
    many(writer, except, |writer, address| {
        writer.token();
        if !address.except.is_empty() {
            writer.space();
            addresses(writer, &address.except);
        }
    });
}

pub(crate) fn selector(writer: &mut Writer<'_>, selector: &Selector) {
    braces(writer, &selector.requirements, |writer, requirement| {
        // `!` and its key have no space between them.
        let negated = writer.next() == Some(T::Not);
        writer.token();
        if negated {
            writer.tight();
            return writer.token();
        }
        match writer.next() {
            Some(T::Eq | T::EqEq | T::NotEq) => {
                writer.space();
                writer.tokens(2);
            }
            Some(T::In | T::Notin) if !requirement.values.is_empty() => {
                writer.space();
                writer.token();
                writer.space();
                many(writer, &requirement.values, |writer, _| writer.token());
            }
            _ => {}
        }
    });
}

/// Formats elements in braces, one per line if they do not fit on one line.
pub(crate) fn braces<E>(writer: &mut Writer<'_>, elements: &[E], each: impl FnMut(&mut Writer<'_>, &E)) {
    writer.begin(Indent::By(2), Breaks::All);
    writer.token();
    writer.may_break(0);
    list(writer, elements, each);
    writer.inner_comments();
    writer.may_break(-2);
    writer.token();
    writer.end();
}
