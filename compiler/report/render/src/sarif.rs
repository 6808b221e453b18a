//! SARIF 2.1.0 (OASIS), for code scanning.

use npc_diagnostics::{Code, Diagnostic, Level, Location, SourceMap};
use serde_json::{Map, Value, json};

use crate::Style;

pub(crate) fn render(
    diagnostics: &[Diagnostic],
    sources: &SourceMap,
    codes: &[&'static Code],
    style: &Style,
) -> String {
    let used: Vec<&Code> =
        codes.iter().copied().filter(|code| diagnostics.iter().any(|d| d.code == *code)).collect();
    let rules: Vec<Value> = used
        .iter()
        .map(|code| {
            json!({
                "id": code.id,
                "name": code.name,
                "shortDescription": {"text": code.title()},
                "help": {"text": code.page, "markdown": code.page},
                "defaultConfiguration": {"level": level(code.level)},
            })
        })
        .collect();
    let results: Vec<Value> = diagnostics
        .iter()
        .map(|diagnostic| {
            let mut result = Map::new();
            result.insert("ruleId".to_owned(), json!(diagnostic.code.id));
            if let Some(index) = used.iter().position(|code| *code == diagnostic.code) {
                result.insert("ruleIndex".to_owned(), json!(index));
            }
            result.insert("level".to_owned(), json!(level(diagnostic.level)));
            result.insert("message".to_owned(), json!({"text": message(diagnostic)}));
            if let Some(first) = diagnostic.labels.first() {
                result.insert(
                    "locations".to_owned(),
                    json!([location(first.location, &first.text, sources, style)]),
                );
            }
            let related: Vec<Value> = diagnostic
                .labels
                .iter()
                .skip(1)
                .map(|label| location(label.location, &label.text, sources, style))
                .collect();
            if !related.is_empty() {
                result.insert("relatedLocations".to_owned(), Value::Array(related));
            }
            let fixes: Vec<Value> = diagnostic
                .fixes
                .iter()
                .map(|fix| {
                    let changes: Vec<Value> = fix
                        .edits
                        .iter()
                        .map(|edit| {
                            json!({
                                "artifactLocation": artifact(edit.location, sources, style),
                                "replacements": [{
                                    "deletedRegion": region(edit.location, sources),
                                    "insertedContent": {"text": edit.text},
                                }],
                            })
                        })
                        .collect();
                    json!({"description": {"text": fix.title}, "artifactChanges": changes})
                })
                .collect();
            if !fixes.is_empty() {
                result.insert("fixes".to_owned(), Value::Array(fixes));
            }
            Value::Object(result)
        })
        .collect();
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "npc",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{log:#}\n")
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warning => "warning",
        Level::Note => "note",
        Level::Allow => "none",
    }
}

fn message(diagnostic: &Diagnostic) -> String {
    let mut text = diagnostic.message.clone();
    for note in &diagnostic.notes {
        text.push('\n');
        text.push_str(note);
    }
    if let Some(help) = &diagnostic.help {
        text.push_str("\nhelp: ");
        text.push_str(help);
    }
    text
}

fn artifact(place: Location, sources: &SourceMap, style: &Style) -> Value {
    let path = style.path(sources.file(place.file).name());
    // This is a URI reference: percent-encode every character that is not unreserved or `/`.
    let uri: String = path
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect();
    json!({"uri": uri})
}

fn region(place: Location, sources: &SourceMap) -> Value {
    let file = sources.file(place.file);
    let (start, end) = (file.line_column(place.span.start), file.line_column(place.span.end));
    json!({
        "startLine": start.line, "startColumn": start.column,
        "endLine": end.line, "endColumn": end.column,
    })
}

fn location(place: Location, text: &str, sources: &SourceMap, style: &Style) -> Value {
    let physical = json!({
        "artifactLocation": artifact(place, sources, style),
        "region": region(place, sources),
    });
    if text.is_empty() {
        json!({"physicalLocation": physical})
    } else {
        json!({"physicalLocation": physical, "message": {"text": text}})
    }
}
