//! The editor's files: open documents override the disk. Also the programs that the files belong to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npc_cluster::Cluster;
use npc_diagnostics::SourceMap;
use npc_driver::{Config, Depth, Input, Interrupt, Session};
use npc_program::{Files, Known, ReadError};
use npc_project::{CONFIG, is_hidden, is_source, with_slashes};

use super::disk::Disk;
use super::document::Document;
use super::program::{BrokenConfig, Program};
use super::program_id::ProgramId;
use super::text::Text;

/// The maximum size of a cluster file in bytes.
const MAX_CLUSTER: u64 = 1 << 30;

/// The cluster, or why the cluster file cannot be read.
pub type ClusterResult = Result<Arc<Cluster>, String>;

/// The open documents by path, and the disk. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    open: BTreeMap<PathBuf, Open>,
    /// The editor's folders.
    folders: Vec<PathBuf>,
    /// The programs found in these folders.
    found: Arc<[ProgramId]>,
    disk: Disk,
    /// The cluster file and its contents.
    cluster: Option<(PathBuf, ClusterResult)>,
}

/// An open document.
#[derive(Clone, Debug)]
struct Open {
    document: Arc<Document>,
    program_id: Arc<ProgramId>,
}

impl Workspace {
    /// Opens a file or replaces its text.
    pub fn set(&mut self, path: PathBuf, text: Text) {
        match self.open.get_mut(&path) {
            Some(open) => open.document = Arc::new(Document::new(text, Some(&open.document))),
            None => {
                let program_id = Arc::new(ProgramId::of(&path, &self.folders));
                self.open.insert(path, Open { document: Arc::new(Document::new(text, None)), program_id });
            }
        }
    }

    /// Closes a file: its contents on disk count again.
    pub fn close(&mut self, path: &Path) {
        self.open.remove(path);
        self.disk.changed(path);
    }

    /// The disk.
    #[must_use]
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Sets the editor's folders.
    pub fn set_folders(&mut self, folders: Vec<PathBuf>) {
        self.folders = folders;
        self.place();
    }

    /// The editor's folders.
    #[must_use]
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Recomputes which programs the open files belong to.
    pub fn place(&mut self) {
        for (path, open) in &mut self.open {
            open.program_id = Arc::new(ProgramId::of(path, &self.folders));
        }
    }

    /// Finds the programs in the editor's folders. Reads the disk.
    #[must_use]
    pub fn find(&self) -> Vec<ProgramId> {
        let mut homes: BTreeMap<PathBuf, ProgramId> = BTreeMap::new();
        for folder in &self.folders {
            for path in self.disk.sources(folder).iter() {
                // All sources in one folder belong to one program.
                let Some(own) = path.parent() else { continue };
                if !homes.contains_key(own) {
                    homes.insert(own.to_owned(), ProgramId::of(path, &self.folders));
                }
            }
        }
        let mut found: Vec<ProgramId> = homes.into_values().collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Sets the programs that were found.
    pub fn set_found(&mut self, found: Vec<ProgramId>) {
        self.found = found.into();
    }

    /// Sets the cluster file and its contents.
    pub fn set_cluster(&mut self, cluster: Option<(PathBuf, ClusterResult)>) {
        self.cluster = cluster;
    }

    /// Reads a cluster file.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    pub fn read_cluster(path: &Path) -> ClusterResult {
        let name = path.display();
        let why = |why: &str| format!("cannot read the cluster file {name}: {why}");
        // Checked before the file is opened, because opening a pipe blocks until it has a writer.
        let data = std::fs::metadata(path).map_err(|error| why(&error.to_string()))?;
        if !data.is_file() || data.len() > MAX_CLUSTER {
            return Err(why(if data.is_file() { "it is larger than 1 GiB" } else { "it is not a file" }));
        }
        let text = std::fs::read_to_string(path).map_err(|error| why(&error.to_string()))?;
        let cluster = Cluster::parse(&text);
        cluster.map(Arc::new).map_err(|error| npc_driver::bad_cluster(&name.to_string(), &error).message)
    }

    /// The path of the cluster file.
    #[must_use]
    pub fn cluster_path(&self) -> Option<&Path> {
        self.cluster.as_ref().map(|(path, _)| path.as_path())
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref().and_then(|(_, cluster)| cluster.as_ref().ok())
    }

    /// Why there is no cluster: no file is set, or it cannot be read. `None` if there is one.
    #[must_use]
    pub fn why_no_cluster(&self) -> Option<String> {
        match &self.cluster {
            None => Some(
                "no cluster file is set: save the output of `kubectl get namespaces,pods -A -o yaml` to a file, and set `npc.cluster` to its path"
                    .to_owned(),
            ),
            Some((_, Err(why))) => Some(why.clone()),
            Some((_, Ok(_))) => None,
        }
    }

    /// An open document.
    #[must_use]
    pub fn document(&self, path: &Path) -> Option<&Arc<Document>> {
        self.open.get(path).map(|open| &open.document)
    }

    /// The program that a file belongs to.
    #[must_use]
    pub fn program_id(&self, path: &Path) -> ProgramId {
        self.open
            .get(path)
            .map_or_else(|| ProgramId::of(path, &self.folders), |open| ProgramId::clone(&open.program_id))
    }

    /// The programs of the open files and those found in the editor's folders.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramId> {
        let open = self.open.values().map(|open| &*open.program_id);
        let mut homes: Vec<ProgramId> = open.chain(self.found.iter()).cloned().collect();
        homes.sort_unstable();
        homes.dedup();
        homes
    }

    /// Checks a program as `npc check` does. Results of `before`, the previous check, are reused for
    /// unchanged parts.
    ///
    /// # Errors
    ///
    /// If `interrupt` ends the check early.
    pub fn check<I: Interrupt>(
        &self,
        program_id: &ProgramId,
        before: Option<&Program>,
        interrupt: &I,
    ) -> Result<Program, I::Error> {
        let folder = program_id.folder();
        let mut paths: Vec<PathBuf> = match program_id {
            ProgramId::Folder(_) => self.disk.sources(folder).to_vec(),
            ProgramId::File(path) => vec![path.clone()],
        };
        if let ProgramId::Folder(_) = program_id {
            // An open file may not exist on disk yet.
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
        let input =
            Input { files: &files, roots: &roots, config: &config, cluster: cluster.map(|own| &**own) };
        let new = Session::default();
        let session = before.map_or(&new, |before| &before.checked.session);
        let checked = session.check(&input, Depth::Editor, interrupt)?;
        Ok(Program::new(program_id.clone(), checked, config, broken, cluster.cloned()))
    }

    /// The current files of the program in a folder.
    #[must_use]
    pub fn files<'w>(&'w self, folder: &'w Path) -> impl Files + 'w {
        Overlay { workspace: self, folder, root: folder.canonicalize().ok() }
    }
}

/// The configuration of a folder. If it has errors, the defaults and the errors.
fn config(folder: &Path) -> (Config, Option<BrokenConfig>) {
    let path = folder.join(CONFIG);
    // An unsaved document has no folder.
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

/// The files of a program: open documents override the disk.
struct Overlay<'w> {
    workspace: &'w Workspace,
    folder: &'w Path,
    /// The canonical path of the folder; `None` if it does not exist.
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
