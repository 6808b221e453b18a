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
mod session;
mod test_runner;
mod text;
mod updates;
mod validate;

use npc_cluster::Cluster;
use npc_diagnostics::{Code, Diagnostic, Report};
pub use npc_import::{Import, Imported, import, import_in, rename};
use npc_program::Program;
use npc_targets::{AnyTarget, Options, Output};
use rayon::prelude::*;

use levels::Levels;

pub use answer::{Answer, NearestRule, PolicyReference, Reason, RuleReference, Side};
pub use config::{Config, LintLevels};
pub use coverage::{Gaps, exclude_filtered, exclude_filtered_from, retain_in_force};
pub use diff::kind_text;
pub use explain::{Explainer, ask};
pub use npc_lints::{Cni, Origin};
pub use npc_proof::{Changes, changes, prove};
pub use page::reach_page;
pub use repair::{offered_fixes, repaired};
pub use round_trip::{RoundTrip, round_trip};
pub use session::{Checked, Depth, Input, Interrupt, Session, Stop, Stopped, Uninterrupted, check};
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
        session::lint(program, config, Origin::Manifests, cluster, None, &|| false, &mut diagnostics);
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
