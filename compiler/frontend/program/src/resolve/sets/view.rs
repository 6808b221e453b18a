//! Name lookup and evaluation of terms from the point of view of one file.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use npc_diagnostics::{Applicability, Diagnostic, Location};
use npc_suggest::nearest;
use npc_syntax::ast::{Address, Scope, Term, Word};

use super::{AMBIGUOUS_NAME, Sets, State, UNKNOWN_NAME, Unique, Value, WRONG_KIND, advice};
use crate::ir::{CidrTerm, PodTerm, PortTerm};
use crate::load::ItemSource;
use crate::names::Meaning;
use crate::resolve::Context;
use crate::resolve::memo::Lookup;
use crate::values::address::{self, Block, EXCEPT_OUTSIDE, IpNet, subtract};
use crate::values::port;
use npc_vocabulary::Port;

/// The sets as seen from one file.
pub(in crate::resolve) struct View<'s, 'a> {
    pub(super) sets: &'s Sets<'a>,
    pub(super) file: usize,
    /// All lookups of names through this view.
    pub(in crate::resolve) lookups: RefCell<Vec<Lookup>>,
}

/// The classification of a word without name lookup.
enum Literal {
    Address(IpNet),
    Port(Port),
    /// Neither an address nor a port.
    Name,
    /// A word that looks like an address or a port and is invalid. The error is already reported.
    Broken,
}

impl Literal {
    fn of(text: &str, location: Location, cx: &mut Context<'_>) -> Self {
        if address::looks_like_address(text) {
            let Some(net) = cx.ok(address::parse(text, location)) else { return Self::Broken };
            address::unspecified(text, &net, location).into_iter().for_each(|reported| cx.emit(reported));
            Self::Address(net)
        } else if port::looks_like_port(text) {
            cx.ok(port::parse(text, location)).map_or(Self::Broken, Self::Port)
        } else {
            Self::Name
        }
    }
}

impl<'s> View<'s, '_> {
    /// Looks up a name, and records the lookup.
    fn find(&self, name: &str, is_use: bool) -> Option<Meaning> {
        let meaning = self.sets.names.find(self.file, name);
        self.lookups.borrow_mut().push(Lookup {
            name: match meaning {
                Some(Meaning::Set(index)) => self.sets.name(index),
                _ => name.into(),
            },
            is_use,
            found: self.sets.found(meaning),
        });
        meaning
    }

    /// Whether each lookup would have the same result now.
    pub(in crate::resolve) fn repeats(&self, lookups: &[Lookup]) -> bool {
        let meaning = |lookup: &Lookup| self.sets.names.find(self.file, &lookup.name);
        lookups.iter().all(|lookup| self.sets.found(meaning(lookup)) == lookup.found)
    }

    /// Looks up the value of a name and marks the set as used. Reports an unknown or ambiguous name.
    fn lookup(&self, name: &str, location: Location, cx: &mut Context<'_>) -> &'s Value {
        match self.find(name, true) {
            Some(Meaning::Set(index)) => match self.sets.sets.get(index) {
                Some(set) => {
                    set.mark_used();
                    match &set.state {
                        State::Done(value) => value,
                        _ => &Value::Broken,
                    }
                }
                None => &Value::Broken,
            },
            Some(Meaning::Ambiguous(first, second)) => {
                let mut diagnostic = Diagnostic::new(
                    &AMBIGUOUS_NAME,
                    format!("`{name}` is defined by two imported files"),
                    location,
                    "this name is ambiguous",
                );
                for index in [first, second] {
                    if let Some(set) = self.sets.sets.get(index) {
                        set.mark_used();
                        diagnostic = diagnostic.label(set.location, "defined here");
                    }
                }
                cx.emit(diagnostic.help(format!("rename one, or define `{name}` in this file")));
                &Value::Broken
            }
            None => {
                self.report_unknown(name, location, cx);
                &Value::Broken
            }
        }
    }

    /// Looks up the value of a name. Reports nothing and does not mark the set as used.
    pub(in crate::resolve) fn known(&self, name: &str) -> Option<&Value> {
        match self.find(name, false)? {
            Meaning::Set(index) => match &self.sets.sets.get(index)?.state {
                State::Done(value) => Some(value),
                _ => Some(&Value::Broken),
            },
            Meaning::Ambiguous(..) => Some(&Value::Broken),
        }
    }

    fn report_unknown(&self, name: &str, location: Location, cx: &mut Context<'_>) {
        if self.sets.incomplete.get(self.file) == Some(&true) {
            return;
        }
        let diagnostic =
            Diagnostic::new(&UNKNOWN_NAME, format!("nothing defines `{name}`"), location, "not known here");
        let names = self.sets.names.seen(self.file).map(|set| &*set.name).chain(["anywhere"]);
        let near = if cx.may_suggest() { nearest(name, names) } else { None };
        // A similar name is a guess, and must not be applied automatically, because it could choose the wrong set.
        let diagnostic = if let Some(near) = near {
            // Names of sets have no capitals, so `Anywhere` can only be a misspelling of `anywhere`.
            let sure = near == "anywhere" && name.eq_ignore_ascii_case(near);
            diagnostic.help(format!("did you mean `{near}`?")).fix(
                if sure { Applicability::Automatic } else { Applicability::Maybe },
                format!("write `{near}`"),
                location,
                near,
            )
        } else if let Some(elsewhere) = self.sets.sets.iter().find(|set| *set.name == *name) {
            let path = self.sets.paths.get(elsewhere.file).map_or("", |path| &**path);
            diagnostic
                .label(elsewhere.location, "defined in this file, which is not imported")
                .help(format!("import `{path}`"))
        } else if let Some(policy) = self.sets.policy(name) {
            diagnostic
                .label(policy, "this is a policy, and not a set")
                .help(format!("name its pods: `let {name} = pods {{ … }} in …`"))
        } else {
            advice::unknown(diagnostic, name, location)
        };
        cx.emit(diagnostic);
    }

    /// Evaluates a term.
    pub(in crate::resolve) fn term(
        &self,
        source: ItemSource,
        term: &Term,
        cx: &mut Context<'_>,
    ) -> Cow<'s, Value> {
        match term {
            Term::Pods(pods) => Cow::Owned(match cx.pods(source, pods) {
                Some(pods) => Value::Pods([Arc::new(pods)].into()),
                None => Value::Broken,
            }),
            Term::Word(term) => self.word(source, term.word, term.scope.as_ref(), &term.except, cx),
        }
    }

    /// The value of a classified word.
    fn value(
        &self,
        literal: Literal,
        text: &str,
        location: Location,
        cx: &mut Context<'_>,
    ) -> Cow<'s, Value> {
        match literal {
            Literal::Address(net) => {
                Cow::Owned(Value::Addresses([Arc::new(CidrTerm { block: net.into(), location })].into()))
            }
            Literal::Port(port) => Cow::Owned(Value::Ports([PortTerm { port, location }].into())),
            Literal::Name => Cow::Borrowed(self.lookup(text, location, cx)),
            Literal::Broken => Cow::Borrowed(&Value::Broken),
        }
    }

    fn word(
        &self,
        source: ItemSource,
        word: Word,
        scope: Option<&Scope>,
        except: &[Address],
        cx: &mut Context<'_>,
    ) -> Cow<'s, Value> {
        let text = cx.text(source, word);
        let location = source.at(word.span);
        if let Some(diagnostic) = advice::qualified_name(&text, location) {
            cx.emit(diagnostic);
            return Cow::Borrowed(&Value::Broken);
        }
        let literal = Literal::of(&text, location, cx);
        let value = self.value(literal, &text, location, cx);
        let value = match scope {
            None => value,
            Some(scope) => {
                let resolved = cx.scope(source, scope);
                Cow::Owned(cx.narrow(&text, &value, resolved, source.at(scope.span), location))
            }
        };
        if except.is_empty() {
            return value;
        }
        Cow::Owned(match &*value {
            Value::Addresses(blocks) => {
                self.except(source, blocks, except, location, cx).map_or(Value::Broken, Value::Addresses)
            }
            Value::Broken => {
                self.mark_used(source, except, cx);
                Value::Broken
            }
            other => {
                cx.emit(Diagnostic::new(
                    &WRONG_KIND,
                    format!("`except` applies to addresses, and `{text}` holds {}", other.kind()),
                    location,
                    format!("this holds {}", other.kind()),
                ));
                Value::Broken
            }
        })
    }

    /// Marks the sets in an `except` list as used if its base is broken and the list is not evaluated.
    fn mark_used(&self, source: ItemSource, except: &[Address], cx: &mut Context<'_>) {
        for one in except {
            let name = cx.text(source, one.word);
            if let Some(Meaning::Set(index)) = self.find(&name, true)
                && let Some(set) = self.sets.sets.get(index)
            {
                set.mark_used();
            }
            self.mark_used(source, &one.except, cx);
        }
    }

    /// Evaluates the exceptions of `anywhere`.
    pub(in crate::resolve) fn addresses(
        &self,
        source: ItemSource,
        list: &[Address],
        cx: &mut Context<'_>,
    ) -> Option<Vec<Block>> {
        let mut out = Vec::new();
        let mut complete = true;
        for one in list {
            match self.address(source, one, cx) {
                Some(blocks) => out.extend(blocks.iter().map(|term| term.block.clone())),
                None => complete = false,
            }
        }
        complete.then_some(out)
    }

    fn address(
        &self,
        source: ItemSource,
        one: &Address,
        cx: &mut Context<'_>,
    ) -> Option<Arc<[Arc<CidrTerm>]>> {
        match &*self.word(source, one.word, None, &one.except, cx) {
            Value::Addresses(blocks) => Some(Arc::clone(blocks)),
            Value::Broken => None,
            other => {
                let text = cx.text(source, one.word);
                cx.emit(Diagnostic::new(
                    &WRONG_KIND,
                    format!("expected addresses, and `{text}` holds {}", other.kind()),
                    source.at(one.word.span),
                    format!("this holds {}", other.kind()),
                ));
                None
            }
        }
    }

    /// Subtracts the exceptions from `blocks`. Reports exceptions that exclude nothing or everything.
    fn except(
        &self,
        source: ItemSource,
        blocks: &[Arc<CidrTerm>],
        except: &[Address],
        base: Location,
        cx: &mut Context<'_>,
    ) -> Option<Arc<[Arc<CidrTerm>]>> {
        let mut taken = Vec::new();
        let mut fine = true;
        for one in except {
            let Some(list) = self.address(source, one, cx) else {
                fine = false;
                continue;
            };
            for term in list.iter() {
                let net = term.block.net;
                let inside = blocks.iter().any(|b| b.block.net.contains(&net) && b.block.net != net);
                let covers = blocks.iter().filter(|b| net.contains(&b.block.net)).count();
                // Addresses that the exception itself excludes stay.
                let stays = !term.block.except.is_empty();
                if inside || covers > 0 && (covers < blocks.len() || stays) {
                    taken.push(term.block.clone());
                    continue;
                }
                fine = false;
                let place = source.at(one.word.span);
                cx.emit(if covers > 0 {
                    Diagnostic::new(
                        &EXCEPT_OUTSIDE,
                        format!("`except {net}` excludes everything"),
                        place,
                        "contains all of the addresses before `except`",
                    )
                    .label(base, "nothing of this is left")
                } else {
                    Diagnostic::new(
                        &EXCEPT_OUTSIDE,
                        format!("`except {net}` excludes nothing"),
                        place,
                        format!("is outside {}", cx.sources.text(base)),
                    )
                    .label(base, "excluded from this")
                });
            }
        }
        if !fine {
            return None;
        }
        let left: Vec<Arc<CidrTerm>> = blocks
            .iter()
            .flat_map(|term| {
                let location = term.location;
                subtract(std::slice::from_ref(&term.block), &taken)
                    .into_iter()
                    .map(move |block| Arc::new(CidrTerm { block, location }))
            })
            .collect();
        if left.is_empty() {
            cx.emit(Diagnostic::new(
                &EXCEPT_OUTSIDE,
                "`except` excludes all of these addresses",
                base,
                "no address is left",
            ));
            return None;
        }
        Some(left.into())
    }

    /// Evaluates a list of ports.
    pub(in crate::resolve) fn ports(
        &self,
        source: ItemSource,
        words: &[Word],
        cx: &mut Context<'_>,
    ) -> Option<Vec<PortTerm>> {
        let mut out = Unique::default();
        let mut complete = true;
        for word in words {
            let (text, location) = (cx.text(source, *word), source.at(word.span));
            let value = match Literal::of(&text, location, cx) {
                Literal::Port(port) => {
                    out.add(&port.clone(), PortTerm { port, location });
                    continue;
                }
                literal => self.value(literal, &text, location, cx),
            };
            match &*value {
                Value::Ports(list) => {
                    for one in list.iter() {
                        out.add(&one.port, one.clone());
                    }
                }
                Value::Broken => complete = false,
                other => {
                    complete = false;
                    cx.emit(
                        Diagnostic::new(
                            &WRONG_KIND,
                            format!("`on` takes ports, and `{text}` holds {}", other.kind()),
                            source.at(word.span),
                            format!("this holds {}", other.kind()),
                        )
                        .help("write a port such as `tcp/443`, or the name of a set of ports"),
                    );
                }
            }
        }
        complete.then_some(out.list)
    }

    /// Evaluates a list of terms that must all be pods. `what` begins the message about other terms.
    pub(in crate::resolve) fn pods(
        &self,
        source: ItemSource,
        terms: &[Term],
        what: &str,
        cx: &mut Context<'_>,
    ) -> Option<Vec<Arc<PodTerm>>> {
        let mut out = Unique::default();
        let upto = cx.exceptions(source, terms, self);
        let mut complete = upto == terms.len();
        for term in terms.iter().take(upto) {
            match &*self.term(source, term, cx) {
                // The value of a single term contains no duplicates.
                Value::Pods(list) if terms.len() == 1 => out.list = list.to_vec(),
                Value::Pods(list) => {
                    for one in list.iter() {
                        out.add(&(one.selector.clone(), one.scope.clone()), Arc::clone(one));
                    }
                }
                Value::Broken => complete = false,
                other => {
                    complete = false;
                    cx.emit(
                        Diagnostic::new(
                            &WRONG_KIND,
                            format!("{what} pods, but these are {}", other.kind()),
                            source.at(term.span()),
                            format!("holds {}", other.kind()),
                        )
                        .help("write `all pods in …` or `pods { app = web } in …`"),
                    );
                }
            }
        }
        complete.then_some(out.list)
    }
}
