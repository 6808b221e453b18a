//! Checks policies that are imported from manifests.

use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, Level, Report};
use npc_lints::Origin;
use npc_program::Program;

use super::levels::Levels;
use super::session::lint;
use crate::config::Config;

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
    if !diagnostics.iter().any(|found| found.level == Level::Error) {
        if let Some(cni) = &config.cni {
            let left_out = diagnostics.iter().filter(|found| found.code == &npc_import::LEFT_OUT_RULES);
            let places: Vec<_> = left_out.filter_map(Diagnostic::location).collect();
            diagnostics.extend(npc_lints::ignored_rules(cni, places.into_iter()));
        }
        lint(program, config, Origin::Manifests, cluster, None, &|| false, &mut diagnostics);
    }
    for diagnostic in &mut diagnostics {
        diagnostic.fixes.clear();
    }
    let mut report = Report { diagnostics };
    Levels::of(&config.lints).apply(&mut report);
    report.sort();
    report
}
