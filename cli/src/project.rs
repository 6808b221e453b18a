//! Finds the project of a program: its folder, configuration and sources.

use std::path::{Path, PathBuf};

use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, SourceMap};
use npc_driver::Config;
use npc_project::{CONFIG, with_slashes};

use crate::files::{Disk, Error, STDIN, folder_of, read_stdin, sources_in};
use crate::report::Reporter;

/// A project, found from the command's arguments.
pub(crate) struct Project {
    /// The files.
    pub(crate) disk: Disk,
    /// The named sources, relative to the folder of the project.
    pub(crate) roots: Vec<String>,
    /// The configuration in `npc.toml`.
    pub(crate) config: Config,
    /// The prefix that makes the name of a source relative to the current folder.
    pub(crate) prefix: String,
    /// The base name of output files.
    pub(crate) name: String,
    /// The folder of the project, as a canonical path.
    pub(crate) root: PathBuf,
}

/// The errors in the project's configuration, with its source text.
pub(crate) struct Broken {
    /// The folder of the project.
    pub(crate) root: PathBuf,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) sources: SourceMap,
}

impl Project {
    /// Finds the project: the nearest folder with `npc.toml` that contains all sources, or else the
    /// deepest folder that contains them all.
    pub(crate) fn find(inputs: &[PathBuf]) -> Result<Result<Self, Broken>, Error> {
        Self::find_with(inputs, None)
    }

    /// Like [`Self::find`], with the contents of standard input if it is already read.
    pub(crate) fn find_with(
        inputs: &[PathBuf],
        mut piped: Option<Vec<u8>>,
    ) -> Result<Result<Self, Broken>, Error> {
        let here = std::env::current_dir().map_err(|error| Error::io("find", Path::new("."), &error))?;
        let here = here.canonicalize().map_err(|error| Error::io("find", &here, &error))?;
        let mut stdin = None;
        let mut sources = Vec::new();
        let mut folders = Vec::new();
        let mut name = None;
        for given in inputs {
            if given.as_os_str() == "-" {
                if stdin.is_some() {
                    return Err(Error::new("`-` (standard input) can be given only once"));
                }
                stdin = Some(match piped.take() {
                    Some(bytes) => bytes,
                    None => read_stdin()?,
                });
                folders.push(here.clone());
                name.get_or_insert_with(|| "policies".to_owned());
                continue;
            }
            let real = given.canonicalize().map_err(|error| Error::io("read", given, &error))?;
            if real.is_dir() {
                let found = sources_in(&real)?;
                if found.is_empty() {
                    return Err(Error::new(format!("there is no .np file in {}", given.display())));
                }
                sources.extend(found);
                name.get_or_insert_with(|| file_name(&real));
                folders.push(real);
            } else {
                name.get_or_insert_with(|| file_name(&real.with_extension("")));
                // Use the folder of the given name, not of the target of a symbolic link.
                let parent = folder_of(given);
                let parent = parent.canonicalize().map_err(|error| Error::io("read", given, &error))?;
                sources.push(parent.join(given.file_name().unwrap_or_default()));
                folders.push(parent);
            }
        }
        let root = root_of(&folders, &here);
        let mut roots = Vec::new();
        for source in sources {
            let relative = source
                .strip_prefix(&root)
                .map_err(|_| Error::new(format!("{} is outside of {}", source.display(), root.display())))?;
            roots.push(with_slashes(relative));
        }
        let stdin = stdin.map(|bytes| {
            let folder = here.strip_prefix(&root).map(with_slashes).unwrap_or_default();
            let name = if folder.is_empty() { STDIN.to_owned() } else { format!("{folder}/{STDIN}") };
            roots.push(name.clone());
            (name, bytes)
        });
        let prefix = prefix(&here, &root);
        let config = match read_config(&root, &prefix)? {
            Ok(config) => config,
            Err(broken) => return Ok(Err(broken)),
        };
        let disk = Disk::new(root.clone(), stdin);
        let name = name.unwrap_or_else(|| "policies".to_owned());
        Ok(Ok(Self { disk, roots, config, prefix, name, root }))
    }
}

/// The nearest folder with `npc.toml` that contains all folders, or else the deepest common folder.
fn root_of(folders: &[PathBuf], here: &Path) -> PathBuf {
    let common = common_folder(folders).unwrap_or_else(|| here.to_owned());
    npc_project::configured(&common).unwrap_or(&common).to_owned()
}

/// Reads the configuration of the project that contains the manifests.
pub(crate) fn config_of(manifests: &[PathBuf]) -> Result<Result<Config, Broken>, Error> {
    let here = std::env::current_dir().map_err(|error| Error::io("find", Path::new("."), &error))?;
    let here = here.canonicalize().map_err(|error| Error::io("find", &here, &error))?;
    let mut folders = Vec::new();
    for path in manifests {
        folders.push(match path.as_os_str() == "-" {
            true => here.clone(),
            false => folder_of(path).canonicalize().map_err(|error| Error::io("read", path, &error))?,
        });
    }
    let root = root_of(&folders, &here);
    read_config(&root, &prefix(&here, &root))
}

fn read_config(root: &Path, prefix: &str) -> Result<Result<Config, Broken>, Error> {
    let path = root.join(CONFIG);
    if !path.is_file() {
        return Ok(Ok(Config::default()));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| Error::io("read", &path, &error))?;
    let mut sources = SourceMap::new();
    // Show the file with a name that the user can open.
    let name = format!("{prefix}{CONFIG}");
    Ok(Config::parse(&name, &text, &mut sources).map_err(|diagnostics| Broken {
        root: root.to_owned(),
        diagnostics,
        sources,
    }))
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| "policies".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The deepest common ancestor.
fn common_folder(folders: &[PathBuf]) -> Option<PathBuf> {
    let (first, rest) = folders.split_first()?;
    first.ancestors().find(|folder| rest.iter().all(|other| other.starts_with(folder))).map(Path::to_owned)
}

/// The path from `here` to `root`, as a prefix for names.
fn prefix(here: &Path, root: &Path) -> String {
    if let Ok(below) = root.strip_prefix(here) {
        let below = with_slashes(below);
        return if below.is_empty() { below } else { below + "/" };
    }
    if let Ok(above) = here.strip_prefix(root) {
        return "../".repeat(above.components().count());
    }
    let mut absolute = root.to_string_lossy().replace('\\', "/");
    absolute.push('/');
    absolute
}

/// Reads a cluster file, if one is given. Prints the diagnostic and returns `None` if it is invalid.
pub(crate) fn cluster(path: Option<&Path>, reporter: &Reporter) -> Result<Option<Option<Cluster>>, Error> {
    let Some(path) = path else { return Ok(Some(None)) };
    match read_cluster(path)? {
        Ok(cluster) => Ok(Some(Some(cluster))),
        Err(diagnostic) => {
            reporter.print(&[diagnostic], &SourceMap::new())?;
            Ok(None)
        }
    }
}

/// Reads a cluster file. The inner error is a diagnostic of its content.
pub(crate) fn read_cluster(path: &Path) -> Result<Result<Cluster, Diagnostic>, Error> {
    let text = std::fs::read(path).map_err(|error| Error::io("read", path, &error))?;
    let name = path.display().to_string();
    let Ok(text) = String::from_utf8(text) else {
        return Err(Error::new(format!("{name} is not UTF-8 text")));
    };
    Ok(Cluster::parse(&text).map_err(|error| npc_driver::bad_cluster(&name, &error)))
}
