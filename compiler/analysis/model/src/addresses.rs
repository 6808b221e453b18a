//! Sets of IP addresses as sorted ranges.

use std::net::IpAddr;

use npc_program::Peer;
use npc_program::values::address::{Block, IpNet};

/// The set of addresses that a rule's peers name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Addresses {
    v4: Ranges,
    v6: Ranges,
    /// Whether the set contains the address of a pod whose address is not known. Such an address is in
    /// `0.0.0.0/0` and `::/0`, and in no longer prefix.
    ordinary: bool,
}

/// An IP address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The name, such as `IPv4`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The highest address of the family, as a number.
    #[must_use]
    pub const fn last(self) -> u128 {
        match self {
            Self::V4 => u32::MAX as u128,
            Self::V6 => u128::MAX,
        }
    }
}

/// Address ranges as (first, last). After `tidy` they are sorted, and neither overlap nor adjoin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Ranges(Vec<(u128, u128)>);

impl Addresses {
    /// The addresses of the CIDRs and of `anywhere` among the peers. Peers that select pods add none.
    #[must_use]
    pub fn of(peers: &[Peer]) -> Self {
        let mut all = Self::default();
        for peer in peers {
            match peer {
                Peer::Pods(_) => {}
                Peer::Block(term) => all.push(&term.block),
                Peer::Anywhere { except, .. } => {
                    let mut left_out = Self::default();
                    except.iter().for_each(|block| left_out.push(block));
                    left_out.tidy();
                    all.extend(&left_out.complement());
                }
            }
        }
        // A list may have thousands of CIDRs, so sort them once.
        all.tidy();
        all
    }

    /// Adds a CIDR without its exceptions. The ranges are sorted only after [`tidy`](Self::tidy).
    fn push(&mut self, block: &Block) {
        self.ordinary |= block.net.prefix_len() == 0;
        let ranges = match block.net {
            IpNet::V4(_) => &mut self.v4,
            IpNet::V6(_) => &mut self.v6,
        };
        // The exceptions are sorted, and none is inside another.
        let (mut next, last) = range(&block.net);
        let mut emptied = false;
        for net in &block.except {
            let (from, to) = range(net);
            if from > next {
                ranges.0.push((next, from - 1));
            }
            match to.checked_add(1) {
                Some(after) => next = next.max(after),
                None => emptied = true,
            }
        }
        if !emptied && next <= last {
            ranges.0.push((next, last));
        }
    }

    fn complement(&self) -> Self {
        Self {
            v4: self.v4.complement(Family::V4.last()),
            v6: self.v6.complement(Family::V6.last()),
            ordinary: !self.ordinary,
        }
    }

    /// The ranges of one family: the first and the last address of each, as numbers. They are sorted, and
    /// neither overlap nor adjoin.
    #[must_use]
    pub fn ranges(&self, family: Family) -> &[(u128, u128)] {
        match family {
            Family::V4 => &self.v4.0,
            Family::V6 => &self.v6.0,
        }
    }

    fn extend(&mut self, other: &Self) {
        self.v4.0.extend(&other.v4.0);
        self.v6.0.extend(&other.v6.0);
        self.ordinary |= other.ordinary;
    }

    fn tidy(&mut self) {
        self.v4.tidy();
        self.v6.tidy();
    }

    /// Whether the set contains the address. `None` stands for the address of a pod whose address is not
    /// known.
    #[must_use]
    pub fn contain(&self, address: Option<IpAddr>) -> bool {
        match address {
            Some(address @ IpAddr::V4(_)) => self.v4.contain(number(address)),
            Some(address @ IpAddr::V6(_)) => self.v6.contain(number(address)),
            None => self.ordinary,
        }
    }
}

impl Ranges {
    fn tidy(&mut self) {
        self.0.sort_unstable();
        self.0.dedup_by(|next, kept| {
            let joined = kept.1.checked_add(1).is_none_or(|after| next.0 <= after);
            if joined {
                kept.1 = kept.1.max(next.1);
            }
            joined
        });
    }

    fn complement(&self, last: u128) -> Self {
        let mut out = Vec::new();
        let mut next = Some(0);
        for (from, to) in &self.0 {
            if let Some(next) = next.filter(|next| next < from) {
                out.push((next, from - 1));
            }
            next = to.checked_add(1);
        }
        if let Some(next) = next.filter(|next| *next <= last) {
            out.push((next, last));
        }
        Self(out)
    }

    fn contain(&self, address: u128) -> bool {
        let after = self.0.partition_point(|(from, _)| *from <= address);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, to)| address <= *to)
    }
}

/// The first and the last address of a CIDR.
fn range(net: &IpNet) -> (u128, u128) {
    (number(net.network()), number(net.broadcast()))
}

/// An address of either family as a number.
#[must_use]
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Whether the address is IPv4, and its bits, left-aligned in 128 bits.
pub(crate) fn bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (true, u128::from(address.to_bits()) << 96),
        IpAddr::V6(address) => (false, address.to_bits()),
    }
}

/// The first `length` bits of [`bits`]; the others are zero.
pub(crate) fn prefix(bits: u128, length: u8) -> u128 {
    bits & !u128::MAX.checked_shr(u32::from(length)).unwrap_or(0)
}
