//! Combines what the sources' policies allow with what the destinations' policies allow.

mod dense;
mod sparse;

use roaring::RoaringBitmap;
use smallvec::SmallVec;

use crate::matrix::{Allowed, FamilyRows};
use crate::set::{FEW, GroupSet, count, holds, members};
use crate::traffic::Sets;

/// Up to this many groups, debug builds compute the cells with both algorithms and compare them. Almost every
/// table in the tests is that small.
const COMPARED: usize = 500;

/// What is allowed to some groups, at least one.
pub(crate) type Cell = (Allowed, Destinations);

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
    fn first(&self) -> Option<u32> {
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

/// The cells between the groups of which these are the first members: for each source, its destinations.
pub(crate) fn cells<S: GroupSet>(
    families: &[FamilyRows<'_, '_, S>],
    firsts: &[u32],
    traffic: &mut Sets,
) -> Vec<Vec<Cell>> {
    let mut cells = if firsts.len() <= FEW {
        dense::cells(families, firsts, traffic)
    } else {
        sparse::cells(families, firsts, traffic)
    };
    let sort = |cells: &mut Vec<Cell>| cells.sort_unstable_by_key(|(_, groups)| groups.first());
    cells.iter_mut().for_each(sort);
    debug_assert!(
        firsts.len() > COMPARED || {
            let mut others = sparse::cells(families, firsts, traffic);
            others.iter_mut().for_each(sort);
            let list = |cells: &[Vec<Cell>]| -> Vec<Vec<(Allowed, Vec<usize>)>> {
                let of = |cells: &Vec<Cell>| {
                    cells.iter().map(|(own, groups)| (*own, groups.iter().collect())).collect()
                };
                cells.iter().map(of).collect()
            };
            list(&cells) == list(&others)
        }
    );
    cells
}

/// The position of each group in `chosen`.
fn places(chosen: &[u32]) -> Vec<Option<u32>> {
    let mut places = vec![None; chosen.iter().max().map_or(0, |last| *last as usize + 1)];
    for (group, at) in chosen.iter().zip(0..) {
        if let Some(place) = places.get_mut(*group as usize) {
            *place = Some(at);
        }
    }
    places
}
