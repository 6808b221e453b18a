//! The files of an editor: what is open in it, over what is on the disk; and the programs that they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npc_cluster::Cluster;
use npc_diagnostics::SourceMap;
use npc_driver::Config;
use npc_program::{Files, Known, ReadError};
use npc_project::{CONFIG, with_slashes};

use super::disk::Disk;
use super::document::Document;
use super::program::{BrokenConfig, Program};
use super::text::Text;

/// What is open, each at its path, over the disk. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Workspace {
    open: BTreeMap<PathBuf, Open>,
    disk: Disk,
    /// The file that tells what a cluster has, and what it tells; or why it cannot be read.
    cluster: Option<(PathBuf, Result<Arc<Cluster>, String>)>,
}

/// A file that is open.
#[derive(Clone, Debug)]
struct Open {
    document: Arc<Document>,
    /// The folder of the program that it is of.
    folder: Arc<Path>,
}

impl Workspace {
    /// A file is open from now on, or is otherwise than it was.
    pub fn set(&mut self, path: PathBuf, text: Text) {
        match self.open.get_mut(&path) {
            Some(open) => open.document = Arc::new(Document::new(text, Some(&open.document))),
            None => {
                let folder = folder_of(&path).into();
                self.open.insert(path, Open { document: Arc::new(Document::new(text, None)), folder });
            }
        }
    }

    /// A file is open no more: what is on the disk counts.
    pub fn close(&mut self, path: &Path) {
        self.open.remove(path);
        self.disk.changed(Some(path));
    }

    /// The disk.
    #[must_use]
    pub const fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Something changed on the disk, at a path or anywhere: which folders are programs is found out again.
    pub fn changed(&mut self, path: Option<&Path>) {
        self.disk.changed(path);
        if path.is_none_or(|path| path.file_name().is_some_and(|name| name == CONFIG)) {
            for (path, open) in &mut self.open {
                open.folder = folder_of(path).into();
            }
        }
        if let Some((own, _)) = &self.cluster
            && path.is_none_or(|path| own.starts_with(path))
        {
            let own = own.clone();
            self.set_cluster(Some(own));
        }
    }

    /// Names the file that tells what a cluster has; none.
    pub fn set_cluster(&mut self, path: Option<PathBuf>) {
        self.cluster = path.map(|path| {
            let name = path.display().to_string();
            let told = std::fs::read_to_string(&path)
                .map_err(|error| format!("cannot read the cluster file {name}: {error}"))
                .and_then(|text| {
                    Cluster::parse(&text).map_err(|error| npc_driver::bad_cluster(&name, &error).message)
                });
            (path, told.map(Arc::new))
        });
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

    /// The files that are open.
    pub fn open(&self) -> impl Iterator<Item = &Path> {
        self.open.keys().map(PathBuf::as_path)
    }

    /// The folder of the program that a file is of.
    #[must_use]
    pub fn folder(&self, path: &Path) -> PathBuf {
        self.open.get(path).map_or_else(|| folder_of(path), |open| open.folder.to_path_buf())
    }

    /// The folders of the programs that the open files are of.
    #[must_use]
    pub fn programs(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = self.open.values().map(|open| open.folder.to_path_buf()).collect();
        folders.sort_unstable();
        folders.dedup();
        folders
    }

    /// Checks the program in a folder, as `npc check` does.
    #[must_use]
    pub fn check(&self, folder: &Path) -> Program {
        let mut paths: Vec<PathBuf> = self.disk.sources(folder).to_vec();
        // One that is open need not be on the disk yet.
        paths.extend(self.open.keys().filter(|path| path.starts_with(folder)).cloned());
        paths.sort_unstable();
        paths.dedup();
        let roots: Vec<String> =
            paths.iter().filter_map(|path| path.strip_prefix(folder).ok()).map(with_slashes).collect();
        let files = self.files(folder);
        let (config, broken) = config(folder);
        let checked =
            npc_driver::check_with_targets(&files, &roots, &config, self.cluster().map(|own| &**own));
        Program::new(folder, checked, config, broken, self.cluster().cloned())
    }

    /// The files of the program in a folder, as they are now.
    #[must_use]
    pub fn files<'w>(&'w self, folder: &'w Path) -> impl Files + 'w {
        Overlay { workspace: self, folder, root: folder.canonicalize().ok() }
    }
}

/// What a folder's configuration says. Where it is broken, what is wrong with it, and nothing is set.
fn config(folder: &Path) -> (Config, Option<BrokenConfig>) {
    let Ok(text) = std::fs::read_to_string(folder.join(CONFIG)) else { return Default::default() };
    let mut sources = SourceMap::new();
    match Config::parse(CONFIG, &text, &mut sources) {
        Ok(config) => (config, None),
        Err(diagnostics) => (Config::default(), Some(BrokenConfig { diagnostics, text: Text::new(text) })),
    }
}

/// The folder of the program that a file is of: the nearest with a configuration, or else its own.
#[must_use]
pub fn folder_of(path: &Path) -> PathBuf {
    let own = path.parent().unwrap_or(Path::new("/"));
    npc_project::configured(own).unwrap_or(own).to_owned()
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
            .or_else(|| self.workspace.disk.known(self.root.as_ref()?, path))
    }
}
