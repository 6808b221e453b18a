//! The check for lists after `except` without parentheses: `except` ends at the comma.

use npc_diagnostics::{Applicability, Diagnostic, Edit, Span};
use npc_syntax::ast::{Address, Peer, ScopeExcept, Term, WordTerm};

use super::Context;
use super::sets::{Value, View};
use crate::load::ItemSource;
use crate::values::address::{self, IpNet};

npc_diagnostics::codes! {
    /// # `except` ends at the comma
    ///
    /// `except` takes one exception, or several in parentheses. The element after the comma is the next
    /// element of the list, so it is included instead of excluded. In the peers of an `allow` rule, it
    /// would be allowed:
    ///
    /// ```np fails
    /// policy p for all pods in namespace shop {
    ///   allow egress to anywhere except 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16
    /// }
    /// ```
    ///
    /// ```np
    /// policy p for all pods in namespace shop {
    ///   allow egress to anywhere except (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16)
    /// }
    /// ```
    EXCEPT_ENDS = "NP0409" "except-ends" Error;
}

/// An element of a list of terms or of peers.
#[derive(Clone, Copy)]
pub(super) enum Member<'a> {
    Anywhere(Span, &'a [Address]),
    Term(&'a Term),
}

impl<'a> From<&'a Term> for Member<'a> {
    fn from(term: &'a Term) -> Self {
        Self::Term(term)
    }
}

impl<'a> From<&'a Peer> for Member<'a> {
    fn from(peer: &'a Peer) -> Self {
        match peer {
            Peer::Anywhere { span, except } => Self::Anywhere(*span, except),
            Peer::Term(term) => Self::Term(term),
        }
    }
}

/// The exception without parentheses at the end of an element.
enum Open {
    /// An exception from namespaces.
    Names(Span),
    /// An exception from all addresses (`None`) or from these CIDRs.
    Addresses(Span, Option<Vec<IpNet>>),
}

impl Context<'_> {
    /// Reports elements of a list that look like further exceptions of the element before them. Returns the number of
    /// elements before the first of them. The caller must ignore the rest of the list.
    pub(super) fn exceptions<'a, T>(
        &mut self,
        source: ItemSource,
        list: &'a [T],
        view: &View<'_, '_>,
    ) -> usize
    where
        Member<'a>: From<&'a T>,
    {
        for (index, one) in list.iter().enumerate() {
            let Some(open) = self.open(source, Member::from(one), view) else { continue };
            let behind = list.get(index + 1..).unwrap_or_default();
            let more: Vec<&WordTerm> = behind
                .iter()
                .map_while(|next| match Member::from(next) {
                    Member::Term(Term::Word(word)) if self.goes_on(source, &open, word, view) => Some(word),
                    _ => None,
                })
                .collect();
            if let (Some(first), Some(last)) = (more.first(), more.last()) {
                self.report_exceptions(source, &open, first, last, more.len());
                return index + 1;
            }
        }
        list.len()
    }

    fn open(&self, source: ItemSource, member: Member<'_>, view: &View<'_, '_>) -> Option<Open> {
        // An exception in parentheses ends before the closing parenthesis, and so before the element.
        let bare = |except: &[Address], end: u32| match except {
            [one] if one.span.end == end => Some(one.span),
            _ => None,
        };
        match member {
            Member::Anywhere(span, except) => Some(Open::Addresses(bare(except, span.end)?, None)),
            Member::Term(Term::Word(term)) => {
                let place = bare(&term.except, term.span.end)?;
                Some(Open::Addresses(place, Some(self.nets(source, term, view)?)))
            }
            Member::Term(Term::Pods(pods)) => match pods.scope.as_ref()?.except.as_slice() {
                [ScopeExcept::Glob(one)] if one.span.end == pods.span.end => Some(Open::Names(one.span)),
                _ => None,
            },
        }
    }

    /// The CIDRs of a word; `None` if it does not name addresses.
    fn nets(&self, source: ItemSource, term: &WordTerm, view: &View<'_, '_>) -> Option<Vec<IpNet>> {
        let text = self.text(source, term.word);
        if address::looks_like_address(&text) {
            return address::parse(&text, source.at(term.word.span)).ok().map(|net| vec![net]);
        }
        match view.known(&text)? {
            Value::Addresses(list) => Some(list.iter().map(|term| term.block.net).collect()),
            _ => None,
        }
    }

    fn goes_on(&self, source: ItemSource, open: &Open, word: &WordTerm, view: &View<'_, '_>) -> bool {
        match open {
            Open::Names(_) => {
                let text = self.text(source, word.word);
                word.scope.is_none()
                    && word.except.is_empty()
                    && !address::looks_like_address(&text)
                    && !crate::values::port::looks_like_port(&text)
                    && view.known(&text).is_none()
            }
            Open::Addresses(_, blocks) => {
                // A word with its own exception, or a CIDR that is not inside the base, is intended as a peer.
                word.except.is_empty()
                    && self.nets(source, word, view).is_some_and(|nets| {
                        let inside = |net: &IpNet| {
                            blocks.iter().flatten().any(|block| block.contains(net) && block != net)
                        };
                        blocks.is_none() || nets.iter().all(inside)
                    })
            }
        }
    }

    fn report_exceptions(
        &mut self,
        source: ItemSource,
        open: &Open,
        first: &WordTerm,
        last: &WordTerm,
        count: usize,
    ) {
        let text = self.text(source, first.word).into_owned();
        let (except, message, label) = match open {
            Open::Names(span) => (
                *span,
                "several names after `except` need parentheses".to_owned(),
                "`except` ends at the comma, so this would be a set of pods",
            ),
            Open::Addresses(span, _) => (
                *span,
                format!("`{text}` is not excluded: `except` ends at the comma"),
                "the next element of the list, and so included",
            ),
        };
        let place = |span: Span| source.at(span);
        let whole = first.span.to(last.span);
        let fix = if count == 1 { "exclude both" } else { "exclude all of them" };
        self.emit(
            Diagnostic::new(&EXCEPT_ENDS, message, place(whole), label)
                .label(place(except), "only this is excluded")
                .help("to exclude all of them write `except (…, …)`")
                .fix_edits(
                    Applicability::Maybe,
                    fix,
                    vec![
                        Edit { location: place(except.at_start()), text: "(".to_owned() },
                        Edit { location: place(last.span.at_end()), text: ")".to_owned() },
                    ],
                ),
        );
    }
}
