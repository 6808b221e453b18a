//! The files of an editor: what is open in it, over what is on the disk; and the programs that they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npc_diagnostics::{FileId, SourceMap};
use npc_driver::{Checked, Config};
use npc_program::{Files, ReadError};

use super::text::Text;

/// The configuration's file.
const CONFIG: &str = "npc.toml";

/// The most files that are read for one program: a folder that holds more is no program.
const MOST: usize = 20_000;

/// What is open, each at its path.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    open: BTreeMap<PathBuf, Arc<Text>>,
}

impl Workspace {
    /// A file is open from now on, or is otherwise than it was.
    pub fn set(&mut self, path: PathBuf, text: Text) {
        self.open.insert(path, Arc::new(text));
    }

    /// A file is open no more: what is on the disk counts.
    pub fn close(&mut self, path: &Path) {
        self.open.remove(path);
    }

    /// The text of a file that is open.
    #[must_use]
    pub fn text(&self, path: &Path) -> Option<&Arc<Text>> {
        self.open.get(path)
    }

    /// The files that are open.
    pub fn open(&self) -> impl Iterator<Item = &Path> {
        self.open.keys().map(PathBuf::as_path)
    }

    /// The folders of the programs that the open files are of.
    #[must_use]
    pub fn programs(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = self.open.keys().map(|path| folder_of(path)).collect();
        folders.sort_unstable();
        folders.dedup();
        folders
    }

    /// Checks the program in a folder, as `npc check` does.
    #[must_use]
    pub fn check(&self, folder: &Path) -> Program {
        let mut paths: Vec<PathBuf> = Vec::new();
        sources(folder, &mut paths);
        // One that is open need not be on the disk yet.
        paths.extend(self.open.keys().filter(|path| path.starts_with(folder)).cloned());
        paths.sort_unstable();
        paths.dedup();
        let roots: Vec<String> = paths.iter().filter_map(|path| name_of(folder, path)).collect();
        let overlay = Overlay { workspace: self, folder };
        let config = std::fs::read_to_string(folder.join(CONFIG)).ok();
        let mut sources = SourceMap::new();
        // What is wrong with it is told by whoever compiles; until then nothing is set.
        let config =
            config.and_then(|text| Config::parse(CONFIG, &text, &mut sources).ok()).unwrap_or_default();
        let checked = npc_driver::check(&overlay, &roots, &config, None);
        Program { folder: folder.to_owned(), checked }
    }
}

/// A program that was checked.
#[derive(Debug)]
pub struct Program {
    folder: PathBuf,
    /// What was found.
    pub checked: Checked,
}

impl Program {
    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a file of it.
    #[must_use]
    pub fn path(&self, file: FileId) -> PathBuf {
        self.folder.join(self.checked.sources().file(file).name())
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = (FileId, PathBuf)> {
        self.checked.sources().files().map(|(file, source)| (file, self.folder.join(source.name())))
    }
}

/// The folder of the program that a file is of: the nearest with a configuration, or else its own.
#[must_use]
pub fn folder_of(path: &Path) -> PathBuf {
    let own = path.parent().unwrap_or(Path::new("/"));
    own.ancestors().find(|folder| folder.join(CONFIG).is_file()).unwrap_or(own).to_owned()
}

/// A path below a folder, with `/`.
fn name_of(folder: &Path, path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> =
        path.strip_prefix(folder).ok()?.components().map(|part| part.as_os_str().to_str()).collect();
    Some(parts?.join("/"))
}

/// Every `.np` below a folder, but in hidden ones. What cannot be read is passed over.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if found.len() >= MOST {
            return;
        }
        let Ok(kind) = entry.file_type() else { continue };
        let path = entry.path();
        if kind.is_dir() {
            if !entry.file_name().to_string_lossy().starts_with('.') {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|end| end == "np") {
            found.push(path);
        }
    }
}

/// The files of a program: open ones win over the disk.
struct Overlay<'w> {
    workspace: &'w Workspace,
    folder: &'w Path,
}

impl Files for Overlay<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let full = self.folder.join(path);
        if let Some(text) = self.workspace.open.get(&full) {
            return Ok(text.text().as_bytes().to_vec());
        }
        let real = match full.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(ReadError::NotFound(Vec::new()));
            }
            Err(error) => return Err(ReadError::Other(error.to_string())),
        };
        if !self.folder.canonicalize().is_ok_and(|folder| real.starts_with(folder)) {
            return Err(ReadError::Outside);
        }
        if std::fs::metadata(&real).is_ok_and(|data| data.len() > npc_program::MAX_SOURCE as u64) {
            return Err(ReadError::TooLarge);
        }
        std::fs::read(&real).map_err(|error| ReadError::Other(error.to_string()))
    }
}
