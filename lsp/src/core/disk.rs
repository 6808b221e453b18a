//! What was read from the disk, for as long as it is known to be the same.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use npc_program::Known;

/// How many files and folders are looked at below one folder: what has more is no place of programs.
const MOST: usize = 500_000;

/// By what a file is seen to be another: when it was written, and its length.
type Stamp = (SystemTime, u64);

/// A file that was read.
#[derive(Debug)]
struct Cached {
    stamp: Option<Stamp>,
    file: Known,
}

/// All by the paths that the editor has for it, whatever links they lead over.
#[derive(Debug, Default)]
struct State {
    files: HashMap<PathBuf, Cached>,
    sources: HashMap<PathBuf, Arc<[PathBuf]>>,
    /// The folders of whose changes somebody tells.
    watched: Vec<PathBuf>,
}

impl State {
    fn is_watched(&self, path: &Path) -> bool {
        self.watched.iter().any(|folder| path.starts_with(folder))
    }
}

/// The disk, as far as it was read. Cheap to clone: all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    state: Arc<Mutex<State>>,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, somebody tells what changes in these folders. Of all others, every look is at the disk
    /// itself.
    pub fn watched(&self, folders: Vec<PathBuf>) {
        let mut state = self.state();
        state.watched = folders;
        state.sources.clear();
        state.files.clear();
    }

    /// Whether somebody tells what changes in a folder.
    #[must_use]
    pub fn is_watched(&self, folder: &Path) -> bool {
        self.state().is_watched(folder)
    }

    /// Something changed at a path, or below it. Says whether anything of it was known.
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

    /// The sources below a folder. What cannot be looked into is passed over.
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

    /// A source of the project in `folder`, which is `root` without links, by its path in it. Nothing where it
    /// cannot be read: why, is told by who reads it.
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
        // Seen before it is read: where it changes meanwhile, it is read again.
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
