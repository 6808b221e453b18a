//! Formats items and the entries in their braces.

use std::sync::Arc;

use std::ops::Range;

use npc_syntax::TokenKind as T;
use npc_syntax::ast::{
    Action, Direction, Expect, Item, ItemKind, Policy, Rule, Settings, Statement, Test, TestEntry, TestPod,
};

use crate::layout::{Breaks, Indent};
use crate::terms;
use crate::writer::{Writer, columns_of};

/// The padding before the `=` of each item: `let`s on consecutive lines have their `=` in one column.
pub(crate) fn names(writer: &Writer<'_>, items: &[Arc<Item>], source: &str) -> Vec<usize> {
    let name = |item: &Arc<Item>| match &item.kind {
        ItemKind::Let(own) => Some(columns_of(own.name.span, source)),
        _ => None,
    };
    pads(&runs(writer, items, |item| (item.span.start, 0)), items, name)
}

/// The index ranges of elements on consecutive lines, with neither an empty line nor a comment between them.
/// `start` returns the offset of a word of the element, and how many tokens the element begins before that
/// word.
fn runs<E>(writer: &Writer<'_>, things: &[E], start: impl Fn(&E) -> (u32, usize)) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, thing) in things.iter().enumerate() {
        let (place, back) = start(thing);
        match runs.last_mut() {
            Some(run) if writer.lines_before(place, back) <= 1 => run.end = index + 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

/// The padding of each element that has a width: the difference to the widest element of its run.
fn pads<E>(runs: &[Range<usize>], things: &[E], width: impl Fn(&E) -> Option<usize>) -> Vec<usize> {
    let mut pads = vec![0; things.len()];
    for run in runs {
        let (Some(things), Some(pads)) = (things.get(run.clone()), pads.get_mut(run.clone())) else {
            continue;
        };
        let most = things.iter().filter_map(&width).max().unwrap_or(0);
        for (thing, pad) in things.iter().zip(pads) {
            *pad = width(thing).map_or(0, |own| most - own);
        }
    }
    pads
}

/// Formats an item, with `pad` spaces before its `=`.
pub(crate) fn item(writer: &mut Writer<'_>, item: &Item, pad: usize, source: &str) {
    match &item.kind {
        ItemKind::Import(_) => writer.tokens(2),
        ItemKind::Let(own) => {
            writer.tokens(2);
            writer.space();
            writer.pad(pad);
            writer.token();
            terms::set(writer, own.terms.as_deref().unwrap_or_default());
        }
        ItemKind::Policy(own) => policy(writer, own, source),
        ItemKind::Kyverno(own) => settings(writer, own, source),
        ItemKind::Test(own) => test(writer, own, source),
        ItemKind::Assert(own) => {
            writer.begin(Indent::By(2), Breaks::All);
            writer.tokens(2);
            writer.space();
            terms::term(writer, &own.source, 0);
            writer.may_break(0);
            writer.token();
            writer.space();
            terms::peer(writer, &own.destination);
            on(writer, own.ports.as_slice(), 0);
            writer.end();
        }
    }
}

/// Formats `on …`, on the same line or the next.
fn on<P>(writer: &mut Writer<'_>, ports: &[P], pad: usize) {
    if ports.is_empty() {
        return;
    }
    writer.pad(pad);
    writer.may_break(0);
    writer.token();
    writer.space();
    terms::words(writer, ports);
}

/// Formats a block in braces, with one entry per line.
fn block<E>(writer: &mut Writer<'_>, entries: &[E], mut each: impl FnMut(&mut Writer<'_>, usize, &E)) {
    const INDENT: i8 = 2;
    writer.token();
    for (index, entry) in entries.iter().enumerate() {
        writer.line(INDENT, index > 0);
        writer.begin(Indent::Here, Breaks::All);
        each(writer, index, entry);
        writer.end();
    }
    if writer.has_comments() {
        writer.line(INDENT, !entries.is_empty());
        writer.inner_comments();
    }
    if entries.is_empty() && !writer.follows_comment() {
        writer.space();
    } else {
        writer.line(0, false);
    }
    writer.token();
}

/// A statement of a policy, or settings.
enum Entry<'t> {
    Rule(&'t Rule),
    Isolate(usize),
    Settings(&'t Settings),
}

fn policy(writer: &mut Writer<'_>, policy: &Policy, source: &str) {
    // The number of words up to `for`.
    let words = 4
        + usize::from(policy.audit.is_some())
        + usize::from(policy.tier_span.is_some())
        + 2 * usize::from(policy.priority.is_some());
    writer.tokens(words - 1);
    writer.space();
    terms::subject(writer, &policy.subject);
    writer.space();
    let mut entries: Vec<(u32, Entry<'_>)> = policy
        .statements
        .iter()
        .map(|statement| match statement {
            Statement::Rule(rule) => (rule.span.start, Entry::Rule(rule)),
            Statement::Isolate(own) => (own.span.start, Entry::Isolate(own.directions.len())),
        })
        .chain(policy.settings.iter().map(|own| (own.span.start, Entry::Settings(own))))
        .collect();
    entries.sort_by_key(|(start, _)| *start);
    let runs = runs(writer, &entries, |(start, _)| (*start, 0));
    let rule = |entry: &(u32, Entry<'_>)| match entry.1 {
        Entry::Rule(rule) => Some((action(rule.action), direction(rule.direction))),
        _ => None,
    };
    let actions = pads(&runs, &entries, |entry| rule(entry).map(|(action, _)| action));
    let directions = pads(&runs, &entries, |entry| rule(entry).map(|(_, [direction, _])| direction));
    let prepositions = pads(&runs, &entries, |entry| rule(entry).map(|(_, [_, preposition])| preposition));
    let pad = |pads: &[usize], index: usize| pads.get(index).copied().unwrap_or(0);
    block(writer, &entries, |writer, index, (_, entry)| match entry {
        Entry::Rule(rule) => {
            let pads = [&actions, &directions, &prepositions].map(|pads| pad(pads, index));
            self::rule(writer, rule, pads);
        }
        Entry::Isolate(directions) => {
            writer.token();
            writer.space();
            terms::words(writer, &vec![(); *directions]);
        }
        Entry::Settings(own) => settings(writer, own, source),
    });
}

const fn action(action: Action) -> usize {
    match action {
        Action::Allow => "allow".len(),
        Action::Deny => "deny".len(),
        Action::Pass => "pass".len(),
    }
}

/// The widths of a direction and of its preposition.
const fn direction(direction: Direction) -> [usize; 2] {
    match direction {
        Direction::Ingress => ["ingress".len(), "from".len()],
        Direction::Egress => ["egress".len(), "to".len()],
    }
}

fn rule(writer: &mut Writer<'_>, rule: &Rule, [action, direction, preposition]: [usize; 3]) {
    writer.token();
    writer.pad(action);
    writer.space();
    writer.token();
    writer.pad(direction);
    writer.space();
    // Continuation lines are aligned with the preposition.
    writer.begin(Indent::Here, Breaks::All);
    writer.token();
    writer.pad(preposition);
    writer.space();
    terms::peers(writer, &rule.peers);
    on(writer, &rule.ports, 0);
    if rule.log.is_some() {
        writer.space();
        writer.token();
    }
    writer.end();
}

fn settings(writer: &mut Writer<'_>, settings: &Settings, source: &str) {
    writer.token();
    writer.space();
    let runs = runs(writer, &settings.entries, |(key, _)| (key.span.start, 0));
    let pads = pads(&runs, &settings.entries, |(key, _)| Some(columns_of(key.span, source)));
    block(writer, &settings.entries, |writer, index, _| {
        writer.token();
        writer.pad(pads.get(index).copied().unwrap_or(0));
        writer.space();
        writer.tokens(2);
    });
}

fn test(writer: &mut Writer<'_>, test: &Test, source: &str) {
    writer.tokens(2);
    writer.space();
    let runs = runs(writer, &test.entries, |entry| match entry {
        TestEntry::Cluster(word) | TestEntry::Namespace { name: word, .. } => (word.span.start, 1),
        TestEntry::Pod(pod) => (pod.name.span.start, 1),
        TestEntry::Expect(expect) => (expect.span.start, 0),
    });
    let columns = |span| columns_of(span, source);
    let actions = pads(&runs, &test.entries, |entry| match entry {
        TestEntry::Expect(expect) => Some(if expect.allowed { "allow".len() } else { "deny".len() }),
        _ => None,
    });
    // The padding after the endpoints of a connection, and after the namespace of a pod.
    let behind = pads(&runs, &test.entries, |entry| match entry {
        TestEntry::Expect(own) if !own.ports.is_empty() => {
            Some(columns(own.source.span) + columns(own.destination.span))
        }
        TestEntry::Pod(pod) if pod.labels.is_some() || !pod.addresses.is_empty() || !pod.ports.is_empty() => {
            Some(columns(pod.name.span) + columns(pod.namespace.span))
        }
        _ => None,
    });
    block(writer, &test.entries, |writer, index, entry| {
        let pad = |pads: &[usize]| pads.get(index).copied().unwrap_or(0);
        match entry {
            TestEntry::Cluster(_) => writer.tokens(2),
            TestEntry::Namespace { labels, .. } => {
                writer.tokens(2);
                if let Some(labels) = labels {
                    writer.space();
                    terms::selector(writer, labels);
                }
            }
            TestEntry::Pod(own) => pod(writer, own, pad(&behind)),
            TestEntry::Expect(own) => expect(writer, own, pad(&actions), pad(&behind)),
        }
    });
}

fn pod(writer: &mut Writer<'_>, pod: &TestPod, pad: usize) {
    writer.begin(Indent::By(4), Breaks::Some);
    writer.tokens(4);
    writer.pad(pad);
    if let Some(labels) = &pod.labels {
        writer.space();
        terms::selector(writer, labels);
    }
    if !pod.addresses.is_empty() {
        writer.may_break(0);
        writer.token();
        writer.space();
        terms::words(writer, &pod.addresses);
    }
    if writer.next() == Some(T::Ports) {
        writer.may_break(0);
        writer.token();
        writer.space();
        terms::braces(writer, &pod.ports, |writer, _| writer.tokens(3));
    }
    writer.end();
}

fn expect(writer: &mut Writer<'_>, expect: &Expect, action: usize, pad: usize) {
    writer.begin(Indent::By(4), Breaks::Some);
    writer.token();
    writer.pad(action);
    writer.space();
    writer.token();
    writer.may_break(0);
    writer.tokens(2);
    on(writer, &expect.ports, pad);
    writer.end();
}
