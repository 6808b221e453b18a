//! Sets of groups: as bit sets if there are few groups, and compressed if there are many.

use std::hash::Hash as _;

use roaring::RoaringBitmap;
use rustc_hash::FxHasher;

use crate::destinations::Destinations;

/// A set of groups.
pub(crate) trait GroupSet: Clone + Default + PartialEq {
    /// The representation when only few groups are considered.
    type OfFew: GroupSet;

    /// Adds a group.
    fn insert(&mut self, group: u32);
    /// Whether the set contains a group.
    fn contains(&self, group: u32) -> bool;
    /// Whether the set is empty.
    fn is_empty(&self) -> bool;
    /// The number of groups.
    fn len(&self) -> u64;
    /// The groups, in order.
    fn iter(&self) -> impl Iterator<Item = u32> + '_;
    /// The intersection.
    fn and(&self, other: &Self) -> Self;
    /// Adds the groups of another set.
    fn add(&mut self, other: &Self);
    /// Removes the groups of another set.
    fn take(&mut self, other: &Self);
    /// Hashes the set.
    fn hash_into(&self, hasher: &mut FxHasher);
    /// Converts the set to that of the table.
    fn into_groups(self) -> Destinations;
}

impl GroupSet for RoaringBitmap {
    type OfFew = Words<32>;

    fn insert(&mut self, group: u32) {
        Self::insert(self, group);
    }

    fn contains(&self, group: u32) -> bool {
        Self::contains(self, group)
    }

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }

    fn len(&self) -> u64 {
        Self::len(self)
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        Self::iter(self)
    }

    fn and(&self, other: &Self) -> Self {
        self & other
    }

    fn add(&mut self, other: &Self) {
        *self |= other;
    }

    fn take(&mut self, other: &Self) {
        *self -= other;
    }

    fn hash_into(&self, hasher: &mut FxHasher) {
        Self::iter(self).for_each(|group| group.hash(hasher));
    }

    fn into_groups(self) -> Destinations {
        Destinations::of_many(self)
    }
}

/// A set of at most 64 × `N` groups, with one bit for each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Words<const N: usize>([u64; N]);

const BITS: usize = u64::BITS as usize;

/// Up to this many groups, sets are bit sets.
pub(crate) const FEW: usize = 32 * BITS;

impl<const N: usize> Default for Words<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Words<N> {
    /// Whether so many groups fit.
    pub(crate) const fn fits(groups: usize) -> bool {
        groups <= N * BITS
    }
}

impl<const N: usize> GroupSet for Words<N> {
    type OfFew = Self;

    fn insert(&mut self, group: u32) {
        let (word, bit) = (group as usize / BITS, group as usize % BITS);
        debug_assert!(word < N, "words are chosen by how many groups there are");
        if let Some(own) = self.0.get_mut(word) {
            *own |= 1 << bit;
        }
    }

    fn contains(&self, group: u32) -> bool {
        holds(&self.0, group)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().fold(0, |all, word| all | word) == 0
    }

    fn len(&self) -> u64 {
        count(&self.0)
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        members(&self.0)
    }

    fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own &= other);
        both
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own |= other);
    }

    fn take(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own &= !other);
    }

    fn hash_into(&self, hasher: &mut FxHasher) {
        self.0.hash(hasher);
    }

    fn into_groups(self) -> Destinations {
        Destinations::of_words(&self.0)
    }
}

/// Whether a bit set contains a group. Missing words are empty.
pub(crate) fn holds(words: &[u64], group: u32) -> bool {
    words.get(group as usize / BITS).is_some_and(|own| own >> (group as usize % BITS) & 1 == 1)
}

/// The number of groups in a bit set.
pub(crate) fn count(words: &[u64]) -> u64 {
    words.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// The groups in a bit set, in order.
pub(crate) fn members(words: &[u64]) -> impl Iterator<Item = u32> + '_ {
    (0u32..).step_by(BITS).zip(words).flat_map(|(base, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            let bit = (rest != 0).then(|| rest.trailing_zeros())?;
            rest &= rest - 1;
            Some(base + bit)
        })
    })
}

/// Collects groups into a set.
pub(crate) fn set_of<S: GroupSet>(groups: impl IntoIterator<Item = u32>) -> S {
    let mut set = S::default();
    groups.into_iter().for_each(|group| set.insert(group));
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both representations behave alike.
    #[test]
    fn alike() {
        let lists: [&[u32]; 5] = [&[], &[0], &[3, 63, 64, 200], &[64, 65, 300], &[1, 2, 3, 200, 511]];
        let make = |list: &[u32]| {
            let (mut bits, mut roaring) = (Words::<10>::default(), RoaringBitmap::new());
            list.iter().for_each(|group| {
                GroupSet::insert(&mut bits, *group);
                roaring.insert(*group);
            });
            (bits, roaring)
        };
        let same = |bits: &Words<10>, roaring: &RoaringBitmap| {
            assert!(GroupSet::iter(bits).eq(roaring.iter()));
            assert_eq!((bits.len(), bits.is_empty()), (roaring.len(), roaring.is_empty()));
            assert!((0..600).all(|group| bits.contains(group) == roaring.contains(group)));
            let (few, many) = (bits.clone().into_groups(), roaring.clone().into_groups());
            assert!(few.iter().eq(many.iter()) && few.len() == many.len());
            assert!((0..600).all(|group| few.contains(group) == many.contains(group)));
        };
        for one in lists {
            for other in lists {
                let ((mut a, mut b), (c, d)) = (make(one), make(other));
                same(&a.and(&c), &b.and(&d));
                assert_eq!(a == c, b == d);
                a.add(&c);
                GroupSet::add(&mut b, &d);
                same(&a, &b);
                a.take(&c);
                GroupSet::take(&mut b, &d);
                same(&a, &b);
                assert_eq!(a, make(&b.iter().collect::<Vec<_>>()).0);
            }
        }
    }
}
