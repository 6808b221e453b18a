//! `textDocument/codeAction`: the repairs of diagnostics, as `npc check --fix` makes them and more that are
//! only offered.

use std::collections::HashMap;

use npc_diagnostics::{Applicability, FileId};
use tower_lsp::ls_types::{CodeAction, CodeActionKind, Range, TextEdit, Uri, WorkspaceEdit};

use super::diagnostics::{Texts, one, uri};
use crate::core::text::Encoding;
use crate::core::workspace::Program;

/// The repairs of what is found within a part of a file.
pub(crate) fn repairs(program: &Program, file: FileId, within: Range, encoding: Encoding) -> Vec<CodeAction> {
    let mut texts = Texts::new(program, encoding);
    let mut actions = Vec::new();
    for found in &program.checked.report.diagnostics {
        let Some(label) = found.labels.first().filter(|label| label.location.file == file) else { continue };
        let place = texts.range(label.location);
        if found.fixes.is_empty() || place.end < within.start || place.start > within.end {
            continue;
        }
        let diagnostic = one(program, &mut texts, found);
        for fix in &found.fixes {
            let mut changes: HashMap<Uri, Vec<TextEdit>> = HashMap::new();
            for edit in &fix.edits {
                let Some(uri) = uri(&program.path(edit.location.file)) else { continue };
                let edit = TextEdit { range: texts.range(edit.location), new_text: edit.text.clone() };
                changes.entry(uri).or_default().push(edit);
            }
            actions.push(CodeAction {
                title: sentence(&fix.title),
                kind: Some(CodeActionKind::QUICKFIX),
                diagnostics: Some(vec![diagnostic.clone()]),
                edit: Some(WorkspaceEdit { changes: Some(changes), ..WorkspaceEdit::default() }),
                is_preferred: Some(fix.applicability == Applicability::Automatic),
                ..CodeAction::default()
            });
        }
    }
    actions
}

/// With a capital, as editors write what can be chosen.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}
