//! What was read from the disk, for as long as it is known to be the same.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use npc_program::Known;

/// By what a file is seen to be another: when it was written, and its length.
type Stamp = (SystemTime, u64);

/// A file that was read.
#[derive(Debug)]
struct Cached {
    stamp: Option<Stamp>,
    file: Known,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<PathBuf, Cached>,
    sources: HashMap<PathBuf, Arc<[PathBuf]>>,
    watched: bool,
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

    /// From now on, somebody tells what changes: until then, every look is at the disk itself.
    pub fn watched(&self) {
        self.state().watched = true;
    }

    /// Something changed at a path, or below it; or anywhere.
    pub fn changed(&self, path: Option<&Path>) {
        let mut state = self.state();
        state.sources.clear();
        match path {
            Some(path) => state.files.retain(|own, _| !own.starts_with(path)),
            None => state.files.clear(),
        }
    }

    /// The sources below a folder. What cannot be looked into is passed over.
    #[must_use]
    pub fn sources(&self, folder: &Path) -> Arc<[PathBuf]> {
        {
            let state = self.state();
            if let Some(known) = state.sources.get(folder).filter(|_| state.watched) {
                return Arc::clone(known);
            }
        }
        let found: Arc<[PathBuf]> = npc_project::below(folder, npc_project::is_source).files.into();
        self.state().sources.insert(folder.to_owned(), Arc::clone(&found));
        found
    }

    /// A source of the project in `root`, which is canonical, by its path in it. Nothing where it cannot be
    /// read: why, is told by who reads it.
    #[must_use]
    pub fn known(&self, root: &Path, name: &str) -> Option<Known> {
        let path = root.join(name);
        {
            let state = self.state();
            if let Some(known) = state.files.get(&path)
                && (state.watched || known.stamp.is_some() && known.stamp == stamp(&path))
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
