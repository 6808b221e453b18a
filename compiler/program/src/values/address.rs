//! Addresses and blocks of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ipnet::IpNet;
use ipnet::{Ipv4Net, Ipv6Net};
use npc_diagnostics::{Applicability, Diagnostic, Location};

npc_diagnostics::codes! {
    /// # Not an address
    ///
    /// An address is written `10.0.0.1`, a block `10.0.0.0/8` or `2001:db8::/32`, without leading
    /// zeros, without a zone, and not as IPv4 in IPv6. Kubernetes refuses the other forms from
    /// version 1.36 on, since programs read them in different ways.
    ///
    /// ```np fails
    /// policy p for all pods in all namespaces { allow egress to 010.0.0.0/8 }
    /// ```
    ///
    /// ```np
    /// policy p for all pods in all namespaces { allow egress to 10.0.0.0/8 }
    /// ```
    NOT_AN_ADDRESS = "NP0301" "not-an-address" Error;

    /// # A block with host bits set
    ///
    /// In `10.1.2.3/8` the bits behind the first eight are set. Either the whole block was meant,
    /// or the one address; the API server refuses to guess, and so does this compiler.
    ///
    /// ```np fails
    /// policy p for all pods in all namespaces { allow egress to 10.1.2.3/8 }
    /// ```
    ///
    /// The block, or the address:
    ///
    /// ```np
    /// policy p for all pods in all namespaces { allow egress to 10.0.0.0/8 }
    /// ```
    HOST_BITS = "NP0302" "host-bits" Error;

    /// # One address that stands for none
    ///
    /// `0.0.0.0` and `::` alone are single addresses, which nothing has. Every address is `anywhere`,
    /// or `0.0.0.0/0` and `::/0`.
    ///
    /// ```np fails
    /// policy p for all pods in all namespaces { allow egress to 0.0.0.0 }
    /// ```
    ///
    /// ```np
    /// policy p for all pods in all namespaces { allow egress to 0.0.0.0/0, ::/0 }
    /// ```
    UNSPECIFIED = "NP0313" "unspecified-address" Warning;

    /// # An exception that takes nothing away, or everything
    ///
    /// `except` takes addresses away from the block before it. A block that lies outside takes
    /// nothing away; one that is as large takes everything.
    ///
    /// ```np fails
    /// policy p for all pods in all namespaces { allow egress to 10.0.0.0/8 except 192.168.0.0/16 }
    /// ```
    ///
    /// ```np
    /// policy p for all pods in all namespaces { allow egress to 10.0.0.0/8 except 10.96.0.0/12 }
    /// ```
    EXCEPT_OUTSIDE = "NP0303" "except-outside" Error;
}

/// Whether a word is meant to be an address: it consists of digits and dots, or holds a colon, or
/// is one of those with a prefix length.
#[must_use]
pub fn looks_like_address(word: &str) -> bool {
    let (address, length) = word.split_once('/').map_or((word, None), |(a, l)| (a, Some(l)));
    let v4 = address.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && (address.contains('.') || length.is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit())));
    let v6 =
        address.contains(':') && address.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
    v4 || v6
}

/// The warning for a word that is `0.0.0.0` or `::`, without a length.
pub(crate) fn unspecified(word: &str, net: &IpNet, location: Location) -> Option<Diagnostic> {
    (net.addr().is_unspecified() && !word.contains('/')).then(|| {
        let all = format!("{word}/0");
        Diagnostic::new(
            &UNSPECIFIED,
            format!("`{word}` is one address, and not every address"),
            location,
            "nothing has it",
        )
        .help(format!("write `anywhere`, or `{all}` for all addresses of the family"))
        .fix(Applicability::Maybe, format!("write `{all}`"), location, all)
    })
}

/// Reads an address or a block. A bare address is its /32 or /128.
///
/// # Errors
///
/// What is wrong with it, as a diagnostic at `location`.
pub fn parse(word: &str, location: Location) -> Result<IpNet, Box<Diagnostic>> {
    let wrong = |why: String| {
        Box::new(Diagnostic::new(&NOT_AN_ADDRESS, format!("`{word}` is not an address"), location, why))
    };
    let (address, length) = word.split_once('/').map_or((word, None), |(a, l)| (a, Some(l)));
    let address: IpAddr = address.parse().map_err(|_| explain(word, address, location))?;
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        let fixed = match length.and_then(|l| l.parse::<u8>().ok()).map(|l| l.checked_sub(96)) {
            Some(Some(length)) => Some(format!("{v4}/{length}")),
            None if length.is_none() => Some(v4.to_string()),
            _ => None,
        };
        let diagnostic = wrong("an IPv4 address written as IPv6".to_owned());
        return Err(match fixed {
            Some(fixed) => Box::new(diagnostic.fix(
                Applicability::Automatic,
                format!("write `{fixed}`"),
                location,
                fixed,
            )),
            None => diagnostic,
        });
    }
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => bits,
        Some(text) => {
            let length = text
                .parse::<u8>()
                .ok()
                .filter(|length| *length <= bits && text.bytes().all(|b| b.is_ascii_digit()));
            let Some(length) = length else {
                return Err(wrong(format!("the prefix length is a number from 0 to {bits}")));
            };
            if text.len() > 1 && text.starts_with('0') {
                let fixed = format!("{address}/{length}");
                return Err(Box::new(wrong("the prefix length has a leading zero".to_owned()).fix(
                    Applicability::Automatic,
                    format!("write `{fixed}`"),
                    location,
                    fixed,
                )));
            }
            length
        }
    };
    let net = IpNet::new(address, length).map_err(|_| wrong("not a block".to_owned()))?;
    let trunc = net.trunc();
    if trunc.addr() != address {
        let diagnostic = Diagnostic::new(
            &HOST_BITS,
            format!("`{word}` has host bits set"),
            location,
            format!("is the block `{trunc}` meant, or the address `{address}`?"),
        )
        .help(format!("write `{trunc}` for the block or `{address}` for the one address"))
        .fix(Applicability::Maybe, format!("write `{trunc}`"), location, trunc.to_string())
        .fix(Applicability::Maybe, format!("write `{address}`"), location, address.to_string());
        return Err(Box::new(diagnostic));
    }
    Ok(net)
}

/// Says why a word that should be an address is none.
fn explain(word: &str, address: &str, location: Location) -> Box<Diagnostic> {
    // `10.0.0.5:8080`
    if let Some((host, port)) = word.rsplit_once(':')
        && host.parse::<Ipv4Addr>().is_ok()
        && port.parse::<u16>().is_ok()
    {
        return Box::new(
            Diagnostic::new(
                &NOT_AN_ADDRESS,
                format!("`{word}` is an address and a port"),
                location,
                "only the address belongs here",
            )
            .help(format!("write `{host} on tcp/{port}`: the port stands behind `on`, with its protocol")),
        );
    }
    let octets: Vec<&str> = address.split('.').collect();
    let numbers: Option<Vec<u32>> = octets.iter().map(|octet| octet.parse().ok()).collect();
    let suffix = word.split_once('/').map_or(String::new(), |(_, length)| format!("/{length}"));
    let wrong =
        |why: &str| Diagnostic::new(&NOT_AN_ADDRESS, format!("`{word}` is not an address"), location, why);
    Box::new(match numbers {
        Some(numbers) if numbers.len() == 4 && numbers.iter().all(|n| *n < 256) => {
            let fixed = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(".") + &suffix;
            wrong("a number with a leading zero, which some programs read as octal").fix(
                Applicability::Maybe,
                format!("write `{fixed}`"),
                location,
                fixed,
            )
        }
        Some(numbers) if numbers.len() == 4 => wrong("each of the four numbers is at most 255"),
        Some(_) => wrong("an IPv4 address has four numbers, as in `10.0.0.0/8`"),
        None if address.contains(':') => wrong("not an IPv6 address, as `2001:db8::/32` is one"),
        None => wrong("expected an address such as `10.0.0.0/8` or `2001:db8::/32`"),
    })
}

/// Whether no pod can have an address in the block: it is link-local, loopback or multicast
/// (RFC 3927, 4291, 5771, 6890).
#[must_use]
pub fn is_reserved(net: &IpNet) -> bool {
    match net {
        IpNet::V4(v4) => {
            let first = v4.network();
            v4.prefix_len() >= 16 && first.is_link_local()
                || v4.prefix_len() >= 8 && first.is_loopback()
                || v4.prefix_len() >= 4 && first.is_multicast()
        }
        IpNet::V6(v6) => {
            let first = v6.network();
            v6.prefix_len() >= 10 && first.is_unicast_link_local()
                || v6.prefix_len() == 128 && first.is_loopback()
                || v6.prefix_len() >= 8 && first.is_multicast()
        }
    }
}

/// Whether no pod can have an address in the block: it is reserved, or lies outside the blocks that pods
/// have their addresses from. With none of those, pods may have any that is not reserved.
#[must_use]
pub fn never_a_pod(net: &IpNet, pod_blocks: &[IpNet]) -> bool {
    let disjoint = |pods: &IpNet| !pods.contains(net) && !net.contains(pods);
    is_reserved(net) || !pod_blocks.is_empty() && pod_blocks.iter().all(disjoint)
}

/// A block of addresses without some blocks inside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// The block.
    pub net: IpNet,
    /// Blocks inside it that are left out, each smaller than it, none inside another, in order.
    pub except: Vec<IpNet>,
}

impl From<IpNet> for Block {
    fn from(net: IpNet) -> Self {
        Self { net, except: Vec::new() }
    }
}

impl Block {
    /// Whether an address is in the block, and not in what is left out of it.
    #[must_use]
    pub fn contains(&self, address: &IpAddr) -> bool {
        self.net.contains(address) && !self.except.iter().any(|net| net.contains(address))
    }

    /// Every IPv4 and every IPv6 address.
    #[must_use]
    pub fn everything() -> [Self; 2] {
        [
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)).into(),
            IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)).into(),
        ]
    }

    /// Leaves out blocks that lie inside this one and are smaller.
    fn leave_out(&mut self, nets: impl IntoIterator<Item = IpNet>) {
        self.except.extend(nets);
        // A block comes before those inside it: by its first address, the larger first.
        self.except.sort_unstable_by_key(|net| (net.network(), net.prefix_len()));
        self.except.dedup_by(|inner, outer| outer.contains(&*inner));
    }
}

/// The addresses of `blocks` that are not in `taken`.
///
/// What `taken` leaves out itself stays: `10.0.0.0/8 except (10.1.0.0/16 except 10.1.2.0/24)` holds
/// 10.1.2.0/24.
#[must_use]
pub fn subtract(blocks: &[Block], taken: &[Block]) -> Vec<Block> {
    // Blocks without an exception of their own are many where there are many: all at once.
    let (plain, nested): (Vec<&Block>, Vec<&Block>) = taken.iter().partition(|take| take.except.is_empty());
    let mut left: Vec<Block> = Vec::with_capacity(blocks.len());
    for block in blocks {
        if plain.iter().any(|take| take.net.contains(&block.net)) {
            continue;
        }
        let mut block = block.clone();
        let inside: Vec<IpNet> =
            plain.iter().map(|take| take.net).filter(|net| block.net.contains(net)).collect();
        if !inside.is_empty() {
            block.leave_out(inside);
        }
        left.push(block);
    }
    for take in nested {
        let mut next = Vec::with_capacity(left.len());
        for block in left {
            if !take.net.contains(&block.net) && !block.net.contains(&take.net) {
                next.push(block);
                continue;
            }
            // What the taken block leaves out comes back, but no more of it than there was.
            for back in &take.except {
                let common = if block.net.contains(back) {
                    *back
                } else if back.contains(&block.net) {
                    block.net
                } else {
                    continue;
                };
                if block.except.iter().any(|gone| gone.contains(&common)) {
                    continue;
                }
                let except = block.except.iter().filter(|gone| common.contains(*gone)).copied().collect();
                next.push(Block { net: common, except });
            }
            if !take.net.contains(&block.net) {
                let mut block = block;
                block.leave_out([take.net]);
                next.push(block);
            }
        }
        left = next;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use npc_diagnostics::{FileId, Span};

    fn here() -> Location {
        Location::new(FileId(0), Span::default())
    }

    fn net(word: &str) -> IpNet {
        parse(word, here()).unwrap()
    }

    fn block(word: &str, except: &[&str]) -> Block {
        Block { net: net(word), except: except.iter().map(|word| net(word)).collect() }
    }

    #[test]
    fn canonical_forms_only() {
        for good in ["10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::/32", "fe80::1"] {
            assert!(parse(good, here()).is_ok(), "{good}");
        }
        for bad in [
            "010.0.0.0/8",
            "10.0.0.0/08",
            "10.0.0/8",
            "256.0.0.1",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "::ffff:10.0.0.0/104",
            "10.1.2.3/8",
            "2001:db8::1/32",
            "10.0.0.0/",
            "1.2.3.4.5",
            "fe80::1::2",
        ] {
            assert!(looks_like_address(bad), "{bad}");
            assert!(parse(bad, here()).is_err(), "{bad}");
        }
        assert_eq!(net("2001:DB8:0::/32").to_string(), "2001:db8::/32");
    }

    #[test]
    fn words_are_told_from_addresses() {
        for word in ["kube-dns", "tcp/80", "shop/web", "v1.2", "8", "a.b", "tcp"] {
            assert!(!looks_like_address(word), "{word}");
        }
    }

    #[test]
    fn subtraction() {
        let ten = [block("10.0.0.0/8", &[])];
        assert_eq!(subtract(&ten, &[block("10.1.0.0/16", &[])]), [block("10.0.0.0/8", &["10.1.0.0/16"])]);
        assert_eq!(subtract(&ten, &[block("0.0.0.0/0", &[])]), []);
        assert_eq!(subtract(&ten, &[block("192.168.0.0/16", &[])]), ten);
        assert_eq!(
            subtract(&ten, &[block("10.1.0.0/16", &["10.1.2.0/24"])]),
            [block("10.1.2.0/24", &[]), block("10.0.0.0/8", &["10.1.0.0/16"])]
        );
        assert_eq!(
            subtract(&ten, &[block("10.1.0.0/16", &["10.1.2.0/24"]), block("10.1.2.0/28", &[])]),
            [block("10.1.2.0/24", &["10.1.2.0/28"]), block("10.0.0.0/8", &["10.1.0.0/16"])]
        );
        assert_eq!(subtract(&ten, &[block("0.0.0.0/0", &["10.0.0.0/7"])]), [block("10.0.0.0/8", &[])]);
        assert_eq!(
            subtract(&ten, &[block("10.1.2.0/24", &[]), block("10.1.0.0/16", &[])]),
            [block("10.0.0.0/8", &["10.1.0.0/16"])]
        );
    }
}
