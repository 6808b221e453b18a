//! The result of a check.

use std::collections::BTreeMap;

use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, FileId, Fix, Report, SourceMap};
use npc_program::{Files, Loaded, Names, Program};
use npc_targets::{AnyTarget, Options};

use super::levels::Levels;
use super::repair;
use super::session::Session;
use crate::compile::{draft, target_diagnostics};

/// A checked program.
#[derive(Debug)]
pub struct Checked {
    /// The files.
    pub loaded: Loaded,
    /// The program. It is incomplete if the report has errors.
    pub program: Program,
    /// The sets that the files define.
    pub names: Names,
    /// All diagnostics, sorted by location.
    pub report: Report,
    /// The memo tables for the next check.
    pub session: Session,
    pub(crate) levels: Levels,
    /// The errors of loading and resolving.
    pub(crate) errors: repair::Errors,
    /// The texts after the automatic fixes, for the files that they change.
    pub(crate) repaired: repair::Texts,
}

impl Checked {
    /// Whether one of the given files could not be read, so that the program is unknown.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.report.diagnostics.iter().any(|d| d.code == &npc_program::UNREADABLE && d.labels.is_empty())
    }

    /// The texts of the files.
    #[must_use]
    pub const fn sources(&self) -> &SourceMap {
        &self.loaded.sources
    }

    /// Adds the diagnostics of targets. Does nothing if the program has errors.
    pub fn add_target_diagnostics(
        &mut self,
        targets: &[AnyTarget],
        options: &Options,
        cluster: Option<&Cluster>,
    ) {
        if !self.report.has_errors() && !targets.is_empty() {
            let found = target_diagnostics(&draft(self, targets, options, cluster));
            self.report.diagnostics.extend(found);
            self.report.sort();
        }
    }

    /// The texts after the automatic fixes, for the files that they change.
    #[must_use]
    pub fn repaired(&self) -> BTreeMap<FileId, String> {
        self.repaired.iter().map(|(file, text)| (*file, text.to_string())).collect()
    }

    /// The verified fixes of a diagnostic: the automatic ones, and those that need a decision by the user. For programs
    /// checked with [`Depth::Editor`](crate::Depth::Editor), which does not verify the latter.
    #[must_use]
    pub fn offered_fixes(&self, files: &impl Files, diagnostic: &Diagnostic) -> Vec<Fix> {
        let mut own = [diagnostic.clone()];
        self.verify(files, &mut own, repair::FixVerifier::choices);
        let [own] = own;
        own.fixes
    }

    pub(super) fn verify_automatic_fixes(&mut self, files: &impl Files) {
        let mut diagnostics = std::mem::take(&mut self.report.diagnostics);
        self.repaired = self.verify(files, &mut diagnostics, repair::FixVerifier::automatic);
        self.report.diagnostics = diagnostics;
    }

    /// Verifies the fixes that need a decision by the user: keeps those that give a program without new errors, and
    /// turns the others into help text.
    pub(super) fn verify_choices(&mut self, files: &impl Files) {
        let mut diagnostics = std::mem::take(&mut self.report.diagnostics);
        self.verify(files, &mut diagnostics, repair::FixVerifier::choices);
        self.report.diagnostics = diagnostics;
    }

    /// Verifies the fixes of some diagnostics, if they have any.
    fn verify<'c, F: Files, T: Default>(
        &'c self,
        files: &'c F,
        diagnostics: &mut [Diagnostic],
        verify: impl FnOnce(repair::FixVerifier<'c, F>, &mut [Diagnostic]) -> T,
    ) -> T {
        if diagnostics.iter().all(|found| found.fixes.is_empty()) {
            return T::default();
        }
        let verifier = repair::FixVerifier::new(files, &self.loaded, &self.session.resolution, &self.errors);
        verify(verifier, diagnostics)
    }
}
