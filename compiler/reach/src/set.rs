//! Sets of groups: as words of bits where there are few groups, and compressed where there are many.

use roaring::RoaringBitmap;
use smallvec::SmallVec;

/// A set of groups.
pub(crate) trait GroupSet: Clone + Default + PartialEq {
    /// Adds a group.
    fn insert(&mut self, group: u32);
    /// Whether a group is in it.
    fn contains(&self, group: u32) -> bool;
    /// Whether none is.
    fn is_empty(&self) -> bool;
    /// How many are.
    fn len(&self) -> u64;
    /// The groups, in order.
    fn iter(&self) -> impl Iterator<Item = u32> + '_;
    /// Those that are in both.
    fn and(&self, other: &Self) -> Self;
    /// With those of another.
    fn add(&mut self, other: &Self);
    /// Without those of another.
    fn take(&mut self, other: &Self);
}

impl GroupSet for RoaringBitmap {
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
}

/// A set of few groups: a bit for each. Words that are not there are empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bits(SmallVec<[u64; 4]>);

const BITS: usize = u64::BITS as usize;

impl PartialEq for Bits {
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (&self.0, &other.0);
        let both = one.len().min(two.len());
        let rest = |words: &[u64]| words.iter().skip(both).all(|word| *word == 0);
        one.iter().zip(two).all(|(a, b)| a == b) && rest(one) && rest(two)
    }
}

impl GroupSet for Bits {
    fn insert(&mut self, group: u32) {
        let (word, bit) = (group as usize / BITS, group as usize % BITS);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(own) = self.0.get_mut(word) {
            *own |= 1 << bit;
        }
    }

    fn contains(&self, group: u32) -> bool {
        let (word, bit) = (group as usize / BITS, group as usize % BITS);
        self.0.get(word).is_some_and(|own| own >> bit & 1 == 1)
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).step_by(BITS).zip(&self.0).flat_map(|(base, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(base + bit)
            })
        })
    }

    fn and(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| a & b).collect())
    }

    fn add(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own |= other);
    }

    fn take(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own &= !other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both kinds of set say the same.
    #[test]
    fn alike() {
        let lists: [&[u32]; 5] = [&[], &[0], &[3, 63, 64, 200], &[64, 65, 300], &[1, 2, 3, 200, 511]];
        let make = |list: &[u32]| {
            let (mut bits, mut roaring) = (Bits::default(), RoaringBitmap::new());
            list.iter().for_each(|group| {
                GroupSet::insert(&mut bits, *group);
                roaring.insert(*group);
            });
            (bits, roaring)
        };
        let same = |bits: &Bits, roaring: &RoaringBitmap| {
            assert!(GroupSet::iter(bits).eq(roaring.iter()));
            assert_eq!((bits.len(), bits.is_empty()), (roaring.len(), roaring.is_empty()));
            assert!((0..600).all(|group| bits.contains(group) == roaring.contains(group)));
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
