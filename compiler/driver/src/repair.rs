//! Applies the repairs that need no decision.

use std::collections::BTreeMap;

use npc_diagnostics::{Applicability, Edit, FileId};

use crate::Checked;

/// The texts of the files that automatic repairs change. One repair may bring another mistake to
/// light: what is left is seen by checking again.
#[must_use]
pub fn repaired(checked: &Checked) -> BTreeMap<FileId, String> {
    let mut edits: BTreeMap<FileId, Vec<&Edit>> = BTreeMap::new();
    for diagnostic in &checked.report.diagnostics {
        let fix = diagnostic.fixes.iter().find(|fix| fix.applicability == Applicability::Automatic);
        let Some(fix) = fix else { continue };
        let clashes = fix.edits.iter().any(|edit| {
            edits.get(&edit.location.file).into_iter().flatten().any(|other| {
                let (a, b) = (edit.location.span, other.location.span);
                a.start < b.end && b.start < a.end || a == b
            })
        });
        // Of two repairs of one place the first is made; the next round sees what is left.
        if !clashes {
            for edit in &fix.edits {
                edits.entry(edit.location.file).or_default().push(edit);
            }
        }
    }
    edits
        .into_iter()
        .map(|(file, mut edits)| {
            edits.sort_by_key(|edit| std::cmp::Reverse(edit.location.span));
            let mut text = checked.sources().file(file).text().to_owned();
            for edit in edits {
                text.replace_range(edit.location.span.range(), &edit.text);
            }
            (file, text)
        })
        .collect()
}
