//! Parses a stream into trees: documents, anchors, keys.

use std::borrow::Cow;

use npc_diagnostics::{Diagnostic, FileId, Location, Span};
use rustc_hash::{FxHashMap, FxHashSet};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use crate::{BAD_YAML, Entry, Node, Value, typed};

/// The maximal nesting of maps and lists.
const MAX_DEPTH: usize = 100;
/// The maximal number of values that the aliases of a document may add.
const MAX_ALIASED: usize = 100_000;

/// The documents of a stream.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// The documents that could be read, in order, without empty ones.
    pub list: Vec<Node>,
    /// The errors of the other documents.
    pub diagnostics: Vec<Diagnostic>,
}

impl Documents {
    /// Reads a stream of YAML or JSON. An invalid document does not affect the others.
    #[must_use]
    pub fn parse(file: FileId, text: &str) -> Self {
        let mut documents = Self::default();
        for (start, part) in parts(text) {
            match Builder::new(file, start, part).document() {
                Ok(Some(node)) if !node.is_null() => documents.list.push(node),
                Ok(_) => {}
                Err(diagnostic) => documents.diagnostics.push(*diagnostic),
            }
        }
        documents
    }
}

/// Splits a stream as kubectl does: at lines that begin with `---`. Returns each part with its offset.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let begin = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let (mut start, mut at) = (begin, begin);
    for line in text.get(begin..).unwrap_or_default().split_inclusive('\n') {
        let rest = line.strip_prefix("---");
        if rest.is_some_and(|rest| rest.starts_with([' ', '\t', '\r', '\n']) || rest.is_empty()) {
            parts.push((start, text.get(start..at).unwrap_or_default()));
            start = at;
        }
        at += line.len();
    }
    parts.push((start, text.get(start..).unwrap_or_default()));
    parts.retain(|(_, part)| !part.trim().is_empty());
    parts
}

struct Builder<'t> {
    file: FileId,
    /// The offset of the document in the file.
    start: usize,
    text: &'t str,
    /// The position of the last conversion, in characters and in bytes. The parser's markers ascend, so the
    /// next conversion continues from here.
    reached: (usize, usize),
    anchors: FxHashMap<usize, Node>,
    aliased: usize,
}

type Failure = Box<Diagnostic>;

/// A list or map that has not ended yet.
enum Open {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: FxHashSet<String>, key: Option<(String, Location)> },
}

impl<'t> Builder<'t> {
    fn new(file: FileId, start: usize, text: &'t str) -> Self {
        Self { file, start, text, reached: (0, 0), anchors: FxHashMap::default(), aliased: 0 }
    }

    /// The offset in the file of a marker, which counts characters.
    fn byte(&mut self, marker: Marker) -> u32 {
        let index = marker.index();
        let (chars, bytes) = if index >= self.reached.0 { self.reached } else { (0, 0) };
        let rest = self.text.get(bytes..).unwrap_or_default();
        let ahead = index - chars;
        // In ASCII text, which most manifests are, a character is a byte.
        let step = match rest.get(..ahead) {
            Some(plain) if plain.is_ascii() => ahead,
            _ => rest.char_indices().nth(ahead).map_or(rest.len(), |(at, _)| at),
        };
        self.reached = (index, bytes + step);
        (self.start + bytes + step) as u32
    }

    fn location(&mut self, span: saphyr_parser::Span) -> Location {
        let start = self.byte(span.start);
        let end = self.byte(span.end);
        Location::new(self.file, Span::new(start, end.max(start)))
    }

    fn bad(&self, location: Location, why: impl Into<String>) -> Failure {
        Box::new(Diagnostic::new(&BAD_YAML, "npc cannot read this document", location, why))
    }

    fn scan_error(&mut self, error: &ScanError) -> Failure {
        let at = self.byte(*error.marker());
        let location = Location::new(self.file, Span::new(at, at));
        self.bad(location, error.info())
    }

    /// Reads the text, which must be a single document.
    fn document(mut self) -> Result<Option<Node>, Failure> {
        let text = self.text;
        let mut open: Vec<(Open, usize, Location)> = Vec::new();
        let mut root: Option<Node> = None;
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| self.scan_error(&error))?;
            let (node, anchor) = match event {
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => continue,
                Event::DocumentStart(_) => {
                    if root.is_some() {
                        let location = self.location(span);
                        return Err(self.bad(location, "a second document begins here without `---`"));
                    }
                    continue;
                }
                Event::Alias(anchor) => (self.alias(anchor, span)?, 0),
                Event::Scalar(text, style, anchor, tag) => {
                    (self.scalar(text, style, tag.as_deref(), span)?, anchor)
                }
                Event::SequenceStart(anchor, tag) => {
                    let location = self.opens(span, tag.as_deref(), open.len())?;
                    open.push((Open::List(Vec::new()), anchor, location));
                    continue;
                }
                Event::MappingStart(anchor, tag) => {
                    let location = self.opens(span, tag.as_deref(), open.len())?;
                    let map = Open::Map { entries: Vec::new(), keys: FxHashSet::default(), key: None };
                    open.push((map, anchor, location));
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                    Some((Open::List(list), anchor, location)) => {
                        (Node { value: Value::List(list), location }, anchor)
                    }
                    Some((Open::Map { entries, .. }, anchor, location)) => {
                        (Node { value: Value::Map(entries), location }, anchor)
                    }
                    None => continue,
                },
            };
            if anchor > 0 {
                self.anchors.insert(anchor, node.clone());
            }
            match open.last_mut() {
                None => root = Some(node),
                Some((Open::List(list), ..)) => list.push(node),
                Some((Open::Map { entries, keys, key }, ..)) => match key.take() {
                    None => *key = Some(self.key(node, keys)?),
                    Some((key, location)) => entries.push(Entry { key, location, node }),
                },
            }
        }
        Ok(root)
    }

    /// The location of the first line of a map or list. Rejects tags and too deep nesting.
    fn opens(
        &mut self,
        span: saphyr_parser::Span,
        tag: Option<&Tag>,
        depth: usize,
    ) -> Result<Location, Failure> {
        let location = self.location(span);
        if depth >= MAX_DEPTH {
            return Err(self.bad(location, format!("values are nested more than {MAX_DEPTH} deep")));
        }
        if let Some(tag) = tag {
            return Err(
                self.bad(location, format!("npc does not support the tag `{}{}`", tag.handle, tag.suffix))
            );
        }
        Ok(location)
    }

    fn alias(&mut self, anchor: usize, span: saphyr_parser::Span) -> Result<Node, Failure> {
        let location = self.location(span);
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(self.bad(location, "this alias has no anchor"));
        };
        self.aliased += size(node, MAX_ALIASED);
        if self.aliased > MAX_ALIASED {
            return Err(self.bad(location, "the aliases of this document expand to too many values"));
        }
        Ok(Node { location, ..node.clone() })
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: saphyr_parser::Span,
    ) -> Result<Node, Failure> {
        let location = self.location(span);
        let value = match (style, tag) {
            (ScalarStyle::Plain, None) => typed(&text)
                .ok_or_else(|| self.bad(location, format!("JSON cannot represent the number `{text}`")))?,
            (_, None) => Value::String(text.into_owned()),
            (_, Some(tag)) if tag.suffix == "str" && tag.handle.ends_with(':') => {
                Value::String(text.into_owned())
            }
            (_, Some(tag)) => {
                return Err(self
                    .bad(location, format!("npc does not support the tag `{}{}`", tag.handle, tag.suffix)));
            }
        };
        Ok(Node { value, location })
    }

    /// A key as a string, as in JSON.
    fn key(&self, node: Node, keys: &mut FxHashSet<String>) -> Result<(String, Location), Failure> {
        let location = node.location;
        let key = match node.value {
            Value::String(key) if key == "<<" => {
                return Err(
                    self.bad(location, "npc does not support merge keys (`<<`): write the fields out")
                );
            }
            Value::String(key) => key,
            Value::Int(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(bool) => bool.to_string(),
            other => return Err(self.bad(location, format!("a key cannot be {}", other.kind()))),
        };
        if !keys.insert(key.clone()) {
            return Err(self.bad(location, format!("duplicate key `{key}`")));
        }
        Ok((key, location))
    }
}

/// The number of values in a node, including itself. Stops counting above `most`.
fn size(node: &Node, most: usize) -> usize {
    let mut count = 0;
    let mut left = vec![node];
    while let Some(node) = left.pop() {
        count += 1;
        if count > most {
            break;
        }
        match &node.value {
            Value::List(list) => left.extend(list),
            Value::Map(entries) => left.extend(entries.iter().map(|entry| &entry.node)),
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Documents {
        Documents::parse(FileId(0), text)
    }

    #[test]
    fn places() {
        let text = "# é\nkind: \"Ä\"\nspec:\n  list:\n  - a\n  - {b: 80}\n";
        let documents = parse(text);
        assert_eq!(documents.diagnostics, []);
        let at = |node: &Node| node.location.span.of(text).to_owned();
        let root = &documents.list[0];
        assert_eq!(at(root.get("kind").unwrap()), "\"Ä\"");
        let Value::List(list) = &root.get("spec").unwrap().get("list").unwrap().value else { panic!() };
        assert_eq!(at(&list[0]), "a");
        assert_eq!(at(list[1].get("b").unwrap()), "80");
    }

    #[test]
    fn a_broken_document_hides_no_other() {
        let documents = parse("a: 1\n---\nb: [\n--- # third\nc: 1\n---\n\n---\na: 1\na: 2\n");
        assert_eq!(documents.list.len(), 2);
        assert_eq!(documents.diagnostics.len(), 2);
    }

    #[test]
    fn aliases() {
        let documents = parse("a: &x {b: 1}\nc: *x\n");
        assert_eq!(documents.list[0].get("c").unwrap().get("b").unwrap().value, Value::Int(1));
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..20 {
            let before = level - 1;
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(", ")));
        }
        assert_eq!(parse(&text).diagnostics.len(), 1);
        assert_eq!(parse(&"[".repeat(100_000)).diagnostics.len(), 1);
        assert_eq!(parse(&"- ".repeat(100_000)).diagnostics.len(), 1);
    }

    #[test]
    fn json() {
        let documents = parse("{\"a\": \"\\u00e9\", \"b\": [1, null, true]}");
        assert_eq!(documents.list[0].get("a").unwrap().as_str(), Some("é"));
    }
}
