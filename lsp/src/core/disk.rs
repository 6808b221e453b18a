//! Caches files and folders read from disk, for as long as they are unchanged.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use npc_program::Known;

/// How many files and folders are visited below one folder. A larger folder is not searched completely.
const MOST: usize = 500_000;

/// Identifies a version of a file: the modification time and the length.
type Stamp = (SystemTime, u64);

/// A file in the cache.
#[derive(Debug)]
struct Cached {
    stamp: Option<Stamp>,
    file: Known,
}

/// The cache, keyed by the paths that the editor uses. Links in them are not resolved.
#[derive(Debug, Default)]
struct State {
    files: HashMap<PathBuf, Cached>,
    sources: HashMap<PathBuf, Arc<[PathBuf]>>,
    /// The folders whose changes the editor reports.
    watched: Vec<PathBuf>,
}

impl State {
    fn is_watched(&self, path: &Path) -> bool {
        self.watched.iter().any(|folder| path.starts_with(folder))
    }
}

/// The disk with its cache. Cheap to clone: clones share the cache.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the folders whose changes the editor reports. Other folders are read anew on every access.
    pub fn watched(&self, folders: Vec<PathBuf>) {
        let mut state = self.state();
        state.watched = folders;
        state.sources.clear();
        state.files.clear();
    }

    /// Whether the editor reports the changes of a folder.
    #[must_use]
    pub fn is_watched(&self, folder: &Path) -> bool {
        self.state().is_watched(folder)
    }

    /// Drops what is cached at or below a path. Returns whether anything was.
    pub fn changed(&self, path: &Path) -> bool {
        let mut state = self.state();
        let before = state.files.len();
        state.files.retain(|own, _| !own.starts_with(path));
        let listed = state.sources.values().any(|list| list.iter().any(|own| own.starts_with(path)));
        if listed || npc_project::is_source(path) {
            state.sources.clear();
        }
        listed || before != state.files.len()
    }

    /// The source files below a folder. Skips folders that cannot be read.
    #[must_use]
    pub fn sources(&self, folder: &Path) -> Arc<[PathBuf]> {
        {
            let state = self.state();
            if let Some(known) = state.sources.get(folder).filter(|_| state.is_watched(folder)) {
                return Arc::clone(known);
            }
        }
        let found = npc_project::below_at_most(folder, MOST, npc_project::is_source);
        let found: Arc<[PathBuf]> = found.files.into();
        self.state().sources.insert(folder.to_owned(), Arc::clone(&found));
        found
    }

    /// The file `name` of the project in `folder`; `root` is the canonical path of `folder`. `None` if the
    /// file cannot be read: the caller then reads it itself and reports the error.
    #[must_use]
    pub fn known(&self, folder: &Path, root: &Path, name: &str) -> Option<Known> {
        let path = folder.join(name);
        {
            let state = self.state();
            if let Some(known) = state.files.get(&path)
                && (state.is_watched(&path) || known.stamp.is_some() && known.stamp == stamp(&path))
            {
                return Some(known.file.named(name));
            }
        }
        // Taken before the file is read, so that a change during the read invalidates the entry.
        let stamp = stamp(&path);
        let bytes =
            npc_project::read(root, name).ok().filter(|bytes| bytes.len() <= npc_program::MAX_SOURCE)?;
        let file = Known::new(name, String::from_utf8(bytes).ok()?.into());
        self.state().files.insert(path, Cached { stamp, file: file.clone() });
        Some(file)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.len()))
}
