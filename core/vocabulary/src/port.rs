//! Protocols and ports.

use std::fmt;
use std::sync::Arc;

/// A protocol that has ports. The numbers are those of the map image and of the kernel's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// TCP, IP protocol 6.
    Tcp = 0,
    /// UDP, IP protocol 17.
    Udp = 1,
    /// SCTP, IP protocol 132.
    Sctp = 2,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The name in programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// The name in the Kubernetes API.
    #[must_use]
    pub const fn api_name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }

    /// Parses the name used in programs.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == word)
    }
}

/// A port term: ports of one protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Port {
    /// The protocol.
    pub protocol: Protocol,
    /// The ports.
    pub which: Which,
}

/// The ports of a protocol that a port term contains.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    /// Every port.
    All,
    /// The ports from the first to the last, both included, within 1 to 65535.
    Range(u16, u16),
    /// The port of the destination pod that has this name.
    Named(Arc<str>),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol.as_str();
        match &self.which {
            Which::All => f.write_str(protocol),
            Which::Range(first, last) if first == last => write!(f, "{protocol}/{first}"),
            Which::Range(first, last) => write!(f, "{protocol}/{first}-{last}"),
            Which::Named(name) => write!(f, "{protocol}/{name}"),
        }
    }
}

/// Checks that Kubernetes accepts the word as the name of a port (IANA service name, RFC 6335).
///
/// # Errors
///
/// The rule that the name violates.
pub fn check_port_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 15 {
        return Err("a port's name has 1 to 15 characters");
    }
    if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return Err("a port's name has lower-case letters, digits and hyphens only");
    }
    if !name.bytes().any(|b| b.is_ascii_lowercase()) {
        return Err("a port's name has at least one letter");
    }
    if name.contains("--") || name.starts_with('-') || name.ends_with('-') {
        return Err("a hyphen in a port's name must be single, and between two other characters");
    }
    Ok(())
}
