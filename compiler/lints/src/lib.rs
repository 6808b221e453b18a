//! Warnings on what a program means in a given cluster. A lint is a file; [`cluster`] lists them.

mod np0801_selects_nothing;
mod np0802_uncovered_namespace;

use npc_cluster::{Cluster, Namespace};
use npc_diagnostics::{Code, Diagnostic};
use npc_program::values::name::glob_matches;
use npc_program::{Program, Scope, ScopeBase};

/// Runs the lints that need to know the cluster.
#[must_use]
pub fn cluster(program: &Program, cluster: &Cluster) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    np0801_selects_nothing::run(program, cluster, &mut diagnostics);
    np0802_uncovered_namespace::run(program, cluster, &mut diagnostics);
    diagnostics
}

/// Every code of this crate.
#[must_use]
pub fn codes() -> Vec<&'static Code> {
    [np0801_selects_nothing::CODES, np0802_uncovered_namespace::CODES]
        .into_iter()
        .flatten()
        .copied()
        .collect()
}

/// Whether a scope that does not depend on a subject holds the namespace.
fn holds(scope: &Scope, namespace: &Namespace) -> bool {
    let label = |key: &str| namespace.labels.get(key).map(String::as_str);
    let named = |globs: &[std::sync::Arc<str>]| globs.iter().any(|glob| glob_matches(glob, &namespace.name));
    let base = match &scope.base {
        ScopeBase::All | ScopeBase::Same => true,
        ScopeBase::Names(globs) => named(globs),
        ScopeBase::Labels(selector) => selector.matches(label),
        ScopeBase::Sharing(keys) => keys.iter().all(|key| label(key).is_some()),
    };
    base && !named(&scope.except_names)
        && !scope.except_labels.as_ref().is_some_and(|labels| labels.matches(label))
}
