//! Loading of files and their imports.

use std::sync::Arc;

use npc_diagnostics::{Diagnostic, FileId, Location, SourceFile, SourceMap, Span};
use npc_suggest::nearest;
use npc_syntax::ast::{ItemKind, Word};
use npc_syntax::{Parsed, next_id, parse, parse_again};
use rustc_hash::FxHashMap;

npc_diagnostics::codes! {
    /// # An imported file does not exist
    ///
    /// The path after `import` is relative to the importing file.
    IMPORT_MISSING = "NP0205" "import-missing" Error;

    /// # Files import each other in a cycle
    ///
    /// A file cannot import a file that imports it, directly or indirectly. Move the sets that both
    /// files need into a third file.
    ///
    /// ```np fails file=a.np
    /// import "b.np"
    /// ```
    ///
    /// ```np file=b.np
    /// import "a.np"
    /// ```
    IMPORT_CYCLE = "NP0206" "import-cycle" Error;

    /// # An import leaves the project's folder
    ///
    /// A program can import only files in the project's folder and its subfolders. The project's folder
    /// is the one with `npc.toml`, or else the folder of the program. So the meaning of a program does
    /// not depend on where it is checked out, and a program cannot read files outside the project.
    ///
    /// ```np fails
    /// import "../../elsewhere/sets.np"
    /// ```
    IMPORT_OUTSIDE = "NP0207" "import-outside" Error;

    /// # A source file cannot be read
    ///
    /// Source files are UTF-8 text of at most 64 MiB.
    UNREADABLE = "NP0208" "unreadable" Error;
}

/// The maximum size of a source file, in bytes.
pub const MAX_SOURCE: usize = 64 << 20;

/// The reason why a file could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The file does not exist. Contains the names of the files in its folder.
    NotFound(Vec<String>),
    /// The file is outside the project's folder, possibly through a symbolic link.
    Outside,
    /// The file is larger than [`MAX_SOURCE`].
    TooLarge,
    /// Any other reason, as text.
    Other(String),
}

/// The source of files: the file system, the editor's buffers, or a test.
pub trait Files {
    /// Reads the file at `path`, which is relative to the project's folder, uses `/`, and contains no `.` and `..`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError>;

    /// Returns the parsed file at `path`, if it was parsed before and has not changed.
    fn known(&self, path: &str) -> Option<Known> {
        let _ = path;
        None
    }
}

/// A parsed file. It is independent of the program and of the file's index in it, so it can be reused.
#[derive(Clone, Debug)]
pub struct Known {
    /// The path and text of the file.
    pub source: Arc<SourceFile>,
    /// The parser's output.
    pub parsed: Arc<Parsed>,
}

impl Known {
    /// Parses a file.
    #[must_use]
    pub fn new(path: &str, text: Arc<str>) -> Self {
        let parsed = Arc::new(parse(FileId(0), &text));
        Self { source: Arc::new(SourceFile::new(path.into(), text)), parsed }
    }

    /// Parses a new version of a file, reusing unchanged items of the previous version: `old` is its text and
    /// `before` the parser's output for it.
    #[must_use]
    pub fn again(path: &str, text: Arc<str>, before: &Parsed, old: &str) -> Self {
        let parsed = Arc::new(parse_again(FileId(0), &text, before, old));
        Self { source: Arc::new(SourceFile::new(path.into(), text)), parsed }
    }

    /// The same file under another path.
    #[must_use]
    pub fn named(&self, path: &str) -> Self {
        if self.source.name() == path {
            return self.clone();
        }
        Self { source: Arc::new(self.source.named(path.into())), parsed: Arc::clone(&self.parsed) }
    }
}

/// A file of a program.
#[derive(Debug)]
pub struct LoadedFile {
    /// Its id.
    pub id: FileId,
    /// Its path, relative to the project's folder.
    pub path: Arc<str>,
    /// The parser's output.
    pub parsed: Arc<Parsed>,
    /// The items of its tree as sources of locations, in order.
    pub items: Vec<ItemSource>,
    /// The indices of the files that it imports, each with the location of the path.
    pub imports: Vec<(usize, Location)>,
    /// Whether one of its imports failed.
    pub incomplete: bool,
}

/// An item, as the source of locations.
#[derive(Clone, Copy, Debug)]
pub struct ItemSource {
    /// Its file.
    pub file: FileId,
    /// The [`FileId`] of its locations.
    id: FileId,
    /// Its offset in the file.
    start: u32,
}

impl ItemSource {
    /// A whole file as the source of locations, which are then absolute.
    #[must_use]
    pub const fn whole(file: FileId) -> Self {
        Self { file, id: file, start: 0 }
    }

    pub(crate) const fn id(self) -> FileId {
        self.id
    }

    /// The location of a span of the file.
    #[must_use]
    pub const fn at(self, span: Span) -> Location {
        Location::new(
            self.id,
            Span::new(span.start.wrapping_sub(self.start), span.end.wrapping_sub(self.start)),
        )
    }
}

/// All files of a program: the given files and the files that they import.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The texts of the files.
    pub sources: SourceMap,
    /// The files. The given files come first.
    pub files: Vec<LoadedFile>,
    /// The diagnostics of reading, parsing and importing.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads the given files and all files that they import.
///
/// Paths are relative to the project's folder. A file that is given twice is loaded once.
pub fn load(files: &impl Files, roots: &[String]) -> Loaded {
    let mut loader = Loader { files, loaded: Loaded::default(), by_path: FxHashMap::default() };
    for root in roots {
        if !loader.by_path.contains_key(root.as_str()) {
            loader.add(root, None);
        }
    }
    // `follow_imports` appends imported files to the list.
    let mut next = 0;
    while next < loader.loaded.files.len() {
        loader.follow_imports(next);
        next += 1;
    }
    loader.find_cycles();
    loader.loaded
}

struct Loader<'a, F> {
    files: &'a F,
    loaded: Loaded,
    by_path: FxHashMap<Arc<str>, Option<usize>>,
}

impl<F: Files> Loader<'_, F> {
    fn add(&mut self, path: &str, importer: Option<Location>) -> Option<usize> {
        let path: Arc<str> = path.into();
        if let Some(known) = self.files.known(&path) {
            return Some(self.take(path, known));
        }
        let read = self
            .files
            .read(&path)
            .and_then(|bytes| if bytes.len() > MAX_SOURCE { Err(ReadError::TooLarge) } else { Ok(bytes) });
        let text = match read {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) => {
                    let at = error.utf8_error().valid_up_to();
                    let line = error.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1;
                    self.unreadable(&path, importer, &format!("not UTF-8 text (byte {at}, line {line})"));
                    self.by_path.insert(path, None);
                    return None;
                }
            },
            Err(error) => {
                match (&error, importer) {
                    (ReadError::NotFound(_) | ReadError::Outside, Some(location)) => {
                        self.import_error(&path, &error, location);
                    }
                    (ReadError::NotFound(_), None) => self.unreadable(&path, None, "there is no such file"),
                    (ReadError::Outside, None) => {
                        self.unreadable(&path, None, "it is outside the project's folder");
                    }
                    (ReadError::TooLarge, _) => {
                        self.unreadable(&path, importer, "it is larger than 64 MiB");
                    }
                    (ReadError::Other(why), _) => self.unreadable(&path, importer, why),
                }
                self.by_path.insert(path, None);
                return None;
            }
        };
        let known = Known::new(&path, text.into());
        Some(self.take(path, known))
    }

    fn take(&mut self, path: Arc<str>, known: Known) -> usize {
        let Known { source, parsed } = known;
        let id = self.loaded.sources.add_file(source);
        self.loaded.diagnostics.extend(parsed.diagnostics.iter().map(|own| own.clone().in_file(id)));
        let index = self.loaded.files.len();
        let incomplete = parsed.broken_import;
        let items = parsed.tree.items.iter().map(|item| {
            let (mut own, start) = (item.id, item.span.start);
            // Two files with the same text may share their items.
            while !self.loaded.sources.add_item(own, id, start) {
                own = next_id();
            }
            ItemSource { file: id, id: own, start }
        });
        let items = items.collect();
        self.loaded.files.push(LoadedFile {
            id,
            path: Arc::clone(&path),
            parsed,
            items,
            imports: Vec::new(),
            incomplete,
        });
        self.by_path.insert(path, Some(index));
        index
    }

    fn unreadable(&mut self, path: &str, importer: Option<Location>, why: &str) {
        let message = format!("cannot read {path}: {why}");
        self.loaded.diagnostics.push(match importer {
            Some(location) => Diagnostic::new(&UNREADABLE, message, location, "imported here"),
            None => Diagnostic::without_place(&UNREADABLE, message),
        });
    }

    fn import_error(&mut self, path: &str, error: &ReadError, location: Location) {
        let diagnostic = match error {
            ReadError::NotFound(beside) => {
                let name = path.rsplit('/').next().unwrap_or(path);
                let with_ending = beside.iter().find(|other| other.strip_suffix(".np") == Some(name));
                let diagnostic = Diagnostic::new(
                    &IMPORT_MISSING,
                    format!("there is no file `{path}`"),
                    location,
                    "imported here",
                );
                match with_ending
                    .map(String::as_str)
                    .or_else(|| nearest(name, beside.iter().map(String::as_str)))
                {
                    Some(meant) => {
                        let written = self.loaded.sources.text(location).trim_matches('"').to_owned();
                        let fixed = match written.rsplit_once('/') {
                            Some((folder, _)) => format!("\"{folder}/{meant}\""),
                            None => format!("\"{meant}\""),
                        };
                        diagnostic.help(format!("did you mean `{meant}`?")).fix(
                            npc_diagnostics::Applicability::Maybe,
                            format!("import {fixed}"),
                            location,
                            fixed,
                        )
                    }
                    None => diagnostic.note("the path is relative to the importing file"),
                }
            }
            _ => outside(location),
        };
        self.loaded.diagnostics.push(diagnostic);
    }

    fn follow_imports(&mut self, index: usize) {
        let Some(file) = self.loaded.files.get(index) else { return };
        let (id, from) = (file.id, Arc::clone(&file.path));
        let paths: Vec<Word> = file
            .parsed
            .tree
            .items
            .iter()
            .filter_map(|item| match &item.kind {
                ItemKind::Import(import) => Some(import.path),
                _ => None,
            })
            .collect();
        for word in paths {
            let location = Location::new(id, word.span);
            let written = word.text(self.loaded.sources.file(id).text()).into_owned();
            let Some(path) = join(&from, &written) else {
                self.loaded.diagnostics.push(outside(location));
                if let Some(file) = self.loaded.files.get_mut(index) {
                    file.incomplete = true;
                }
                continue;
            };
            let known = self.by_path.get(path.as_str()).copied();
            let target = match known {
                Some(known) => known,
                None => self.add(&path, Some(location)),
            };
            let Some(file) = self.loaded.files.get_mut(index) else { continue };
            match target {
                Some(target) => file.imports.push((target, location)),
                None => file.incomplete = true,
            }
        }
    }

    /// Reports each import that closes a cycle.
    fn find_cycles(&mut self) {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            Open,
            Done,
        }
        let mut states = vec![State::New; self.loaded.files.len()];
        let mut found = Vec::new();
        for root in 0..self.loaded.files.len() {
            if states.get(root) != Some(&State::New) {
                continue;
            }
            // An explicit stack of (file, next import), because the depth is limited only by the number of files.
            let mut stack = vec![(root, 0)];
            if let Some(state) = states.get_mut(root) {
                *state = State::Open;
            }
            while let Some((file, next)) = stack.last_mut() {
                let import = self.loaded.files.get(*file).and_then(|f| f.imports.get(*next));
                *next += 1;
                match import {
                    None => {
                        if let Some(state) = states.get_mut(*file) {
                            *state = State::Done;
                        }
                        stack.pop();
                    }
                    Some((target, location)) => match states.get(*target) {
                        Some(State::New) => {
                            if let Some(state) = states.get_mut(*target) {
                                *state = State::Open;
                            }
                            stack.push((*target, 0));
                        }
                        Some(State::Open) => {
                            let circle = stack
                                .iter()
                                .skip_while(|(file, _)| file != target)
                                .filter_map(|(file, _)| self.loaded.files.get(*file))
                                .map(|file| format!("`{}`", file.path))
                                .collect::<Vec<_>>()
                                .join(" imports ");
                            let name = self.loaded.files.get(*target).map_or("", |file| &file.path);
                            found.push(
                                Diagnostic::new(
                                    &IMPORT_CYCLE,
                                    "files import each other in a cycle",
                                    *location,
                                    "this import closes the cycle",
                                )
                                .note(format!("{circle} imports `{name}`"))
                                .help("move the sets that both files need into a third file"),
                            );
                        }
                        _ => {}
                    },
                }
            }
        }
        self.loaded.diagnostics.append(&mut found);
    }
}

fn outside(location: Location) -> Diagnostic {
    Diagnostic::new(
        &IMPORT_OUTSIDE,
        "this import leaves the project's folder",
        location,
        "only files in that folder and its subfolders can be imported",
    )
    .note("the project's folder is the one with `npc.toml`, or else the folder of the program")
}

/// Resolves the import path `written` in the file at `from`. Returns `None` if it leaves the project's folder.
fn join(from: &str, written: &str) -> Option<String> {
    if written.starts_with('/') || written.contains('\\') || written.contains(':') || written.contains('\0') {
        return None;
    }
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in written.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::join;

    #[test]
    fn paths() {
        assert_eq!(join("a.np", "b.np").as_deref(), Some("b.np"));
        assert_eq!(join("x/a.np", "b.np").as_deref(), Some("x/b.np"));
        assert_eq!(join("x/a.np", "../b.np").as_deref(), Some("b.np"));
        assert_eq!(join("x/a.np", "./y//b.np").as_deref(), Some("x/y/b.np"));
        for bad in ["/etc/passwd", "../../b.np", "C:\\b.np", "c:/b.np", "a\0"] {
            assert_eq!(join("x/a.np", bad), None, "{bad}");
        }
    }
}
