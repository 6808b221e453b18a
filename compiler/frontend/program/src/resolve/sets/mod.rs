//! Resolution of sets: their definitions, values and uses.

mod advice;
mod view;

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use npc_diagnostics::{Diagnostic, Location};
use npc_syntax::TokenKind;
use npc_syntax::ast::{Address, ItemKind, Let, Term, Word};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Context;
use super::memo::{FileNames, Found, Lookup, SetVersions};
use crate::load::{ItemSource, Loaded, LoadedFile};
pub(super) use crate::names::Value;
use crate::names::{self, Meaning, Names};
use crate::values::address::{self};
use crate::values::name::{BAD_NAME, check_name};
use crate::values::port;

pub(super) use view::View;

npc_diagnostics::codes! {
    /// # An undefined name
    ///
    /// A set is defined with `let` in the same file, or in a file that this file imports.
    ///
    /// ```np fails
    /// let metadata = 169.254.169.254/32
    /// policy p for all pods in all namespaces { allow egress to anywhere except metdata }
    /// ```
    ///
    /// ```np
    /// let metadata = 169.254.169.254/32
    /// policy p for all pods in all namespaces { allow egress to anywhere except metadata }
    /// ```
    UNKNOWN_NAME = "NP0201" "unknown-name" Error;

    /// # Two imported files define the same name
    ///
    /// It is ambiguous which of the two sets the name refers to. Rename one of them, or define the name
    /// in this file: a file's own sets take precedence over imported ones.
    AMBIGUOUS_NAME = "NP0202" "ambiguous-name" Error;

    /// # A set that is defined twice
    ///
    /// ```np fails
    /// let dns = udp/53
    /// let dns = tcp/53
    /// policy p for all pods in all namespaces { allow egress to anywhere on dns }
    /// ```
    ///
    /// ```np
    /// let dns = udp/53, tcp/53
    /// policy p for all pods in all namespaces { allow egress to anywhere on dns }
    /// ```
    SET_TWICE = "NP0203" "set-twice" Error;

    /// # A set of the wrong kind
    ///
    /// A set contains addresses, ports or pods, and can be used only where its kind is expected: ports
    /// after `on`, addresses after `except`, pods after `for`.
    ///
    /// ```np fails
    /// let dns = udp/53, tcp/53
    /// policy p for all pods in all namespaces { allow egress to dns }
    /// ```
    ///
    /// ```np
    /// let dns = udp/53, tcp/53
    /// policy p for all pods in all namespaces { allow egress to anywhere on dns }
    /// ```
    WRONG_KIND = "NP0204" "wrong-kind" Error;

    /// # A set that refers to itself
    ///
    /// ```np fails
    /// let a = b
    /// let b = a
    /// policy p for all pods in all namespaces { allow egress to a }
    /// ```
    ///
    /// ```np
    /// let a = b
    /// let b = 10.0.0.0/8
    /// policy p for all pods in all namespaces { allow egress to a }
    /// ```
    SET_CYCLE = "NP0209" "set-cycle" Error;

    /// # An unused set
    ///
    /// An unused set has no effect. Check whether a rule should use it. A file that contains only sets
    /// and imports is a library, and its unused sets are not reported.
    ///
    /// ```np fails
    /// let metadata = 169.254.169.254/32
    /// policy p for all pods in all namespaces { allow egress to anywhere except 169.254.169.254/32 }
    /// ```
    ///
    /// ```np
    /// let metadata = 169.254.169.254/32
    /// policy p for all pods in all namespaces { allow egress to anywhere except metadata }
    /// ```
    UNUSED_SET = "NP0210" "unused-set" Warning;

    /// # A set hides an imported set
    ///
    /// This file uses its own set. It cannot refer to the imported set of the same name.
    HIDES_IMPORTED = "NP0211" "hides-imported" Warning;

    /// # The sets are too large
    ///
    /// All sets of a program together may contain at most 1,000,000 addresses, ports and pod terms. Sets
    /// that consist of other sets can grow exponentially.
    SETS_TOO_LARGE = "NP0212" "sets-too-large" Error;
}

/// The maximum number of members of all sets together.
const MAX_ENTRIES: usize = 1_000_000;

#[derive(Debug)]
enum State {
    New,
    Open,
    Done(Value),
}

#[derive(Debug)]
struct Set<'a> {
    file: usize,
    source: ItemSource,
    item: &'a Let,
    name: Arc<str>,
    location: Location,
    state: State,
    /// Its version, once it is evaluated.
    version: u32,
    /// Atomic, because policies are resolved in parallel.
    used: AtomicBool,
}

impl Set<'_> {
    fn mark_used(&self) {
        self.used.store(true, Relaxed);
    }
}

/// All sets of a program.
pub(super) struct Sets<'a> {
    sets: Vec<Set<'a>>,
    /// Definitions and imports, for lookups.
    names: Names,
    versions: SetVersions,
    /// The path of each file, for messages that suggest to import it.
    paths: Vec<Arc<str>>,
    /// Whether each file contains only sets and imports.
    libraries: Vec<bool>,
    /// Whether an import of each file failed. Unknown names are then not reported, since the missing file may define
    /// them.
    incomplete: Vec<bool>,
    /// The locations of policies by name, for messages about the name of a policy that is used as a set. Computed on
    /// demand.
    policies: OnceLock<FxHashMap<Cow<'a, str>, Location>>,
    loaded: &'a Loaded,
}

impl<'a> Sets<'a> {
    /// Collects the definitions and imports of all files, and checks the names of the sets.
    pub(super) fn collect(loaded: &'a Loaded, versions: SetVersions, cx: &mut Context<'_>) -> Self {
        let names = Names::new(loaded);
        let mut libraries = Vec::with_capacity(loaded.files.len());
        for file in &loaded.files {
            let items = &file.parsed.tree.items;
            libraries
                .push(items.iter().all(|item| matches!(item.kind, ItemKind::Let(_) | ItemKind::Import(_))));
            for item in items {
                match &item.kind {
                    ItemKind::Let(set) if set.terms.is_some() => {
                        let name = cx.name(ItemSource::whole(file.id), set.name);
                        check_set_name(&name, Location::new(file.id, set.name.span), cx);
                    }
                    _ => {}
                }
            }
        }
        for (first, location) in &names.again {
            let Some(first) = names.sets.get(*first) else { continue };
            cx.emit(
                Diagnostic::new(
                    &SET_TWICE,
                    format!("the set `{}` is defined twice", first.name),
                    *location,
                    "defined again here",
                )
                .label(first.location, "first defined here")
                .help("a set can have several members: `let NAME = one, two`"),
            );
        }
        let item_of =
            |set: &names::Set| match &loaded.files.get(set.file)?.parsed.tree.items.get(set.item)?.kind {
                ItemKind::Let(item) => Some(item),
                _ => None,
            };
        let sets = names.sets.iter().filter_map(|set| {
            Some(Set {
                file: set.file,
                source: *loaded.files.get(set.file)?.items.get(set.item)?,
                item: item_of(set)?,
                name: Arc::clone(&set.name),
                location: set.location,
                state: State::New,
                version: 0,
                used: AtomicBool::new(false),
            })
        });
        let sets = sets.collect();
        let paths = loaded.files.iter().map(|file| Arc::clone(&file.path)).collect();
        let incomplete = loaded.files.iter().map(|file| file.incomplete).collect();
        let all =
            Self { sets, names, versions, paths, libraries, incomplete, policies: OnceLock::new(), loaded };
        all.report_hidden(cx);
        all
    }

    /// Returns the names, with the values of the sets.
    pub(super) fn into_names(self) -> (Names, SetVersions) {
        let mut names = self.names;
        for (set, own) in names.sets.iter_mut().zip(self.sets) {
            if let State::Done(value) = own.state {
                set.value = value;
            }
        }
        (names, self.versions)
    }

    /// Reports sets that hide an imported set. A set whose name is ambiguous among the imports is not reported,
    /// because it resolves the ambiguity.
    fn report_hidden(&self, cx: &mut Context<'_>) {
        for set in &self.sets {
            if let Some(Meaning::Set(hidden)) = self.names.find_imported(set.file, &set.name)
                && let Some(hidden) = self.sets.get(hidden)
            {
                cx.emit(
                    Diagnostic::new(
                        &HIDES_IMPORTED,
                        format!("the set `{}` hides an imported set", set.name),
                        set.location,
                        "this set is used in this file",
                    )
                    .label(hidden.location, "this imported set is hidden"),
                );
            }
        }
    }

    /// Evaluates every set. Sets can refer to each other in any order and depth, so the traversal uses an explicit
    /// stack instead of recursion.
    pub(super) fn evaluate(&mut self, before: &SetVersions, cx: &mut Context<'_>) {
        let mut entries = 0usize;
        for first in 0..self.sets.len() {
            if self.is_done(first) {
                continue;
            }
            // Each set with its dependencies and the number of dependencies that are already evaluated.
            let mut stack = vec![(first, self.dependencies(first, cx), 0)];
            while let Some((index, dependencies, next)) = stack.last_mut() {
                let index = *index;
                if self.is_done(index) {
                    stack.pop();
                    continue;
                }
                while dependencies.get(*next).is_some_and(|(dependency, _)| self.is_done(*dependency)) {
                    *next += 1;
                }
                if let Some(&(dependency, place)) = dependencies.get(*next) {
                    let open = self.sets.get(dependency).is_some_and(|set| matches!(set.state, State::Open))
                        || dependency == index;
                    if open {
                        let members: Vec<usize> = stack.iter().map(|(member, ..)| *member).collect();
                        self.report_cycle(&members, dependency, place, cx);
                        // Mark every set of the cycle as broken, so that its users report no error.
                        for member in members.iter().rev() {
                            if let Some(set) = self.sets.get_mut(*member) {
                                set.version = self.versions.new_version();
                                set.state = State::Done(Value::Broken);
                            }
                            if *member == dependency {
                                break;
                            }
                        }
                        continue;
                    }
                    if let Some(set) = self.sets.get_mut(index) {
                        set.state = State::Open;
                    }
                    let further = self.dependencies(dependency, cx);
                    stack.push((dependency, further, 0));
                    continue;
                }
                let (value, lookups) = self.evaluate_one(index, cx);
                entries = entries.saturating_add(value.len());
                let value = if entries > MAX_ENTRIES {
                    if let Some(set) = self.sets.get(index) {
                        cx.emit(Diagnostic::new(
                            &SETS_TOO_LARGE,
                            format!("all sets together have more than {MAX_ENTRIES} members"),
                            set.location,
                            "this set exceeds the limit",
                        ));
                    }
                    entries = 0;
                    Value::Broken
                } else {
                    value
                };
                if let Some(set) = self.sets.get_mut(index) {
                    set.version = match &value {
                        Value::Broken => self.versions.new_version(),
                        _ => self.versions.of(before, set.source.id(), &lookups),
                    };
                    set.state = State::Done(value);
                }
                stack.pop();
            }
        }
    }

    fn is_done(&self, index: usize) -> bool {
        self.sets.get(index).is_none_or(|set| matches!(set.state, State::Done(_)))
    }

    /// The indices of the sets that a set refers to, with the location of each reference.
    fn dependencies(&self, index: usize, cx: &Context<'_>) -> Vec<(usize, Location)> {
        let Some(set) = self.sets.get(index) else { return Vec::new() };
        fn addresses(list: &[Address], words: &mut Vec<Word>) {
            for one in list {
                words.push(one.word);
                addresses(&one.except, words);
            }
        }
        let mut words = Vec::new();
        for term in set.item.terms.iter().flatten() {
            if let Term::Word(term) = term {
                words.push(term.word);
                addresses(&term.except, &mut words);
            }
        }
        words
            .into_iter()
            .filter_map(|word| match self.names.find(set.file, &cx.text(set.source, word))? {
                Meaning::Set(index) => Some((index, set.source.at(word.span))),
                Meaning::Ambiguous(..) => None,
            })
            .collect()
    }

    fn report_cycle(&self, stack: &[usize], closing: usize, place: Location, cx: &mut Context<'_>) {
        let circle: Vec<String> = stack
            .iter()
            .skip_while(|member| **member != closing)
            .filter_map(|member| self.sets.get(*member))
            .map(|set| format!("`{}`", set.name))
            .collect();
        let mut diagnostic = Diagnostic::new(
            &SET_CYCLE,
            format!("the set {} refers to itself", circle.first().map_or("", String::as_str)),
            place,
            "used here, in its own definition",
        );
        if circle.len() > 1 {
            let first = circle.first().cloned().unwrap_or_default();
            diagnostic = diagnostic.note(format!("{} needs {first}", circle.join(" needs ")));
        }
        cx.emit(diagnostic);
    }

    /// The value of a set, and the lookups of the names in it.
    fn evaluate_one(&self, index: usize, cx: &mut Context<'_>) -> (Value, Vec<Lookup>) {
        let Some(set) = self.sets.get(index) else { return (Value::Broken, Vec::new()) };
        let view = self.view(set.file);
        let value = Self::members(set, &view, cx);
        (value, view.lookups.into_inner())
    }

    fn members(set: &Set<'_>, view: &View<'_, '_>, cx: &mut Context<'_>) -> Value {
        let source = set.source;
        let Some(terms) = &set.item.terms else { return Value::Broken };
        let mut kind: Option<(Value, Location)> = None;
        let mut blocks = Unique::default();
        let mut ports = Unique::default();
        let mut pods = Unique::default();
        if cx.exceptions(source, terms, view) < terms.len() {
            return Value::Broken;
        }
        for term in terms {
            let location = source.at(term.span());
            let value = view.term(source, term, cx).into_owned();
            match (&kind, &value) {
                (_, Value::Broken) => return Value::Broken,
                (Some((first, place)), value) if first.kind() != value.kind() => {
                    cx.emit(
                        Diagnostic::new(
                            &WRONG_KIND,
                            format!("a set holds {} or {}, not both", first.kind(), value.kind()),
                            location,
                            format!("these are {}", value.kind()),
                        )
                        .label(*place, format!("these are {}", first.kind())),
                    );
                    return Value::Broken;
                }
                _ => {}
            }
            match &value {
                Value::Addresses(list) => list.iter().for_each(|b| blocks.add(&b.block, Arc::clone(b))),
                Value::Ports(list) => list.iter().for_each(|p| ports.add(&p.port, p.clone())),
                Value::Pods(list) => {
                    list.iter().for_each(|p| pods.add(&(p.selector.clone(), p.scope.clone()), Arc::clone(p)));
                }
                Value::Broken => {}
            }
            kind.get_or_insert((value, location));
        }
        match kind {
            Some((Value::Addresses(_), _)) => Value::Addresses(blocks.list.into()),
            Some((Value::Ports(_), _)) => Value::Ports(ports.list.into()),
            Some((Value::Pods(_), _)) => Value::Pods(pods.list.into()),
            _ => Value::Broken,
        }
    }

    /// What names refer to, in each file.
    pub(super) fn file_names(&self) -> Vec<FileNames> {
        let imports = |file: &LoadedFile| file.imports.iter().map(|(target, _)| *target).collect();
        let mut files: Vec<FileNames> = self
            .loaded
            .files
            .iter()
            .map(|file| FileNames { sets: Vec::new(), imports: imports(file) })
            .collect();
        for set in &self.sets {
            if let Some(file) = files.get_mut(set.file) {
                file.sets.push((Arc::clone(&set.name), set.version));
            }
        }
        files
    }

    /// The sets by version.
    pub(super) fn by_version(&self) -> FxHashMap<u32, usize> {
        self.sets.iter().enumerate().map(|(index, set)| (set.version, index)).collect()
    }

    /// Marks a set as used.
    pub(super) fn mark_used(&self, index: usize) {
        self.sets.get(index).into_iter().for_each(Set::mark_used);
    }

    fn name(&self, index: usize) -> Arc<str> {
        self.sets.get(index).map(|set| Arc::clone(&set.name)).unwrap_or_default()
    }

    /// What a name refers to, with the version of the set.
    fn found(&self, meaning: Option<Meaning>) -> Found {
        match meaning {
            None => Found::Nothing,
            Some(Meaning::Ambiguous(..)) => Found::Ambiguous,
            Some(Meaning::Set(index)) => {
                self.sets.get(index).map_or(Found::Nothing, |set| Found::Set(set.version))
            }
        }
    }

    /// The location of the policy with this name.
    fn policy(&self, name: &str) -> Option<Location> {
        let names = self.policies.get_or_init(|| {
            let items = self
                .loaded
                .files
                .iter()
                .flat_map(|file| file.parsed.tree.items.iter().map(move |item| (file.id, &item.kind)));
            items
                .filter_map(|(file, kind)| match kind {
                    ItemKind::Policy(policy) => {
                        let text = policy.name.text(self.loaded.sources.file(file).text());
                        Some((text, Location::new(file, policy.name.span)))
                    }
                    _ => None,
                })
                .collect()
        });
        names.get(name).copied()
    }

    /// The sets as seen from one file.
    pub(super) const fn view(&self, file: usize) -> View<'_, 'a> {
        View { sets: self, file, lookups: RefCell::new(Vec::new()) }
    }

    /// Reports unused sets.
    pub(super) fn unused(&self, cx: &mut Context<'_>) {
        for set in &self.sets {
            if set.used.load(Relaxed)
                || self.libraries.get(set.file) == Some(&true)
                || set.item.terms.is_none()
            {
                continue;
            }
            cx.emit(Diagnostic::new(
                &UNUSED_SET,
                format!("nothing uses the set `{}`", set.name),
                set.location,
                "defined here",
            ));
        }
    }
}

/// The number of keys up to which a linear search is faster than a hash set.
const FEW: usize = 8;

/// A list without duplicates, in the order of first insertion.
struct Unique<K, T> {
    /// The keys, while there are at most [`FEW`]; `seen` is empty until then.
    few: Vec<K>,
    seen: FxHashSet<K>,
    list: Vec<T>,
}

impl<K, T> Default for Unique<K, T> {
    fn default() -> Self {
        Self { few: Vec::new(), seen: FxHashSet::default(), list: Vec::new() }
    }
}

impl<K: std::hash::Hash + Eq + Clone, T> Unique<K, T> {
    /// Adds `value`, unless the list contains one with the same key.
    fn add(&mut self, key: &K, value: T) {
        if self.list.len() < FEW {
            if self.few.contains(key) {
                return;
            }
            self.few.push(key.clone());
        } else {
            self.seen.extend(self.few.drain(..));
            if !self.seen.insert(key.clone()) {
                return;
            }
        }
        self.list.push(value);
    }
}

fn check_set_name(name: &str, location: Location, cx: &mut Context<'_>) {
    let reserved = TokenKind::KEYWORDS.iter().any(|(word, kind)| *word == name && kind.is_reserved());
    let why = if reserved {
        "it is a reserved keyword"
    } else if address::looks_like_address(name) {
        "it looks like an address"
    } else if port::looks_like_port(name) {
        "it looks like a port"
    } else {
        let checked = check_name("set", name, location);
        cx.ok(checked);
        return;
    };
    cx.emit(
        Diagnostic::new(&BAD_NAME, format!("`{name}` cannot be the name of a set"), location, why)
            .help("choose another name"),
    );
}
