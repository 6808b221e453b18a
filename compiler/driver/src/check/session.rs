//! Checks a program, and reuses the results of earlier checks.

use npc_cluster::Cluster;
use npc_diagnostics::{Code, Diagnostic, Level, Report};
use npc_lints::{Origin, Overview};
use npc_program::{Files, Program, Resolved, load, resolve};

use super::checked::Checked;
use super::interrupt::{Interrupt, Uninterrupted};
use super::levels::Levels;
use super::repair;
use crate::config::Config;

/// What to check.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a, F> {
    /// The source of files.
    pub files: &'a F,
    /// The given files. The files that they import are checked too.
    pub roots: &'a [String],
    /// The configuration.
    pub config: &'a Config,
    /// The cluster, for the lints that need one.
    pub cluster: Option<&'a Cluster>,
}

/// What a check does besides resolving the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Reports only errors. Runs the lints only if the configuration makes one of them an error.
    Errors,
    /// Runs the lints, and verifies all fixes.
    Full,
    /// Runs the lints, compiles to the configured targets for their diagnostics, and verifies automatic fixes only:
    /// [`Checked::offered_fixes`] verifies the others when the editor requests them.
    Editor,
}

/// The memo tables of the stages of a check. Each check returns them for the next check of the same program, in
/// [`Checked::session`]. They change nothing but the time that it takes.
///
/// Parsed files have a memo table of their own, since programs can share them: see
/// [`Files::known`](npc_program::Files::known).
#[derive(Debug, Default)]
pub struct Session {
    pub(crate) resolution: npc_program::Memo,
    /// `None` if the lints did not run.
    lints: Option<npc_lints::Memo>,
}

/// Checks a program: the given files and all files that they import. See [`Depth::Full`].
pub fn check(files: &impl Files, roots: &[String], config: &Config, cluster: Option<&Cluster>) -> Checked {
    let input = Input { files, roots, config, cluster };
    let Ok(checked) = Session::default().check(&input, Depth::Full, &Uninterrupted);
    checked
}

impl Session {
    /// Checks a program.
    ///
    /// # Errors
    ///
    /// If `interrupt` ends the check early.
    pub fn check<F: Files, I: Interrupt>(
        &self,
        input: &Input<'_, F>,
        depth: Depth,
        interrupt: &I,
    ) -> Result<Checked, I::Error> {
        let Input { files, roots, config, cluster } = *input;
        let mut loaded = load(files, roots);
        interrupt.check()?;
        let Resolved { program, diagnostics: mut found, names, memo } =
            resolve(&loaded, Some(&self.resolution));
        interrupt.check()?;
        let mut diagnostics = std::mem::take(&mut loaded.diagnostics);
        diagnostics.append(&mut found);
        let broken = diagnostics.iter().any(|found| found.level == Level::Error);
        let errors = if broken { repair::Errors::of(&diagnostics) } else { repair::Errors::default() };
        let mut session = Self { resolution: memo, lints: None };
        let is_error = |code: &&Code| config.lints.get(code) == Some(Level::Error);
        if !broken && (depth != Depth::Errors || npc_lints::codes().iter().any(is_error)) {
            let before = self.lints.as_ref();
            let is_stopped = || interrupt.check().is_err();
            let memo =
                lint(&program, config, Origin::Program, cluster, before, &is_stopped, &mut diagnostics);
            session.lints = Some(memo);
            interrupt.check()?;
        }
        let (levels, mut found) = Levels::new(&loaded, &config.lints);
        diagnostics.append(&mut found);
        let mut report = Report { diagnostics };
        report.make_absolute(&loaded.sources);
        levels.apply(&mut report);
        if depth == Depth::Errors {
            report.diagnostics.retain(|found| found.level == Level::Error);
        }
        report.sort();
        let mut checked = Checked {
            loaded,
            program,
            names,
            report,
            session,
            levels,
            errors,
            repaired: repair::Texts::new(),
        };
        checked.verify_automatic_fixes(files);
        interrupt.check()?;
        match depth {
            Depth::Errors | Depth::Full => checked.verify_choices(files),
            Depth::Editor => checked.add_target_diagnostics(&config.targets, &config.options, cluster),
        }
        interrupt.check()?;
        Ok(checked)
    }
}

/// Runs the lints, and returns their memo table.
pub(crate) fn lint(
    program: &Program,
    config: &Config,
    origin: Origin,
    cluster: Option<&Cluster>,
    before: Option<&npc_lints::Memo>,
    is_stopped: &(dyn Fn() -> bool + Sync),
    diagnostics: &mut Vec<Diagnostic>,
) -> npc_lints::Memo {
    let pod_cidrs = config.options.pod_cidrs.blocks();
    let overview = Overview::new(program, pod_cidrs, before, is_stopped);
    diagnostics.extend(npc_lints::meaning(&overview, origin, cluster));
    if let Some(cni) = &config.cni {
        diagnostics.extend(npc_lints::portability(&overview, cni, origin, cluster));
    }
    if let Some(cluster) = cluster {
        diagnostics.extend(npc_lints::cluster(program, origin, cluster, pod_cidrs));
    }
    overview.into_memo()
}
