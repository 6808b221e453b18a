//! Reads an image and validates everything in it.

use std::fmt;
use std::sync::Arc;

use npc_vocabulary::{Action, Direction, Operator, Protocol, Tier};

use crate::VERSION;
use crate::image::{
    AddressSets, Glob, Image, Place, PodTerm, Policy, PortName, PortSets, Requirement, Rule, Scope,
    ScopeBase, Selector,
};
use crate::write::{DIGEST, HEADER, MAGIC, NONE, Section, digest};

/// Why a file cannot be read as an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The magic number is missing.
    NotAnImage,
    /// The format has a version that this program does not support.
    Version(u32),
    /// The file's length differs from the length in its header.
    Length {
        /// The length in the header, in bytes.
        said: u64,
        /// The length of the file, in bytes.
        is: u64,
    },
    /// The digest in the header does not match the content.
    Altered,
    /// The content violates the format.
    Malformed {
        /// The byte offset in the file.
        offset: usize,
        /// The violation.
        what: &'static str,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnImage => {
                f.write_str("this is not a map image: it does not begin with the format's magic number")
            }
            Self::Version(found) => write!(
                f,
                "the image has format version {found}, and only version {VERSION} is supported: compile it again with the version of npc that the node runs"
            ),
            Self::Length { said, is } => {
                write!(f, "the image has the wrong length: expected {said} bytes, found {is}")
            }
            Self::Altered => f.write_str("the image is corrupt: its content does not match its digest"),
            Self::Malformed { offset, what } => write!(f, "the image is malformed: at byte {offset}, {what}"),
        }
    }
}

impl std::error::Error for ReadError {}

/// Reads an image. All indices in the result are in range.
///
/// # Errors
///
/// Fails if the file is truncated, altered or violates the format. Memory use is bounded by the length of the
/// file.
pub fn read(bytes: &[u8]) -> Result<Image, ReadError> {
    if bytes.get(..MAGIC.len()) != Some(&MAGIC) {
        return Err(ReadError::NotAnImage);
    }
    let mut reader = Reader { bytes, at: MAGIC.len() };
    let version = reader.u32()?;
    if version != VERSION {
        return Err(ReadError::Version(version));
    }
    let sections = reader.u32()?;
    let said = reader.u64()?;
    let is = bytes.len() as u64;
    if said != is {
        return Err(ReadError::Length { said, is });
    }
    if bytes.get(DIGEST) != Some(&digest(bytes)) {
        return Err(ReadError::Altered);
    }
    if sections as usize != Section::ALL.len() {
        return Err(reader.wrong("the number of sections does not match the format version"));
    }
    reader.at = HEADER;
    let mut image = Image::default();
    let mut strings = Vec::new();
    for section in Section::ALL {
        if reader.u32()? != section as u32 {
            return Err(reader.wrong("a section is missing or out of order"));
        }
        let length = usize::try_from(reader.u64()?).unwrap_or(usize::MAX);
        let end = reader.at.checked_add(length).filter(|end| *end <= bytes.len());
        let Some(own) = end.and_then(|end| bytes.get(..end)) else {
            return Err(reader.wrong("a section extends beyond the end of the image"));
        };
        let mut body =
            Body { reader: Reader { bytes: own, at: reader.at }, strings: std::mem::take(&mut strings) };
        match section {
            Section::Strings => body.strings = body.list_of_strings()?,
            Section::Selectors => image.selectors = body.selectors()?,
            Section::Scopes => image.scopes = body.scopes(image.selectors.len())?,
            Section::PodTerms => {
                image.pod_terms = body.pod_terms(image.scopes.len(), image.selectors.len())?;
            }
            Section::Addresses => image.addresses = body.addresses()?,
            Section::Ports => image.ports = body.ports()?,
            Section::Policies => body.policies(&mut image)?,
        }
        if body.reader.at != own.len() {
            return Err(body.reader.wrong("a section is longer than its content"));
        }
        reader.at = own.len();
        strings = body.strings;
    }
    if reader.at != bytes.len() {
        return Err(reader.wrong("there is data after the last section"));
    }
    Ok(image)
}

type Result<T, E = ReadError> = std::result::Result<T, E>;

struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    const fn wrong(&self, what: &'static str) -> ReadError {
        ReadError::Malformed { offset: self.at, what }
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8]> {
        let end = self.at.checked_add(length);
        let Some(taken) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(self.wrong("the value that begins here is truncated"));
        };
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.wrong("the value that begins here is truncated"))
    }

    fn u8(&mut self) -> Result<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Result<u128> {
        self.array().map(u128::from_le_bytes)
    }

    fn flag(&mut self) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.wrong("a flag is neither 0 nor 1")),
        }
    }

    /// Reads a list whose entries take at least `least` bytes each. A count that exceeds the remaining bytes
    /// is rejected, so that it cannot cause a large allocation.
    fn list<T>(&mut self, least: usize, mut each: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let count = self.u32()? as usize;
        let left = self.bytes.len().saturating_sub(self.at);
        if count.checked_mul(least).is_none_or(|needed| needed > left) {
            return Err(self.wrong("a list has more entries than the remaining bytes can hold"));
        }
        let mut list = Vec::with_capacity(count);
        for _ in 0..count {
            list.push(each(self)?);
        }
        Ok(list)
    }

    /// Reads an index into a list of `count` entries.
    fn place(&mut self, count: usize) -> Result<u32> {
        let place = self.u32()?;
        if place as usize >= count {
            return Err(self.wrong("an index is out of range"));
        }
        Ok(place)
    }

    /// Reads an optional index; [`NONE`] means that it is absent.
    fn optional_place(&mut self, count: usize) -> Result<Option<u32>> {
        let place = self.u32()?;
        if place == NONE {
            return Ok(None);
        }
        self.at -= 4;
        self.place(count).map(Some)
    }

    fn places(&mut self, count: usize) -> Result<Vec<u32>> {
        self.list(4, |reader| reader.place(count))
    }

    /// Reads indices that must be in strictly ascending order.
    fn sorted_places(&mut self, count: usize) -> Result<Vec<u32>> {
        let places = self.places(count)?;
        if !places.is_sorted_by(|a, b| a < b) {
            return Err(self.wrong("the list that ends here is not sorted"));
        }
        Ok(places)
    }
}

/// The body of a section.
struct Body<'b> {
    reader: Reader<'b>,
    /// The string table, once the first section has been read.
    strings: Vec<Arc<str>>,
}

impl Body<'_> {
    fn list_of_strings(&mut self) -> Result<Vec<Arc<str>>> {
        self.reader.list(4, |reader| {
            let length = reader.u32()? as usize;
            let text = std::str::from_utf8(reader.take(length)?);
            let text = text.map_err(|_| reader.wrong("the string that ends here is not UTF-8"))?;
            // Strings are printed, and control characters could manipulate the terminal.
            if text.chars().any(char::is_control) {
                return Err(reader.wrong("the string that ends here contains control characters"));
            }
            Ok(Arc::from(text))
        })
    }

    fn string(reader: &mut Reader<'_>, strings: &[Arc<str>]) -> Result<Arc<str>> {
        let place = reader.place(strings.len())?;
        strings.get(place as usize).cloned().ok_or_else(|| reader.wrong("an index is out of range"))
    }

    fn texts(reader: &mut Reader<'_>, strings: &[Arc<str>]) -> Result<Vec<Arc<str>>> {
        reader.list(4, |reader| Self::string(reader, strings))
    }

    fn globs(reader: &mut Reader<'_>, strings: &[Arc<str>]) -> Result<Vec<Glob>> {
        reader.list(4, |reader| Ok(Glob::new(Self::string(reader, strings)?)))
    }

    fn selectors(&mut self) -> Result<Vec<Selector>> {
        let strings = &self.strings;
        self.reader.list(4, |reader| {
            reader.list(9, |reader| {
                let key = Self::string(reader, strings)?;
                let operator = match reader.u8()? {
                    0 => Operator::In,
                    1 => Operator::NotIn,
                    2 => Operator::Exists,
                    3 => Operator::DoesNotExist,
                    _ => return Err(reader.wrong("unknown operator")),
                };
                let values = Self::texts(reader, strings)?;
                let takes_values = matches!(operator, Operator::In | Operator::NotIn);
                if values.is_empty() == takes_values {
                    return Err(reader.wrong("a requirement's values do not fit its operator"));
                }
                Ok(Requirement { key, operator, values })
            })
        })
    }

    fn scopes(&mut self, selectors: usize) -> Result<Vec<Scope>> {
        let strings = &self.strings;
        self.reader.list(9, |reader| {
            let base = match reader.u8()? {
                0 => ScopeBase::All,
                1 => ScopeBase::Names(Self::globs(reader, strings)?),
                2 => ScopeBase::Labels(reader.place(selectors)?),
                3 => ScopeBase::Same,
                4 => ScopeBase::Sharing(Self::texts(reader, strings)?),
                _ => return Err(reader.wrong("unknown kind of scope")),
            };
            Ok(Scope {
                base,
                except_names: Self::globs(reader, strings)?,
                except_selectors: reader.places(selectors)?,
            })
        })
    }

    fn pod_terms(&mut self, scopes: usize, selectors: usize) -> Result<Vec<PodTerm>> {
        self.reader.list(8, |reader| {
            Ok(PodTerm { scope: reader.place(scopes)?, selector: reader.place(selectors)? })
        })
    }

    fn addresses(&mut self) -> Result<AddressSets> {
        let reader = &mut self.reader;
        let count = reader.u32()?;
        let classes = reader.list(4, |reader| reader.sorted_places(count as usize))?;
        let v4 = reader.list(8, |reader| Ok((reader.u32()?, reader.place(classes.len())?)))?;
        ranges(reader, &v4)?;
        let v6 = reader.list(20, |reader| Ok((reader.u128()?, reader.place(classes.len())?)))?;
        ranges(reader, &v6)?;
        let of_unknown = reader.sorted_places(count as usize)?;
        Ok(AddressSets { count, v4, v6, classes, of_unknown })
    }

    fn ports(&mut self) -> Result<PortSets> {
        let strings = &self.strings;
        let reader = &mut self.reader;
        let named = reader.list(4, |reader| {
            reader.list(5, |reader| {
                let protocol = match reader.u8()? {
                    0 => Protocol::Tcp,
                    1 => Protocol::Udp,
                    2 => Protocol::Sctp,
                    _ => return Err(reader.wrong("unknown protocol")),
                };
                Ok(PortName { protocol, name: Self::string(reader, strings)? })
            })
        })?;
        let classes = reader.list(4, |reader| reader.sorted_places(named.len()))?;
        let mut of_protocol = || {
            let list = reader.list(6, |reader| Ok((reader.u16()?, reader.place(classes.len())?)))?;
            ranges(reader, &list)?;
            Ok(list)
        };
        let ranges = [of_protocol()?, of_protocol()?, of_protocol()?];
        Ok(PortSets { named, ranges, classes })
    }

    fn policies(&mut self, image: &mut Image) -> Result<()> {
        let strings = &self.strings;
        let reader = &mut self.reader;
        image.files = Self::texts(reader, strings)?;
        let files = image.files.len();
        let sets = Sets {
            pods: image.pod_terms.len(),
            addresses: image.addresses.count as usize,
            ports: image.ports.named.len(),
        };
        image.policies = reader.list(26, |reader| {
            let name = Self::string(reader, strings)?;
            let place = place(reader, files)?;
            let tier = match reader.u8()? {
                0 => Tier::Admin,
                1 => Tier::Namespaced,
                2 => Tier::Baseline,
                _ => return Err(reader.wrong("unknown tier")),
            };
            let priority = reader.u16()?;
            let audit = reader.flag()?;
            let isolates = [reader.flag()?, reader.flag()?];
            let subjects = reader.places(sets.pods)?;
            for term in &subjects {
                let scope = image
                    .pod_terms
                    .get(*term as usize)
                    .and_then(|term| image.scopes.get(term.scope as usize));
                if scope.is_none_or(|scope| matches!(scope.base, ScopeBase::Same | ScopeBase::Sharing(_))) {
                    return Err(reader.wrong("a policy's subject depends on another pod"));
                }
            }
            let rules = reader.list(23, |reader| rule(reader, files, &sets, tier))?;
            Ok(Policy { name, place, tier, priority, audit, isolates, subjects, rules })
        })?;
        Ok(())
    }
}

/// The number of sets of each kind.
struct Sets {
    pods: usize,
    addresses: usize,
    ports: usize,
}

fn place(reader: &mut Reader<'_>, files: usize) -> Result<Place> {
    Ok(Place { file: reader.place(files)?, line: reader.u32()? })
}

fn rule(reader: &mut Reader<'_>, files: usize, sets: &Sets, tier: Tier) -> Result<Rule> {
    let place = place(reader, files)?;
    let direction = match reader.u8()? {
        0 => Direction::Egress,
        1 => Direction::Ingress,
        _ => return Err(reader.wrong("unknown direction")),
    };
    let action = match (reader.u8()?, tier) {
        (0, _) => Action::Allow,
        (1, Tier::Admin | Tier::Baseline) => Action::Deny,
        (2, Tier::Admin) => Action::Pass,
        _ => return Err(reader.wrong("unknown action, or one that this tier does not allow")),
    };
    Ok(Rule {
        place,
        direction,
        action,
        log: reader.flag()?,
        addresses: reader.optional_place(sets.addresses)?,
        ports: reader.optional_place(sets.ports)?,
        pods: reader.places(sets.pods)?,
    })
}

/// Checks that ranges begin at 0 and are in strictly ascending order, so that they cover everything.
fn ranges<K: Ord + Default>(reader: &Reader<'_>, list: &[(K, u32)]) -> Result<()> {
    let begins = list.first().is_some_and(|(first, _)| *first == K::default());
    if !begins || !list.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(reader
            .wrong("the ranges that end here are not sorted, or do not begin at the first address or port"));
    }
    Ok(())
}
