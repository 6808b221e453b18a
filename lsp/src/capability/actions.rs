//! `textDocument/codeAction`: fixes of diagnostics, refactorings, and conversion of YAML to a program.

use npc_diagnostics::{Applicability, Location, Span};
use npc_program::Files;
use tower_lsp::ls_types::{CodeAction, CodeActionDisabled, CodeActionKind, Command, TextEdit, WorkspaceEdit};

use crate::capability::diagnostics::one;
use crate::convert::{Edits, Places, Versions, range};
use crate::core::refactor::{Kind, from_yaml};
use crate::core::text::{Encoding, Text};

/// The editor's command that starts a rename.
pub(crate) const RENAME: &str = "editor.action.rename";

/// The fixes of the diagnostics within a span.
pub(crate) fn repairs(
    places: Places<'_>,
    file: usize,
    within: Span,
    files: &impl Files,
    versions: &Versions,
) -> Vec<CodeAction> {
    let program = places.program;
    let Some(id) = program.files().get(file).map(|own| own.id) else { return Vec::new() };
    let mut actions = Vec::new();
    for found in &program.checked.report.diagnostics {
        let Some(label) = found.labels.first().filter(|label| label.location.file == id) else { continue };
        let place = label.location.span;
        if found.fixes.is_empty() || place.end < within.start || place.start > within.end {
            continue;
        }
        let diagnostic = one(places, found);
        for fix in program.checked.offered_fixes(files, found) {
            let edits = fix.edits.iter().map(|edit| (edit.location, edit.text.clone()));
            actions.push(CodeAction {
                title: sentence(&fix.title),
                kind: Some(CodeActionKind::QUICKFIX),
                diagnostics: Some(vec![diagnostic.clone()]),
                edit: Some(edit(places, edits, versions)),
                // Some editors treat `false` like `true`.
                is_preferred: (fix.applicability == Applicability::Automatic).then_some(true),
                ..CodeAction::default()
            });
        }
    }
    actions
}

/// All automatic fixes of a file at once, as `npc check --fix` applies them.
pub(crate) fn repair_all(places: Places<'_>, file: usize, versions: &Versions) -> Option<CodeAction> {
    let program = places.program;
    let id = program.files().get(file)?.id;
    let repaired = program.checked.repaired();
    let text = repaired.get(&id)?;
    let end = u32::try_from(program.source(file).len()).ok()?;
    let edits = std::iter::once((Location::new(id, Span::new(0, end)), text.clone()));
    Some(CodeAction {
        title: "Apply all automatic fixes".to_owned(),
        kind: Some(CodeActionKind::SOURCE_FIX_ALL),
        edit: Some(edit(places, edits, versions)),
        ..CodeAction::default()
    })
}

fn edit(
    places: Places<'_>,
    list: impl Iterator<Item = (Location, String)>,
    versions: &Versions,
) -> WorkspaceEdit {
    let mut edits = Edits::default();
    edits.add(places, list);
    edits.finish(versions)
}

/// The refactorings. With `renames`, an extraction starts a rename of the new set in the editor.
pub(crate) fn refactorings(
    places: Places<'_>,
    file: usize,
    within: Span,
    files: &impl Files,
    renames: bool,
    versions: &Versions,
) -> Vec<CodeAction> {
    let program = places.program;
    let found = [program.extract(file, within, files), program.inline(file, within.start, files)];
    let action = |own: crate::core::refactor::Refactoring| {
        let kind = match own.kind {
            Kind::Extract => CodeActionKind::REFACTOR_EXTRACT,
            Kind::Inline => CodeActionKind::REFACTOR_INLINE,
        };
        let ask = renames && own.kind == Kind::Extract;
        CodeAction {
            title: own.title,
            kind: Some(kind),
            edit: Some(edit(places, own.edits.into_iter(), versions)),
            command: ask.then(|| Command {
                title: "Rename".to_owned(),
                command: RENAME.to_owned(),
                arguments: None,
            }),
            ..CodeAction::default()
        }
    };
    found.into_iter().flatten().map(action).collect()
}

/// Converts pasted YAML to a program: the selected lines, or the whole file.
pub(crate) fn convert(
    uri: &tower_lsp::ls_types::Uri,
    text: &Text,
    within: Span,
    encoding: Encoding,
) -> Option<CodeAction> {
    let source = text.text().as_ref();
    let is_yaml = |text: &str| {
        text.lines().any(|line| line.trim_start_matches(['-', ' ']).starts_with("apiVersion:"))
            && text.lines().any(|line| line.trim_start_matches(['-', ' ']).starts_with("kind:"))
    };
    let whole = Span::new(0, u32::try_from(source.len()).ok()?);
    // The selection is extended to whole lines.
    let start = source.get(..within.start as usize)?.rfind('\n').map_or(0, |at| at + 1);
    // A selection that ends at the start of a line does not include that line.
    let last = if within.end > within.start { within.end - 1 } else { within.end };
    let last = source.floor_char_boundary(last as usize);
    let end = source.get(last..)?.find('\n').map_or(source.len(), |at| last + at + 1);
    let lines = Span::new(u32::try_from(start).ok()?, u32::try_from(end).ok()?);
    let first = source.lines().find(|line| !line.trim().is_empty() && !line.starts_with(['#', '-']))?;
    let span = match is_yaml(lines.of(source)) {
        true => lines,
        false if is_yaml(source) && first.contains(": ") => whole,
        false => return None,
    };
    let title = "Convert this YAML to a program".to_owned();
    let kind = Some(CodeActionKind::REFACTOR_REWRITE);
    match from_yaml(span.of(source)) {
        Ok(new_text) => {
            let edit = TextEdit { range: range(text, span, encoding), new_text };
            let changes = Some(std::iter::once((uri.clone(), vec![edit])).collect());
            let edit = Some(WorkspaceEdit { changes, ..WorkspaceEdit::default() });
            Some(CodeAction { title, kind, edit, ..CodeAction::default() })
        }
        Err(reason) => Some(CodeAction {
            title,
            kind,
            disabled: Some(CodeActionDisabled { reason }),
            ..CodeAction::default()
        }),
    }
}

/// Capitalises the first letter, as is usual for titles of code actions.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}
