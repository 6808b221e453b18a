//! One JSON document. Lines and columns count from one, columns in characters; offsets count bytes.

use npc_diagnostics::{Applicability, Diagnostic, Location, SourceMap};
use serde_json::{Value, json};

use crate::Style;

pub(crate) fn render(diagnostics: &[Diagnostic], sources: &SourceMap, style: &Style) -> String {
    let place = |location: Location| place(location, sources, style);
    let list: Vec<Value> = diagnostics
        .iter()
        .map(|diagnostic| {
            json!({
                "code": diagnostic.code.id,
                "name": diagnostic.code.name,
                "level": diagnostic.level.as_str(),
                "message": diagnostic.message,
                "labels": diagnostic.labels.iter().map(|label| {
                    json!({"place": place(label.location), "text": label.text})
                }).collect::<Vec<_>>(),
                "notes": diagnostic.notes,
                "help": diagnostic.help,
                "fixes": diagnostic.fixes.iter().map(|fix| json!({
                    "title": fix.title,
                    "automatic": fix.applicability == Applicability::Automatic,
                    "edits": fix.edits.iter().map(|edit| {
                        json!({"place": place(edit.location), "text": edit.text})
                    }).collect::<Vec<_>>(),
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    format!("{:#}\n", json!({"version": 1, "diagnostics": list}))
}

fn place(location: Location, sources: &SourceMap, style: &Style) -> Value {
    let file = sources.file(location.file);
    let end = |offset: u32| {
        let at = file.line_column(offset);
        json!({"line": at.line, "column": at.column, "offset": offset})
    };
    json!({
        "file": style.path(file.name()),
        "start": end(location.span.start),
        "end": end(location.span.end),
    })
}
