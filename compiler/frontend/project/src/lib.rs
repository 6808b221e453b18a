//! Locates the files of a program: its folder, its sources, and the files that an import may read.
//!
//! The command and the language server share this code, so that they agree on what belongs to a program.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use npc_program::{MAX_SOURCE, ReadError};

/// The name of the configuration file. Its folder is the root of the project.
pub const CONFIG: &str = "npc.toml";

/// The nearest folder with a configuration file: `folder` itself or an ancestor.
#[must_use]
pub fn configured(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|folder| folder.join(CONFIG).is_file())
}

/// Reads a source of the project by its path relative to `root`, which must be canonical.
///
/// # Errors
///
/// If the file does not exist, is outside of `root` (possibly through a symbolic link), is not a regular
/// file, or cannot be read.
pub fn read(root: &Path, path: &str) -> Result<Vec<u8>, ReadError> {
    let full = root.join(path);
    let other = |error: io::Error| ReadError::Other(error.to_string());
    let real = match full.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ReadError::NotFound(beside(&full)));
        }
        Err(error) => return Err(other(error)),
    };
    // A symbolic link can point anywhere.
    if !real.starts_with(root) {
        return Err(ReadError::Outside);
    }
    // Check before opening the file: opening a pipe blocks until a writer opens it.
    if !std::fs::metadata(&real).map_err(other)?.is_file() {
        return Err(ReadError::Other("not a file".to_owned()));
    }
    read_bounded(File::open(&real).map_err(other)?).map_err(other)
}

/// Reads at most one byte more than the maximum size of a source, so that the caller can detect a larger one.
///
/// # Errors
///
/// If reading fails.
pub fn read_bounded(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_SOURCE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The names of the sources in the folder of a missing file, for a suggestion.
fn beside(path: &Path) -> Vec<String> {
    let Some(Ok(entries)) = path.parent().map(std::fs::read_dir) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".np")).collect();
    names.sort();
    names
}

/// Whether the path has the extension of a source.
#[must_use]
pub fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "np")
}

/// Whether a path below `folder` is hidden, or in a hidden folder.
#[must_use]
pub fn is_hidden(folder: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(folder).unwrap_or(path);
    below.components().any(|part| part.as_os_str().to_string_lossy().starts_with('.'))
}

/// Whether a folder directly contains sources.
#[must_use]
pub fn has_sources(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| {
        let path = entry.path();
        is_source(&path) && !is_hidden(folder, &path) && !path.is_dir()
    })
}

/// The result of searching a folder.
#[derive(Debug, Default)]
pub struct Below {
    /// The matching files, sorted by path.
    pub files: Vec<PathBuf>,
    /// Entries that could not be read, with the error.
    pub unreadable: Vec<(PathBuf, io::Error)>,
    /// Whether the search stopped at the limit.
    pub is_cut: bool,
}

/// Every file below a folder that `wanted` accepts. Skips hidden entries, and does not follow links to
/// folders.
#[must_use]
pub fn below(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Below {
    below_at_most(folder, usize::MAX, wanted)
}

/// Like [`below`], but examines at most `most` entries.
#[must_use]
pub fn below_at_most(folder: &Path, most: usize, wanted: impl Fn(&Path) -> bool) -> Below {
    let mut below = Below::default();
    let mut folders = vec![folder.to_owned()];
    let mut looked = 0;
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                below.unreadable.push((folder, error));
                continue;
            }
        };
        for entry in entries {
            looked += 1;
            if looked > most {
                below.is_cut = true;
                below.files.sort();
                return below;
            }
            let kind = entry.and_then(|entry| Ok((entry.file_type()?, entry)));
            let (kind, entry) = match kind {
                Ok(found) => found,
                Err(error) => {
                    below.unreadable.push((folder.clone(), error));
                    continue;
                }
            };
            let path = entry.path();
            // Skips hidden files: editors keep lock and backup files under hidden names.
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if wanted(&path) {
                below.files.push(path);
            }
        }
    }
    below.files.sort();
    below
}

/// The path with `/` as separator, the form in which sources are named.
#[must_use]
pub fn with_slashes(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
        Component::ParentDir => Some("..".to_owned()),
        _ => None,
    });
    parts.collect::<Vec<String>>().join("/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn what_may_be_read() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap().join("project");
        std::fs::create_dir_all(root.join("sub/.hidden")).unwrap();
        for name in ["a.np", "sub/b.np", "sub/.hidden/c.np", "sub/.#b.np", "sub/other.txt"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        std::fs::write(place.path().join("secret.np"), "let x = tcp/1").unwrap();
        std::fs::create_dir(root.join("folder.np")).unwrap();
        assert_eq!(read(&root, "sub/b.np").unwrap(), b"sub/b.np");
        assert_eq!(read(&root, "b.np"), Err(ReadError::NotFound(vec!["a.np".into(), "folder.np".into()])));
        assert_eq!(read(&root, "folder.np"), Err(ReadError::Other("not a file".into())));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(place.path().join("secret.np"), root.join("link.np")).unwrap();
            assert_eq!(read(&root, "link.np"), Err(ReadError::Outside));
        }
        let found = below(&root, is_source);
        let names: Vec<String> =
            found.files.iter().map(|path| with_slashes(path.strip_prefix(&root).unwrap())).collect();
        let expected: &[&str] =
            if cfg!(unix) { &["a.np", "link.np", "sub/b.np"] } else { &["a.np", "sub/b.np"] };
        assert_eq!(names, expected);
        assert!(found.unreadable.is_empty());
        assert_eq!(below(&root.join("nowhere"), is_source).unreadable.len(), 1);
        assert_eq!(configured(&root), None);
        std::fs::write(root.join(CONFIG), "").unwrap();
        assert_eq!(configured(&root.join("sub")), Some(root.as_path()));
    }
}
