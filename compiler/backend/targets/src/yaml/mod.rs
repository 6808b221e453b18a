//! A YAML serializer that writes block style, as `kubectl` does.
//!
//! `serde_yaml` does not let the caller choose which scalars to quote. It leaves strings unquoted that `kubectl`
//! parses as a boolean (`y`, `no`, `on`) or a number (`1_000`), which changes label values. This serializer quotes
//! every string that some YAML parser may read as another type (see [`scalar`]), and its output is deterministic.

mod scalar;

use std::fmt::{self, Display, Write as _};

use serde::ser::{self, Serialize};

/// Writes one document, without `---`.
///
/// # Errors
///
/// If the value contains something that no Kubernetes object contains: a map key that is not a string, a number that is
/// not finite, bytes, or an enum variant with several values.
pub fn to_string<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    let mut out = String::new();
    write_to(&mut out, value)?;
    Ok(out)
}

/// Appends one document to `out`, without `---`.
///
/// # Errors
///
/// As [`to_string`].
pub fn write_to<T: Serialize + ?Sized>(out: &mut String, value: &T) -> Result<(), Error> {
    value.serialize(Writer { out, indent: 0, place: Place::Line })
}

/// A document inside a document: serializes as a literal block scalar that contains the value's YAML.
///
/// The inner document is written directly with its indentation; a string made beforehand would be copied line by line.
/// Other serializers ignore the wrapper and write the value itself.
#[derive(Clone, Copy, Debug)]
pub struct Embedded<T>(pub T);

/// The newtype name by which the serializer recognises an [`Embedded`] value.
const EMBEDDED: &str = "npc::yaml::Embedded";

impl<T: Serialize> Serialize for Embedded<T> {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(EMBEDDED, &self.0)
    }
}

/// The error for a value that a Kubernetes manifest cannot contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl ser::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// The position of the next value.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// At the start of a line.
    Line,
    /// After `key:`, whose key is at `indent`.
    Key,
    /// After `- `, whose dash is at `indent`.
    Dash,
    /// At a mapping key, which must be a string on one line.
    Name,
}

/// Serializes one value at a position.
struct Writer<'a> {
    out: &'a mut String,
    indent: usize,
    place: Place,
}

impl Writer<'_> {
    fn not_a_key(&self) -> Result<(), Error> {
        if self.place == Place::Name { Err(ser::Error::custom("a key that is not a string")) } else { Ok(()) }
    }

    /// Writes the white space before a value on one line.
    fn before(&mut self) {
        match self.place {
            Place::Line => pad(self.out, self.indent),
            Place::Key => self.out.push(' '),
            Place::Dash | Place::Name => {}
        }
    }

    fn scalar(mut self, text: impl Display) -> Result<(), Error> {
        self.not_a_key()?;
        self.before();
        writeln!(self.out, "{text}").map_err(|_| ser::Error::custom("out of memory"))
    }
}

fn pad(out: &mut String, indent: usize) {
    const SPACES: &str = "                                                                ";
    let mut left = indent;
    while left > 0 {
        let part = SPACES.get(..left).unwrap_or(SPACES);
        out.push_str(part);
        left -= part.len();
    }
}

impl<'a> ser::Serializer for Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Sequence<'a>;
    type SerializeTuple = Sequence<'a>;
    type SerializeTupleStruct = Sequence<'a>;
    type SerializeTupleVariant = ser::Impossible<(), Error>;
    type SerializeMap = Mapping<'a>;
    type SerializeStruct = Mapping<'a>;
    type SerializeStructVariant = ser::Impossible<(), Error>;

    fn serialize_bool(self, v: bool) -> Result<(), Error> {
        self.scalar(v)
    }
    fn serialize_i8(self, v: i8) -> Result<(), Error> {
        self.scalar(v)
    }
    fn serialize_i16(self, v: i16) -> Result<(), Error> {
        self.scalar(v)
    }
    fn serialize_i32(self, v: i32) -> Result<(), Error> {
        self.scalar(v)
    }
    fn serialize_i64(self, v: i64) -> Result<(), Error> {
        self.scalar(v)
    }
    fn serialize_u8(self, v: u8) -> Result<(), Error> {
        self.scalar(v)
    }
    fn serialize_u16(self, v: u16) -> Result<(), Error> {
        self.scalar(v)
    }
    fn serialize_u32(self, v: u32) -> Result<(), Error> {
        self.scalar(v)
    }
    fn serialize_u64(self, v: u64) -> Result<(), Error> {
        self.scalar(v)
    }
    fn serialize_f32(self, v: f32) -> Result<(), Error> {
        self.serialize_f64(f64::from(v))
    }
    fn serialize_f64(self, v: f64) -> Result<(), Error> {
        if v.is_finite() { self.scalar(v) } else { Err(ser::Error::custom("a number that is not finite")) }
    }
    fn serialize_char(self, v: char) -> Result<(), Error> {
        self.serialize_str(v.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(mut self, text: &str) -> Result<(), Error> {
        if self.place == Place::Name {
            scalar::write(self.out, text);
            return Ok(());
        }
        self.before();
        if !scalar::is_block(text) {
            scalar::write(self.out, text);
            self.out.push('\n');
            return Ok(());
        }
        self.out.push_str(if text.ends_with('\n') { "|\n" } else { "|-\n" });
        for line in text.lines() {
            if !line.is_empty() {
                pad(self.out, self.indent + 2);
                self.out.push_str(line);
            }
            self.out.push('\n');
        }
        Ok(())
    }
    fn serialize_bytes(self, _: &[u8]) -> Result<(), Error> {
        Err(ser::Error::custom("bytes"))
    }
    fn serialize_none(self) -> Result<(), Error> {
        self.scalar("null")
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), Error> {
        self.scalar("null")
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.scalar("null")
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        if name == EMBEDDED {
            self.not_a_key()?;
            self.before();
            self.out.push_str("|\n");
            return value.serialize(Writer { out: self.out, indent: self.indent + 2, place: Place::Line });
        }
        value.serialize(self)
    }
    // An enum variant with a value is a mapping with one entry, as in JSON.
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let mut mapping = self.serialize_map(Some(1))?;
        mapping.field(variant);
        mapping.value(value)?;
        mapping.finish();
        Ok(())
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Sequence<'a>, Error> {
        self.not_a_key()?;
        Ok(Sequence { out: self.out, indent: self.indent, place: self.place, empty: true })
    }
    fn serialize_tuple(self, len: usize) -> Result<Sequence<'a>, Error> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_struct(self, _: &'static str, len: usize) -> Result<Sequence<'a>, Error> {
        self.serialize_seq(Some(len))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(ser::Error::custom("an enum variant with several values"))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Mapping<'a>, Error> {
        self.not_a_key()?;
        Ok(Mapping { out: self.out, indent: self.indent, place: self.place, empty: true })
    }
    fn serialize_struct(self, _: &'static str, len: usize) -> Result<Mapping<'a>, Error> {
        self.serialize_map(Some(len))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(ser::Error::custom("an enum variant with several values"))
    }
}

/// Writes an empty sequence or mapping.
fn empty(out: &mut String, indent: usize, place: Place, text: &str) {
    Writer { out, indent, place }.before();
    out.push_str(text);
}

/// Serializes a sequence. Line break and indentation are written with the first element, since an empty sequence stays
/// on the line.
struct Sequence<'a> {
    out: &'a mut String,
    indent: usize,
    place: Place,
    empty: bool,
}

impl Sequence<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        // Dashes have the indentation of their key, as in the output of kubectl.
        let indent = if self.place == Place::Dash { self.indent + 2 } else { self.indent };
        if self.empty && self.place == Place::Key {
            self.out.push('\n');
        }
        if !(self.empty && self.place == Place::Dash) {
            pad(self.out, indent);
        }
        self.empty = false;
        self.out.push_str("- ");
        value.serialize(Writer { out: self.out, indent, place: Place::Dash })
    }

    fn finish(self) {
        if self.empty {
            empty(self.out, self.indent, self.place, "[]\n");
        }
    }
}

impl ser::SerializeSeq for Sequence<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }
    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

impl ser::SerializeTuple for Sequence<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }
    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

impl ser::SerializeTupleStruct for Sequence<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.element(value)
    }
    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

/// Serializes a mapping. Line break and indentation are written with the first entry, since an empty mapping stays on
/// the line.
struct Mapping<'a> {
    out: &'a mut String,
    indent: usize,
    place: Place,
    empty: bool,
}

impl Mapping<'_> {
    fn inner_indent(&self) -> usize {
        if self.place == Place::Line { self.indent } else { self.indent + 2 }
    }

    /// Writes the white space before the next key.
    fn before_key(&mut self) {
        if self.empty && self.place == Place::Key {
            self.out.push('\n');
        }
        if !(self.empty && self.place == Place::Dash) {
            pad(self.out, self.inner_indent());
        }
        self.empty = false;
    }

    /// Writes the key of a struct field.
    fn field(&mut self, name: &'static str) {
        self.before_key();
        // Words that some parser reads as another type have at most 5 characters (`false`), so no check is needed.
        if name.len() > 5 && name.starts_with(|c: char| c.is_ascii_lowercase()) {
            debug_assert!(scalar::is_plain(name), "{name}");
            self.out.push_str(name);
        } else {
            scalar::write(self.out, name);
        }
        self.out.push(':');
    }

    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.before_key();
        key.serialize(Writer { out: self.out, indent: 0, place: Place::Name })?;
        self.out.push(':');
        Ok(())
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let indent = self.inner_indent();
        value.serialize(Writer { out: self.out, indent, place: Place::Key })
    }

    fn finish(self) {
        if self.empty {
            empty(self.out, self.indent, self.place, "{}\n");
        }
    }
}

impl ser::SerializeMap for Mapping<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key(key)
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.value(value)
    }
    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

impl ser::SerializeStruct for Mapping<'_> {
    type Ok = ();
    type Error = Error;
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Error> {
        self.field(key);
        self.value(value)
    }
    fn end(self) -> Result<(), Error> {
        self.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
