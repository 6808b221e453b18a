//! Round trip through a target: compiles a program and imports the output.

use std::collections::BTreeSet;

use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, Level, SourceMap};
use npc_expand::Object;
use npc_import::import;
use npc_program::Program;
use npc_targets::{AnyTarget, Options};

use super::gaps::{kyverno_ignores, not_for_existing};

npc_diagnostics::codes! {
    /// # The output of a target differs from the program
    ///
    /// The compiler imported its own output and found that it is not equivalent to the program. This is
    /// a bug in npc. Please report it, with the program.
    READ_BACK = "NP0618" "read-back" Error;

    /// # The output is not proved to be equivalent
    ///
    /// The compiler proves that its output is equivalent to the program. For this policy the proof would
    /// be too large, so the compiler writes the output without a proof. The output is most likely
    /// correct.
    NOT_PROVED = "NP0620" "not-proved" Warning;
}

/// The imported output of a target.
#[derive(Debug)]
pub struct RoundTrip {
    /// The policies of the output.
    pub program: Program,
    /// The texts of the output.
    pub sources: SourceMap,
    /// The reasons why Kyverno does not generate some of the policies in this cluster, as sentences. If there are
    /// any, the verdicts differ from those of the program.
    pub gaps: Vec<String>,
}

/// Compiles a program to a target and imports the NetworkPolicies and ClusterNetworkPolicies that the cluster will
/// have. For Kyverno's kinds, these are the objects that Kyverno will generate in the cluster.
///
/// # Errors
///
/// The diagnostics of the target, if it rejects the program.
pub fn round_trip(
    target: AnyTarget,
    program: &Program,
    sources: &SourceMap,
    options: &Options,
    cluster: &Cluster,
) -> Result<RoundTrip, Vec<Diagnostic>> {
    let output = npc_targets::compile(target, program, sources, options, Some(cluster));
    if output.diagnostics.iter().any(|found| found.level == Level::Error) {
        return Err(output.diagnostics);
    }
    let wrong = |why: String| vec![Diagnostic::without_place(&READ_BACK, why)];
    let mut gaps = Vec::new();
    let text = if target.capabilities().by_kyverno {
        let generated = npc_expand::expand(&output.text, cluster).map_err(|error| {
            wrong(format!("the output of target `{target}` cannot be evaluated: {error}"))
        })?;
        let is_filtered = |object: &Object| options.filtered_namespaces.contains(&object.namespace);
        let (made, not_made): (Vec<Object>, Vec<Object>) =
            generated.objects.into_iter().partition(|object| object.for_existing && !is_filtered(object));
        let filtered = not_made.iter().filter(|object| is_filtered(object));
        let filtered: BTreeSet<&str> = filtered.map(|object| object.namespace.as_str()).collect();
        if !filtered.is_empty() {
            gaps.push(kyverno_ignores(filtered.into_iter()));
        }
        let late = not_made.iter().filter(|object| !object.for_existing);
        let late: BTreeSet<&str> = late.map(|object| object.name.as_str()).collect();
        gaps.extend(late.into_iter().map(not_for_existing));
        made.iter().map(|object| format!("---\n{}\n", object.value)).collect()
    } else {
        output.text
    };
    let mut sources = SourceMap::new();
    let file = sources.add(format!("<{target}>").as_str(), text.as_str());
    let import = import(file, &text);
    match import.diagnostics.iter().find(|found| found.level == Level::Error) {
        None => Ok(RoundTrip { program: import.into_program(), sources, gaps }),
        Some(found) => {
            Err(wrong(format!("the output of target `{target}` cannot be read: {}", found.message)))
        }
    }
}
