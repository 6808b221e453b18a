//! `textDocument/codeLens`: run a test, show the YAML of a policy, list the pods that it selects.

use npc_diagnostics::{Location, Span};
use npc_syntax::ast::ItemKind;
use serde_json::json;
use tower_lsp::ls_types::{CodeLens, Command};

use crate::capability::hover::pods;
use crate::capability::tests;
use crate::convert::Places;
use crate::core::selected;

/// Runs a test or proves an assertion.
pub(crate) const RUN_TEST: &str = "npc.runTest";
/// Shows the YAML of a policy.
pub(crate) const SHOW_YAML: &str = "npc.showYaml";
/// Lists the pods that a policy selects.
pub(crate) const SHOW_PODS: &str = "npc.showPods";
/// All commands.
pub(crate) const COMMANDS: [&str; 3] = [RUN_TEST, SHOW_YAML, SHOW_PODS];

pub(crate) fn lenses(places: Places<'_>, file: usize) -> Vec<CodeLens> {
    let program = places.program;
    let Some(own) = program.files().get(file) else { return Vec::new() };
    let Some(uri) = places.uri(Location::new(own.id, Span::default())) else { return Vec::new() };
    let mut found = Vec::new();
    let mut add = |span: Span, title: String, command: &str, argument: &str| {
        let range = places.range(Location::new(own.id, span.at_start()));
        let arguments = Some(vec![json!(uri), json!(argument)]);
        let command = Command { title, command: command.to_owned(), arguments };
        found.push(CodeLens { range, command: Some(command), data: None });
    };
    for item in &own.parsed.tree.items {
        match &item.kind {
            ItemKind::Test(_) => {
                add(item.span, "Run test".to_owned(), RUN_TEST, &tests::id(program, file, item));
            }
            ItemKind::Assert(_) => {
                add(item.span, "Prove".to_owned(), RUN_TEST, &tests::id(program, file, item));
            }
            ItemKind::Policy(policy) => {
                let name = program.says(file, policy.name);
                add(item.span, "Show YAML".to_owned(), SHOW_YAML, &name);
                let known = program.policy(file, item.span.start);
                if let (Some(cluster), Some(known)) = (program.cluster.as_deref(), known)
                    && let Some(selected) = selected::any(cluster, known.subjects.iter().map(|term| &**term))
                {
                    add(item.span, format!("Selects {}", pods(selected.len())), SHOW_PODS, &name);
                }
            }
            _ => {}
        }
    }
    found
}
