//! A program as a target says it: compiled, and read back.

use std::collections::BTreeSet;

use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, Level, SourceMap};
use npc_expand::Object;
use npc_import::import;
use npc_program::Program;
use npc_targets::{Options, Target};

npc_diagnostics::codes! {
    /// # What a target wrote is not what it should be
    ///
    /// The compiler read back what it wrote and found something else. This is a fault of the
    /// compiler: please report it, with the program.
    READ_BACK = "NP0618" "read-back" Error;

    /// # What was written is not proved to be right
    ///
    /// The compiler proves of all that it writes that it means what the program means. For this
    /// policy the proof would be too large, so that nothing is known; what was written is most likely
    /// right.
    NOT_PROVED = "NP0620" "not-proved" Warning;
}

/// What came out of a target, read back.
#[derive(Debug)]
pub struct Through {
    /// The policies that came out.
    pub program: Program,
    /// The texts that they stand in.
    pub sources: SourceMap,
    /// Why Kyverno does not generate some of the policies in this cluster, in sentences: where there are some, the
    /// verdicts differ from the program's.
    pub gaps: Vec<String>,
}

/// That Kyverno, as it is configured, generates nothing in these namespaces.
pub(crate) fn kyverno_ignores<'n>(namespaces: impl Iterator<Item = &'n str>) -> String {
    format!(
        "Kyverno's configuration leaves out {}: it generates nothing there (npc explain NP0606)",
        namespaces.collect::<Vec<_>>().join(", ")
    )
}

/// That a policy is not generated in namespaces that were there before it.
pub(crate) fn not_for_existing(name: &str) -> String {
    format!(
        "`{name}` is generated in new namespaces only, and not in those that exist, until they change: `generateExisting` is off (npc explain NP0607)"
    )
}

/// Compiles a program to a target and reads back the NetworkPolicies and ClusterNetworkPolicies that
/// the cluster will have: for Kyverno's kinds, those that it will generate there.
///
/// # Errors
///
/// What the target says where it refuses the program, with errors among it.
pub fn through(
    target: Target,
    program: &Program,
    sources: &SourceMap,
    options: &Options,
    cluster: &Cluster,
) -> Result<Through, Vec<Diagnostic>> {
    let output = npc_targets::compile(target, program, sources, options, Some(cluster));
    if output.diagnostics.iter().any(|found| found.level == Level::Error) {
        return Err(output.diagnostics);
    }
    let wrong = |why: String| vec![Diagnostic::without_place(&READ_BACK, why)];
    let mut gaps = Vec::new();
    let text = match target {
        Target::Kyverno | Target::KyvernoCel => {
            let generated = npc_expand::expand(&output.text, cluster).map_err(|error| {
                wrong(format!("what target `{target}` wrote cannot be evaluated: {error}"))
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
        }
        _ => output.text,
    };
    let mut sources = SourceMap::new();
    let file = sources.add(format!("<{target}>").as_str(), text.as_str());
    let import = import(file, &text);
    match import.diagnostics.iter().find(|found| found.level == Level::Error) {
        None => Ok(Through { program: import.into_program(), sources, gaps }),
        Some(found) => Err(wrong(format!("what target `{target}` wrote cannot be read: {}", found.message))),
    }
}
