//! The sets of groups in a table.

use roaring::RoaringBitmap;
use smallvec::SmallVec;

use crate::set::{count, holds, members};

/// A set of groups, by their index in the table.
#[derive(Clone, Debug)]
pub struct Destinations(Kind);

#[derive(Clone, Debug)]
enum Kind {
    /// A bit for each group, without trailing zero words.
    Few(SmallVec<[u64; 4]>),
    Many(RoaringBitmap),
}

impl Destinations {
    pub(crate) fn of_words(words: &[u64]) -> Self {
        let last = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        Self(Kind::Few(words.get(..last).unwrap_or_default().into()))
    }

    pub(crate) const fn of_many(groups: RoaringBitmap) -> Self {
        Self(Kind::Many(groups))
    }

    /// Whether the set contains a group.
    #[must_use]
    pub fn contains(&self, group: usize) -> bool {
        u32::try_from(group).is_ok_and(|group| match &self.0 {
            Kind::Few(words) => holds(words, group),
            Kind::Many(groups) => groups.contains(group),
        })
    }

    /// The groups, in order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let (dense, sparse) = match &self.0 {
            Kind::Few(words) => (Some(members(words)), None),
            Kind::Many(groups) => (None, Some(groups.iter())),
        };
        dense.into_iter().flatten().chain(sparse.into_iter().flatten()).map(|group| group as usize)
    }

    /// The first group.
    pub(crate) fn first(&self) -> Option<u32> {
        match &self.0 {
            Kind::Few(words) => members(words).next(),
            Kind::Many(groups) => groups.min(),
        }
    }

    /// The number of groups.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "none is empty")]
    pub fn len(&self) -> u64 {
        match &self.0 {
            Kind::Few(words) => count(words),
            Kind::Many(groups) => groups.len(),
        }
    }
}
