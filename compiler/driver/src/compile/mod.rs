//! Compiles checked programs, and proves the outputs equivalent to them.

mod gaps;
mod image_difference;
mod round_trip;
mod validate;

use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, Level, Report};
use npc_targets::{AnyTarget, Options, Output};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::check::Checked;

pub use gaps::{Gaps, exclude_filtered, exclude_filtered_from, retain_in_force};
pub(crate) use round_trip::CODES;
pub use round_trip::{RoundTrip, round_trip};
pub use validate::validate;

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
        if !output.diagnostics.iter().any(|found| found.level == Level::Error) {
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
    let mut first = FxHashMap::default();
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
