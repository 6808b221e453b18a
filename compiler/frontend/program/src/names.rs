//! The names of sets: their definitions, their values, and name lookup for each file.

use std::sync::Arc;

use npc_diagnostics::Location;
use npc_syntax::ast::{ItemKind, Word};
use npc_syntax::visit_words;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{CidrTerm, PodTerm, PortTerm};
use crate::load::Loaded;
use crate::values::{address, port};

/// The value of a set.
#[derive(Clone, Debug)]
pub enum Value {
    /// Addresses.
    Addresses(Arc<[Arc<CidrTerm>]>),
    /// Ports.
    Ports(Arc<[PortTerm]>),
    /// Pods.
    Pods(Arc<[Arc<PodTerm>]>),
    /// Unknown, because the set has an error. A diagnostic reports it.
    Broken,
}

impl Value {
    /// The name of the kind of value, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Addresses(_) => "addresses",
            Self::Ports(_) => "ports",
            Self::Pods(_) => "pods",
            Self::Broken => "nothing",
        }
    }

    /// The number of members.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no set is empty")]
    pub fn len(&self) -> usize {
        match self {
            Self::Addresses(entries) => entries.len(),
            Self::Ports(entries) => entries.len(),
            Self::Pods(entries) => entries.len(),
            Self::Broken => 0,
        }
    }
}

/// A set that a program defines.
#[derive(Clone, Debug)]
pub struct Set {
    /// Its name.
    pub name: Arc<str>,
    /// The location of its name.
    pub location: Location,
    /// Its value.
    pub value: Value,
    /// The index of its file in [`Loaded::files`].
    pub file: usize,
    /// The index of its item in the file's tree.
    pub item: usize,
}

/// The result of a name lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The index of a set in [`Names::sets`].
    Set(usize),
    /// The indices of two imported sets with this name. The name is ambiguous.
    Ambiguous(usize, usize),
}

/// The names of all sets of a program.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The sets, ordered by file and position. If a file defines a name twice, only the first definition.
    pub sets: Vec<Set>,
    /// Repeated definitions of a name in one file: the index of the first definition and the location of the repeated
    /// one.
    pub(crate) again: Vec<(usize, Location)>,
    /// For each file, the indices of the sets that it defines, by name.
    own: Vec<FxHashMap<Arc<str>, usize>>,
    /// For each file, the indices of the files that it imports, without duplicates.
    imports: Vec<Vec<usize>>,
}

impl Names {
    /// Collects the definitions and imports of all files. The values of the sets are not evaluated yet.
    #[must_use]
    pub fn new(loaded: &Loaded) -> Self {
        let mut all = Self::default();
        for (index, file) in loaded.files.iter().enumerate() {
            let mut names: FxHashMap<Arc<str>, usize> = FxHashMap::default();
            let text = loaded.sources.file(file.id).text();
            for (number, item) in file.parsed.tree.items.iter().enumerate() {
                let ItemKind::Let(set) = &item.kind else { continue };
                let name: Arc<str> = set.name.text(text).into();
                let location = Location::new(file.id, set.name.span);
                if let Some(first) = names.get(&name) {
                    all.again.push((*first, location));
                    continue;
                }
                names.insert(Arc::clone(&name), all.sets.len());
                all.sets.push(Set { name, location, value: Value::Broken, file: index, item: number });
            }
            all.own.push(names);
            let mut once = FxHashSet::default();
            let imports = file.imports.iter().map(|(target, _)| *target);
            all.imports.push(imports.filter(|target| once.insert(*target)).collect());
        }
        all
    }

    /// Looks up a name in a file: first among its own sets, then among those of the files that it imports.
    #[must_use]
    pub fn find(&self, file: usize, name: &str) -> Option<Meaning> {
        match self.own.get(file)?.get(name) {
            Some(set) => Some(Meaning::Set(*set)),
            None => self.find_imported(file, name),
        }
    }

    /// Looks up a name among the sets of the files that a file imports.
    pub(crate) fn find_imported(&self, file: usize, name: &str) -> Option<Meaning> {
        let imports = self.imports.get(file)?.iter();
        let mut found = imports.filter_map(|import| self.own.get(*import)?.get(name).copied());
        let first = found.next()?;
        Some(match found.next() {
            None => Meaning::Set(first),
            Some(second) => Meaning::Ambiguous(first.min(second), first.max(second)),
        })
    }

    /// The sets of a file and of the files that it imports, including imported sets that are hidden by its own.
    pub fn seen(&self, file: usize) -> impl Iterator<Item = &Set> {
        let imports = self.imports.get(file).into_iter().flatten().copied();
        imports
            .chain([file])
            .filter_map(|file| self.own.get(file))
            .flat_map(|names| names.values())
            .filter_map(|set| self.sets.get(*set))
    }

    /// Looks up a word at a position where a set is allowed. Returns `None` for an address or a port.
    #[must_use]
    pub fn meaning(&self, file: usize, text: &str) -> Option<Meaning> {
        if address::looks_like_address(text) || port::looks_like_port(text) {
            return None;
        }
        self.find(file, text)
    }

    /// Splits an end of a test's connection into the namespace and the name of a pod. Returns `None` for an address,
    /// a port or a set.
    #[must_use]
    pub fn pod(text: &str) -> Option<(&str, &str)> {
        let (namespace, name) = text.split_once('/')?;
        let other = address::looks_like_address(text) || port::Protocol::parse(namespace).is_some();
        (!other).then_some((namespace, name))
    }

    /// Calls `visit` with the location of every definition and every use of a set.
    pub fn visit(&self, loaded: &Loaded, visit: &mut dyn FnMut(Meaning, Location)) {
        for set in 0..self.sets.len() {
            if let Some(own) = self.sets.get(set) {
                visit(Meaning::Set(set), own.location);
            }
        }
        for (first, location) in &self.again {
            visit(Meaning::Set(*first), *location);
        }
        for (index, file) in loaded.files.iter().enumerate() {
            let text = loaded.sources.file(file.id).text();
            let mut one = |word: Word| {
                if let Some(meaning) = self.meaning(index, &word.text(text)) {
                    visit(meaning, Location::new(file.id, word.span));
                }
            };
            for item in &file.parsed.tree.items {
                visit_words(item, &mut |role, word| {
                    if role.may_be_set() {
                        one(word);
                    }
                });
            }
        }
    }
}
