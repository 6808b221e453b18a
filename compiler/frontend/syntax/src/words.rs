//! Visits the words of a tree, each with its role.

use crate::ast::{
    Address, Item, ItemKind, Peer, Pods, Policy, Scope, ScopeBase, ScopeExcept, Selector, Settings,
    Statement, Term, Test, TestEntry, Word,
};

/// The kind of an object that has labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A pod.
    Pod,
    /// A namespace.
    Namespace,
}

/// The role of a word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// The path of an import.
    ImportPath,
    /// The name of a set, in its definition.
    SetName,
    /// The name of a policy.
    PolicyName,
    /// The number after `priority`.
    Priority,
    /// A set, an address or a port, where each of them is allowed.
    Member,
    /// An address, or a set of addresses, after `except`.
    Address,
    /// A port, or a set of ports, after `on`.
    Port,
    /// The key of a label.
    LabelKey(Object),
    /// The value of a label.
    LabelValue {
        /// The object that has the label.
        of: Object,
        /// The label's key.
        key: Word,
    },
    /// The name of a namespace, or a pattern for names.
    Namespace,
    /// The name of a setting.
    Setting,
    /// The value of a setting.
    SettingValue {
        /// The setting.
        of: Word,
    },
    /// The name of a test.
    TestName,
    /// The path of a cluster file.
    ClusterPath,
    /// The name of a namespace that a test declares.
    TestNamespace,
    /// The name of a pod that a test declares.
    TestPod,
    /// An address of a pod.
    PodAddress,
    /// The name of a port of a pod.
    PodPortName,
    /// A port of a pod.
    PodPort,
    /// One end of a connection in a test: `namespace/pod`, an address or a set of addresses.
    End,
}

impl Role {
    /// Whether the word can refer to a set. If it is neither an address nor a port, it is looked up among the
    /// names of sets.
    #[must_use]
    pub const fn may_be_set(self) -> bool {
        matches!(self, Self::Member | Self::Address | Self::Port | Self::End)
    }
}

/// Calls `visit` with every word of an item, in source order.
pub fn visit_words(item: &Item, visit: &mut dyn FnMut(Role, Word)) {
    match &item.kind {
        ItemKind::Import(import) => visit(Role::ImportPath, import.path),
        ItemKind::Let(set) => {
            visit(Role::SetName, set.name);
            terms(set.terms.iter().flatten(), visit);
        }
        ItemKind::Policy(own) => policy(own, visit),
        ItemKind::Kyverno(own) => settings(own, visit),
        ItemKind::Test(own) => test(own, visit),
        ItemKind::Assert(own) => {
            term(&own.source, visit);
            peer(&own.destination, visit);
            own.ports.iter().for_each(|port| visit(Role::Port, *port));
        }
    }
}

fn policy(policy: &Policy, visit: &mut dyn FnMut(Role, Word)) {
    visit(Role::PolicyName, policy.name);
    policy.priority.into_iter().for_each(|priority| visit(Role::Priority, priority));
    terms(&policy.subject, visit);
    let mut blocks = policy.settings.iter().peekable();
    for statement in &policy.statements {
        let Statement::Rule(rule) = statement else { continue };
        // Settings can appear between rules.
        while let Some(block) = blocks.next_if(|block| block.span.start < rule.span.start) {
            settings(block, visit);
        }
        rule.peers.iter().for_each(|one| peer(one, visit));
        rule.ports.iter().for_each(|port| visit(Role::Port, *port));
    }
    blocks.for_each(|block| settings(block, visit));
}

fn terms<'t>(list: impl IntoIterator<Item = &'t Term>, visit: &mut dyn FnMut(Role, Word)) {
    list.into_iter().for_each(|one| term(one, visit));
}

fn term(term: &Term, visit: &mut dyn FnMut(Role, Word)) {
    match term {
        Term::Pods(own) => pods(own, visit),
        Term::Word(own) => {
            visit(Role::Member, own.word);
            own.scope.iter().for_each(|own| scope(own, visit));
            addresses(&own.except, visit);
        }
    }
}

fn pods(pods: &Pods, visit: &mut dyn FnMut(Role, Word)) {
    pods.selector.iter().for_each(|own| selector(own, Object::Pod, visit));
    pods.scope.iter().for_each(|own| scope(own, visit));
}

fn peer(peer: &Peer, visit: &mut dyn FnMut(Role, Word)) {
    match peer {
        Peer::Anywhere { except, .. } => addresses(except, visit),
        Peer::Term(own) => term(own, visit),
    }
}

fn addresses(list: &[Address], visit: &mut dyn FnMut(Role, Word)) {
    for one in list {
        visit(Role::Address, one.word);
        addresses(&one.except, visit);
    }
}

fn scope(scope: &Scope, visit: &mut dyn FnMut(Role, Word)) {
    match &scope.base {
        ScopeBase::All | ScopeBase::Same => {}
        ScopeBase::Name(name) => visit(Role::Namespace, *name),
        ScopeBase::Globs(names) => names.iter().for_each(|name| visit(Role::Namespace, *name)),
        ScopeBase::Selector(own) => selector(own, Object::Namespace, visit),
        ScopeBase::Sharing(keys) => {
            keys.iter().for_each(|key| visit(Role::LabelKey(Object::Namespace), *key));
        }
    }
    for except in &scope.except {
        match except {
            ScopeExcept::Glob(name) => visit(Role::Namespace, *name),
            ScopeExcept::Selector(own) => selector(own, Object::Namespace, visit),
        }
    }
}

fn selector(selector: &Selector, of: Object, visit: &mut dyn FnMut(Role, Word)) {
    for one in &selector.requirements {
        visit(Role::LabelKey(of), one.key);
        one.values.iter().for_each(|value| visit(Role::LabelValue { of, key: one.key }, *value));
    }
}

fn settings(settings: &Settings, visit: &mut dyn FnMut(Role, Word)) {
    for (name, value) in &settings.entries {
        visit(Role::Setting, *name);
        visit(Role::SettingValue { of: *name }, *value);
    }
}

fn test(test: &Test, visit: &mut dyn FnMut(Role, Word)) {
    visit(Role::TestName, test.name);
    for entry in &test.entries {
        match entry {
            TestEntry::Cluster(path) => visit(Role::ClusterPath, *path),
            TestEntry::Namespace { name, labels } => {
                visit(Role::TestNamespace, *name);
                labels.iter().for_each(|own| selector(own, Object::Namespace, visit));
            }
            TestEntry::Pod(pod) => {
                visit(Role::TestPod, pod.name);
                visit(Role::Namespace, pod.namespace);
                pod.labels.iter().for_each(|own| selector(own, Object::Pod, visit));
                pod.addresses.iter().for_each(|address| visit(Role::PodAddress, *address));
                for (name, port) in &pod.ports {
                    visit(Role::PodPortName, *name);
                    visit(Role::PodPort, *port);
                }
            }
            TestEntry::Expect(expect) => {
                visit(Role::End, expect.source);
                visit(Role::End, expect.destination);
                expect.ports.iter().for_each(|port| visit(Role::Port, *port));
            }
        }
    }
}
