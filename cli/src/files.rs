//! The file system: reads sources, and writes files atomically.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use npc_program::{Files, MAX_SOURCE, ReadError};
use npc_project::read_bounded;

/// The reason why the command could not run.
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

/// The name of standard input as a source.
pub(crate) const STDIN: &str = npc_render::STDIN;

/// The files of a project.
pub(crate) struct Disk {
    root: PathBuf,
    /// The contents of standard input and its name, a path in the current folder.
    stdin: Option<(String, Vec<u8>)>,
}

impl Disk {
    /// `root` must be canonical.
    pub(crate) const fn new(root: PathBuf, stdin: Option<(String, Vec<u8>)>) -> Self {
        Self { root, stdin }
    }

    /// Whether `name` is standard input.
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
        npc_project::read(&self.root, path)
    }
}

/// Reads standard input, up to one byte more than the maximum size of a source.
pub(crate) fn read_stdin() -> Result<Vec<u8>, Error> {
    read_bounded(io::stdin().lock()).map_err(|error| Error::io("read", Path::new(STDIN), &error))
}

/// Reads a file that the user named. A file that exceeds the maximum size of a source is an error.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, Error> {
    let file = std::fs::File::open(path).map_err(|error| Error::io("read", path, &error))?;
    let bytes = read_bounded(file).map_err(|error| Error::io("read", path, &error))?;
    if bytes.len() > MAX_SOURCE {
        return Err(Error::new(format!("{} is larger than 64 MiB", path.display())));
    }
    Ok(bytes)
}

/// Whether the file is a manifest, according to its extension.
pub(crate) fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|yaml| extension == *yaml))
}

/// Every `.np` file below a folder, sorted by path. Skips hidden files.
pub(crate) fn sources_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    below(folder, npc_project::is_source)
}

/// Every manifest below a folder, sorted by path.
pub(crate) fn manifests_in(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    below(folder, is_manifest)
}

fn below(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, Error> {
    let found = npc_project::below(folder, wanted);
    match found.unreadable.first() {
        Some((path, error)) => Err(Error::io("read", path, error)),
        None => Ok(found.files),
    }
}

/// The folder of a path.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes each file to a temporary file in the same folder, and moves them into place once all are
/// written. If one cannot be written, none is moved. A symbolic link is kept; its target is replaced.
pub(crate) fn write_all<T: AsRef<[u8]>>(files: &[(PathBuf, T)]) -> Result<(), Error> {
    let mut ready = Vec::new();
    for (path, text) in files {
        let place = path.canonicalize().unwrap_or_else(|_| path.clone());
        let folder = folder_of(&place);
        std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, &error))?;
        let failed = |error: io::Error| Error::io("write", path, &error);
        let old = std::fs::metadata(&place).ok();
        if old.as_ref().is_some_and(|old| old.permissions().readonly()) {
            return Err(Error::new(format!("cannot write {}: it is read-only", path.display())));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".npc-");
        // Use the default permissions for new files instead of the private ones of temporary files.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder).map_err(failed)?;
        file.write_all(text.as_ref()).map_err(failed)?;
        if let Some(old) = old {
            // Best effort: some file systems have no permissions.
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
