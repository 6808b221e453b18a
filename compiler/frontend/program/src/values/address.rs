//! IP addresses and CIDRs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ipnet::IpNet;
use ipnet::{Ipv4Net, Ipv6Net};
use npc_diagnostics::{Applicability, Diagnostic, Location};

npc_diagnostics::codes! {
    /// # Not an address
    ///
    /// An address is written as `10.0.0.1`, and a CIDR as `10.0.0.0/8` or `2001:db8::/32`. Leading
    /// zeros, zones and IPv4-mapped IPv6 addresses are not allowed. Kubernetes rejects these forms since
    /// version 1.36, because programs interpret them differently.
    ///
    /// ```np fails
    /// policy p for all pods in all namespaces { allow egress to 010.0.0.0/8 }
    /// ```
    ///
    /// ```np
    /// policy p for all pods in all namespaces { allow egress to 10.0.0.0/8 }
    /// ```
    NOT_AN_ADDRESS = "NP0301" "not-an-address" Error;

    /// # A CIDR with host bits set
    ///
    /// In `10.1.2.3/8`, bits after the first eight are set. It is unclear whether the CIDR or the single
    /// address is intended. The API server rejects such a value, and so does the compiler.
    ///
    /// ```np fails
    /// policy p for all pods in all namespaces { allow egress to 10.1.2.3/8 }
    /// ```
    ///
    /// Write the CIDR, or the address alone (`10.1.2.3`):
    ///
    /// ```np
    /// policy p for all pods in all namespaces { allow egress to 10.0.0.0/8 }
    /// ```
    HOST_BITS = "NP0302" "host-bits" Error;

    /// # The unspecified address matches nothing
    ///
    /// Without a prefix length, `0.0.0.0` and `::` are single addresses that no host has. For every
    /// address, write `anywhere`, or `0.0.0.0/0` and `::/0`.
    ///
    /// ```np fails
    /// policy p for all pods in all namespaces { allow egress to 0.0.0.0 }
    /// ```
    ///
    /// ```np
    /// policy p for all pods in all namespaces { allow egress to 0.0.0.0/0, ::/0 }
    /// ```
    UNSPECIFIED = "NP0313" "unspecified-address" Warning;

    /// # An exception that excludes nothing or everything
    ///
    /// `except` excludes addresses from the CIDR before it. A CIDR outside of it excludes nothing, and a
    /// CIDR that contains it excludes everything.
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

/// Whether a word has the form of an address: digits with dots, or hexadecimal digits with colons, with or without a
/// prefix length. The word need not be a valid address.
#[must_use]
pub fn looks_like_address(word: &str) -> bool {
    let (address, length) = word.split_once('/').map_or((word, None), |(a, l)| (a, Some(l)));
    let v4 = address.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && (address.contains('.') || length.is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit())));
    let v6 =
        address.contains(':') && address.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.'));
    v4 || v6
}

/// The warning for `0.0.0.0` or `::` without a prefix length.
pub(crate) fn unspecified(word: &str, net: &IpNet, location: Location) -> Option<Diagnostic> {
    (net.addr().is_unspecified() && !word.contains('/')).then(|| {
        let all = format!("{word}/0");
        Diagnostic::new(
            &UNSPECIFIED,
            format!("`{word}` is a single address, not every address"),
            location,
            "no host has this address",
        )
        .help(format!("write `anywhere`, or `{all}` for all addresses of the family"))
        .fix(Applicability::Maybe, format!("write `{all}`"), location, all)
    })
}

/// Parses an address or a CIDR. An address without a prefix length is a /32 or /128.
///
/// # Errors
///
/// A diagnostic at `location`, if the word is not valid.
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
        let diagnostic = wrong("an IPv4-mapped IPv6 address".to_owned());
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
    let net = IpNet::new(address, length).map_err(|_| wrong("not a CIDR".to_owned()))?;
    let trunc = net.trunc();
    if trunc.addr() != address {
        let diagnostic = Diagnostic::new(
            &HOST_BITS,
            format!("`{word}` has host bits set"),
            location,
            format!("this can mean the CIDR `{trunc}` or the address `{address}`"),
        )
        .help(format!("write `{trunc}` for the CIDR or `{address}` for the single address"))
        .fix(Applicability::Maybe, format!("write `{trunc}`"), location, trunc.to_string())
        .fix(Applicability::Maybe, format!("write `{address}`"), location, address.to_string());
        return Err(Box::new(diagnostic));
    }
    Ok(net)
}

/// The diagnostic for a word that is not a valid address, with the reason.
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
                "only an address is allowed here",
            )
            .help(format!("write `{host} on tcp/{port}`: the port follows `on`, with its protocol")),
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
        None if address.contains(':') => wrong("not an IPv6 address or CIDR such as `2001:db8::/32`"),
        None => wrong("expected an address such as `10.0.0.0/8` or `2001:db8::/32`"),
    })
}

/// Whether the CIDR contains only link-local, loopback or multicast addresses (RFC 3927, 4291, 5771, 6890), which no
/// pod can have.
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

/// Whether no pod can have an address in the CIDR: it is reserved, or disjoint from `pod_cidrs`, the CIDRs that pods
/// have their addresses from. If `pod_cidrs` is empty, pods may have any address that is not reserved.
#[must_use]
pub fn never_a_pod(net: &IpNet, pod_cidrs: &[IpNet]) -> bool {
    let disjoint = |pods: &IpNet| !pods.contains(net) && !net.contains(pods);
    is_reserved(net) || !pod_cidrs.is_empty() && pod_cidrs.iter().all(disjoint)
}

/// A CIDR with exceptions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// The CIDR.
    pub net: IpNet,
    /// The excluded CIDRs, in ascending order. Each is smaller than `net` and inside it; none is inside another.
    pub except: Vec<IpNet>,
}

impl From<IpNet> for Block {
    fn from(net: IpNet) -> Self {
        Self { net, except: Vec::new() }
    }
}

impl Block {
    /// Whether an address is in the CIDR and not excluded.
    #[must_use]
    pub fn contains(&self, address: &IpAddr) -> bool {
        self.net.contains(address) && !self.except.iter().any(|net| net.contains(address))
    }

    /// `0.0.0.0/0` and `::/0`.
    #[must_use]
    pub fn everything() -> [Self; 2] {
        [
            IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)).into(),
            IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)).into(),
        ]
    }

    /// Adds exceptions. Each must be smaller than this CIDR and inside it.
    fn leave_out(&mut self, nets: impl IntoIterator<Item = IpNet>) {
        self.except.extend(nets);
        // Sorted by first address and then size, a CIDR comes before those inside it.
        self.except.sort_unstable_by_key(|net| (net.network(), net.prefix_len()));
        self.except.dedup_by(|inner, outer| outer.contains(&*inner));
    }
}

/// The addresses of `blocks` that are not in `taken`.
///
/// Exceptions of `taken` are not removed: `10.0.0.0/8 except (10.1.0.0/16 except 10.1.2.0/24)` contains 10.1.2.0/24.
#[must_use]
pub fn subtract(blocks: &[Block], taken: &[Block]) -> Vec<Block> {
    // Long lists usually have no nested exceptions, so those without are subtracted in one pass.
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
            // Addresses that `take` excludes stay, as far as they are in `block`.
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
