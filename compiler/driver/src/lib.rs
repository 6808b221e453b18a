//! The compiler's entry points, which the command and the language server share.
//!
//! This crate does not access the file system or the clock: files come from an implementation of
//! [`Files`](npc_program::Files).

mod check;
mod compare;
mod compile;
mod config;
mod query;
mod test;

use npc_diagnostics::{Code, Diagnostic};

pub use check::{
    Checked, Depth, Input, Interrupt, Session, Stop, Stopped, Uninterrupted, check, check_manifests,
};
pub use compare::{Update, UpdateKind, kind_text, updates};
pub use compile::{
    Gaps, RoundTrip, compile, draft, exclude_filtered, exclude_filtered_from, retain_in_force, round_trip,
    target_diagnostics, validate,
};
pub use config::{Config, LintLevels};
pub use npc_import::{Import, Imported, import, import_in, rename};
pub use npc_lints::{Cni, Origin};
pub use npc_proof::{Changes, changes, prove};
pub use query::{
    Answer, Explainer, NearestRule, PolicyReference, Reason, RuleReference, Side, ask, reach_page, side_text,
};
pub use test::{Failure, TestResult, Why, failure_text, run, test_text};

npc_diagnostics::codes! {
    /// # Not a cluster file
    ///
    /// `--cluster` reads the output of `kubectl get namespaces,pods -A -o yaml`: a `List`, a stream of
    /// documents, or single objects, as YAML or JSON. The file must contain at least one Namespace, and the
    /// Namespace of each Pod. It may also contain Nodes, Services, EndpointSlices and Endpoints, which give
    /// npc the addresses of nodes and Services. npc skips objects of other kinds, and Pods that have ended.
    BAD_CLUSTER = "NP0702" "bad-cluster" Error;
}

/// All diagnostic codes of the compiler, in numeric order.
#[must_use]
pub fn codes() -> Vec<&'static Code> {
    let mut codes = npc_program::codes();
    codes.extend(npc_targets::codes());
    codes.extend(npc_lints::codes());
    codes.extend(CODES);
    codes.extend(config::CODES);
    codes.extend(check::CODES);
    codes.extend(compile::CODES);
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
