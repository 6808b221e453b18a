//! Determines which program a file belongs to.

use std::path::{Path, PathBuf};

use npc_project::{configured, has_sources, is_hidden, is_source};

/// Identifies a program by its root files.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProgramId {
    /// All sources below a folder, as in `npc check FOLDER`.
    Folder(PathBuf),
    /// One file with its imports, as in `npc check FILE`; or an unsaved document.
    File(PathBuf),
}

/// The prefix of the URIs of unsaved documents.
pub const UNSAVED: &str = "untitled:";

/// Whether a path is on disk. The path of an unsaved document is the editor's URI instead.
#[must_use]
pub fn is_on_disk(path: &Path) -> bool {
    !path.to_str().is_some_and(|name| name.starts_with(UNSAVED))
}

impl ProgramId {
    /// The program of a file: that of the nearest folder with a configuration; otherwise that of the
    /// outermost folder, within the editor's folders, that directly contains sources; otherwise the file
    /// alone. Files that are hidden or are no sources by name are always alone.
    #[must_use]
    pub fn of(path: &Path, workspaces: &[PathBuf]) -> Self {
        if !is_on_disk(path) {
            return Self::File(path.to_owned());
        }
        let own = path.parent().unwrap_or(Path::new("/"));
        let folder = configured(own).map(Path::to_owned).or_else(|| {
            let workspace = workspaces.iter().filter(|folder| own.starts_with(folder));
            let workspace = workspace.max_by_key(|folder| folder.as_os_str().len())?;
            let mut folders: Vec<&Path> =
                own.ancestors().take_while(|folder| folder.starts_with(workspace)).collect();
            folders.reverse();
            folders.into_iter().find(|folder| *folder == own || has_sources(folder)).map(Path::to_owned)
        });
        match folder {
            Some(folder) if is_source(path) && !is_hidden(&folder, path) => Self::Folder(folder),
            _ => Self::File(path.to_owned()),
        }
    }

    /// The program's folder: file names are relative to it, and imports must be inside it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::File(path) if !is_on_disk(path) => Path::new(""),
            Self::File(path) => {
                let own = path.parent().unwrap_or(Path::new("/"));
                configured(own).unwrap_or(own)
            }
        }
    }

    /// Whether a change at a path may affect the program.
    #[must_use]
    pub fn may_hold(&self, path: &Path) -> bool {
        match self {
            // An unsaved document may import another one.
            Self::File(own) if !is_on_disk(own) => !is_on_disk(path),
            _ => path.starts_with(self.folder()),
        }
    }

    /// The outer programs that also contain the files of this one: those of the enclosing folders with a
    /// configuration.
    #[must_use]
    pub fn outer(&self) -> Vec<Self> {
        let Self::Folder(folder) = self else { return Vec::new() };
        let mut found = Vec::new();
        let mut folder = folder.as_path();
        while let Some(outer) = folder.parent().and_then(configured) {
            found.push(Self::Folder(outer.to_owned()));
            folder = outer;
        }
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn finds_the_program_of_a_file() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        for name in
            ["main.np", "sets/dns.np", "apps/deep/a.np", "own/npc.toml", "own/in/npc.toml", "own/in/b.np"]
        {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let workspaces = [root.to_owned()];
        let program_id = |name: &str, workspaces: &[PathBuf]| ProgramId::of(&root.join(name), workspaces);
        let folder = |name: &str| ProgramId::Folder(root.join(name));
        let file = |name: &str| ProgramId::File(root.join(name));
        assert_eq!(program_id("sets/dns.np", &workspaces), ProgramId::Folder(root.to_owned()));
        assert_eq!(program_id("apps/deep/a.np", &[root.join("apps")]), folder("apps/deep"));
        assert_eq!(program_id("own/in/b.np", &workspaces), folder("own/in"));
        assert_eq!(program_id("own/in/b.np", &workspaces).outer(), [folder("own")]);
        assert_eq!(program_id("sets/dns.np", &[]), file("sets/dns.np"), "nobody has the folder open");
        assert_eq!(program_id("sets/other.txt", &workspaces), file("sets/other.txt"));
        assert_eq!(program_id("sets/.#dns.np", &workspaces), file("sets/.#dns.np"));
        let unsaved = ProgramId::of(Path::new("untitled:a.np"), &workspaces);
        assert_eq!((&unsaved, unsaved.folder()), (&ProgramId::File("untitled:a.np".into()), Path::new("")));
        assert!(!unsaved.may_hold(root) && unsaved.may_hold(Path::new("untitled:b.np")));
    }
}
