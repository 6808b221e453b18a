//! The compiler's entry points, which the command and the language server share.
//!
//! This crate does not access the file system or the clock: files come from an implementation of
//! [`Files`](npc_program::Files).

mod answer;
mod config;
mod coverage;
mod diff;
mod expect;
mod explain;
mod image_difference;
mod levels;
mod page;
mod repair;
mod round_trip;
mod test_runner;
mod text;
mod updates;
mod validate;

use npc_cluster::Cluster;
use npc_diagnostics::{Code, Diagnostic, Report, SourceMap};
pub use npc_import::{Import, Imported, import, import_in, rename};
use npc_program::{Files, Loaded, Memo, Names, Program, Resolved, load, resolve};
use npc_targets::{AnyTarget, Options, Output};
use rayon::prelude::*;

use levels::Levels;

pub use answer::{Answer, NearestRule, PolicyReference, Reason, RuleReference, Side};
pub use config::{Config, LintLevels};
pub use coverage::{Gaps, exclude_filtered, exclude_filtered_from, retain_in_force};
pub use diff::kind_text;
pub use explain::{Explainer, ask};
use npc_lints::Before;
pub use npc_lints::{Cni, Origin};
pub use npc_proof::{Changes, changes, prove};
pub use page::reach_page;
pub use repair::{offered_fixes, repaired};
pub use round_trip::{RoundTrip, round_trip};
pub use test_runner::{Failure, TestResult, Why, run, test_text};
pub use text::{failure_text, side_text};
pub use updates::{Update, UpdateKind, updates};
pub use validate::validate;

npc_diagnostics::codes! {
    /// # Not a cluster file
    ///
    /// `--cluster` reads the output of `kubectl get namespaces,pods -A -o yaml`: a `List`, a stream of
    /// documents, or single objects, as YAML or JSON. The file must contain at least one Namespace, and the
    /// Namespace of each Pod. It may also contain Nodes, Services, EndpointSlices and Endpoints, which give
    /// npc the addresses of nodes and Services. npc skips objects of other kinds, and Pods that have ended.
    BAD_CLUSTER = "NP0702" "bad-cluster" Error;
}

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
    levels: Levels,
    memo: Memo,
    /// The memo table of the lints. `None` if they did not run.
    lint_memo: Option<npc_lints::Memo>,
    /// The errors of loading and resolving.
    errors: repair::Errors,
    /// The texts after the automatic fixes, for the files that they change.
    repaired: repair::Texts,
}

impl Checked {
    /// Whether one of the given files could not be read, so that the program is unknown.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.report.diagnostics.iter().any(|d| d.code == &npc_program::UNREADABLE && d.labels.is_empty())
    }

    /// Adds the diagnostics of the targets. Does nothing if the program has errors.
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

    /// Verifies the fixes that need a decision by the user: keeps those that give a program without new errors, and
    /// turns the others into help text.
    pub fn try_choices(&mut self, files: &impl Files) {
        if self.report.diagnostics.iter().any(|found| !found.fixes.is_empty()) {
            let trials = repair::FixVerifier::new(files, &self.loaded, &self.memo, &self.errors);
            trials.choices(&mut self.report.diagnostics);
        }
    }

    /// The texts of the files.
    #[must_use]
    pub const fn sources(&self) -> &SourceMap {
        &self.loaded.sources
    }
}

/// Loads and checks a program: the given files and all files that they import.
pub fn check(files: &impl Files, roots: &[String], config: &Config, cluster: Option<&Cluster>) -> Checked {
    let mut checked = check_again(files, roots, config, cluster, None);
    checked.try_choices(files);
    checked
}

/// Checks like [`check`], but returns only errors, and runs the lints only if the configuration makes one of them an
/// error.
pub fn check_errors(files: &impl Files, roots: &[String], config: &Config) -> Checked {
    let is_error = |code: &&Code| config.lints.get(code) == Some(npc_diagnostics::Level::Error);
    let lints = npc_lints::codes().iter().any(is_error);
    let mut checked = check_steps(files, roots, config, None, None, lints);
    checked.report.diagnostics.retain(|found| found.level == npc_diagnostics::Level::Error);
    checked.try_choices(files);
    checked
}

/// Checks like [`check`], reusing the results of the previous check `before` for unchanged policies. Does not verify
/// fixes that need a decision.
fn check_again(
    files: &impl Files,
    roots: &[String],
    config: &Config,
    cluster: Option<&Cluster>,
    before: Option<&Checked>,
) -> Checked {
    check_steps(files, roots, config, cluster, before, true)
}

fn check_steps(
    files: &impl Files,
    roots: &[String],
    config: &Config,
    cluster: Option<&Cluster>,
    before: Option<&Checked>,
    lints: bool,
) -> Checked {
    let mut loaded = load(files, roots);
    let resolved = resolve(&loaded, before.map(|before| &before.memo));
    let Resolved { program, diagnostics: mut found, names, memo } = resolved;
    let mut diagnostics = std::mem::take(&mut loaded.diagnostics);
    diagnostics.append(&mut found);
    let broken = diagnostics.iter().any(|d| d.level == npc_diagnostics::Level::Error);
    let errors = if broken { repair::Errors::of(&diagnostics) } else { repair::Errors::default() };
    let lint_memo = (!broken && lints).then(|| {
        let before =
            before.and_then(|own| Some(Before { program: &own.program, memo: own.lint_memo.as_ref()? }));
        lint(&program, config, Origin::Program, cluster, before, &mut diagnostics)
    });
    let (levels, mut found) = Levels::new(&loaded, &config.lints);
    diagnostics.append(&mut found);
    let mut report = Report { diagnostics };
    report.make_absolute(&loaded.sources);
    levels.apply(&mut report);
    report.sort();
    let mut repaired = repair::Texts::new();
    if report.diagnostics.iter().any(|found| !found.fixes.is_empty()) {
        let trials = repair::FixVerifier::new(files, &loaded, &memo, &errors);
        repaired = trials.automatic(&mut report.diagnostics);
    }
    Checked { loaded, program, names, report, levels, memo, errors, lint_memo, repaired }
}

/// Checks a program like [`check`], and adds the diagnostics of the configured targets. Reuses the results of the
/// previous check `before` for unchanged policies. Verifies only automatic fixes: [`offered_fixes`] and
/// [`Checked::try_choices`] verify the others.
pub fn check_with_targets(
    files: &impl Files,
    roots: &[String],
    config: &Config,
    cluster: Option<&Cluster>,
    before: Option<&Checked>,
) -> Checked {
    let mut checked = check_again(files, roots, config, cluster, before);
    checked.add_target_diagnostics(&config.targets, &config.options, cluster);
    checked
}

fn lint(
    program: &Program,
    config: &Config,
    origin: Origin,
    cluster: Option<&Cluster>,
    before: Option<Before<'_>>,
    diagnostics: &mut Vec<Diagnostic>,
) -> npc_lints::Memo {
    let pod_cidrs = config.options.pod_cidrs.blocks();
    let overview = npc_lints::Overview::new(program, pod_cidrs, before);
    diagnostics.extend(npc_lints::meaning(&overview, origin, cluster));
    if let Some(cni) = &config.cni {
        diagnostics.extend(npc_lints::portability(&overview, cni, origin, cluster));
    }
    if let Some(cluster) = cluster {
        diagnostics.extend(npc_lints::cluster(program, origin, cluster, pod_cidrs));
    }
    overview.into_memo()
}

/// Runs the lints on policies imported from manifests, and returns their findings together with `found`, the
/// diagnostics of the import. Removes all fixes, since they apply to `.np` programs only.
#[must_use]
pub fn check_manifests(
    program: &Program,
    found: Vec<Diagnostic>,
    config: &Config,
    cluster: Option<&Cluster>,
) -> Report {
    let mut diagnostics = found;
    if !diagnostics.iter().any(|found| found.level == npc_diagnostics::Level::Error) {
        if let Some(cni) = &config.cni {
            let left_out = diagnostics.iter().filter(|found| found.code == &npc_import::LEFT_OUT_RULES);
            let places: Vec<_> = left_out.filter_map(Diagnostic::location).collect();
            diagnostics.extend(npc_lints::ignored_rules(cni, places.into_iter()));
        }
        lint(program, config, Origin::Manifests, cluster, None, &mut diagnostics);
    }
    for diagnostic in &mut diagnostics {
        diagnostic.fixes.clear();
    }
    let mut report = Report { diagnostics };
    Levels::of(&config.lints).apply(&mut report);
    report.sort();
    report
}

/// Compiles a checked program to some targets, and proves that each output gives exactly the verdicts of the program
/// (see [`validate`]). The diagnostics are part of each output.
///
/// The report of the program must not have errors.
#[must_use]
pub fn compile(
    checked: &Checked,
    targets: &[AnyTarget],
    options: &Options,
    cluster: Option<&Cluster>,
) -> Vec<Output> {
    let mut outputs = draft(checked, targets, options, cluster);
    let options = together(targets, options);
    for output in &mut outputs {
        if !output.diagnostics.iter().any(|found| found.level == npc_diagnostics::Level::Error) {
            let mut found = Report { diagnostics: validate(output, &checked.program, &options, cluster) };
            found.make_absolute(checked.sources());
            output.diagnostics.append(&mut found.diagnostics);
        }
    }
    outputs
}

/// The options for several targets of one compilation: targets without tiers skip the policies that
/// `clusternetworkpolicy` writes, and that target skips the plain policies that another target writes.
fn together(targets: &[AnyTarget], options: &Options) -> Options {
    let any = |tiers| {
        let mut capabilities = targets.iter().map(|target| target.capabilities());
        capabilities.any(|target| target.text && target.tiers == tiers)
    };
    Options { tiers_elsewhere: any(true), plain_elsewhere: any(false), ..options.clone() }
}

/// Compiles like [`compile`], but without the proof. Enough for the diagnostics of the targets.
#[must_use]
pub fn draft(
    checked: &Checked,
    targets: &[AnyTarget],
    options: &Options,
    cluster: Option<&Cluster>,
) -> Vec<Output> {
    let options = &together(targets, options);
    let one = |target: AnyTarget| {
        let mut output = npc_targets::compile(target, &checked.program, checked.sources(), options, cluster);
        let mut report = Report { diagnostics: std::mem::take(&mut output.diagnostics) };
        report.make_absolute(checked.sources());
        checked.levels.apply(&mut report);
        report.sort();
        output.diagnostics = report.diagnostics;
        output
    };
    // Compiling to one target takes about as long as checking the program, so the targets run in parallel.
    targets.par_iter().map(|target| one(*target)).collect()
}

/// The diagnostics of all outputs. If two targets report the same code at the same location, only those of the first
/// are returned.
#[must_use]
pub fn target_diagnostics(outputs: &[Output]) -> Vec<Diagnostic> {
    let mut first = rustc_hash::FxHashMap::default();
    let mut found = Vec::new();
    for output in outputs {
        for diagnostic in &output.diagnostics {
            // One target may report several diagnostics at the location; keep all of them.
            let target = *first.entry((diagnostic.code.id, diagnostic.location())).or_insert(output.target);
            if target == output.target {
                found.push(diagnostic.clone());
            }
        }
    }
    found
}

/// All diagnostic codes of the compiler, in numeric order.
#[must_use]
pub fn codes() -> Vec<&'static Code> {
    let mut codes = npc_program::codes();
    codes.extend(npc_targets::codes());
    codes.extend(npc_lints::codes());
    codes.extend(CODES);
    codes.extend(config::CODES);
    codes.extend(levels::CODES);
    codes.extend(round_trip::CODES);
    codes.extend(npc_import::codes());
    codes.sort_by_key(|code| code.id);
    codes
}

/// The diagnostic for an invalid cluster file.
#[must_use]
pub fn bad_cluster(name: &str, error: &npc_cluster::Error) -> Diagnostic {
    Diagnostic::without_place(&BAD_CLUSTER, format!("{name} is not a cluster file: {error}"))
        .help("pass the output of `kubectl get namespaces -o yaml`")
}
