//! Addresses that no rule of a program tells apart.

use npc_model::{Addresses, Evaluator, Family};
use rustc_hash::FxHashMap;

/// What the rules of a program make of the addresses of a family: each class of addresses is in the
/// same of the [`Sets`](AddressSets).
pub(crate) struct Classes {
    /// Where each range begins, in order, the first at 0; and its class.
    ranges: Vec<(u128, usize)>,
    /// Of each class, the sets that it is in.
    sets: Vec<Vec<usize>>,
}

/// The sets of addresses that the rules name, each once.
pub(crate) struct AddressSets<'e> {
    pub(crate) list: Vec<&'e Addresses>,
    /// The set of each rule.
    pub(crate) of_rule: Vec<usize>,
}

impl<'e> AddressSets<'e> {
    pub(crate) fn new(evaluator: &'e Evaluator<'_>) -> Self {
        let mut list = Vec::new();
        let mut known: FxHashMap<&Addresses, usize> = FxHashMap::default();
        let of_rule = evaluator
            .rules()
            .iter()
            .map(|rule| {
                *known.entry(&rule.addresses).or_insert_with(|| {
                    list.push(&rule.addresses);
                    list.len() - 1
                })
            })
            .collect();
        Self { list, of_rule }
    }

    /// The sets in which the address of a pod is of which none is known.
    pub(crate) fn of_unknown(&self) -> Vec<usize> {
        self.list.iter().enumerate().filter(|(_, set)| set.contain(None)).map(|(index, _)| index).collect()
    }
}

impl Classes {
    pub(crate) fn new(sets: &AddressSets<'_>, family: Family) -> Self {
        // Where a set begins and ends.
        let mut changes: Vec<(u128, usize)> = Vec::new();
        for (index, set) in sets.list.iter().enumerate() {
            for (first, last) in set.ranges(family) {
                changes.push((*first, index));
                changes.extend(last.checked_add(1).map(|after| (after, index)));
            }
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
            if at > family.last() {
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

    pub(crate) fn len(&self) -> usize {
        self.sets.len()
    }

    /// The class of an address.
    pub(crate) fn of(&self, address: u128) -> usize {
        let after = self.ranges.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).map_or(0, |(_, class)| *class)
    }

    /// The sets that a class is in.
    pub(crate) fn sets(&self, class: usize) -> &[usize] {
        self.sets.get(class).map_or(&[], Vec::as_slice)
    }

    /// The ranges of each class, with their first and last addresses.
    pub(crate) fn ranges(&self, family: Family) -> Vec<Vec<(u128, u128)>> {
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
