//! A trie from addresses to values that the kernel program walks in few steps.
//!
//! The first two bytes of an address select a cell of the root. After that, a branch consumes one byte, and a
//! comparison either skips the bytes that all addresses below share, or separates a CIDR from the range
//! around it. A CIDR therefore takes one comparison instead of a branch. A lookup takes at most one step for
//! each byte after the first two, regardless of the number of CIDRs.

use std::collections::BTreeMap;

use crate::changes::Change;

/// The number of cells in a branch.
pub(crate) const FAN: usize = 256;

/// The number of branches in the root of a family: one for each first byte. The second byte selects the cell.
/// The branches of IPv4 come first.
pub(crate) const ROOT: usize = 256;

/// The bits that hold the type of a cell.
const TAG: u32 = 0b11 << 30;
/// The cell contains the value.
const VALUE: u32 = 0;
/// The cell refers to a branch: its number, and the byte that it consumes.
const BRANCH: u32 = 0b01 << 30;
/// The cell refers to a comparison: its number.
pub(crate) const COMPARE: u32 = 0b10 << 30;

/// For a branch: the byte is in the lower half of the address.
const LOWER: u32 = 0b10 << 30;
/// For a branch: the position of the byte in its half, as a number of bits to shift right. The kernel program
/// can shift by the whole cell, because a shift uses only the lowest six bits.
const SHIFT: u32 = 63;
/// The position and the mask of a branch's number.
const NUMBER_AT: u32 = 6;
const NUMBER: u32 = (1 << 24) - 1;

/// Encodes a cell that refers to a branch which consumes the given byte of an address. Bytes are numbered
/// from 0.
const fn branch(number: u32, byte: u32) -> u32 {
    let half = if byte < 8 { 0 } else { LOWER };
    BRANCH | half | (number << NUMBER_AT) | ((7 - (byte & 7)) * 8)
}

/// The byte that a branch consumes.
const fn byte_of(cell: u32) -> u32 {
    let half = if cell & LOWER == 0 { 0 } else { 8 };
    half + 7 - (cell & SHIFT) / 8
}

const fn number_of(cell: u32) -> u32 {
    (cell >> NUMBER_AT) & NUMBER
}

/// The target of a cell, by number.
pub(crate) enum Referred {
    Class(u32),
    Branch(u32),
    Comparison(u32),
}

pub(crate) const fn referred(cell: u32) -> Referred {
    match cell & TAG {
        VALUE => Referred::Class(cell),
        COMPARE => Referred::Comparison(cell & !TAG),
        _ => Referred::Branch(number_of(cell)),
    }
}

/// An address family. Addresses are stored as 128 bits; IPv4 addresses occupy the upper 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    const fn root(self) -> u32 {
        match self {
            Self::V4 => 0,
            Self::V6 => ROOT as u32,
        }
    }

    /// The maximum number of steps of a lookup: each step examines at least one byte after the first two that
    /// no earlier step has examined. The kernel program uses the same limit.
    const fn steps(self) -> u32 {
        self.bits() / 8 - 2
    }

    /// The number of bits in an address.
    const fn bits(self) -> u32 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// A comparison: continues with cell `yes` if `key & mask == prefix`, and with `no` otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compare {
    /// The bits that are compared.
    pub mask: u128,
    /// The expected value of these bits.
    pub prefix: u128,
    /// The cell if they match.
    pub yes: u32,
    /// The cell if they do not match.
    pub no: u32,
}

/// The trie for both families.
#[derive(Debug)]
pub struct Trie {
    branches: Vec<[u32; FAN]>,
    compares: Vec<Compare>,
    free_branches: Vec<u32>,
    free_compares: Vec<u32>,
    /// Cells that are no longer referenced, but that a concurrent reader may still use.
    left: Vec<u32>,
    families: [Content; 2],
}

/// The content of one family's part.
#[derive(Debug, Default)]
struct Content {
    /// The ranges: the first address of each, in ascending order, and its value.
    ranges: Vec<(u128, u32)>,
    /// Single addresses that have a value of their own.
    hosts: BTreeMap<u128, u32>,
}

/// A block of addresses that share their first `bytes` bytes.
#[derive(Clone, Copy)]
struct Block {
    first: u128,
    bytes: u32,
}

impl Block {
    const fn last(self) -> u128 {
        match u128::MAX.checked_shr(self.bytes * 8) {
            Some(rest) => self.first | rest,
            None => self.first,
        }
    }

    const fn child(self, byte: u8) -> Self {
        let shift = 120 - self.bytes * 8;
        Self { first: self.first | (byte as u128) << shift, bytes: self.bytes + 1 }
    }
}

const fn byte(key: u128, at: u32) -> u8 {
    (key >> (120 - at * 8)) as u8
}

impl Trie {
    /// Builds the trie from ranges: for each family the first address of each, in ascending order from 0, and
    /// its value.
    #[must_use]
    pub fn new(v4: impl Iterator<Item = (u32, u32)>, v6: impl Iterator<Item = (u128, u32)>) -> Self {
        let v4 = Content {
            ranges: v4.map(|(first, value)| (u128::from(first) << 96, value)).collect(),
            hosts: BTreeMap::new(),
        };
        let v6 = Content { ranges: v6.collect(), hosts: BTreeMap::new() };
        let mut trie = Self {
            branches: vec![[0; FAN]; 2 * ROOT],
            compares: Vec::new(),
            free_branches: Vec::new(),
            free_compares: Vec::new(),
            left: Vec::new(),
            families: [v4, v6],
        };
        for family in [Family::V4, Family::V6] {
            for first in 0..=u8::MAX {
                for second in 0..=u8::MAX {
                    let block = Block { first: 0, bytes: 0 }.child(first).child(second);
                    let cell = trie.build(family, block, &mut Vec::new());
                    trie.set(family.root() + u32::from(first), second, cell);
                }
            }
        }
        trie
    }

    /// The branches, each with one cell for every byte value.
    #[must_use]
    pub fn branches(&self) -> &[[u32; FAN]] {
        &self.branches
    }

    /// The comparisons.
    #[must_use]
    pub fn compares(&self) -> &[Compare] {
        &self.compares
    }

    /// Looks up the value of an address.
    #[must_use]
    pub fn get(&self, family: Family, key: u128) -> u32 {
        let mut cell = self.first(family, key);
        for _ in 0..family.steps() {
            match self.step(cell, key) {
                Some(next) => cell = next,
                None => return cell,
            }
        }
        // Values are never further away. The kernel program returns the same if one is.
        if cell & TAG == VALUE { cell } else { 0 }
    }

    /// Returns the cell in the root that the first two bytes of an address select.
    fn first(&self, family: Family, key: u128) -> u32 {
        self.cell(family.root() + u32::from(byte(key, 0)), byte(key, 1))
    }

    /// Returns the next cell, or `None` if the cell is a value.
    fn step(&self, cell: u32, key: u128) -> Option<u32> {
        match referred(cell) {
            Referred::Branch(number) => Some(self.cell(number, byte(key, byte_of(cell)))),
            Referred::Comparison(number) => {
                let compare = self.compare(number);
                Some(if key & compare.mask == compare.prefix { compare.yes } else { compare.no })
            }
            Referred::Class(_) => None,
        }
    }

    /// Sets or removes the value of a single address. Changes are recorded so that new parts are written
    /// before the one cell that refers to them.
    pub fn set_host(&mut self, family: Family, key: u128, value: Option<u32>, changes: &mut Vec<Change>) {
        let Some(content) = self.families.get_mut(family as usize) else { return };
        let before = match value {
            Some(value) => content.hosts.insert(key, value),
            None => content.hosts.remove(&key),
        };
        if before == value {
            return;
        }
        // Find the last branch on the path to the address, and its cell.
        let mut block = Block { first: 0, bytes: 0 }.child(byte(key, 0)).child(byte(key, 1));
        let (mut branch, mut at) = (family.root() + u32::from(byte(key, 0)), byte(key, 1));
        let mut cell = self.cell(branch, at);
        loop {
            match referred(cell) {
                Referred::Branch(number) => {
                    let taken = byte_of(cell);
                    // The bytes that a comparison skipped equal the address's own.
                    let shift = 128 - taken * 8;
                    let first = key.checked_shr(shift).map_or(0, |kept| kept << shift);
                    block = Block { first, bytes: taken }.child(byte(key, taken));
                    (branch, at) = (number, byte(key, taken));
                    cell = self.cell(branch, at);
                }
                Referred::Comparison(number) => {
                    let compare = self.compare(number);
                    let is_branch = matches!(referred(compare.yes), Referred::Branch(_));
                    if key & compare.mask != compare.prefix || !is_branch {
                        break;
                    }
                    cell = compare.yes;
                }
                Referred::Class(_) => break,
            }
        }
        let old = self.cell(branch, at);
        let new = self.build(family, block, changes);
        self.set(branch, at, new);
        changes.push(Change::Branch { number: branch, cell: at });
        self.free(old);
    }

    /// Makes unreferenced parts available again. Call it only when no reader can use them any more: all
    /// changes so far have been written, and the packets that were being evaluated at that time are finished.
    pub fn recycle(&mut self) {
        for cell in self.left.drain(..) {
            match referred(cell) {
                Referred::Branch(number) => self.free_branches.push(number),
                Referred::Comparison(number) => self.free_compares.push(number),
                Referred::Class(_) => {}
            }
        }
    }

    fn cell(&self, branch: u32, at: u8) -> u32 {
        let cells = self.branches.get(branch as usize);
        cells.and_then(|cells| cells.get(usize::from(at))).copied().unwrap_or(0)
    }

    fn compare(&self, number: u32) -> Compare {
        self.compares.get(number as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, branch: u32, at: u8, cell: u32) {
        let cells = self.branches.get_mut(branch as usize);
        if let Some(place) = cells.and_then(|cells| cells.get_mut(usize::from(at))) {
            *place = cell;
        }
    }

    /// Returns the value of a block if all of its addresses have the same.
    fn only_value(&self, family: Family, block: Block) -> Option<u32> {
        let content = self.families.get(family as usize)?;
        let after = content.ranges.partition_point(|(first, _)| *first <= block.first);
        let is_alone = content.ranges.get(after).is_none_or(|(first, _)| *first > block.last())
            && content.hosts.range(block.first..=block.last()).next().is_none();
        is_alone.then(|| {
            after.checked_sub(1).and_then(|at| content.ranges.get(at)).map_or(0, |(_, value)| *value)
        })
    }

    /// Returns the values in a block: the first address of each range, in ascending order, and its value.
    fn values(&self, family: Family, block: Block) -> Vec<(u128, u32)> {
        let Some(content) = self.families.get(family as usize) else { return Vec::new() };
        let last = block.last();
        let from = content.ranges.partition_point(|(first, _)| *first <= block.first).saturating_sub(1);
        let ranges = content.ranges.get(from..).unwrap_or_default();
        let mut ranges = ranges.iter().take_while(|(first, _)| *first <= last).peekable();
        let mut hosts = content.hosts.range(block.first..=last).peekable();
        let mut values: Vec<(u128, u32)> = Vec::new();
        let push = |values: &mut Vec<(u128, u32)>, first: u128, value: u32| match values.last_mut() {
            Some((known, own)) if *known == first => *own = value,
            Some((_, own)) if *own == value => {}
            _ => values.push((first, value)),
        };
        let mut current = 0;
        let host_rest = u128::MAX.checked_shr(family.bits()).unwrap_or(0);
        loop {
            let next_range = ranges.peek().map(|(first, _)| (*first).max(block.first));
            match (next_range, hosts.peek()) {
                (None, None) => return values,
                (Some(first), host) if host.is_none_or(|(key, _)| first <= **key) => {
                    if let Some((_, value)) = ranges.next() {
                        current = *value;
                        push(&mut values, first, current);
                    }
                }
                (_, Some((key, value))) => {
                    push(&mut values, **key, **value);
                    // After the address the range continues, unless it ends there.
                    let behind = (**key | host_rest).checked_add(1).filter(|behind| *behind <= last);
                    hosts.next();
                    if let Some(behind) = behind
                        && ranges.peek().is_none_or(|(first, _)| *first != behind)
                        && hosts.peek().is_none_or(|(next, _)| **next != behind)
                    {
                        push(&mut values, behind, current);
                    }
                }
                // Unreachable: the second arm takes a range if there is no host.
                (Some(_), None) => return values,
            }
        }
    }

    /// Builds the cell for a block.
    fn build(&mut self, family: Family, block: Block, changes: &mut Vec<Change>) -> u32 {
        if let Some(value) = self.only_value(family, block) {
            return VALUE | value;
        }
        let values = self.values(family, block);
        self.build_of(block, &values, changes)
    }

    fn build_of(&mut self, block: Block, values: &[(u128, u32)], changes: &mut Vec<Change>) -> u32 {
        if let [] | [_] = values {
            return VALUE | values.first().map_or(0, |(_, value)| *value);
        }
        if let Some(compare) = single(block, values) {
            return self.add_compare(compare, changes);
        }
        // Skip the bytes that all addresses with a value other than the surrounding one have in common.
        let mut inner = block;
        let surrounding = values.first().map_or(0, |(_, value)| *value);
        while let Some(child) = only_child(inner, values, surrounding) {
            inner = child;
        }
        if inner.bytes > block.bytes {
            let within = clip(values, inner);
            let yes = self.build_of(inner, &within, changes);
            let mask = !u128::MAX.checked_shr(inner.bytes * 8).unwrap_or(0);
            let compare = Compare { mask, prefix: inner.first, yes, no: surrounding };
            return self.add_compare(compare, changes);
        }
        let mut cells = [0; FAN];
        for (child, cell) in (0..=u8::MAX).zip(&mut cells) {
            let child = block.child(child);
            *cell = self.build_of(child, &clip(values, child), changes);
        }
        let number = match self.free_branches.pop() {
            Some(number) => {
                if let Some(place) = self.branches.get_mut(number as usize) {
                    *place = cells;
                }
                number
            }
            None => {
                self.branches.push(cells);
                u32::try_from(self.branches.len() - 1).unwrap_or(NUMBER)
            }
        };
        changes.push(Change::NewBranch { number });
        branch(number, block.bytes)
    }

    fn add_compare(&mut self, compare: Compare, changes: &mut Vec<Change>) -> u32 {
        let number = match self.free_compares.pop() {
            Some(number) => {
                if let Some(place) = self.compares.get_mut(number as usize) {
                    *place = compare;
                }
                number
            }
            None => {
                self.compares.push(compare);
                u32::try_from(self.compares.len() - 1).unwrap_or(u32::MAX)
            }
        };
        changes.push(Change::Compare { number });
        COMPARE | number
    }

    /// Marks everything below a cell as unreferenced.
    fn free(&mut self, cell: u32) {
        match referred(cell) {
            Referred::Branch(number) => {
                let cells = self.branches.get(number as usize).copied().unwrap_or([0; FAN]);
                cells.into_iter().for_each(|cell| self.free(cell));
                self.left.push(cell);
            }
            Referred::Comparison(number) => {
                let compare = self.compare(number);
                self.free(compare.yes);
                self.free(compare.no);
                self.left.push(cell);
            }
            Referred::Class(_) => {}
        }
    }
}

/// Returns the values within a smaller block.
fn clip(values: &[(u128, u32)], block: Block) -> Vec<(u128, u32)> {
    let from = values.partition_point(|(first, _)| *first <= block.first).saturating_sub(1);
    let to = values.partition_point(|(first, _)| *first <= block.last());
    let mut within = values.get(from..to).unwrap_or_default().to_vec();
    if let Some((first, _)) = within.first_mut() {
        *first = (*first).max(block.first);
    }
    within
}

/// Returns a comparison if it suffices: one value fills a CIDR, and another the rest of the block.
fn single(block: Block, values: &[(u128, u32)]) -> Option<Compare> {
    let (first, last, yes, no) = match values {
        [(_, a), (second, b)] => {
            // Either part may be a CIDR.
            let behind = (*second, block.last(), *b, *a);
            let before = (block.first, second - 1, *a, *b);
            if is_block(behind.0, behind.1) { behind } else { before }
        }
        [(_, a), (second, b), (third, c)] if a == c => (*second, third - 1, *b, *a),
        _ => return None,
    };
    is_block(first, last).then_some(Compare { mask: !(first ^ last), prefix: first, yes, no })
}

/// Whether a range consists of all addresses with a common prefix.
const fn is_block(first: u128, last: u128) -> bool {
    let differ = first ^ last;
    differ & differ.wrapping_add(1) == 0 && first & differ == 0
}

/// Returns the only child of a block, by its next byte, that contains a value other than the surrounding one.
fn only_child(block: Block, values: &[(u128, u32)], surrounding: u32) -> Option<Block> {
    if block.bytes >= 15 {
        return None;
    }
    let within = clip(values, block);
    let mut other = None;
    for (index, (first, value)) in within.iter().enumerate() {
        if *value == surrounding {
            continue;
        }
        let last = within.get(index + 1).map_or(block.last(), |(next, _)| next - 1);
        let (from, to) = (byte(*first, block.bytes), byte(last, block.bytes));
        if from != to || other.is_some_and(|known| known != from) {
            return None;
        }
        other = Some(from);
    }
    other.map(|byte| block.child(byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::iter::successors;

    use super::*;

    fn naive(ranges: &[(u128, u32)], hosts: &BTreeMap<u128, u32>, key: u128) -> u32 {
        hosts
            .get(&key)
            .copied()
            .unwrap_or_else(|| ranges[ranges.partition_point(|(first, _)| *first <= key) - 1].1)
    }

    /// Random CIDRs and addresses, adjacent, deep and shallow.
    #[test]
    fn every_address_has_its_value() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..40 {
            for family in [Family::V4, Family::V6] {
                let near = [random.u128(..), random.u128(..)];
                let mask = !u128::MAX.checked_shr(family.bits()).unwrap_or(0);
                let key = |random: &mut fastrand::Rng| {
                    let base = near[random.usize(..2)];
                    let bits = random.u32(..family.bits());
                    let key = if random.bool() { base ^ 1 << (127 - bits) } else { random.u128(..) };
                    key & mask
                };
                let mut firsts: Vec<u128> = (0..random.usize(..40)).map(|_| key(&mut random)).collect();
                firsts.push(0);
                firsts.sort_unstable();
                firsts.dedup();
                let ranges: Vec<(u128, u32)> =
                    firsts.into_iter().map(|first| (first, random.u32(..5))).collect();
                let none = || std::iter::once((0u128, 0));
                let mut trie = match family {
                    Family::V4 => {
                        Trie::new(ranges.iter().map(|(first, value)| ((first >> 96) as u32, *value)), none())
                    }
                    Family::V6 => Trie::new(std::iter::once((0, 0)), ranges.iter().copied()),
                };
                let mut hosts = BTreeMap::new();
                let (mut most, mut changes) = (0, Vec::new());
                for step in 0..300 {
                    let host = key(&mut random);
                    let value = (random.u8(..3) > 0).then(|| 100 + random.u32(..5));
                    match value {
                        Some(value) => drop(hosts.insert(host, value)),
                        None => drop(hosts.remove(&host)),
                    }
                    trie.set_host(family, host, value, &mut changes);
                    trie.recycle();
                    for _ in 0..20 {
                        let asked = key(&mut random);
                        assert_eq!(trie.get(family, asked), naive(&ranges, &hosts, asked), "{asked:x}");
                    }
                    for (host, value) in &hosts {
                        assert_eq!(trie.get(family, *host), *value, "{host:x}");
                    }
                    if step == 150 {
                        most = trie.branches.len() - trie.free_branches.len();
                    }
                }
                // Removed addresses leave few branches allocated.
                for host in std::mem::take(&mut hosts).into_keys() {
                    trie.set_host(family, host, None, &mut changes);
                }
                for (first, value) in &ranges {
                    assert_eq!(trie.get(family, *first), *value);
                }
                assert!(trie.branches.len() - trie.free_branches.len() <= most + 300);
            }
        }
    }

    /// With ranges to separate at every byte of an address, in many combinations, the maximum depth is
    /// reached and not exceeded.
    #[test]
    fn as_deep_as_can_be() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut deepest = [0; 2];
        for round in 0..60 {
            for family in [Family::V4, Family::V6] {
                let bytes = family.bits() / 8;
                let mask = !u128::MAX.checked_shr(family.bits()).unwrap_or(0);
                let key = random.u128(..) & mask;
                // Neighbouring CIDRs at each byte: one, for which a comparison suffices, or more.
                let mut blocks = Vec::new();
                for byte in 0..bytes {
                    let beside = if round % 2 == 0 { 2 } else { random.u32(..3) };
                    for _ in 0..beside {
                        let length = byte * 8 + random.u32(1..=8);
                        let bit = 1 << (128 - length);
                        let first = (key ^ bit) & !(bit - 1);
                        blocks.push((first, first | (bit - 1), random.u32(1..9)));
                    }
                }
                let value = |asked: u128| {
                    let own = blocks.iter().rev().find(|(first, last, _)| (*first..=*last).contains(&asked));
                    own.map_or(0, |(_, _, value)| *value)
                };
                let ends = blocks.iter().flat_map(|(first, last, _)| [Some(*first), last.checked_add(1)]);
                let mut firsts: Vec<u128> = ends.flatten().chain([0]).collect();
                firsts.sort_unstable();
                firsts.dedup();
                let ranges = firsts.iter().map(|first| (*first, value(*first)));
                let none = || std::iter::once((0u128, 0));
                let trie = match family {
                    Family::V4 => {
                        Trie::new(ranges.map(|(first, value)| ((first >> 96) as u32, value)), none())
                    }
                    Family::V6 => Trie::new(std::iter::once((0, 0)), ranges),
                };
                for asked in
                    firsts.iter().flat_map(|first| [*first, first.wrapping_sub(1) & mask]).chain([key])
                {
                    assert_eq!(trie.get(family, asked), value(asked), "{family:?} {asked:x}");
                    let deepest = &mut deepest[family as usize];
                    let first = trie.first(family, asked);
                    let steps = successors(Some(first), |cell| trie.step(*cell, asked)).skip(1).count();
                    *deepest = steps.max(*deepest);
                }
            }
        }
        assert_eq!(deepest, [Family::V4, Family::V6].map(|family| family.steps() as usize));
    }

    /// Memory grows in proportion to the number of CIDRs.
    #[test]
    fn blocks_take_little() {
        let mut random = fastrand::Rng::with_seed(2);
        let mut firsts: Vec<u32> = (0..100_000).map(|_| random.u32(..)).collect();
        firsts.sort_unstable();
        firsts.dedup();
        let mut ranges = vec![(0, 0)];
        for first in firsts {
            if ranges.last().unwrap().0 == first {
                ranges.pop();
            }
            ranges.push((first, 1));
            ranges.push((first.saturating_add(1), 0));
        }
        ranges.dedup_by_key(|(first, _)| *first);
        let trie = Trie::new(ranges.into_iter(), std::iter::once((0, 0)));
        let bytes = trie.branches.len() * 1024 + trie.compares.len() * 40;
        assert!(bytes < 100_000 * 700, "{bytes}");
    }
}
