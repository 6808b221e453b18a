//! Groups that reach the same and are reached by the same, together.

use rustc_hash::FxHashMap;
use std::hash::Hash;

use crate::set::GroupSet;

/// Things in blocks, which are split until no set tells two of one block apart.
pub(crate) struct Partition {
    of: Vec<usize>,
    sizes: Vec<usize>,
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
        Self { of, sizes }
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
        let mut hit: FxHashMap<usize, usize> = FxHashMap::default();
        for thing in set.iter() {
            if let Some(block) = self.of.get(thing as usize) {
                *hit.entry(*block).or_default() += 1;
            }
        }
        // The new block of those that are in the set.
        hit.retain(|block, count| {
            let Some(size) = self.sizes.get_mut(*block) else { return false };
            if *size == *count {
                return false;
            }
            *size -= *count;
            self.sizes.push(*count);
            *count = self.sizes.len() - 1;
            true
        });
        if hit.is_empty() {
            return;
        }
        for thing in set.iter() {
            if let Some(block) = self.of.get_mut(thing as usize)
                && let Some(new) = hit.get(block)
            {
                *block = *new;
            }
        }
    }

    /// The block of each thing, the blocks numbered in the order of their first things.
    pub(crate) fn blocks(&self) -> Vec<Vec<u32>> {
        let mut number: FxHashMap<usize, usize> = FxHashMap::default();
        let mut blocks: Vec<Vec<u32>> = Vec::new();
        for (thing, block) in (0..).zip(&self.of) {
            let at = *number.entry(*block).or_insert_with(|| {
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
