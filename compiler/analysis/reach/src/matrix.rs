//! The table of all groups against all groups.

use std::net::IpAddr;

use npc_cluster::Cluster;
use npc_model::{AddressSets, Classes, Evaluator, Family, number};
use npc_program::Program;
use npc_vocabulary::Endpoint;
use roaring::RoaringBitmap;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::crossing::{Cell, cells};
use crate::describe::{Census, Members, outside_members, pods_members};
pub use crate::family::Allowed;
use crate::family::FamilyRows;
use crate::groups::{AddressClass, Groups};
use crate::partition::Partition;
use crate::rows::{Rows, ports_of};
use crate::set::{FEW, GroupSet, Words};
use crate::traffic::{SetId, Sets, TrafficSet};

/// Who can reach whom.
pub struct Reach<'c> {
    /// The cluster.
    pub cluster: &'c Cluster,
    /// The groups: first those of pods, by namespace and name of their first pod, then those of addresses
    /// outside.
    pub groups: Vec<Group>,
    /// For each source group, what it may send to which destinations. The destinations of its cells are
    /// disjoint; connections to all other groups are denied.
    pub allowed: Vec<Vec<Cell>>,
    traffic: Vec<TrafficSet>,
}

/// Pods, or addresses, with the same connections.
pub struct Group {
    /// The members as text, with selectors that select exactly them.
    pub members: Members,
    /// The pods by index in the cluster; empty for addresses outside.
    pub pods: Vec<usize>,
    /// The ranges of addresses outside, first and last.
    pub addresses: Vec<(IpAddr, IpAddr)>,
}

impl<'c> Reach<'c> {
    /// Computes the table of a program in a cluster.
    #[must_use]
    pub fn new(program: &Program, cluster: &'c Cluster) -> Self {
        let evaluator = Evaluator::new(program, cluster);
        let sets = AddressSets::new(evaluator.rules().iter().map(|rule| &rule.addresses));
        let classes = [Family::V4, Family::V6].map(|family| Classes::new(&sets, family));
        let groups = Groups::new(&evaluator, cluster, &sets, &classes);
        let of = match groups.list.len() {
            few if Words::<2>::fits(few) => Self::of_groups::<Words<2>>,
            few if Words::<4>::fits(few) => Self::of_groups::<Words<4>>,
            few if Words::<8>::fits(few) => Self::of_groups::<Words<8>>,
            few if few <= FEW => Self::of_groups::<Words<32>>,
            _ => Self::of_groups::<RoaringBitmap>,
        };
        of(&evaluator, cluster, &sets, &classes, &groups)
    }

    fn of_groups<S: GroupSet>(
        evaluator: &Evaluator<'_>,
        cluster: &'c Cluster,
        sets: &AddressSets<'_>,
        classes: &[Classes; 2],
        groups: &Groups,
    ) -> Self {
        let mut traffic = Sets::new();
        let ports_of = ports_of(evaluator, &mut traffic);
        let mut families = Vec::new();
        for (index, classes) in classes.iter().enumerate() {
            let rows: Rows<'_, '_, S> =
                Rows::new(evaluator, cluster, groups, sets, classes, index, &ports_of);
            families.push(FamilyRows::new(rows, groups, &mut traffic));
        }
        let is_outside =
            |index: u32| groups.list.get(index as usize).is_none_or(|group| group.pods.is_empty());
        let mut partition = Partition::new((0..).zip(&groups.list).map(|(index, group)| {
            let rows: SmallVec<[_; 2]> = families.iter().map(|family| family.of_group(index)).collect();
            (
                is_outside(index),
                group.address_class.map(|address_class| address_class == AddressClass::Nowhere),
                rows,
            )
        }));
        for family in &families {
            for (_, set) in family.rows.list.iter().flatten() {
                partition.split(set, &family.rows.all);
            }
        }
        let mut blocks = partition.blocks();
        // Outside addresses of a family that no pod has are left out.
        blocks.retain(|block| {
            let first = block.first().copied().unwrap_or(0);
            !is_outside(first)
                || families.iter().any(|family| !family.pods.is_empty() && family.rows.all.contains(first))
        });
        let mut members: Vec<(bool, Vec<usize>, Vec<u32>)> = blocks
            .into_iter()
            .map(|block| {
                let mut pods: Vec<usize> = block
                    .iter()
                    .filter_map(|group| groups.list.get(*group as usize))
                    .flat_map(|group| group.pods.iter().copied())
                    .collect();
                pods.sort_unstable();
                (pods.is_empty(), pods, block)
            })
            .collect();
        members.sort();
        let firsts: Vec<u32> = members.iter().filter_map(|(_, _, block)| block.first().copied()).collect();
        let allowed = cells(&families, &firsts, &mut traffic);
        let ranges = [Family::V4, Family::V6]
            .into_iter()
            .zip(classes)
            .map(|(family, classes)| classes.ranges(family))
            .collect::<Vec<_>>();
        let outside: Vec<Vec<(IpAddr, IpAddr)>> = members
            .iter()
            .map(|(_, pods, block)| {
                let groups = block.iter().filter_map(|group| groups.list.get(*group as usize));
                let own = groups.filter(|_| pods.is_empty());
                own.flat_map(|group| outside_ranges(&group.address_class, &ranges)).collect()
            })
            .collect();
        let census = Census::new(cluster);
        // For each family, the number of classes and the size of the largest.
        let mut classes_of: FxHashMap<Family, (usize, u128)> = FxHashMap::default();
        for own in &outside {
            if let Some((first, _)) = own.first() {
                let (count, most) = classes_of.entry(Family::of(*first)).or_default();
                *count += 1;
                *most = (*most).max(addresses_in(own));
            }
        }
        let list = members
            .into_iter()
            .zip(outside)
            .map(|((_, pods, _), addresses)| {
                let members = match addresses.first() {
                    None => pods_members(cluster, &pods, &census),
                    Some((first, _)) => {
                        let (count, most) = classes_of.get(&Family::of(*first)).copied().unwrap_or_default();
                        outside_members(cluster, &addresses, count, addresses_in(&addresses) == most)
                    }
                };
                Group { members, pods, addresses }
            })
            .collect();
        Self { cluster, groups: list, allowed, traffic: traffic.into_list() }
    }

    /// The traffic that a cell allows: once for both families if it is equal, otherwise for each that both
    /// groups have.
    #[must_use]
    pub fn traffic(&self, allowed: Allowed) -> Vec<(Option<Family>, &TrafficSet)> {
        let set = |id: Option<SetId>| id.and_then(|id| self.traffic.get(id.place()));
        match (set(allowed.v4), set(allowed.v6)) {
            (Some(v4), Some(v6)) if v4 == v6 => vec![(None, v4)],
            (Some(v4), Some(v6)) => vec![(Some(Family::V4), v4), (Some(Family::V6), v6)],
            (Some(only), None) | (None, Some(only)) => vec![(None, only)],
            (None, None) => Vec::new(),
        }
    }

    /// What is allowed from one group to another, by index.
    #[must_use]
    pub fn cell(&self, source: usize, destination: usize) -> Option<Allowed> {
        let cells = self.allowed.get(source)?;
        cells.iter().find(|(_, groups)| groups.contains(destination)).map(|(allowed, _)| *allowed)
    }

    /// An end of a connection from or to a group, in a family: a pod of the group, or its first address.
    #[must_use]
    pub fn endpoint(&self, group: usize, family: Family, member: usize) -> Option<Endpoint<'c>> {
        let group = self.groups.get(group)?;
        match group.pods.get(member) {
            Some(place) => {
                let pod = self.cluster.pods.get(*place)?;
                let own = pod.addresses.iter().copied().find(|address| Family::of(*address) == family);
                if own.is_none() && !pod.addresses.is_empty() {
                    return None;
                }
                self.cluster.endpoint(*place, own)
            }
            None => {
                let (first, _) = group.addresses.iter().find(|(first, _)| Family::of(*first) == family)?;
                Some(Endpoint::Outside(*first))
            }
        }
    }

    /// Whether a group consists of addresses outside.
    #[must_use]
    pub fn is_outside(&self, group: usize) -> bool {
        self.groups.get(group).is_some_and(|group| group.pods.is_empty())
    }

    /// Whether a group consists of one pod. Its connections with itself are not part of the table.
    #[must_use]
    pub fn is_single(&self, group: usize) -> bool {
        self.groups.get(group).is_some_and(|group| group.pods.len() == 1)
    }
}

/// The number of addresses in ranges, minus one for each range.
fn addresses_in(ranges: &[(IpAddr, IpAddr)]) -> u128 {
    ranges.iter().fold(0, |sum: u128, (first, last)| sum.saturating_add(number(*last) - number(*first)))
}

fn outside_ranges(
    address_class: &[AddressClass; 2],
    ranges: &[Vec<Vec<(u128, u128)>>],
) -> Vec<(IpAddr, IpAddr)> {
    let mut all = Vec::new();
    for (index, (address_class, of_family)) in address_class.iter().zip(ranges).enumerate() {
        let AddressClass::In(class) = address_class else { continue };
        let address = |bits: u128| match u32::try_from(bits) {
            Ok(bits) if index == 0 => IpAddr::V4(bits.into()),
            _ => IpAddr::V6(bits.into()),
        };
        let own = of_family.get(*class).into_iter().flatten();
        all.extend(own.map(|(first, last)| (address(*first), address(*last))));
    }
    all
}
