//! `npc/yaml`, `npc/reach` and `npc/pods`: the compiled program, and reachability between the cluster's pods.

use npc_reach::{Reach, View};
use npc_targets::AnyTarget;
use serde::{Deserialize, Serialize};
use tower_lsp::ls_types::TextDocumentIdentifier;

use crate::core::program::Program;
use crate::core::selected;

/// The parameters of `npc/yaml`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct YamlParams {
    pub(crate) text_document: TextDocumentIdentifier,
    /// The target.
    pub(crate) target: String,
    /// The policy to scroll to.
    #[serde(default)]
    pub(crate) policy: Option<String>,
}

/// The parameters of `npc/reach`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileParams {
    pub(crate) text_document: TextDocumentIdentifier,
}

/// The parameters of `npc/pods`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicyParams {
    pub(crate) text_document: TextDocumentIdentifier,
    pub(crate) policy: String,
}

/// The message for a file that belongs to no program.
pub(crate) const NO_PROGRAM: &str = "this file belongs to no program: save it with the extension `.np`";

/// A view, or why it cannot be shown.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Shown {
    /// YAML, and the line where the requested policy starts.
    Yaml { text: String, line: Option<usize> },
    /// An HTML page.
    Page { html: String },
    /// Pods, as `namespace/name`.
    Pods { pods: Vec<String> },
    /// Why there is nothing to show.
    Not { why: String },
}

impl Shown {
    /// For a file that belongs to no program.
    pub(crate) fn nothing() -> Self {
        Self::not(NO_PROGRAM)
    }

    fn not(why: impl Into<String>) -> Self {
        Self::Not { why: why.into() }
    }
}

/// Compiles the program for a target.
pub(crate) fn yaml(program: &Program, target: &str, policy: Option<&str>) -> Shown {
    let Some(target) = AnyTarget::parse(target).filter(|target| target.capabilities().text) else {
        return Shown::not(format!("`{target}` is not a target with text output"));
    };
    match program.compiled(target, None) {
        Ok(text) => {
            let line = policy.and_then(|policy| line_of(&text, policy));
            Shown::Yaml { text, line }
        }
        Err(why) => Shown::Not { why },
    }
}

/// The line where the document of a policy starts. The annotation `npc/policy` or the object's name
/// identifies it.
fn line_of(text: &str, policy: &str) -> Option<usize> {
    let mut begins = 0;
    for (number, line) in text.lines().enumerate() {
        if line == "---" {
            begins = number + 1;
        }
        let value = line.trim_start().strip_prefix("npc/policy: ").or_else(|| line.strip_prefix("  name: "));
        if value.is_some_and(|value| {
            let value = value.trim_matches(['"', '\'']);
            value == policy || value.strip_prefix("netpol-") == Some(policy)
        }) {
            return Some(begins);
        }
    }
    None
}

/// Computes which pods can reach which.
pub(crate) fn reach(program: &Program, why_no_cluster: Option<String>) -> Shown {
    if let Some(why) = why_no_cluster {
        return Shown::Not { why };
    }
    let Some(cluster) = program.cluster.as_deref() else { return Shown::not("no cluster file is loaded") };
    if cluster.pods.is_empty() {
        return Shown::not(
            "the cluster file has no pods: create it with `kubectl get namespaces,pods -A -o yaml`",
        );
    }
    if let Some(why) = program.mistake() {
        return Shown::Not { why };
    }
    let reach = Reach::new(&program.checked.program, cluster);
    let view = match View::new(&reach, &[], &[]) {
        Ok(view) => view,
        Err(error) => return Shown::not(error.to_string()),
    };
    match npc_driver::reach_page(&program.checked.program, program.checked.sources(), &view) {
        Ok(html) => Shown::Page { html },
        Err(error) => Shown::not(error.to_string()),
    }
}

/// The pods that a policy selects.
pub(crate) fn pods(program: &Program, policy: &str, why_no_cluster: Option<String>) -> Shown {
    if let Some(why) = why_no_cluster {
        return Shown::Not { why };
    }
    let Some(cluster) = program.cluster.as_deref() else { return Shown::not("no cluster file is loaded") };
    let Some(policy) = program.policy_named(policy) else {
        return Shown::not(format!("the program has no policy `{policy}`, or that policy has errors"));
    };
    match selected::any(cluster, policy.subjects.iter().map(|term| &**term)) {
        Some(found) => Shown::Pods { pods: found.iter().map(|pod| selected::name(cluster, pod)).collect() },
        None => Shown::not("the selected pods depend on the namespace of another pod"),
    }
}
