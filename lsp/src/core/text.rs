//! Texts with a line index, and positions in them as editors count: lines, and columns in bytes (UTF-8) or
//! UTF-16 code units.

use std::sync::Arc;

/// The unit of columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Bytes.
    Utf8,
    /// UTF-16 code units, the protocol's default.
    #[default]
    Utf16,
}

/// A position: line and column, both from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// A text and the starts of its lines. A line ends with a line feed, a carriage return, or both.
#[derive(Clone, Debug)]
pub struct Text {
    text: Arc<str>,
    starts: Vec<u32>,
    /// For a text with non-ASCII characters: the number of UTF-16 code units before each multiple of [`STEP`]
    /// bytes, so that columns of long lines need not be counted from the start of the line.
    units: Option<Vec<u32>>,
}

/// The distance in bytes between entries of `Text::units`.
const STEP: usize = 1 << 10;

impl Text {
    /// Indexes a text.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        let bytes = text.as_bytes();
        let ends = memchr::memchr2_iter(b'\n', b'\r', bytes)
            .filter(|at| bytes.get(*at) == Some(&b'\n') || bytes.get(at + 1) != Some(&b'\n'));
        let behind = ends.map(|at| u32::try_from(at + 1).unwrap_or(u32::MAX));
        let starts = std::iter::once(0).chain(behind).collect();
        let units = (!text.is_ascii()).then(|| {
            let (mut count, mut from) = (0, 0);
            let note = |step: usize| {
                let to = text.floor_char_boundary(step * STEP);
                count += text.get(from..to).unwrap_or_default().encode_utf16().count();
                from = to;
                u32::try_from(count).unwrap_or(u32::MAX)
            };
            (0..=text.len() / STEP).map(note).collect()
        });
        Self { text, starts, units }
    }

    /// The number of UTF-16 code units before an offset at a character boundary.
    fn units_before(&self, offset: usize) -> usize {
        let Some(noted) = &self.units else { return offset };
        let step = offset / STEP;
        let from = self.text.floor_char_boundary(step * STEP);
        let noted = noted.get(step).copied().unwrap_or_default() as usize;
        noted + self.text.get(from..offset).unwrap_or_default().encode_utf16().count()
    }

    /// The offset after this many UTF-16 code units; inside a character, the start of the character.
    fn at_units(&self, units: usize) -> usize {
        let Some(noted) = &self.units else { return units.min(self.text.len()) };
        let step = noted.partition_point(|own| *own as usize <= units).saturating_sub(1);
        let from = self.text.floor_char_boundary(step * STEP);
        let mut count = noted.get(step).copied().unwrap_or_default() as usize;
        let rest = self.text.get(from..).unwrap_or_default();
        let behind = rest.char_indices().find(|(_, own)| {
            count += own.len_utf16();
            count > units
        });
        behind.map_or(self.text.len(), |(at, _)| from + at)
    }

    /// The whole text.
    #[must_use]
    pub const fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// A line, from 0, without its line end, and its offset.
    fn line(&self, line: u32) -> Option<(usize, &str)> {
        let start = *self.starts.get(line as usize)? as usize;
        let end = self.starts.get(line as usize + 1).map_or(self.text.len(), |end| *end as usize);
        Some((start, self.text.get(start..end)?.trim_end_matches(['\n', '\r'])))
    }

    /// The offset of a position. A column past the end of the line gives the end of the line; a line past the
    /// last gives the end of the text.
    #[must_use]
    pub fn offset(&self, place: Position, encoding: Encoding) -> usize {
        let Some((start, line)) = self.line(place.line) else { return self.text.len() };
        let column = place.column as usize;
        match encoding {
            Encoding::Utf8 => start + line.floor_char_boundary(column.min(line.len())),
            Encoding::Utf16 => self.at_units(self.units_before(start) + column).min(start + line.len()),
        }
    }

    /// The position of an offset. An offset past the end gives the end.
    #[must_use]
    pub fn position(&self, offset: usize, encoding: Encoding) -> Position {
        let offset = self.text.floor_char_boundary(offset.min(self.text.len()));
        let line = self.starts.partition_point(|start| *start as usize <= offset).saturating_sub(1);
        let start = self.starts.get(line).map_or(0, |start| *start as usize);
        let column = match encoding {
            Encoding::Utf8 => offset - start,
            Encoding::Utf16 => self.units_before(offset) - self.units_before(start),
        };
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Position { line: number(line), column: number(column) }
    }

    /// The text with a range replaced; without a range, the whole text is replaced.
    #[must_use]
    pub fn edited(&self, range: Option<(Position, Position)>, by: &str, encoding: Encoding) -> Self {
        let Some((from, to)) = range else { return Self::new(by) };
        let from = self.offset(from, encoding);
        // A range that ends before it starts is empty.
        let to = self.offset(to, encoding).max(from);
        let (before, after) = (self.text.get(..from).unwrap_or(""), self.text.get(to..).unwrap_or(""));
        Self::new([before, by, after].concat())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn at(line: u32, column: u32) -> Position {
        Position { line, column }
    }

    #[test]
    fn columns_depend_on_the_encoding() {
        let text = Text::new("a𝕟b\r\né\rz");
        assert_eq!(text.offset(at(0, 3), Encoding::Utf16), 5, "one character is two units");
        assert_eq!(text.offset(at(0, 5), Encoding::Utf8), 5);
        assert_eq!(text.offset(at(0, 2), Encoding::Utf16), 1, "within a character is before it");
        assert_eq!(text.offset(at(0, 3), Encoding::Utf8), 1);
        assert_eq!(text.offset(at(0, 99), Encoding::Utf16), 6, "the end of the line");
        assert_eq!(text.offset(at(2, 1), Encoding::Utf16), 12);
        assert_eq!(text.offset(at(9, 0), Encoding::Utf16), 12, "the end of the text");
        assert_eq!(text.position(5, Encoding::Utf16), at(0, 3));
        assert_eq!(text.position(10, Encoding::Utf8), at(1, 2));
        assert_eq!(text.position(11, Encoding::Utf8), at(2, 0));
        assert_eq!(text.position(99, Encoding::Utf8), at(2, 1));
    }

    #[test]
    fn positions_and_offsets_round_trip() {
        let text = Text::new("policy 𝕟 {\n\n  é\r\n}\n");
        for encoding in [Encoding::Utf8, Encoding::Utf16] {
            for (offset, _) in text.text().char_indices() {
                let place = text.position(offset, encoding);
                // A position inside a line end maps to the end of the line.
                let back = text.offset(place, encoding);
                assert!(back == offset || text.text().get(back..offset).unwrap().trim().is_empty());
            }
        }
    }

    /// Long lines with characters that cross the offsets at which units are stored.
    #[test]
    fn long_lines() {
        for shift in 0..4 {
            let text =
                Text::new(format!("{}\n{}𝕟é\n{}", "x".repeat(3_000), "a".repeat(shift), "é𝕟a".repeat(2_000)));
            let source = text.text();
            for (at, _) in source.char_indices() {
                let start = source[..at].rfind('\n').map_or(0, |at| at + 1);
                let place = text.position(at, Encoding::Utf16);
                assert_eq!(place.column as usize, source[start..at].encode_utf16().count(), "{at}");
                assert_eq!(text.offset(place, Encoding::Utf16), at);
            }
        }
    }

    #[test]
    fn edits() {
        let text = Text::new("one\ntwo\n");
        let edit = |from, to, by| text.edited(Some((from, to)), by, Encoding::Utf16).text().to_string();
        assert_eq!(edit(at(0, 3), at(1, 0), " "), "one two\n");
        assert_eq!(edit(at(1, 1), at(1, 1), "!"), "one\nt!wo\n");
        assert_eq!(edit(at(5, 0), at(9, 9), "end"), "one\ntwo\nend");
        assert_eq!(edit(at(1, 2), at(0, 0), "x"), "one\ntwxo\n", "one that ends before it begins");
        assert_eq!(text.edited(None, "new", Encoding::Utf16).text().as_ref(), "new");
    }
}
