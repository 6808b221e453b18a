//! Computes cells for few groups: all destinations of a source at once, with bit sets.

use smallvec::{SmallVec, smallvec};

use super::{Cell, places};
use crate::family::{Allowed, FamilyRows};
use crate::rows::RowId;
use crate::set::{GroupSet, set_of};
use crate::traffic::{Operation, SetId, Sets};

/// Disjoint sets of destinations, each with what applies to all of them.
type Parts<K, B> = SmallVec<[(K, B); 8]>;

/// The cells between the groups of which these are the first members.
pub(super) fn cells<S: GroupSet>(
    families: &[FamilyRows<'_, '_, S>],
    firsts: &[u32],
    traffic: &mut Sets,
) -> Vec<Vec<Cell>> {
    let all: S::OfFew = set_of((0..).zip(firsts).map(|(at, _)| at));
    let mut sides: Vec<Side<S::OfFew>> = families.iter().map(|family| Side::new(family, firsts)).collect();
    (0..firsts.len())
        .map(|source| {
            let mut cells: Vec<Cell> = Vec::with_capacity(16);
            let mut parts = sides.iter_mut().map(|side| side.parts(source, &all, traffic));
            let (v4, v6) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let some = |set: Option<SetId>| set.is_some_and(|set| set != Sets::NONE);
            cross(&v4, &v6, firsts.len(), |v4, v6, groups| {
                if some(v4) || some(v6) {
                    cells.push((Allowed { v4, v6 }, groups.into_groups()));
                }
            });
            cells
        })
        .collect()
}

/// The rows of one family, restricted to the chosen groups.
struct Side<B> {
    /// The egress and ingress row of each group that has the family.
    rows: Vec<Option<(RowId, RowId)>>,
    /// For each egress row in use, what it allows to which destinations.
    sent: Vec<Option<Parts<SetId, B>>>,
    /// For each ingress row in use, the groups that have it.
    takers: Vec<B>,
    /// For each source, what each of those ingress rows allows from it.
    taken: Vec<SetId>,
    /// The groups that have the family, and those of them that consist of pods.
    own: B,
    pods: B,
    /// For the current source: the destinations by what their ingress allows from it, and by what both sides
    /// allow.
    takes: BySet<B>,
    gives: BySet<B>,
}

/// Groups by set of traffic, each set once.
#[derive(Default)]
struct BySet<B> {
    parts: Parts<SetId, B>,
    /// The index in `parts` of each set.
    slots: Vec<Option<usize>>,
}

impl<B: GroupSet> BySet<B> {
    fn clear(&mut self) {
        for (set, _) in self.parts.drain(..) {
            if let Some(slot) = self.slots.get_mut(set.place()) {
                *slot = None;
            }
        }
    }

    fn add(&mut self, set: SetId, groups: &B) {
        if self.slots.len() <= set.place() {
            self.slots.resize(set.place() + 1, None);
        }
        let Some(slot) = self.slots.get_mut(set.place()) else { return };
        match slot.and_then(|slot| self.parts.get_mut(slot)) {
            Some((_, known)) => known.add(groups),
            None => {
                *slot = Some(self.parts.len());
                self.parts.push((set, groups.clone()));
            }
        }
    }
}

impl<B: GroupSet> Side<B> {
    fn new<S: GroupSet>(family: &FamilyRows<'_, '_, S>, chosen: &[u32]) -> Self {
        let places = places(chosen);
        let place = |group: u32| places.get(group as usize).copied().flatten();
        let mut side = Self {
            rows: chosen.iter().map(|group| family.of_group(*group)).collect(),
            sent: vec![None; family.rows.list.len()],
            takers: Vec::new(),
            taken: Vec::new(),
            own: B::default(),
            pods: B::default(),
            takes: BySet::default(),
            gives: BySet::default(),
        };
        // The index in `side.takers` of each ingress row.
        let mut takers: Vec<Option<usize>> = vec![None; family.rows.list.len()];
        for ((at, group), rows) in (0..).zip(chosen).zip(&side.rows) {
            let Some((egress, ingress)) = *rows else { continue };
            side.own.insert(at);
            if family.pods.contains(*group) {
                side.pods.insert(at);
            }
            if let Some(sent @ None) = side.sent.get_mut(egress) {
                let row = family.row(egress).iter();
                let here = row.map(|(set, groups)| (*set, set_of(groups.iter().filter_map(place))));
                *sent = Some(here.filter(|(_, groups): &(SetId, B)| !groups.is_empty()).collect());
            }
            let Some(taker) = takers.get_mut(ingress) else { continue };
            let own = *taker.get_or_insert_with(|| {
                side.takers.push(B::default());
                side.takers.len() - 1
            });
            if let Some(groups) = side.takers.get_mut(own) {
                groups.insert(at);
            }
        }
        let count = side.takers.len();
        side.taken.resize(chosen.len() * count, Sets::NONE);
        for (row, own) in takers.iter().enumerate().filter_map(|(row, own)| Some((row, (*own)?))) {
            for (set, groups) in family.row(row) {
                for at in groups.iter().filter_map(place) {
                    if let Some(cell) = side.taken.get_mut(at as usize * count + own) {
                        *cell = *set;
                    }
                }
            }
        }
        side
    }

    /// Partitions all groups by what a source may send to them: `None` if one of both does not have the
    /// family.
    fn parts(&mut self, source: usize, all: &B, traffic: &mut Sets) -> Parts<Option<SetId>, B> {
        let Some((egress, _)) = self.rows.get(source).copied().flatten() else {
            return smallvec![(None, all.clone())];
        };
        self.takes.clear();
        self.gives.clear();
        let count = self.takers.len();
        let taken = self.taken.get(source * count..(source + 1) * count).unwrap_or_default();
        for (takers, set) in self.takers.iter().zip(taken).filter(|(_, set)| **set != Sets::NONE) {
            self.takes.add(*set, takers);
        }
        // No policy decides between two addresses outside.
        let is_pod = self.pods.contains(u32::try_from(source).unwrap_or(u32::MAX));
        let mut rest = self.own.clone();
        let sent = self.sent.get(egress).and_then(Option::as_deref).unwrap_or_default();
        let gives = &mut self.gives;
        cross(sent, &self.takes.parts, self.rows.len(), |sent, taken, groups| {
            let set = traffic.apply(Operation::And, sent, taken);
            let groups = if is_pod { groups } else { groups.and(&self.pods) };
            if set != Sets::NONE && !groups.is_empty() {
                rest.take(&groups);
                gives.add(set, &groups);
            }
        });
        let mut parts: Parts<Option<SetId>, B> =
            gives.parts.iter().map(|(set, groups)| (Some(*set), groups.clone())).collect();
        if !rest.is_empty() {
            parts.push((Some(Sets::NONE), rest));
        }
        let mut others = all.clone();
        others.take(&self.own);
        if !others.is_empty() {
            parts.push((None, others));
        }
        parts
    }
}

/// Intersects two lists of disjoint parts of `count` groups, and reports each pair of parts with the groups
/// that they share. For each part of `one`, it either looks up every group or intersects with every part of
/// `other`, whichever is cheaper.
fn cross<K: Copy, L: Copy, B: GroupSet>(
    one: &[(K, B)],
    other: &[(L, B)],
    count: usize,
    mut found: impl FnMut(K, L, B),
) {
    // For each group, its part in the other list; filled on first use.
    let mut at_other: Vec<Option<u32>> = Vec::new();
    for (key, groups) in one {
        if groups.len() >= other.len() as u64 {
            for (other, others) in other {
                let shared = groups.and(others);
                if !shared.is_empty() {
                    found(*key, *other, shared);
                }
            }
            continue;
        }
        if at_other.is_empty() {
            at_other.resize(count, None);
            for ((_, others), at) in other.iter().zip(0..) {
                for group in others.iter() {
                    if let Some(place) = at_other.get_mut(group as usize) {
                        *place = Some(at);
                    }
                }
            }
        }
        let mut by_part: SmallVec<[(u32, u32); 16]> = groups
            .iter()
            .filter_map(|group| Some((at_other.get(group as usize).copied().flatten()?, group)))
            .collect();
        by_part.sort_unstable();
        for alike in by_part.chunk_by(|(a, _), (b, _)| a == b) {
            let part = alike.first().and_then(|(part, _)| other.get(*part as usize));
            if let Some((other, _)) = part {
                found(*key, *other, set_of(alike.iter().map(|(_, group)| *group)));
            }
        }
    }
}
