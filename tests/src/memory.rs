//! Programs in memory.

use std::collections::BTreeMap;

use npc_cluster::Cluster;
use npc_diagnostics::Level;
use npc_driver::{Checked, Cni, Config, check, codes, compile};
use npc_program::{Files, ReadError};
use npc_targets::{AnyTarget, Options, Output};

/// Files by name.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    files: BTreeMap<String, String>,
}

impl Memory {
    /// Holds the given files.
    pub fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { files: files.into_iter().collect() }
    }

    /// Holds one file, `policies.np`.
    #[must_use]
    pub fn one(text: &str) -> Self {
        Self::new([("policies.np".to_owned(), text.to_owned())])
    }

    /// Checks the first file in alphabetical order and its imports.
    #[must_use]
    pub fn check(&self, cluster: Option<&Cluster>) -> Checked {
        let root: Vec<String> = self.files.keys().take(1).cloned().collect();
        check(self, &root, &Config::default(), cluster)
    }

    /// Like [`Self::check`], for a CNI.
    #[must_use]
    pub fn check_for(&self, cni: Cni, cluster: Option<&Cluster>) -> Checked {
        let root: Vec<String> = self.files.keys().take(1).cloned().collect();
        check(self, &root, &Config { cni: Some(cni), ..Config::default() }, cluster)
    }

    /// Like [`Self::check`], without the lints about the program as a whole. For examples that show one
    /// mistake in one line and are no complete programs.
    #[must_use]
    pub fn check_lines(&self, cluster: Option<&Cluster>) -> Checked {
        let root: Vec<String> = self.files.keys().take(1).cloned().collect();
        let mut config = Config::default();
        for code in codes().into_iter().filter(|code| ("NP0803".."NP0808").contains(&code.id)) {
            config.lints.set(code, Level::Allow);
        }
        check(self, &root, &config, cluster)
    }
}

impl Files for Memory {
    fn read(&self, path: &str) -> Result<Vec<u8>, ReadError> {
        let beside = || self.files.keys().cloned().collect();
        self.files
            .get(path)
            .map(|text| text.clone().into_bytes())
            .ok_or_else(|| ReadError::NotFound(beside()))
    }
}

/// Compiles a program for one target.
///
/// # Errors
///
/// The codes of all errors.
pub fn compiled(
    files: &Memory,
    target: AnyTarget,
    cluster: Option<&Cluster>,
) -> Result<Output, Vec<&'static str>> {
    let checked = files.check(None);
    let errors = |list: &[npc_diagnostics::Diagnostic]| -> Vec<&'static str> {
        list.iter().filter(|d| d.level == Level::Error).map(|d| d.code.id).collect()
    };
    let found = errors(&checked.report.diagnostics);
    if !found.is_empty() {
        return Err(found);
    }
    let output = compile(&checked, &[target], &Options::default(), cluster).remove(0);
    let found = errors(&output.diagnostics);
    if found.is_empty() { Ok(output) } else { Err(found) }
}
