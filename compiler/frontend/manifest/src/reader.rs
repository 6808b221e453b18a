//! Reads a manifest by the fields of a type.

use std::fmt;

use npc_diagnostics::{Diagnostic, Location};
use npc_suggest::nearest;

use crate::{BAD_FIELD, Entry, Node, Value};

/// The path of a field as the API server writes it: `spec.ingress[0].from[1].ipBlock.cidr`.
#[derive(Clone, Copy, Debug)]
pub enum Path<'a> {
    /// The object itself.
    Root,
    /// An object that Kyverno generates, by the field of the policy that contains it. The API server accepts
    /// the policy and rejects the generated object.
    Generated(&'a Path<'a>),
    /// A field of an object.
    Field(&'a Path<'a>, &'a str),
    /// An element of a list.
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    /// The path of a field of this object.
    #[must_use]
    pub const fn field<'a>(&'a self, name: &'a str) -> Path<'a> {
        Path::Field(self, name)
    }

    /// The path of an element of this list.
    #[must_use]
    pub const fn index(&self, index: usize) -> Path<'_> {
        Path::Index(self, index)
    }

    /// Whether the path is in an object that Kyverno generates.
    #[must_use]
    pub const fn is_of_generated(&self) -> bool {
        match self {
            Self::Root => false,
            Self::Generated(_) => true,
            Self::Field(parent, _) | Self::Index(parent, _) => parent.is_of_generated(),
        }
    }

    const fn is_empty(&self) -> bool {
        match self {
            Self::Root => true,
            Self::Generated(inner) => inner.is_empty(),
            Self::Field(..) | Self::Index(..) => false,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Generated(inner) => inner.fmt(f),
            Self::Field(parent, name) if parent.is_empty() => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Reads nodes as the types that the API has for them, and collects the errors.
#[derive(Debug, Default)]
pub struct Reader {
    /// The diagnostics so far.
    pub diagnostics: Vec<Diagnostic>,
}

/// The fields of an object.
#[derive(Debug)]
pub struct Fields<'n> {
    entries: &'n [Entry],
    /// The location of the object.
    pub location: Location,
}

impl Reader {
    /// Reports that the API server rejects a field.
    pub fn report_invalid(&mut self, path: &Path<'_>, location: Location, why: impl Into<String>) {
        let message = match (path.is_of_generated(), path.is_empty()) {
            (false, true) => "the API server refuses this object".to_owned(),
            (false, false) => format!("the API server refuses `{path}`"),
            (true, true) => "the API server refuses the generated object".to_owned(),
            (true, false) => format!("the API server refuses the generated object: `{path}`"),
        };
        self.diagnostics.push(Diagnostic::new(&BAD_FIELD, message, location, why));
    }

    /// Reports that a required field is missing.
    pub fn require(&mut self, path: &Path<'_>, location: Location) {
        self.diagnostics.push(Diagnostic::new(
            &BAD_FIELD,
            match path.is_of_generated() {
                false => format!("the API server refuses an object without `{path}`"),
                true => format!("the API server refuses a generated object without `{path}`"),
            },
            location,
            "must be given",
        ));
    }

    fn mistyped(&mut self, path: &Path<'_>, node: &Node, wanted: &str) {
        let quoted = match &node.value {
            Value::Bool(_) | Value::Int(_) | Value::Float(_) if wanted == "a string" => ": put it in quotes",
            _ => "",
        };
        self.report_invalid(
            path,
            node.location,
            format!("expected {wanted}, found {}{quoted}", node.value.kind()),
        );
    }

    /// The fields of an object; reports those that are not in `known`. `null` is an object without fields.
    pub fn object<'n>(&mut self, path: &Path<'_>, node: &'n Node, known: &[&str]) -> Option<Fields<'n>> {
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => {
                self.mistyped(path, node, "an object");
                return None;
            }
        };
        for entry in entries {
            if known.contains(&entry.key.as_str()) {
                continue;
            }
            let field = path.field(&entry.key);
            let mut diagnostic = Diagnostic::new(
                &BAD_FIELD,
                format!("the API server does not know the field `{field}`"),
                entry.location,
                "not a field of this object",
            );
            if let Some(near) = nearest(&entry.key, known.iter().copied()) {
                diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
            }
            self.diagnostics.push(diagnostic);
        }
        Some(Fields { entries, location: node.location })
    }

    /// A list; `null` is an empty one.
    pub fn list<'n>(&mut self, path: &Path<'_>, node: &'n Node) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(list) => Some(list),
            Value::Null => Some(&[]),
            _ => {
                self.mistyped(path, node, "a list");
                None
            }
        }
    }

    /// A string; `null` is an empty one.
    pub fn string<'n>(&mut self, path: &Path<'_>, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::String(text) => Some(text),
            Value::Null => Some(""),
            _ => {
                self.mistyped(path, node, "a string");
                None
            }
        }
    }

    /// A whole number.
    pub fn integer(&mut self, path: &Path<'_>, node: &Node) -> Option<i64> {
        match node.value {
            Value::Int(number) => Some(number),
            _ => {
                self.mistyped(path, node, "a whole number");
                None
            }
        }
    }

    /// A boolean.
    pub fn boolean(&mut self, path: &Path<'_>, node: &Node) -> Option<bool> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.mistyped(path, node, "a boolean");
                None
            }
        }
    }

    /// A map from strings to strings: each entry, with its value.
    pub fn strings<'n>(&mut self, path: &Path<'_>, node: &'n Node) -> Option<Vec<(&'n Entry, &'n str)>> {
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => {
                self.mistyped(path, node, "an object");
                return None;
            }
        };
        let mut strings = Vec::with_capacity(entries.len());
        for entry in entries {
            let value = self.string(&path.field(&entry.key), &entry.node)?;
            strings.push((entry, value));
        }
        Some(strings)
    }
}

impl<'n> Fields<'n> {
    /// A field's value, if it is given and not `null`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.given(key).filter(|node| !node.is_null())
    }

    /// A field's value, if it is given, even if it is `null`.
    #[must_use]
    pub fn given(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The number of fields that are given and not `null`.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.iter().filter(|entry| !entry.node.is_null()).count()
    }

    /// The location of a field's key, or of the object if the field is not given.
    #[must_use]
    pub fn location_of(&self, key: &str) -> Location {
        self.entries.iter().find(|entry| entry.key == key).map_or(self.location, |entry| entry.location)
    }
}
