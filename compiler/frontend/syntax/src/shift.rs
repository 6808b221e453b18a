//! Items that moved with the text in front of them.

use npc_diagnostics::Span;

use crate::ast::{
    Address, Item, ItemKind, Peer, Pods, Requirement, Scope, ScopeBase, ScopeExcept, Selector, Settings,
    Statement, Term, TestEntry, Word,
};

/// By how many bytes.
#[derive(Clone, Copy)]
pub(crate) struct Shift(pub(crate) i64);

impl Shift {
    pub(crate) fn offset(self, offset: u32) -> u32 {
        // What moves stays within the text, whose offsets fit.
        u32::try_from(i64::from(offset) + self.0).unwrap_or(u32::MAX)
    }

    pub(crate) fn span(self, span: Span) -> Span {
        Span::new(self.offset(span.start), self.offset(span.end))
    }

    fn at(self, span: &mut Span) {
        *span = self.span(*span);
    }

    fn word(self, word: &mut Word) {
        self.at(&mut word.span);
    }

    fn words(self, words: &mut [Word]) {
        words.iter_mut().for_each(|word| self.word(word));
    }

    pub(crate) fn item(self, item: &mut Item) {
        self.at(&mut item.span);
        item.docs.iter_mut().for_each(|docs| self.at(docs));
        match &mut item.kind {
            ItemKind::Import(import) => self.word(&mut import.path),
            ItemKind::Let(set) => {
                self.word(&mut set.name);
                self.terms(set.terms.iter_mut().flatten());
            }
            ItemKind::Policy(policy) => {
                policy.audit.iter_mut().for_each(|span| self.at(span));
                policy.tier_span.iter_mut().for_each(|span| self.at(span));
                self.word(&mut policy.name);
                policy.priority.iter_mut().for_each(|word| self.word(word));
                self.terms(&mut policy.subject);
                policy.statements.iter_mut().for_each(|statement| self.statement(statement));
                policy.settings.iter_mut().for_each(|settings| self.settings(settings));
            }
            ItemKind::Kyverno(settings) => self.settings(settings),
            ItemKind::Test(test) => {
                self.word(&mut test.name);
                test.entries.iter_mut().for_each(|entry| self.entry(entry));
            }
            ItemKind::Assert(assert) => {
                self.term(&mut assert.source);
                self.peer(&mut assert.destination);
                self.words(&mut assert.ports);
            }
        }
    }

    fn statement(self, statement: &mut Statement) {
        match statement {
            Statement::Rule(rule) => {
                for span in [&mut rule.span, &mut rule.action_span, &mut rule.direction_span] {
                    self.at(span);
                }
                rule.peers.iter_mut().for_each(|peer| self.peer(peer));
                self.words(&mut rule.ports);
                rule.log.iter_mut().for_each(|span| self.at(span));
            }
            Statement::Isolate(isolate) => {
                self.at(&mut isolate.span);
                isolate.directions.iter_mut().for_each(|(_, span)| self.at(span));
            }
        }
    }

    fn terms<'t>(self, terms: impl IntoIterator<Item = &'t mut Term>) {
        terms.into_iter().for_each(|term| self.term(term));
    }

    fn term(self, term: &mut Term) {
        match term {
            Term::Pods(pods) => self.pods(pods),
            Term::Word(word) => {
                self.at(&mut word.span);
                self.word(&mut word.word);
                word.scope.iter_mut().for_each(|scope| self.scope(scope));
                self.addresses(&mut word.except);
            }
        }
    }

    fn pods(self, pods: &mut Pods) {
        self.at(&mut pods.span);
        pods.selector.iter_mut().for_each(|selector| self.selector(selector));
        pods.scope.iter_mut().for_each(|scope| self.scope(scope));
    }

    fn peer(self, peer: &mut Peer) {
        match peer {
            Peer::Anywhere { span, except } => {
                self.at(span);
                self.addresses(except);
            }
            Peer::Term(term) => self.term(term),
        }
    }

    fn addresses(self, addresses: &mut [Address]) {
        for address in addresses {
            self.at(&mut address.span);
            self.word(&mut address.word);
            self.addresses(&mut address.except);
        }
    }

    fn scope(self, scope: &mut Scope) {
        self.at(&mut scope.span);
        match &mut scope.base {
            ScopeBase::All | ScopeBase::Same => {}
            ScopeBase::Name(word) => self.word(word),
            ScopeBase::Globs(words) | ScopeBase::Sharing(words) => self.words(words),
            ScopeBase::Selector(selector) => self.selector(selector),
        }
        for except in &mut scope.except {
            match except {
                ScopeExcept::Glob(word) => self.word(word),
                ScopeExcept::Selector(selector) => self.selector(selector),
            }
        }
    }

    fn selector(self, selector: &mut Selector) {
        self.at(&mut selector.span);
        for Requirement { span, key, values, .. } in &mut selector.requirements {
            self.at(span);
            self.word(key);
            self.words(values);
        }
    }

    fn settings(self, settings: &mut Settings) {
        self.at(&mut settings.span);
        for (name, value) in &mut settings.entries {
            self.word(name);
            self.word(value);
        }
    }

    fn entry(self, entry: &mut TestEntry) {
        match entry {
            TestEntry::Cluster(path) => self.word(path),
            TestEntry::Namespace { name, labels } => {
                self.word(name);
                labels.iter_mut().for_each(|selector| self.selector(selector));
            }
            TestEntry::Pod(pod) => {
                self.word(&mut pod.name);
                self.word(&mut pod.namespace);
                pod.labels.iter_mut().for_each(|selector| self.selector(selector));
                self.words(&mut pod.addresses);
                for (name, port) in &mut pod.ports {
                    self.word(name);
                    self.word(port);
                }
            }
            TestEntry::Expect(expect) => {
                self.at(&mut expect.span);
                self.word(&mut expect.source);
                self.word(&mut expect.destination);
                self.words(&mut expect.ports);
            }
        }
    }
}
