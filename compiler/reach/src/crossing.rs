//! What the sources' sides allow, crossed with what the destinations' sides allow.

use rustc_hash::FxHashMap;

use crate::matrix::OfFamily;
use crate::rows::RowId;
use crate::set::GroupSet;
use crate::traffic::{Operation, SetId, Sets};

/// Up to this many groups are crossed cell by cell: 16 MiB a family at most.
const DENSE: usize = 2048;

/// Of so many sets of traffic, what is in both of two is found without a hash: 2 MiB at most.
const KNOWN: usize = 512;

/// Finds the destinations of sources, in one family.
pub(crate) enum Crossing<'f, 'a, S> {
    Dense(Dense<'f, 'a, S>),
    Sparse(Sparse<'f, 'a, S>),
}

impl<'f, 'a, S: GroupSet> Crossing<'f, 'a, S> {
    /// Between the chosen groups.
    pub(crate) fn new(family: &'f OfFamily<'f, 'a, S>, chosen: &[u32]) -> Self {
        if chosen.len() <= DENSE {
            Self::Dense(Dense::new(family, chosen))
        } else {
            Self::Sparse(Sparse::new(family, chosen))
        }
    }

    /// Calls `found` with the place, among the chosen, of each that a source may send to, and what.
    pub(crate) fn destinations(&mut self, source: u32, traffic: &mut Sets, found: impl FnMut(u32, SetId)) {
        match self {
            Self::Dense(dense) => dense.destinations(source, traffic, found),
            Self::Sparse(sparse) => sparse.destinations(source, traffic, found),
        }
    }
}

/// Whether both ways of crossing come to the same. It is asked where assertions are on: in every test
/// that makes a table, of which few are large.
pub(crate) fn agree<S: GroupSet>(family: &OfFamily<'_, '_, S>, chosen: &[u32], traffic: &mut Sets) -> bool {
    let (mut dense, sparse) = (Dense::new(family, chosen), Sparse::new(family, chosen));
    chosen.iter().all(|source| {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        dense.destinations(*source, traffic, |at, set| a.push((at, set)));
        sparse.destinations(*source, traffic, |at, set| b.push((at, set)));
        b.sort_unstable();
        a == b
    })
}

/// Where each group stands among the chosen.
fn places(chosen: &[u32]) -> Vec<Option<u32>> {
    let mut places = vec![None; chosen.iter().max().map_or(0, |last| *last as usize + 1)];
    for (group, at) in chosen.iter().zip(0..) {
        if let Some(place) = places.get_mut(*group as usize) {
            *place = Some(at);
        }
    }
    places
}

/// For few groups: each row as an array, with a cell for each group.
pub(crate) struct Dense<'f, 'a, S> {
    family: &'f OfFamily<'f, 'a, S>,
    /// Of each chosen group, whether it is of pods, and by which row it takes.
    takers: Vec<(bool, Option<RowId>)>,
    /// Of each row by which some chosen group sends, what it sends to each chosen group.
    sent: Vec<Option<Box<[SetId]>>>,
    /// Of each chosen group, what it may send by each row.
    taken: Vec<Box<[SetId]>>,
    places: Vec<Option<u32>>,
    /// What is in both of two sets, where that has been asked.
    both: Vec<Vec<Option<SetId>>>,
}

impl<'f, 'a, S: GroupSet> Dense<'f, 'a, S> {
    fn new(family: &'f OfFamily<'f, 'a, S>, chosen: &[u32]) -> Self {
        let places = places(chosen);
        let place = |group: u32| places.get(group as usize).copied().flatten();
        let rows = family.rows.list.len();
        let mut sent: Vec<Option<Box<[SetId]>>> = vec![None; rows];
        let mut taken = vec![vec![Sets::NONE; rows].into_boxed_slice(); chosen.len()];
        let mut takers = Vec::with_capacity(chosen.len());
        let mut seen = vec![false; rows];
        for group in chosen {
            let Some((egress, ingress)) = family.of_group(*group) else {
                takers.push((false, None));
                continue;
            };
            takers.push((family.pods.contains(*group), Some(ingress)));
            if let Some(sent @ None) = sent.get_mut(egress) {
                let mut row = vec![Sets::NONE; chosen.len()].into_boxed_slice();
                for (set, groups) in family.row(egress) {
                    for at in groups.iter().filter_map(place) {
                        if let Some(cell) = row.get_mut(at as usize) {
                            *cell = *set;
                        }
                    }
                }
                *sent = Some(row);
            }
            if seen.get(ingress).is_some_and(|seen| !seen) {
                if let Some(seen) = seen.get_mut(ingress) {
                    *seen = true;
                }
                for (set, groups) in family.row(ingress) {
                    for at in groups.iter().filter_map(place) {
                        if let Some(cell) = taken.get_mut(at as usize).and_then(|row| row.get_mut(ingress)) {
                            *cell = *set;
                        }
                    }
                }
            }
        }
        Self { family, takers, sent, taken, places, both: Vec::new() }
    }

    fn destinations(&mut self, source: u32, traffic: &mut Sets, mut found: impl FnMut(u32, SetId)) {
        let Some((egress, _)) = self.family.of_group(source) else { return };
        let Some(at) = self.places.get(source as usize).copied().flatten() else { return };
        let Some(taken) = self.taken.get(at as usize) else { return };
        let Some(sent) = self.sent.get(egress).and_then(Option::as_deref) else { return };
        let source_is_pod = self.takers.get(at as usize).is_some_and(|(is_pod, _)| *is_pod);
        for ((sent, (is_pod, ingress)), at) in sent.iter().zip(&self.takers).zip(0..) {
            if *sent == Sets::NONE || !(source_is_pod || *is_pod) {
                continue;
            }
            let Some(taken) = ingress.and_then(|row| taken.get(row)) else { continue };
            let set = both(&mut self.both, traffic, *sent, *taken);
            if set != Sets::NONE {
                found(at, set);
            }
        }
    }
}

/// What is in both sets.
fn both(known: &mut Vec<Vec<Option<SetId>>>, traffic: &mut Sets, a: SetId, b: SetId) -> SetId {
    if let Some(Some(set)) = known.get(a.place()).and_then(|row| row.get(b.place())) {
        return *set;
    }
    let set = traffic.apply(Operation::And, a, b);
    if a.place().max(b.place()) > KNOWN {
        return set;
    }
    if known.len() <= a.place() {
        known.resize(a.place() + 1, Vec::new());
    }
    if let Some(row) = known.get_mut(a.place()) {
        if row.len() <= b.place() {
            row.resize(b.place() + 1, None);
        }
        if let Some(cell) = row.get_mut(b.place()) {
            *cell = Some(set);
        }
    }
    set
}

/// For many groups, most of which do not talk.
pub(crate) struct Sparse<'f, 'a, S> {
    family: &'f OfFamily<'f, 'a, S>,
    places: Vec<Option<u32>>,
    /// What the rows of the chosen sources allow, as far as it goes to chosen groups.
    sent: FxHashMap<RowId, Vec<(SetId, S)>>,
    /// The groups that take by each row.
    takers: FxHashMap<RowId, S>,
    /// The rows by which a source may send, where those are few sources.
    by_source: FxHashMap<u32, Vec<(RowId, SetId)>>,
    /// The other rows.
    broad: Vec<RowId>,
}

impl<'f, 'a, S: GroupSet> Sparse<'f, 'a, S> {
    fn new(family: &'f OfFamily<'f, 'a, S>, chosen: &[u32]) -> Self {
        let places = places(chosen);
        let mut all = S::default();
        chosen.iter().for_each(|group| all.insert(*group));
        let chosen = &all;
        let mut takers: FxHashMap<RowId, S> = FxHashMap::default();
        for group in chosen.iter() {
            if let Some((_, ingress)) = family.of_group(group) {
                takers.entry(ingress).or_default().insert(group);
            }
        }
        let mut sent: FxHashMap<RowId, Vec<(SetId, S)>> = FxHashMap::default();
        for (egress, _) in chosen.iter().filter_map(|group| family.of_group(group)) {
            sent.entry(egress).or_insert_with(|| {
                family.row(egress).iter().map(|(set, groups)| (*set, groups.and(chosen))).collect()
            });
        }
        let mut by_source: FxHashMap<u32, Vec<(RowId, SetId)>> = FxHashMap::default();
        let mut broad = Vec::new();
        for row in takers.keys() {
            let parts = family.row(*row);
            let sources: u64 = parts.iter().map(|(_, groups)| groups.len()).sum();
            if sources * 4 > chosen.len() {
                broad.push(*row);
                continue;
            }
            for (set, groups) in parts {
                for source in groups.and(chosen).iter() {
                    by_source.entry(source).or_default().push((*row, *set));
                }
            }
        }
        Self { family, places, sent, takers, by_source, broad }
    }

    fn destinations(&self, source: u32, traffic: &mut Sets, mut found: impl FnMut(u32, SetId)) {
        let Some((egress, _)) = self.family.of_group(source) else { return };
        let mut found = |group: u32, set: SetId| {
            if let Some(at) = self.places.get(group as usize).copied().flatten() {
                found(at, set);
            }
        };
        let is_pod = |group: u32| self.family.pods.contains(group);
        let broad = self.broad.iter().filter_map(|row| Some((*row, part_of(self.family.row(*row), source)?)));
        let takes: Vec<(RowId, SetId)> =
            self.by_source.get(&source).into_iter().flatten().copied().chain(broad).collect();
        for (sent, groups) in self.sent.get(&egress).into_iter().flatten() {
            if groups.len() < takes.len() as u64 {
                for destination in groups.iter() {
                    let Some((_, ingress)) = self.family.of_group(destination) else { continue };
                    let Some(taken) = part_of(self.family.row(ingress), source) else { continue };
                    let set = traffic.apply(Operation::And, *sent, taken);
                    if set != Sets::NONE && (is_pod(source) || is_pod(destination)) {
                        found(destination, set);
                    }
                }
                continue;
            }
            for (row, taken) in &takes {
                let set = traffic.apply(Operation::And, *sent, *taken);
                let Some(takers) = self.takers.get(row).filter(|_| set != Sets::NONE) else { continue };
                for destination in groups.and(takers).iter() {
                    if is_pod(source) || is_pod(destination) {
                        found(destination, set);
                    }
                }
            }
        }
    }
}

fn part_of<S: GroupSet>(row: &[(SetId, S)], group: u32) -> Option<SetId> {
    row.iter().find(|(_, groups)| groups.contains(group)).map(|(set, _)| *set)
}
