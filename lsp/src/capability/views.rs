//! `npc/yaml`, `npc/reach` and `npc/pods`: what a program becomes, and who can reach whom in the cluster.

use npc_reach::{Reach, View};
use npc_targets::Target;
use serde::{Deserialize, Serialize};
use tower_lsp::ls_types::TextDocumentIdentifier;

use crate::core::program::Program;
use crate::core::selected;

/// What is to be shown.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct YamlParams {
    pub(crate) text_document: TextDocumentIdentifier,
    /// Of which target.
    pub(crate) target: String,
    /// The policy whose place is asked for.
    #[serde(default)]
    pub(crate) policy: Option<String>,
}

/// A program's file.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileParams {
    pub(crate) text_document: TextDocumentIdentifier,
}

/// A program's file, and a policy.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PolicyParams {
    pub(crate) text_document: TextDocumentIdentifier,
    pub(crate) policy: String,
}

/// That a file is none of a program.
pub(crate) const NO_PROGRAM: &str = "this file is none of a program's: save it, with the ending `.np`";

/// What is shown; or why it cannot be.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Shown {
    /// YAML, and the line where the policy that was asked for begins.
    Yaml { text: String, line: Option<usize> },
    /// A page.
    Page { html: String },
    /// Pods, as `namespace/name`.
    Pods { pods: Vec<String> },
    /// Nothing.
    Not { why: String },
}

impl Shown {
    /// Of what is no file of a program.
    pub(crate) fn nothing() -> Self {
        Self::not(NO_PROGRAM)
    }

    fn not(why: impl Into<String>) -> Self {
        Self::Not { why: why.into() }
    }
}

/// What a program becomes.
pub(crate) fn yaml(program: &Program, target: &str, policy: Option<&str>) -> Shown {
    let Some(target) = Target::parse(target).filter(|target| *target != Target::Ebpf) else {
        return Shown::not(format!("there is no target `{target}` that is text"));
    };
    match program.compiled(target, None) {
        Ok(text) => {
            let line = policy.and_then(|policy| line_of(&text, policy));
            Shown::Yaml { text, line }
        }
        Err(why) => Shown::Not { why },
    }
}

/// Where the document of a policy begins: every one says in an annotation, or by its name, whose it is.
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

/// Who can reach whom.
pub(crate) fn reach(program: &Program, why_no_cluster: Option<String>) -> Shown {
    if let Some(why) = why_no_cluster {
        return Shown::Not { why };
    }
    let Some(cluster) = program.cluster.as_deref() else { return Shown::not("no cluster is known") };
    if cluster.pods.is_empty() {
        return Shown::not(
            "the cluster file has no pods: print them too, with `kubectl get namespaces,pods -A -o yaml`",
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

/// The pods that a policy is for.
pub(crate) fn pods(program: &Program, policy: &str, why_no_cluster: Option<String>) -> Shown {
    if let Some(why) = why_no_cluster {
        return Shown::Not { why };
    }
    let Some(cluster) = program.cluster.as_deref() else { return Shown::not("no cluster is known") };
    let Some(policy) = program.policy_named(policy) else {
        return Shown::not(format!("there is no policy `{policy}` that could be read"));
    };
    match selected::any(cluster, policy.subjects.iter().map(|term| &**term)) {
        Some(found) => Shown::Pods { pods: found.iter().map(|pod| selected::name(cluster, pod)).collect() },
        None => Shown::not("which pods those are depends on others"),
    }
}
