//! Source files, spans and locations.

use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// A half-open range of bytes in one file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// The span from `start` to `end`, in bytes.
    #[must_use]
    pub const fn new(start: u32, end: u32) -> Self {
        Self { start, end }
    }

    /// The smallest span that contains both.
    #[must_use]
    pub fn to(self, other: Self) -> Self {
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }

    /// The empty span at the end of this one, for something that is missing there.
    #[must_use]
    pub const fn at_end(self) -> Self {
        Self::new(self.end, self.end)
    }

    /// The empty span at the start of this one.
    #[must_use]
    pub const fn at_start(self) -> Self {
        Self::new(self.start, self.start)
    }

    /// As a range of indices.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The part of `text` that the span covers; empty if the span is not within the text.
    #[must_use]
    pub fn of(self, text: &str) -> &str {
        text.get(self.range()).unwrap_or("")
    }

    /// Whether `offset` is in the span or at its end.
    #[must_use]
    pub const fn touches(self, offset: u32) -> bool {
        self.start <= offset && offset <= self.end
    }
}

/// A file of a [`SourceMap`], or an item of a file.
///
/// Spans in an item count from the item's start. So they stay the same when the item moves, and results that
/// contain them can be reused. [`SourceMap::absolute`] converts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

impl FileId {
    /// The bit that distinguishes items from files.
    const ITEM: u32 = 1 << 31;

    /// The item with this number.
    #[must_use]
    pub const fn item(number: u32) -> Self {
        Self(number | Self::ITEM)
    }
}

/// A span in a file or in an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// The file or item.
    pub file: FileId,
    /// The span, from the start of the file or item.
    pub span: Span,
}

impl Location {
    /// Creates a location.
    #[must_use]
    pub const fn new(file: FileId, span: Span) -> Self {
        Self { file, span }
    }

    /// The empty location at the end of this one.
    #[must_use]
    pub const fn end(self) -> Self {
        Self { file: self.file, span: Span { start: self.span.end, end: self.span.end } }
    }
}

/// A line and a column, both counted from one; columns count characters (Unicode scalar values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LineColumn {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// A file's name, text and the starts of its lines.
#[derive(Clone, Debug)]
pub struct SourceFile {
    name: Arc<str>,
    text: Arc<str>,
    line_starts: Vec<u32>,
}

impl SourceFile {
    /// A file with the name that is shown to users.
    #[must_use]
    pub fn new(name: Arc<str>, text: Arc<str>) -> Self {
        let mut line_starts = vec![0];
        // Texts are limited to 64 MiB by the loader, so offsets fit.
        line_starts.extend(text.match_indices('\n').map(|(at, _)| at as u32 + 1));
        Self { name, text, line_starts }
    }

    /// The same text under another name.
    #[must_use]
    pub fn named(&self, name: Arc<str>) -> Self {
        Self { name, ..self.clone() }
    }

    /// The name that is shown to users: a path with `/`, or `<stdin>`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line of an offset, counted from one. An offset past the end returns the last line.
    #[must_use]
    pub fn line_number(&self, offset: u32) -> u32 {
        self.line_starts.partition_point(|start| *start <= offset).max(1) as u32
    }

    /// The line and column of an offset. An offset past the end returns column one of the last line.
    #[must_use]
    pub fn line_column(&self, offset: u32) -> LineColumn {
        let line = self.line_number(offset);
        let start = self.line_starts.get(line as usize - 1).copied().unwrap_or(0);
        let before = self.text.get(start as usize..offset as usize).unwrap_or("");
        LineColumn { line, column: before.chars().count() as u32 + 1 }
    }

    /// The text of a line, counted from one, without its line break.
    #[must_use]
    pub fn line(&self, line: u32) -> &str {
        let start = self.line_starts.get(line.saturating_sub(1) as usize).copied();
        let end = self.line_starts.get(line as usize).copied().unwrap_or(self.text.len() as u32);
        start
            .and_then(|start| self.text.get(start as usize..end as usize))
            .map_or("", |line| line.trim_end_matches(['\n', '\r']))
    }
}

/// All files of one compilation.
#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    files: Vec<Arc<SourceFile>>,
    /// The file and the start of each item.
    items: FxHashMap<FileId, (FileId, u32)>,
}

impl SourceMap {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file with the name that is shown to users.
    pub fn add(&mut self, name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> FileId {
        self.add_file(Arc::new(SourceFile::new(name.into(), text.into())))
    }

    /// Adds an existing file.
    pub fn add_file(&mut self, file: Arc<SourceFile>) -> FileId {
        let id = FileId(self.files.len() as u32);
        self.files.push(file);
        id
    }

    /// Adds an item that starts at an offset of a file. Returns whether it is new.
    pub fn add_item(&mut self, item: FileId, file: FileId, start: u32) -> bool {
        match self.items.entry(item) {
            Entry::Occupied(_) => false,
            Entry::Vacant(entry) => {
                entry.insert((file, start));
                true
            }
        }
    }

    /// The location in its file, if it is a location in an item.
    #[must_use]
    pub fn absolute(&self, location: Location) -> Location {
        let Some((file, start)) = self.items.get(&location.file) else { return location };
        let offset = |offset: u32| start.wrapping_add(offset);
        Location::new(*file, Span::new(offset(location.span.start), offset(location.span.end)))
    }

    /// Returns the file; an empty file if the id belongs to another map, or to an item.
    #[must_use]
    pub fn file(&self, id: FileId) -> &SourceFile {
        static NONE: std::sync::OnceLock<SourceFile> = std::sync::OnceLock::new();
        self.files
            .get(id.0 as usize)
            .map(|file| &**file)
            .unwrap_or_else(|| NONE.get_or_init(|| SourceFile::new("".into(), "".into())))
    }

    /// Returns the file for shared use.
    #[must_use]
    pub fn shared(&self, id: FileId) -> Option<Arc<SourceFile>> {
        self.files.get(id.0 as usize).cloned()
    }

    /// The text at a location.
    #[must_use]
    pub fn text(&self, location: Location) -> &str {
        let Location { file, span } = self.absolute(location);
        span.of(self.file(file).text())
    }

    /// `name:line` of a location, which generated objects contain as their origin.
    #[must_use]
    pub fn line_of(&self, location: Location) -> String {
        let Location { file, span } = self.absolute(location);
        let file = self.file(file);
        format!("{}:{}", file.name(), file.line_number(span.start))
    }

    /// Adds a prefix to the names of all files that are paths, to make them relative to another folder.
    pub fn prefix(&mut self, prefix: &str) {
        for file in self.files.iter_mut().filter(|file| !file.name.ends_with('>')) {
            let name = format!("{prefix}{}", file.name).into();
            Arc::make_mut(file).name = name;
        }
    }

    /// Every file with its id, in insertion order.
    pub fn files(&self) -> impl Iterator<Item = (FileId, &SourceFile)> {
        (0u32..).map(FileId).zip(self.files.iter().map(|file| &**file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters() {
        let mut map = SourceMap::new();
        let id = map.add("a.np", "let ä = 1\r\nß\n");
        let file = map.file(id);
        assert_eq!(file.line_column(0), LineColumn { line: 1, column: 1 });
        assert_eq!(file.line_column(6), LineColumn { line: 1, column: 6 });
        assert_eq!(file.line_column(12), LineColumn { line: 2, column: 1 });
        assert_eq!(file.line_column(9_999).line, 3);
        assert_eq!(file.line(1), "let ä = 1");
        assert_eq!(file.line(2), "ß");
        assert_eq!(file.line(3), "");
        assert_eq!(file.line(17), "");
    }
}
