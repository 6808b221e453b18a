//! Groups that reach the same and are reached by the same, together.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use std::hash::Hash;

use crate::set::GroupSet;

/// Things in blocks, which are split until no set tells two of one block apart.
pub(crate) struct Partition {
    of: Vec<usize>,
    sizes: Vec<usize>,
    /// Of each block, how many of its things the set has that is looked at; then where those go.
    hit: Vec<usize>,
}

impl Partition {
    /// Things with equal keys are in one block.
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

    /// Splits the blocks of which some things are in the set, of which all are in `universe`, and
    /// others are not. No block has things within the universe and others outside.
    pub(crate) fn split<S: GroupSet>(&mut self, set: &S, universe: &S) {
        // What is in the set, and what is not, tell the same apart.
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

    /// The block of each thing, the blocks numbered in the order of their first things.
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
