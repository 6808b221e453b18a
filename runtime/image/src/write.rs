//! Writes an image.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::VERSION;
use crate::image::{Glob, Image, Place, Policy, Rule, Scope, ScopeBase};

/// The magic number. No UTF-8 text begins with its first byte, and a transfer in text mode changes the line
/// break at its end.
pub(crate) const MAGIC: [u8; 8] = *b"\x89NPMAP\r\n";

/// The length of the header: magic number, version, number of sections, file length, digest.
pub(crate) const HEADER: usize = 8 + 4 + 4 + 8 + 32;

/// The position of the digest in the header.
pub(crate) const DIGEST: std::ops::Range<usize> = HEADER - 32..HEADER;

/// The SHA-256 of a file, computed with the digest field set to zero.
pub type Digest = [u8; 32];

/// The sections, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Section {
    Strings = 1,
    Selectors = 2,
    Scopes = 3,
    PodTerms = 4,
    Addresses = 5,
    Ports = 6,
    Policies = 7,
}

impl Section {
    pub(crate) const ALL: [Self; 7] = [
        Self::Strings,
        Self::Selectors,
        Self::Scopes,
        Self::PodTerms,
        Self::Addresses,
        Self::Ports,
        Self::Policies,
    ];
}

/// Marks an absent address or port set of a rule.
pub(crate) const NONE: u32 = u32::MAX;

/// The digest of a file as text: `sha256:` and hexadecimal digits.
#[must_use]
pub fn digest_text(bytes: &[u8]) -> String {
    digest(bytes).iter().fold("sha256:".to_owned(), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Computes the digest of a file.
#[must_use]
pub fn digest(bytes: &[u8]) -> Digest {
    let (before, behind) = (bytes.get(..DIGEST.start), bytes.get(DIGEST.end..));
    Sha256::new()
        .chain_update(before.unwrap_or(bytes))
        .chain_update([0; 32])
        .chain_update(behind.unwrap_or_default())
        .finalize()
        .into()
}

/// Serializes an image. Equal images give equal bytes.
#[must_use]
pub fn write(image: &Image) -> Vec<u8> {
    let mut strings = Strings::default();
    let bodies = Section::ALL.map(|section| match section {
        Section::Strings => Bytes::default(),
        Section::Selectors => selectors(image, &mut strings),
        Section::Scopes => scopes(image, &mut strings),
        Section::PodTerms => pod_terms(image),
        Section::Addresses => addresses(image),
        Section::Ports => ports(image, &mut strings),
        Section::Policies => policies(image, &mut strings),
    });
    let mut out = Bytes::default();
    out.0.extend_from_slice(&MAGIC);
    out.u32(VERSION);
    out.count(Section::ALL.len());
    out.0.extend_from_slice(&[0; 8 + 32]);
    for (section, body) in Section::ALL.into_iter().zip(bodies) {
        let body = if section == Section::Strings { strings.bytes() } else { body };
        out.u32(section as u32);
        out.u64(body.0.len() as u64);
        out.0.extend_from_slice(&body.0);
    }
    let mut bytes = out.0;
    let length = (bytes.len() as u64).to_le_bytes();
    if let Some(place) = bytes.get_mut(DIGEST.start - 8..DIGEST.start) {
        place.copy_from_slice(&length);
    }
    let digest = digest(&bytes);
    if let Some(place) = bytes.get_mut(DIGEST) {
        place.copy_from_slice(&digest);
    }
    bytes
}

/// The string table, without duplicates.
#[derive(Default)]
struct Strings {
    list: Vec<Arc<str>>,
    places: HashMap<Arc<str>, u32>,
}

impl Strings {
    fn place(&mut self, text: &Arc<str>) -> u32 {
        *self.places.entry(Arc::clone(text)).or_insert_with(|| {
            self.list.push(Arc::clone(text));
            u32::try_from(self.list.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn bytes(&self) -> Bytes {
        let mut out = Bytes::default();
        out.list(&self.list, |out, text| {
            out.count(text.len());
            out.0.extend_from_slice(text.as_bytes());
        });
        out
    }
}

#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Writes a list's count. It saturates at 2³²−1, which no image reaches: so many entries would take over
    /// 32 GiB.
    fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    fn list<T>(&mut self, list: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.count(list.len());
        for item in list {
            each(self, item);
        }
    }

    fn numbers(&mut self, list: &[u32]) {
        self.list(list, |out, number| out.u32(*number));
    }
}

fn selectors(image: &Image, strings: &mut Strings) -> Bytes {
    let mut out = Bytes::default();
    out.list(&image.selectors, |out, selector| {
        out.list(selector, |out, requirement| {
            out.u32(strings.place(&requirement.key));
            out.u8(requirement.operator as u8);
            out.list(&requirement.values, |out, value| out.u32(strings.place(value)));
        });
    });
    out
}

fn scopes(image: &Image, strings: &mut Strings) -> Bytes {
    let mut out = Bytes::default();
    out.list(&image.scopes, |out, Scope { base, except_names, except_selectors }| {
        match base {
            ScopeBase::All => out.u8(0),
            ScopeBase::Names(names) => {
                out.u8(1);
                globs(out, strings, names);
            }
            ScopeBase::Labels(selector) => {
                out.u8(2);
                out.u32(*selector);
            }
            ScopeBase::Same => out.u8(3),
            ScopeBase::Sharing(keys) => {
                out.u8(4);
                out.list(keys, |out, key| out.u32(strings.place(key)));
            }
        }
        globs(out, strings, except_names);
        out.numbers(except_selectors);
    });
    out
}

fn globs(out: &mut Bytes, strings: &mut Strings, globs: &[Glob]) {
    out.list(globs, |out, glob| out.u32(strings.place(glob.text())));
}

fn pod_terms(image: &Image) -> Bytes {
    let mut out = Bytes::default();
    out.list(&image.pod_terms, |out, term| {
        out.u32(term.scope);
        out.u32(term.selector);
    });
    out
}

fn addresses(image: &Image) -> Bytes {
    let sets = &image.addresses;
    let mut out = Bytes::default();
    out.u32(sets.count);
    out.list(&sets.classes, |out, class| out.numbers(class));
    out.list(&sets.v4, |out, (first, class)| {
        out.u32(*first);
        out.u32(*class);
    });
    out.list(&sets.v6, |out, (first, class)| {
        out.0.extend_from_slice(&first.to_le_bytes());
        out.u32(*class);
    });
    out.numbers(&sets.of_unknown);
    out
}

fn ports(image: &Image, strings: &mut Strings) -> Bytes {
    let sets = &image.ports;
    let mut out = Bytes::default();
    out.list(&sets.named, |out, named| {
        out.list(named, |out, port| {
            out.u8(port.protocol as u8);
            out.u32(strings.place(&port.name));
        });
    });
    out.list(&sets.classes, |out, class| out.numbers(class));
    for ranges in &sets.ranges {
        out.list(ranges, |out, (first, class)| {
            out.u16(*first);
            out.u32(*class);
        });
    }
    out
}

fn policies(image: &Image, strings: &mut Strings) -> Bytes {
    let place = |out: &mut Bytes, place: Place| {
        out.u32(place.file);
        out.u32(place.line);
    };
    let rule = |out: &mut Bytes, rule: &Rule| {
        place(out, rule.place);
        out.u8(rule.direction as u8);
        out.u8(rule.action as u8);
        out.u8(u8::from(rule.log));
        out.u32(rule.addresses.unwrap_or(NONE));
        out.u32(rule.ports.unwrap_or(NONE));
        out.numbers(&rule.pods);
    };
    let mut out = Bytes::default();
    out.list(&image.files, |out, file| out.u32(strings.place(file)));
    out.list(&image.policies, |out, policy: &Policy| {
        out.u32(strings.place(&policy.name));
        place(out, policy.place);
        out.u8(policy.tier as u8);
        out.u16(policy.priority);
        out.u8(u8::from(policy.audit));
        policy.isolates.iter().for_each(|isolates| out.u8(u8::from(*isolates)));
        out.numbers(&policy.subjects);
        out.list(&policy.rules, rule);
    });
    out
}
