//! Under which number the records of each pod are kept: the same after the daemon starts again, and never
//! that of another pod.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::place::put;

/// The bits of an identity that a packet can carry from one hook to the next.
const CARRIED: u32 = (1 << 13) - 1;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// The last number that was given.
    last: u32,
    pods: BTreeMap<String, u32>,
}

/// The numbers of this node's pods, kept in a file.
#[derive(Debug)]
pub(crate) struct Identities {
    file: PathBuf,
    kept: Kept,
}

impl Identities {
    /// Reads the file; where it is not there, or not whole, no pod has a number yet.
    pub(crate) fn open(file: &Path) -> Self {
        let kept = fs::read(file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { file: file.to_owned(), kept: kept.unwrap_or_default() }
    }

    /// The number of a pod: that which it has, or the next.
    pub(crate) fn of(&mut self, pod: &str) -> io::Result<u32> {
        if let Some(number) = self.kept.pods.get(pod) {
            return Ok(*number);
        }
        let free = |number: &u32| {
            let carried = number & CARRIED;
            carried != 0 && self.kept.pods.values().all(|other| other & CARRIED != carried)
        };
        let after = (1..=CARRIED + 1).map(|step| self.kept.last.wrapping_add(step));
        let number = after.into_iter().find(free).ok_or_else(|| {
            io::Error::other(format!("a node can have {CARRIED} pods whose packets are judged"))
        })?;
        self.kept.last = number;
        self.kept.pods.insert(pod.to_owned(), number);
        self.save()?;
        Ok(number)
    }

    /// Forgets the pods that are not among these.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&str) -> bool) -> io::Result<()> {
        let before = self.kept.pods.len();
        self.kept.pods.retain(|pod, _| is_there(pod));
        if self.kept.pods.len() == before { Ok(()) } else { self.save() }
    }

    fn save(&self) -> io::Result<()> {
        fs::create_dir_all(self.file.parent().unwrap_or(Path::new(".")))?;
        put(&self.file, &serde_json::to_vec(&self.kept)?, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_are_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pods.json");
        let mut first = Identities::open(&file);
        let a = first.of("a").unwrap();
        let b = first.of("b").unwrap();
        assert_ne!(a, b);
        first.retain(|pod| pod == "b").unwrap();
        let mut next = Identities::open(&file);
        assert_eq!(next.of("b").unwrap(), b);
        assert!(![a, b].contains(&next.of("a").unwrap()), "a number is given once");
        fs::write(&file, "{").unwrap();
        assert_eq!(Identities::open(&file).of("c").unwrap(), 1);
    }

    #[test]
    fn packets_tell_all_pods_apart() {
        let folder = tempfile::tempdir().unwrap();
        let mut numbers = Identities { file: folder.path().join("x"), kept: Kept::default() };
        // Given and given back until the numbers come round.
        numbers.kept.last = CARRIED - 2;
        let held: Vec<u32> = (0..5).map(|pod| numbers.of(&format!("p{pod}")).unwrap() & CARRIED).collect();
        assert_eq!(held, [CARRIED - 1, CARRIED, 1, 2, 3]);
        let too_many = (0..=CARRIED).map(|pod| (format!("q{pod}"), pod)).collect();
        numbers.kept.pods = too_many;
        assert!(numbers.of("one more").is_err());
    }
}
