//! The names of sets: where each is defined, what it holds, and what a name means in a file.

use std::sync::Arc;

use npc_diagnostics::Location;
use npc_syntax::ast::{ItemKind, Word};
use npc_syntax::words;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::ir::{BlockTerm, PodTerm, PortTerm};
use crate::load::Loaded;
use crate::values::{address, port};

/// What a set holds.
#[derive(Clone, Debug)]
pub enum Value {
    /// Addresses.
    Addresses(Arc<[Arc<BlockTerm>]>),
    /// Ports.
    Ports(Arc<[PortTerm]>),
    /// Pods.
    Pods(Arc<[Arc<PodTerm>]>),
    /// Unknown: a diagnostic tells why.
    Broken,
}

impl Value {
    /// What it is called.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Addresses(_) => "addresses",
            Self::Ports(_) => "ports",
            Self::Pods(_) => "pods",
            Self::Broken => "nothing",
        }
    }

    /// How many things it holds.
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
    /// Where its name stands.
    pub location: Location,
    /// What it holds.
    pub value: Value,
    /// The file, by its index among the loaded ones.
    pub file: usize,
    /// The item, by its index in the file's tree.
    pub item: usize,
}

/// What a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A set, by its index.
    Set(usize),
    /// Two imported sets, neither of which is meant more than the other.
    Ambiguous(usize, usize),
}

/// The names of all sets of a program.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The sets, in the order of files and lines; of two with one name in one file, the first.
    pub sets: Vec<Set>,
    /// The places where a name is defined again in one file, with the first.
    pub(crate) again: Vec<(usize, Location)>,
    /// For each file, the sets that it defines.
    own: Vec<FxHashMap<Arc<str>, usize>>,
    /// For each file, those that it imports, each once.
    imports: Vec<Vec<usize>>,
}

impl Names {
    /// The definitions of all files, and what each file sees. What they hold is not known yet.
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

    /// What a name stands for in a file: a set of its own, or one of an imported file.
    #[must_use]
    pub fn find(&self, file: usize, name: &str) -> Option<Meaning> {
        match self.own.get(file)?.get(name) {
            Some(set) => Some(Meaning::Set(*set)),
            None => self.find_imported(file, name),
        }
    }

    /// What a name stands for among the imported sets of a file.
    pub(crate) fn find_imported(&self, file: usize, name: &str) -> Option<Meaning> {
        let imports = self.imports.get(file)?.iter();
        let mut found = imports.filter_map(|import| self.own.get(*import)?.get(name).copied());
        let first = found.next()?;
        Some(match found.next() {
            None => Meaning::Set(first),
            Some(second) => Meaning::Ambiguous(first.min(second), first.max(second)),
        })
    }

    /// The sets that a file sees, some of them hidden by others.
    pub fn seen(&self, file: usize) -> impl Iterator<Item = &Set> {
        let imports = self.imports.get(file).into_iter().flatten().copied();
        imports
            .chain([file])
            .filter_map(|file| self.own.get(file))
            .flat_map(|names| names.values())
            .filter_map(|set| self.sets.get(*set))
    }

    /// What a word means where a set may stand; nothing of what is an address or a port.
    #[must_use]
    pub fn meaning(&self, file: usize, text: &str) -> Option<Meaning> {
        if address::looks_like_address(text) || port::looks_like_port(text) {
            return None;
        }
        self.find(file, text)
    }

    /// The namespace and the name of the pod that an end of a test's connection is; nothing of what is an
    /// address, a port or a set.
    #[must_use]
    pub fn pod(text: &str) -> Option<(&str, &str)> {
        let (namespace, name) = text.split_once('/')?;
        let other = address::looks_like_address(text) || port::Protocol::parse(namespace).is_some();
        (!other).then_some((namespace, name))
    }

    /// Calls `visit` with every word that names a set, where it is defined and where it is used.
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
                words(item, &mut |role, word| {
                    if role.may_be_set() {
                        one(word);
                    }
                });
            }
        }
    }
}
