//! The memo table of resolution: policies that are resolved already.
//!
//! A policy depends on its own item and on the sets that its names refer to. [`View`](super::sets::View) records each
//! name that is looked up while a policy is resolved, with the [version](SetVersions) of the set that it refers to. The
//! policy is reused if its item is unchanged and each of these names refers to the same version.

use std::sync::Arc;

use npc_diagnostics::{FileId, Location};
use rustc_hash::FxHashMap;

use crate::ir::Policy;

/// The memo table. Each resolution returns a new one, with the policies and sets of its program.
#[derive(Debug, Default)]
pub struct Memo {
    /// The resolved policies, by item, each with the index of its file.
    pub(super) policies: FxHashMap<FileId, (usize, Arc<Resolved>)>,
    pub(super) versions: SetVersions,
    /// What names refer to, in each file.
    pub(super) names: Vec<FileNames>,
}

/// What names refer to in a file. If this is the same for all files, every lookup in a file has the same result.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FileNames {
    /// The sets that the file defines, with their versions.
    pub(super) sets: Vec<(Arc<str>, u32)>,
    /// The indices of the files that it imports.
    pub(super) imports: Vec<usize>,
}

/// A policy that was resolved without diagnostics.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) policy: Arc<Policy>,
    /// The names that were looked up.
    pub(super) lookups: Box<[Lookup]>,
    /// The keys of the labels that it uses.
    pub(super) keys: Box<[(Arc<str>, Location)]>,
}

/// A lookup of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lookup {
    pub(super) name: Arc<str>,
    /// Whether it counts as a use of the set.
    pub(super) is_use: bool,
    /// What the name refers to.
    pub(super) found: Found,
}

/// The result of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Found {
    /// Nothing.
    Nothing,
    /// Two imported sets.
    Ambiguous,
    /// A set in this version.
    Set(u32),
}

/// The versions of sets: numbers that are equal if the sets have the same value, at the same locations in their items.
#[derive(Debug, Default)]
pub(super) struct SetVersions {
    /// The version of a set, by its item and by what the names in it refer to.
    known: FxHashMap<(FileId, Box<[Found]>), u32>,
    next: u32,
}

impl SetVersions {
    /// An empty table whose new versions differ from all versions of this one.
    pub(super) fn successor(&self) -> Self {
        Self { known: FxHashMap::default(), next: self.next }
    }

    /// The version of a set with a value. `before` is the table of the previous resolution.
    pub(super) fn of(&mut self, before: &Self, item: FileId, lookups: &[Lookup]) -> u32 {
        let key = (item, lookups.iter().map(|lookup| lookup.found).collect());
        let version = match before.known.get(&key) {
            Some(version) => *version,
            None => self.new_version(),
        };
        *self.known.entry(key).or_insert(version)
    }

    /// A version that differs from all others, for a set without a value.
    pub(super) const fn new_version(&mut self) -> u32 {
        // After 2^32 versions, two different sets could have the same. A process does not check that many.
        self.next = self.next.wrapping_add(1);
        self.next
    }
}
