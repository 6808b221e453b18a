//! Merges groups that have the same connections, by partition refinement.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::hash::Hash;

use crate::set::GroupSet;

/// A partition into blocks, which are split until no set distinguishes two elements of a block.
pub(crate) struct Partition {
    of: Vec<usize>,
    sizes: Vec<usize>,
    /// For each block, how many of its elements are in the current set; then the block that these move to.
    hit: Vec<usize>,
}

impl Partition {
    /// Creates a partition in which elements with equal keys are in one block.
    pub(crate) fn new<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> Self {
        let mut known: FxHashMap<K, usize> = FxHashMap::default();
        let mut sizes = Vec::new();
        let of = keys
            .map(|key| {
                let block = *known.entry(key).or_insert_with(|| {
                    sizes.push(0);
                    sizes.len() - 1
                });
                if let Some(size) = sizes.get_mut(block) {
                    *size += 1;
                }
                block
            })
            .collect();
        Self { of, hit: vec![0; sizes.len()], sizes }
    }

    /// Splits the blocks that contain elements of the set and others. The set is a subset of `universe`, and
    /// every block is entirely inside or outside of `universe`.
    pub(crate) fn split<S: GroupSet>(&mut self, set: &S, universe: &S) {
        // A set and its complement split alike, so the smaller is used.
        if set.len() * 2 > universe.len() {
            let mut rest = universe.clone();
            rest.take(set);
            self.split_by(&rest);
        } else {
            self.split_by(set);
        }
    }

    fn split_by<S: GroupSet>(&mut self, set: &S) {
        let mut touched: SmallVec<[usize; 64]> = SmallVec::new();
        for thing in set.iter() {
            let Some(block) = self.of.get(thing as usize) else { continue };
            let Some(hit) = self.hit.get_mut(*block) else { continue };
            if *hit == 0 {
                touched.push(*block);
            }
            *hit += 1;
        }
        let mut is_split = false;
        for block in &touched {
            let next = self.sizes.len();
            let (Some(hit), Some(size)) = (self.hit.get_mut(*block), self.sizes.get_mut(*block)) else {
                continue;
            };
            if *size == *hit {
                *hit = *block;
                continue;
            }
            *size -= *hit;
            let count = std::mem::replace(hit, next);
            self.sizes.push(count);
            is_split = true;
        }
        if is_split {
            for thing in set.iter() {
                if let Some(block) = self.of.get_mut(thing as usize)
                    && let Some(new) = self.hit.get(*block)
                {
                    *block = *new;
                }
            }
            self.hit.resize(self.sizes.len(), 0);
        }
        for block in touched {
            if let Some(hit) = self.hit.get_mut(block) {
                *hit = 0;
            }
        }
    }

    /// The elements of each block, the blocks in the order of their first elements.
    pub(crate) fn blocks(&self) -> Vec<Vec<u32>> {
        let mut numbers: Vec<Option<usize>> = vec![None; self.sizes.len()];
        let mut blocks: Vec<Vec<u32>> = Vec::new();
        for (thing, block) in (0..).zip(&self.of) {
            let Some(number) = numbers.get_mut(*block) else { continue };
            let at = *number.get_or_insert_with(|| {
                blocks.push(Vec::new());
                blocks.len() - 1
            });
            if let Some(block) = blocks.get_mut(at) {
                block.push(thing);
            }
        }
        blocks
    }
}
