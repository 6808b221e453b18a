//! The options of a compilation.

use std::fmt;
use std::str::FromStr;

use npc_program::FailurePolicy;

pub use crate::template::PodCidrs;

/// Options of the targets.
#[derive(Clone, Debug)]
pub struct Options {
    /// The version of Kyverno that will run the output.
    pub kyverno_version: KyvernoVersion,
    /// The namespaces that Kyverno's configuration excludes (`resourceFilters` and `webhooks`).
    pub filtered_namespaces: Vec<String>,
    /// The CIDRs that pods have their addresses from.
    pub pod_cidrs: PodCidrs,
    /// The failure policy of the guards: what the API server does with a NetworkPolicy if Kyverno does not answer.
    /// `None` writes no guards.
    pub guard: Option<FailurePolicy>,
    /// Whether another target of the same compilation writes the admin and baseline policies, so that a target without
    /// tiers skips them instead of rejecting them.
    pub tiers_elsewhere: bool,
    /// Whether another target of the same compilation writes the plain policies.
    pub plain_elsewhere: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            kyverno_version: KyvernoVersion::default(),
            filtered_namespaces: ["kube-node-lease", "kube-public", "kube-system", "kyverno"]
                .map(str::to_owned)
                .to_vec(),
            pod_cidrs: PodCidrs::default(),
            guard: None,
            tiers_elsewhere: false,
            plain_elsewhere: false,
        }
    }
}

/// A version of Kyverno. The major version is always 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KyvernoVersion {
    /// The minor version.
    pub minor: u32,
    /// The patch version.
    pub patch: u32,
}

impl Default for KyvernoVersion {
    fn default() -> Self {
        Self { minor: 19, patch: 1 }
    }
}

impl fmt::Display for KyvernoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}.{}", self.minor, self.patch)
    }
}

impl FromStr for KyvernoVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a Kyverno version such as `1.19.1`");
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<u32>().ok().filter(|_| digits)
        };
        let major = parts.next().and_then(number).ok_or_else(wrong)?;
        let minor = parts.next().and_then(number).ok_or_else(wrong)?;
        let patch = match parts.next() {
            Some(patch) => number(patch).ok_or_else(wrong)?,
            None => 0,
        };
        if major != 1 || parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self { minor, patch })
    }
}
