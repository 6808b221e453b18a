//! Classes of addresses: a class contains addresses that no rule of a program tells apart.

use rustc_hash::FxHashMap;

use crate::addresses::{Addresses, Family};

/// The classes of the addresses of one family. All addresses of a class are in the same [sets](AddressSets).
#[derive(Debug)]
pub struct Classes {
    /// The first address and the class of each range, sorted. The first range begins at 0.
    ranges: Vec<(u128, usize)>,
    /// For each class, the indices of the sets that contain it.
    sets: Vec<Vec<usize>>,
}

/// The distinct sets of addresses that the rules name.
#[derive(Debug)]
pub struct AddressSets<'e> {
    /// The sets.
    pub list: Vec<&'e Addresses>,
    /// The set of each rule, as an index of `list`.
    pub of_rule: Vec<usize>,
}

impl<'e> AddressSets<'e> {
    /// Collects the sets of the rules that have these addresses.
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

    /// The indices of the sets that contain the address of a pod whose address is not known.
    #[must_use]
    pub fn of_unknown(&self) -> Vec<usize> {
        self.list.iter().enumerate().filter(|(_, set)| set.contain(None)).map(|(index, _)| index).collect()
    }
}

impl Classes {
    /// Computes the classes of a family.
    #[must_use]
    pub fn new(sets: &AddressSets<'_>, family: Family) -> Self {
        let ranges = sets.list.iter().enumerate().flat_map(|(index, set)| {
            set.ranges(family).iter().map(move |(first, last)| (index, *first, *last))
        });
        Self::of_ranges(ranges, family.last())
    }

    /// Computes the classes of the numbers from 0 to `end`. Each element of `ranges` is the index of a set,
    /// and the first and the last number of one of its ranges. The ranges of one set must not overlap.
    #[must_use]
    pub fn of_ranges(ranges: impl Iterator<Item = (usize, u128, u128)>, end: u128) -> Self {
        // The numbers at which a set begins or has ended.
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

    /// The first address and the class of each range, sorted. The first range begins at 0. The classes are
    /// numbered from 0 in the order of their first addresses.
    #[must_use]
    pub fn list(&self) -> &[(u128, usize)] {
        &self.ranges
    }

    /// For each class, the indices of the sets that contain it, sorted.
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

    /// The indices of the sets that contain a class, sorted.
    #[must_use]
    pub fn sets(&self, class: usize) -> &[usize] {
        self.sets.get(class).map_or(&[], Vec::as_slice)
    }

    /// The ranges of each class: their first and last addresses.
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
