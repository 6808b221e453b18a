//! `npc-node check`

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use npc_node::probe;
use serde::Serialize;

use crate::arguments::{Check, Format};
use crate::client::{Error, print};

/// A requirement, and whether this machine meets it.
#[derive(Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) what: String,
    pub(crate) found: bool,
    /// Whether enforcement is impossible without it.
    pub(crate) needed: bool,
    /// How to meet it, or what does not work without it.
    pub(crate) repair: String,
}

pub(crate) fn run(options: &Check) -> Result<ExitCode, Error> {
    let findings = findings(&options.pins);
    match options.format {
        Format::Json => {
            let text =
                serde_json::to_string_pretty(&findings).map_err(|why| Error::Other(why.to_string()))?;
            print(&format!("{text}\n"))?;
        }
        Format::Human => {
            let mut out = String::new();
            for Finding { what, found, needed, repair } in &findings {
                // Writing to a string cannot fail.
                let _ = match (found, needed) {
                    (true, _) => writeln!(out, "ok       {what}"),
                    (false, true) => writeln!(out, "MISSING  {what}: {repair}"),
                    (false, false) => writeln!(out, "without  {what}: {repair}"),
                };
            }
            print(&out)?;
        }
    }
    let lacks = findings.iter().any(|finding| finding.needed && !finding.found);
    Ok(ExitCode::from(u8::from(lacks)))
}

/// The mandatory requirements that are not met.
pub(crate) fn missing(pins: &Path) -> Vec<Finding> {
    findings(pins).into_iter().filter(|finding| finding.needed && !finding.found).collect()
}

fn findings(pins: &Path) -> Vec<Finding> {
    let need = |what: &str, found: bool, repair: &str| Finding {
        what: what.to_owned(),
        found,
        needed: true,
        repair: repair.to_owned(),
    };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let mounted = is_bpffs(pins);
    let loads = probe();
    vec![
        need(&format!("Linux 6.6 or later (this is {release})"), version >= (6, 6), "use a newer kernel"),
        need(&format!("a bpffs at {}", pins.display()), mounted, "mount one: `mount -t bpf bpf /sys/fs/bpf`"),
        need(
            "the kernel accepts the program",
            loads.is_ok(),
            &loads.err().map_or_else(String::new, |why| {
                format!("{why}; this requires the capabilities BPF, NET_ADMIN and PERFMON, or root")
            }),
        ),
    ]
}

/// The mount points and their file system types.
pub(super) fn mounts() -> Vec<(PathBuf, String)> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of = |line: &str| {
        let mut words = line.split(' ').skip(1);
        Some((PathBuf::from(words.next()?), words.next()?.to_owned()))
    };
    mounts.lines().filter_map(of).collect()
}

/// Whether a directory, or its first existing ancestor, is in a bpffs.
fn is_bpffs(folder: &Path) -> bool {
    let there = folder.ancestors().find(|folder| folder.exists());
    let Some(there) = there.and_then(|there| there.canonicalize().ok()) else { return false };
    let mounts = mounts();
    let above = mounts.iter().filter(|(place, _)| there.starts_with(place));
    above.max_by_key(|(place, _)| place.as_os_str().len()).is_some_and(|(_, kind)| kind == "bpf")
}
