//! Computes cells for many groups, most of which have no connections: by the pairs that have some.

use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;

use super::{Cell, places};
use crate::family::{Allowed, FamilyRows};
use crate::rows::RowId;
use crate::set::{GroupSet, set_of};
use crate::traffic::{Operation, SetId, Sets};

/// The cells between the groups of which these are the first members.
pub(super) fn cells<S: GroupSet>(
    families: &[FamilyRows<'_, '_, S>],
    firsts: &[u32],
    traffic: &mut Sets,
) -> Vec<Vec<Cell>> {
    let sides: Vec<Sparse<'_, '_, S>> = families.iter().map(|family| Sparse::new(family, firsts)).collect();
    let mut found: Vec<[Option<SetId>; 2]> = vec![[None; 2]; firsts.len()];
    let mut touched: Vec<u32> = Vec::new();
    firsts
        .iter()
        .map(|source| {
            for (index, family) in sides.iter().enumerate() {
                family.destinations(*source, traffic, |at, set| {
                    if let Some(cell) = found.get_mut(at as usize) {
                        if *cell == [None; 2] {
                            touched.push(at);
                        }
                        if let Some(own) = cell.get_mut(index) {
                            *own = Some(set);
                        }
                    }
                });
            }
            let mut by_allowed: Vec<(Allowed, u32)> = Vec::with_capacity(touched.len());
            for at in touched.drain(..) {
                let Some(cell) = found.get_mut(at as usize) else { continue };
                let sets = std::mem::take(cell);
                let destination = firsts.get(at as usize).copied().unwrap_or(0);
                // `NONE` if both groups have the family and nothing is allowed, `None` if one of them does
                // not have it.
                let mut sets = sets.into_iter().zip(families).map(|(set, family)| {
                    set.or_else(|| {
                        let is_spoken = family.of_group(*source).and(family.of_group(destination));
                        is_spoken.map(|_| Sets::NONE)
                    })
                });
                let (v4, v6) = (sets.next().flatten(), sets.next().flatten());
                by_allowed.push((Allowed { v4, v6 }, at));
            }
            by_allowed.sort_unstable();
            let alike = by_allowed.chunk_by(|(a, _), (b, _)| a == b);
            alike
                .filter_map(|cells| {
                    let groups = RoaringBitmap::from_sorted_iter(cells.iter().map(|(_, at)| *at)).ok()?;
                    Some((cells.first()?.0, groups.into_groups()))
                })
                .collect()
        })
        .collect()
}

/// The rows of one family, restricted to the chosen groups.
struct Sparse<'f, 'a, S> {
    family: &'f FamilyRows<'f, 'a, S>,
    places: Vec<Option<u32>>,
    /// What the egress rows of the chosen groups allow to chosen groups.
    sent: FxHashMap<RowId, Vec<(SetId, S)>>,
    /// The groups that have each ingress row.
    takers: FxHashMap<RowId, S>,
    /// For each source, the ingress rows that allow something from it; only rows with few sources.
    by_source: FxHashMap<u32, Vec<(RowId, SetId)>>,
    /// The ingress rows with many sources: more than a quarter of the groups.
    broad: Vec<RowId>,
}

impl<'f, 'a, S: GroupSet> Sparse<'f, 'a, S> {
    fn new(family: &'f FamilyRows<'f, 'a, S>, chosen: &[u32]) -> Self {
        let places = places(chosen);
        let chosen: &S = &set_of(chosen.iter().copied());
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
