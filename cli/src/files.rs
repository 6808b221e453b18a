//! The file system: sources in, whole files out.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::path::{Component, Path, PathBuf};

use npc_program::{Files, MAX_SOURCE, ReadError};

/// Why the command could not run, in words.
#[derive(Debug)]
pub(crate) struct Error {
    message: String,
    kind: io::ErrorKind,
}

impl Error {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: io::ErrorKind::Other }
    }

    pub(crate) fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        Self { message: format!("cannot {what} {}: {error}", path.display()), kind: error.kind() }
    }

    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.kind == io::ErrorKind::BrokenPipe
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The name of standard input among the sources.
pub(crate) const STDIN: &str = npc_render::STDIN;

/// The files of a project.
pub(crate) struct Disk {
    root: PathBuf,
    /// What was read from standard input, and its name: it lies in the folder where the command runs.
    stdin: Option<(String, Vec<u8>)>,
}

impl Disk {
    /// Files below `root`, which must be canonical.
    pub(crate) const fn new(root: PathBuf, stdin: Option<(String, Vec<u8>)>) -> Self {
        Self { root, stdin }
    }

    /// Whether the name is the one of standard input.
    pub(crate) fn is_stdin(&self, name: &str) -> bool {
        self.stdin.as_ref().is_some_and(|(stdin, _)| stdin == name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        if let Some((name, stdin)) = &self.stdin
            && name == path
        {
            return Ok(stdin.clone());
        }
        let full = self.path(path);
        let real = match full.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ReadError::NotFound(beside(&full)));
            }
            Err(error) => return Err(ReadError::Other(error.to_string())),
        };
        // A link may lead anywhere.
        if !real.starts_with(&self.root) {
            return Err(ReadError::Outside);
        }
        let other = |error: io::Error| ReadError::Other(error.to_string());
        let file = std::fs::File::open(&real).map_err(other)?;
        if !file.metadata().map_err(other)?.is_file() {
            return Err(ReadError::Other("not a file".to_owned()));
        }
        read_bounded(file).map_err(other)
    }
}

/// Reads at most one byte more than the largest source, so that what is too large is seen to be.
fn read_bounded(reader: impl io::Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_SOURCE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The sources in the folder of a file that is not there.
fn beside(path: &Path) -> Vec<String> {
    let Some(Ok(entries)) = path.parent().map(std::fs::read_dir) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".np"))
        .collect();
    names.sort();
    names
}

/// Standard input, as a source.
pub(crate) fn read_stdin() -> Result<Vec<u8>, Error> {
    read_bounded(io::stdin().lock()).map_err(|error| Error::io("read", Path::new(STDIN), &error))
}

/// A file that the user names, at most one byte more than the largest source.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let file = std::fs::File::open(path).map_err(|error| Error::io("read", path, &error))?;
    let bytes = read_bounded(file).map_err(|error| Error::io("read", path, &error))?;
    if bytes.len() > MAX_SOURCE {
        return Err(Error::new(format!("{} is larger than 64 MiB", path.display())));
    }
    Ok(bytes)
}

/// Whether a file holds manifests, by its name.
pub(crate) fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|yaml| extension == *yaml))
}

/// Every `.np` file below a folder, in the order of their paths. Hidden folders are passed over.
pub(crate) fn sources_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    below(folder, |path| path.extension().is_some_and(|extension| extension == "np"))
}

/// Every file of manifests below a folder, in the order of their paths.
pub(crate) fn manifests_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    below(folder, is_manifest)
}

fn below(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| Error::io("read", &folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Error::io("read", &folder, &error))?;
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            let kind = entry.file_type().map_err(|error| Error::io("read", &entry.path(), &error))?;
            if kind.is_dir() && !hidden {
                folders.push(entry.path());
            } else if wanted(&entry.path()) && !kind.is_dir() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The path with `/` between its parts, as sources are named everywhere.
pub(crate) fn with_slashes(path: &Path) -> String {
    let parts: Vec<String> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
            Component::ParentDir => Some("..".to_owned()),
            _ => None,
        })
        .collect();
    parts.join("/")
}

/// The folder in which a path lies.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes files whole, or not at all: each is written beside its place and then moved there. Where
/// one cannot be written, none is moved. A link stays: what it leads to is replaced.
pub(crate) fn write_all<T: AsRef<[u8]>>(files: &[(PathBuf, T)]) -> Result<(), Error> {
    let mut ready = Vec::new();
    for (path, text) in files {
        let place = path.canonicalize().unwrap_or_else(|_| path.clone());
        let folder = folder_of(&place);
        std::fs::create_dir_all(folder).map_err(|error| Error::io("make", folder, &error))?;
        let failed = |error: io::Error| Error::io("write", path, &error);
        let old = std::fs::metadata(&place).ok();
        if old.as_ref().is_some_and(|old| old.permissions().readonly()) {
            return Err(Error::new(format!("cannot write {}: it may only be read", path.display())));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".npc-");
        // A new file has the permissions that are usual, and not the private ones of a temporary file.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder).map_err(failed)?;
        file.write_all(text.as_ref()).map_err(failed)?;
        if let Some(old) = old {
            // Worth trying; a file system without permissions is no reason to fail.
            let _ = std::fs::set_permissions(file.path(), old.permissions());
        }
        ready.push((file, place));
    }
    for (file, place) in ready {
        file.persist(&place).map_err(|error| Error::io("write", &place, &error.error))?;
    }
    Ok(())
}

/// Prints to standard output.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref())
        .and_then(|()| out.flush())
        .map_err(|error| Error::io("write to", Path::new("standard output"), &error))
}
