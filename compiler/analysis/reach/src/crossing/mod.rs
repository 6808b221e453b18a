//! Combines what the sources' policies allow with what the destinations' policies allow.

mod dense;
mod sparse;

use crate::destinations::Destinations;
use crate::family::{Allowed, FamilyRows};
use crate::set::{FEW, GroupSet};
use crate::traffic::Sets;

/// Up to this many groups, debug builds compute the cells with both algorithms and compare them. Almost every
/// table in the tests is that small.
const COMPARED: usize = 500;

/// What is allowed to some groups, at least one.
pub(crate) type Cell = (Allowed, Destinations);

/// The cells between the groups of which these are the first members: for each source, its destinations.
pub(crate) fn cells<S: GroupSet>(
    families: &[FamilyRows<'_, '_, S>],
    firsts: &[u32],
    traffic: &mut Sets,
) -> Vec<Vec<Cell>> {
    let mut cells = if firsts.len() <= FEW {
        dense::cells(families, firsts, traffic)
    } else {
        sparse::cells(families, firsts, traffic)
    };
    let sort = |cells: &mut Vec<Cell>| cells.sort_unstable_by_key(|(_, groups)| groups.first());
    cells.iter_mut().for_each(sort);
    debug_assert!(
        firsts.len() > COMPARED || {
            let mut others = sparse::cells(families, firsts, traffic);
            others.iter_mut().for_each(sort);
            let list = |cells: &[Vec<Cell>]| -> Vec<Vec<(Allowed, Vec<usize>)>> {
                let of = |cells: &Vec<Cell>| {
                    cells.iter().map(|(own, groups)| (*own, groups.iter().collect())).collect()
                };
                cells.iter().map(of).collect()
            };
            list(&cells) == list(&others)
        }
    );
    cells
}

/// The position of each group in `chosen`.
fn places(chosen: &[u32]) -> Vec<Option<u32>> {
    let mut places = vec![None; chosen.iter().max().map_or(0, |last| *last as usize + 1)];
    for (group, at) in chosen.iter().zip(0..) {
        if let Some(place) = places.get_mut(*group as usize) {
            *place = Some(at);
        }
    }
    places
}
