//! Addresses that no rule of a program tells apart.

use rustc_hash::FxHashMap;

use crate::addresses::{Addresses, Family};

/// What the rules of a program make of the addresses of a family: each class of addresses is in the
/// same of the [`Sets`](AddressSets).
#[derive(Debug)]
pub struct Classes {
    /// Where each range begins, in order, the first at 0; and its class.
    ranges: Vec<(u128, usize)>,
    /// Of each class, the sets that it is in.
    sets: Vec<Vec<usize>>,
}

/// The sets of addresses that the rules name, each once.
#[derive(Debug)]
pub struct AddressSets<'e> {
    /// The sets.
    pub list: Vec<&'e Addresses>,
    /// The set of each rule, by its place in the list.
    pub of_rule: Vec<usize>,
}

impl<'e> AddressSets<'e> {
    /// Of rules, of which these are the addresses.
    #[must_use]
    pub fn new(rules: impl Iterator<Item = &'e Addresses>) -> Self {
        let mut list = Vec::new();
        let mut known: FxHashMap<&Addresses, usize> = FxHashMap::default();
        let of_rule = rules
            .map(|addresses| {
                *known.entry(addresses).or_insert_with(|| {
                    list.push(addresses);
                    list.len() - 1
                })
            })
            .collect();
        Self { list, of_rule }
    }

    /// The sets in which the address of a pod is of which none is known.
    #[must_use]
    pub fn of_unknown(&self) -> Vec<usize> {
        self.list.iter().enumerate().filter(|(_, set)| set.contain(None)).map(|(index, _)| index).collect()
    }
}

impl Classes {
    /// The classes of a family.
    #[must_use]
    pub fn new(sets: &AddressSets<'_>, family: Family) -> Self {
        let ranges = sets.list.iter().enumerate().flat_map(|(index, set)| {
            set.ranges(family).iter().map(move |(first, last)| (index, *first, *last))
        });
        Self::of_ranges(ranges, family.last())
    }

    /// The classes of any numbers, up to the last, by the ranges that are in each set: the set, the first
    /// and the last of a range. Those of one set are apart.
    #[must_use]
    pub fn of_ranges(ranges: impl Iterator<Item = (usize, u128, u128)>, end: u128) -> Self {
        // Where a set begins and ends.
        let mut changes: Vec<(u128, usize)> = Vec::new();
        for (set, first, last) in ranges {
            changes.push((first, set));
            changes.extend(last.checked_add(1).map(|after| (after, set)));
        }
        changes.sort_unstable();
        let mut classes = Self { ranges: Vec::new(), sets: Vec::new() };
        let mut known: FxHashMap<Vec<usize>, usize> = FxHashMap::default();
        let mut inside: Vec<usize> = Vec::new();
        let mut at = 0;
        let mut changes = changes.into_iter().peekable();
        loop {
            while let Some((_, set)) = changes.next_if(|(place, _)| *place == at) {
                match inside.binary_search(&set) {
                    Ok(place) => drop(inside.remove(place)),
                    Err(place) => inside.insert(place, set),
                }
            }
            if at > end {
                break;
            }
            let next = known.len();
            let class = *known.entry(inside.clone()).or_insert(next);
            if class == next {
                classes.sets.push(inside.clone());
            }
            classes.ranges.push((at, class));
            match changes.peek() {
                Some((place, _)) => at = *place,
                None => break,
            }
        }
        classes
    }

    /// Where each range of addresses begins, in order, the first at 0; and its class. The classes are
    /// numbered from 0 in the order of their first addresses.
    #[must_use]
    pub fn list(&self) -> &[(u128, usize)] {
        &self.ranges
    }

    /// Of each class, the sets that it is in, in order.
    #[must_use]
    pub fn all(&self) -> &[Vec<usize>] {
        &self.sets
    }

    /// The class of an address.
    #[must_use]
    pub fn of(&self, address: u128) -> usize {
        let after = self.ranges.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).map_or(0, |(_, class)| *class)
    }

    /// The sets that a class is in.
    #[must_use]
    pub fn sets(&self, class: usize) -> &[usize] {
        self.sets.get(class).map_or(&[], Vec::as_slice)
    }

    /// The ranges of each class, with their first and last addresses.
    #[must_use]
    pub fn ranges(&self, family: Family) -> Vec<Vec<(u128, u128)>> {
        let mut all = vec![Vec::new(); self.sets.len()];
        for (index, (first, class)) in self.ranges.iter().enumerate() {
            let next = self.ranges.get(index + 1).map(|(first, _)| first - 1);
            if let Some(ranges) = all.get_mut(*class) {
                ranges.push((*first, next.unwrap_or(family.last())));
            }
        }
        all
    }
}
