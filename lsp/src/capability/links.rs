//! `textDocument/documentLink`: imports, and cluster files of tests.

use npc_syntax::{Parsed, Role, words};
use std::path::Path;
use tower_lsp::ls_types::DocumentLink;

use crate::convert::{range, uri};
use crate::core::disk::Disk;
use crate::core::text::{Encoding, Text};

pub(crate) fn links(path: &Path, text: &Text, parsed: &Parsed, encoding: Encoding) -> Vec<DocumentLink> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut found = Vec::new();
    for item in &parsed.tree.items {
        words(item, &mut |role, word| {
            if !matches!(role, Role::ImportPath | Role::ClusterPath) {
                return;
            }
            let target = folder.join(&*word.text(text.text()));
            // Where `..` leads, as the compiler takes it: by the names alone.
            let mut plain = std::path::PathBuf::new();
            for part in target.components() {
                match part {
                    std::path::Component::ParentDir => {
                        plain.pop();
                    }
                    std::path::Component::CurDir => {}
                    part => plain.push(part),
                }
            }
            let mut span = word.span;
            if word.is_quoted(text.text()) {
                (span.start, span.end) = (span.start + 1, span.end.saturating_sub(1).max(span.start + 1));
            }
            found.push(DocumentLink {
                range: range(text, span, encoding),
                target: uri(&plain),
                tooltip: None,
                data: None,
            });
        });
    }
    found
}

/// The files that may be named in a file, as it would name them: sources of its program, or what lies beside
/// it and ends so.
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

/// The way from a folder to a file, with `/`.
fn relative(from: &Path, to: &Path) -> Option<String> {
    let common = from.ancestors().find(|folder| to.starts_with(folder))?;
    let up = from.strip_prefix(common).ok()?.components().count();
    Some("../".repeat(up) + &npc_project::with_slashes(to.strip_prefix(common).ok()?))
}
