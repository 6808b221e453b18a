//! `textDocument/documentLink` and `workspace/willRenameFiles`: paths of imports and of tests' cluster files.

use std::path::{Component, Path, PathBuf};

use npc_diagnostics::Location;
use npc_syntax::{Parsed, Role, visit_words};
use tower_lsp::ls_types::DocumentLink;

use crate::convert::{Places, range, uri};
use crate::core::disk::Disk;
use crate::core::text::{Encoding, Text};

pub(crate) fn links(path: &Path, text: &Text, parsed: &Parsed, encoding: Encoding) -> Vec<DocumentLink> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut found = Vec::new();
    for item in &parsed.tree.items {
        visit_words(item, &mut |role, word| {
            if !matches!(role, Role::ImportPath | Role::ClusterPath) {
                return;
            }
            let target = plain(&folder.join(&*word.text(text.text())));
            let mut span = word.span;
            if word.is_quoted(text.text()) {
                (span.start, span.end) = (span.start + 1, span.end.saturating_sub(1).max(span.start + 1));
            }
            found.push(DocumentLink {
                range: range(text, span, encoding),
                target: uri(&target),
                tooltip: None,
                data: None,
            });
        });
    }
    found
}

/// The edits of import and cluster file paths after files or folders move: paths that lead to a moved file,
/// and relative paths in a moved file.
pub(crate) fn moved(places: Places<'_>, moves: &[(PathBuf, PathBuf)]) -> Vec<(Location, String)> {
    let program = places.program;
    let now = |path: &Path| {
        let found = moves.iter().find_map(|(from, to)| Some((path.strip_prefix(from).ok()?, to)));
        match found {
            Some((rest, to)) if rest.as_os_str().is_empty() => to.clone(),
            Some((rest, to)) => to.join(rest),
            None => path.to_owned(),
        }
    };
    let mut edits = Vec::new();
    for (index, file) in program.files().iter().enumerate() {
        let own = program.path(file.id);
        let source = program.source(index);
        for item in &file.parsed.tree.items {
            visit_words(item, &mut |role, word| {
                if !matches!(role, Role::ImportPath | Role::ClusterPath) {
                    return;
                }
                let written = word.text(source);
                let target = plain(&own.parent().unwrap_or(Path::new("/")).join(&*written));
                let here = now(&own);
                let path = relative(here.parent().unwrap_or(Path::new("/")), &now(&target));
                let is_moved = now(&target) != target || here.parent() != own.parent();
                if let Some(path) = path.filter(|path| is_moved && **path != *written) {
                    edits.push((Location::new(file.id, word.span), format!("\"{path}\"")));
                }
            });
        }
    }
    edits
}

/// Resolves `.` and `..` lexically, as the compiler does.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// The files that a file can refer to, as relative paths: for `.np`, the other sources of its program;
/// otherwise the files in its own folder with this ending.
pub(crate) fn beside(disk: &Disk, folder: &Path, own: &Path, end: &str) -> Vec<String> {
    let here = own.parent().unwrap_or(Path::new("/"));
    if end == ".np" {
        let paths = disk.sources(folder);
        let others = paths.iter().filter(|path| *path != own);
        return others.filter_map(|path| relative(here, path)).collect();
    }
    let entries = std::fs::read_dir(here).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(end))
        .collect();
    names.sort_unstable();
    names
}

/// The relative path from a folder to a file, with `/` as separator.
fn relative(from: &Path, to: &Path) -> Option<String> {
    let common = from.ancestors().find(|folder| to.starts_with(folder))?;
    let up = from.strip_prefix(common).ok()?.components().count();
    Some("../".repeat(up) + &npc_project::with_slashes(to.strip_prefix(common).ok()?))
}
