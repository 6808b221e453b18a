//! The CNIs that npc knows, and how `--cni` names them.

use std::fmt;
use std::str::FromStr;

/// A CNI with its version and the options that differ from its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cni {
    /// The CNI.
    pub network: Network,
    /// Its version (major, minor), without the patch number.
    pub version: (u32, u32),
    /// The options that are set.
    pub options: Vec<&'static str>,
}

/// A CNI that npc knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Cilium
    Cilium,
    /// Calico
    Calico,
    /// Amazon VPC CNI
    Aws,
}

/// The options that each CNI accepts.
const OPTIONS: [(Network, &[&str]); 3] = [
    (Network::Cilium, &["policy-cidr-match-mode=pods", "policy-default-local-cluster=false", "enable-sctp"]),
    (Network::Calico, &["ebpf", "allow-vxlan"]),
    (Network::Aws, &[]),
];

impl Network {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cilium => "cilium",
            Self::Calico => "calico",
            Self::Aws => "aws",
        }
    }

    fn options(self) -> &'static [&'static str] {
        OPTIONS.iter().find(|(network, _)| *network == self).map_or(&[], |(_, options)| options)
    }
}

impl Cni {
    /// Whether the option is set.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.contains(&option)
    }

    /// Whether this version enforces ClusterNetworkPolicies.
    pub(crate) fn reads_tiers(&self) -> bool {
        match self.network {
            Network::Cilium => self.version >= (1, 20),
            Network::Calico => self.version >= (3, 32),
            Network::Aws => false,
        }
    }
}

impl fmt::Display for Cni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.network {
            Network::Cilium => "Cilium",
            Network::Calico => "Calico",
            Network::Aws => "Amazon VPC CNI",
        };
        write!(f, "{name} {}.{}", self.version.0, self.version.1)
    }
}

impl FromStr for Cni {
    type Err = String;

    /// Parses `cilium@1.20`, or with options `calico@3.28,ebpf`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',').map(str::trim);
        let first = words.next().unwrap_or_default();
        let (name, version) = first.split_once('@').unwrap_or((first, ""));
        let networks = OPTIONS.map(|(network, _)| network);
        let network = networks
            .into_iter()
            .find(|network| network.as_str() == name)
            .ok_or_else(|| format!("unknown CNI `{name}`: expected cilium, calico or aws"))?;
        let numbers: Vec<&str> = version.trim_start_matches('v').split('.').collect();
        let version = match numbers.as_slice() {
            [major, minor] | [major, minor, _] => major.parse().ok().zip(minor.parse().ok()),
            _ => None,
        };
        let version =
            version.ok_or_else(|| format!("the CNI {name} needs a version, as in `cilium@1.20`"))?;
        let mut options = Vec::new();
        for word in words {
            let known = network.options().iter().find(|option| **option == word).ok_or_else(|| {
                let known = network.options().join("`, `");
                match known.as_str() {
                    "" => format!("{name} has no options"),
                    _ => format!("unknown option `{word}` of {name}: expected `{known}`"),
                }
            })?;
            options.push(*known);
        }
        Ok(Self { network, version, options })
    }
}
