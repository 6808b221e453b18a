//! Where a program's project is: its folder, its configuration, its sources.

use std::path::{Path, PathBuf};

use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, SourceMap};
use npc_driver::Config;
use npc_project::{CONFIG, with_slashes};

use crate::files::{Disk, Error, STDIN, folder_of, read_stdin, sources_in};
use crate::report::Reporter;

/// A project, found from the command's arguments.
pub(crate) struct Project {
    /// Its files.
    pub(crate) disk: Disk,
    /// The sources named, relative to the project's folder.
    pub(crate) roots: Vec<String>,
    /// What its `npc.toml` says.
    pub(crate) config: Config,
    /// What stands before a source's name so that it is a path from here.
    pub(crate) prefix: String,
    /// What the output is called after.
    pub(crate) name: String,
    /// The folder, canonical.
    pub(crate) root: PathBuf,
}

/// What is wrong with the project's own files, with their texts.
pub(crate) struct Broken {
    /// The project's folder.
    pub(crate) root: PathBuf,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) sources: SourceMap,
}

impl Project {
    /// Finds the project: the nearest folder with `npc.toml` at or above the sources, or else the
    /// folder that holds them all.
    pub(crate) fn find(inputs: &[PathBuf]) -> Result<Result<Self, Broken>, Error> {
        Self::find_with(inputs, None)
    }

    /// The same, where standard input was read before.
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
                    return Err(Error::new("`-` stands for standard input, which can be read once"));
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
                // The folder of the name given, not of where a link leads.
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
                .map_err(|_| Error::new(format!("{} lies outside {}", source.display(), root.display())))?;
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

/// The nearest folder with a configuration at or above all of some, or else the one that holds them all.
fn root_of(folders: &[PathBuf], here: &Path) -> PathBuf {
    let common = common_folder(folders).unwrap_or_else(|| here.to_owned());
    npc_project::configured(&common).unwrap_or(&common).to_owned()
}

/// The configuration of the project that manifests are in.
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
    // The texts are shown under the name that the user can open.
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

/// The deepest folder that holds all of them.
fn common_folder(folders: &[PathBuf]) -> Option<PathBuf> {
    let (first, rest) = folders.split_first()?;
    first.ancestors().find(|folder| rest.iter().all(|other| other.starts_with(folder))).map(Path::to_owned)
}

/// The way from `here` to `root`, as a prefix of names.
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

/// Reads a cluster file, where one is named. `None` where it is none, which is told.
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

/// Reads a cluster file.
pub(crate) fn read_cluster(path: &Path) -> Result<Result<Cluster, Diagnostic>, Error> {
    let text = std::fs::read(path).map_err(|error| Error::io("read", path, &error))?;
    let name = path.display().to_string();
    let Ok(text) = String::from_utf8(text) else {
        return Err(Error::new(format!("{name} is not UTF-8 text")));
    };
    Ok(Cluster::parse(&text).map_err(|error| npc_driver::bad_cluster(&name, &error)))
}
