//! The files of an editor: what is open in it, over what is on the disk; and the programs that they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npc_cluster::Cluster;
use npc_diagnostics::SourceMap;
use npc_driver::Config;
use npc_program::{Files, Known, ReadError};
use npc_project::{CONFIG, is_hidden, is_source, with_slashes};

use super::disk::Disk;
use super::document::Document;
use super::home::Home;
use super::program::{BrokenConfig, Program};
use super::text::Text;

/// The largest file of a cluster that is read, in bytes.
const MAX_CLUSTER: u64 = 1 << 30;

/// What a cluster file tells; or why it tells nothing, in words.
pub type Told = Result<Arc<Cluster>, String>;

/// What is open, each at its path, over the disk. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    open: BTreeMap<PathBuf, Open>,
    /// The folders that the editor has open.
    folders: Vec<PathBuf>,
    /// The programs that were found in them.
    found: Arc<[Home]>,
    disk: Disk,
    /// The file that tells what a cluster has, and what it tells.
    cluster: Option<(PathBuf, Told)>,
}

/// A file that is open.
#[derive(Clone, Debug)]
struct Open {
    document: Arc<Document>,
    home: Arc<Home>,
}

impl Workspace {
    /// A file is open from now on, or is otherwise than it was.
    pub fn set(&mut self, path: PathBuf, text: Text) {
        match self.open.get_mut(&path) {
            Some(open) => open.document = Arc::new(Document::new(text, Some(&open.document))),
            None => {
                let home = Arc::new(Home::of(&path, &self.folders));
                self.open.insert(path, Open { document: Arc::new(Document::new(text, None)), home });
            }
        }
    }

    /// A file is open no more: what is on the disk counts.
    pub fn close(&mut self, path: &Path) {
        self.open.remove(path);
        self.disk.changed(path);
    }

    /// The disk.
    #[must_use]
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The editor has these folders open.
    pub fn set_folders(&mut self, folders: Vec<PathBuf>) {
        self.folders = folders;
        self.place();
    }

    /// The folders that the editor has open.
    #[must_use]
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Finds out again which programs the open files are of.
    pub fn place(&mut self) {
        for (path, open) in &mut self.open {
            open.home = Arc::new(Home::of(path, &self.folders));
        }
    }

    /// The programs in the folders that the editor has open. Looks at the disk.
    #[must_use]
    pub fn find(&self) -> Vec<Home> {
        let mut homes: BTreeMap<PathBuf, Home> = BTreeMap::new();
        for folder in &self.folders {
            for path in self.disk.sources(folder).iter() {
                // What lies in one folder is of one program.
                let Some(own) = path.parent() else { continue };
                if !homes.contains_key(own) {
                    homes.insert(own.to_owned(), Home::of(path, &self.folders));
                }
            }
        }
        let mut found: Vec<Home> = homes.into_values().collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Takes up the programs that were found.
    pub fn set_found(&mut self, found: Vec<Home>) {
        self.found = found.into();
    }

    /// Names the file that tells what a cluster has, and what it tells; none.
    pub fn set_cluster(&mut self, cluster: Option<(PathBuf, Told)>) {
        self.cluster = cluster;
    }

    /// Reads a cluster file.
    ///
    /// # Errors
    ///
    /// Why it cannot be read, in words.
    pub fn read_cluster(path: &Path) -> Told {
        let name = path.display();
        let why = |why: &str| format!("cannot read the cluster file {name}: {why}");
        // Before it is opened: to open a pipe is to wait for who writes to it.
        let data = std::fs::metadata(path).map_err(|error| why(&error.to_string()))?;
        if !data.is_file() || data.len() > MAX_CLUSTER {
            return Err(why(if data.is_file() { "it is larger than 1 GiB" } else { "it is not a file" }));
        }
        let text = std::fs::read_to_string(path).map_err(|error| why(&error.to_string()))?;
        let cluster = Cluster::parse(&text);
        cluster.map(Arc::new).map_err(|error| npc_driver::bad_cluster(&name.to_string(), &error).message)
    }

    /// The cluster file.
    #[must_use]
    pub fn cluster_path(&self) -> Option<&Path> {
        self.cluster.as_ref().map(|(path, _)| path.as_path())
    }

    /// What the cluster file tells.
    #[must_use]
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref().and_then(|(_, told)| told.as_ref().ok())
    }

    /// Why there is no cluster, where there is none: no file is named, or it cannot be read.
    #[must_use]
    pub fn why_no_cluster(&self) -> Option<String> {
        match &self.cluster {
            None => Some(
                "no cluster file is set: save what `kubectl get namespaces,pods -A -o yaml` prints, and name it in the setting `npc.cluster`"
                    .to_owned(),
            ),
            Some((_, Err(why))) => Some(why.clone()),
            Some((_, Ok(_))) => None,
        }
    }

    /// A file that is open.
    #[must_use]
    pub fn document(&self, path: &Path) -> Option<&Arc<Document>> {
        self.open.get(path).map(|open| &open.document)
    }

    /// The program that a file is of.
    #[must_use]
    pub fn home(&self, path: &Path) -> Home {
        self.open.get(path).map_or_else(|| Home::of(path, &self.folders), |open| Home::clone(&open.home))
    }

    /// The programs that open files are of, and those that were found.
    #[must_use]
    pub fn programs(&self) -> Vec<Home> {
        let open = self.open.values().map(|open| &*open.home);
        let mut homes: Vec<Home> = open.chain(self.found.iter()).cloned().collect();
        homes.sort_unstable();
        homes.dedup();
        homes
    }

    /// Checks a program, as `npc check` does. Where it is known as it was `before`, what did not change since is
    /// taken over.
    #[must_use]
    pub fn check(&self, home: &Home, before: Option<&Program>) -> Program {
        let folder = home.folder();
        let mut paths: Vec<PathBuf> = match home {
            Home::Folder(_) => self.disk.sources(folder).to_vec(),
            Home::File(path) => vec![path.clone()],
        };
        if let Home::Folder(_) = home {
            // One that is open need not be on the disk yet.
            let is_own =
                |path: &&PathBuf| path.starts_with(folder) && is_source(path) && !is_hidden(folder, path);
            paths.extend(self.open.keys().filter(is_own).cloned());
            paths.sort_unstable();
            paths.dedup();
        }
        let roots: Vec<String> =
            paths.iter().filter_map(|path| path.strip_prefix(folder).ok()).map(with_slashes).collect();
        let files = self.files(folder);
        let (config, broken) = config(folder);
        let cluster = self.cluster();
        let before = before.map(|before| &before.checked);
        let checked =
            npc_driver::check_with_targets(&files, &roots, &config, cluster.map(|own| &**own), before);
        Program::new(home.clone(), checked, config, broken, cluster.cloned())
    }

    /// The files of the program in a folder, as they are now.
    #[must_use]
    pub fn files<'w>(&'w self, folder: &'w Path) -> impl Files + 'w {
        Overlay { workspace: self, folder, root: folder.canonicalize().ok() }
    }
}

/// What a folder's configuration says. Where it is broken, what is wrong with it, and nothing is set.
fn config(folder: &Path) -> (Config, Option<BrokenConfig>) {
    let path = folder.join(CONFIG);
    // A text that was never saved lies in no folder.
    if folder.as_os_str().is_empty() || !path.is_file() {
        return Default::default();
    }
    let Ok(text) = std::fs::read_to_string(path) else { return Default::default() };
    let mut sources = SourceMap::new();
    match Config::parse(CONFIG, &text, &mut sources) {
        Ok(config) => (config, None),
        Err(diagnostics) => (Config::default(), Some(BrokenConfig { diagnostics, text: Text::new(text) })),
    }
}

/// The files of a program: open ones win over the disk.
struct Overlay<'w> {
    workspace: &'w Workspace,
    folder: &'w Path,
    /// The folder as it lies on the disk; none where it does not.
    root: Option<PathBuf>,
}

impl Files for Overlay<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let Some(root) = &self.root else { return Err(ReadError::NotFound(Vec::new())) };
        npc_project::read(root, path)
    }

    fn known(&self, path: &str) -> Option<Known> {
        let open = self.workspace.open.get(&self.folder.join(path));
        open.map(|open| open.document.known(path))
            .or_else(|| self.workspace.disk.known(self.folder, self.root.as_ref()?, path))
    }
}
