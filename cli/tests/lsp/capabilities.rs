//! Tests the server's capabilities with the fixtures in `fixtures`. In a case, `$0` marks the cursor, `//-
//! NAME` starts a file, and the expected outcome follows the dashes. `INSTA_UPDATE=always` rewrites the
//! expectations; review them before committing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::common::folder;
use crate::editor::Editor;

/// A workspace and a position in it.
struct Fixture {
    editor: Editor,
    files: BTreeMap<String, String>,
    /// The file under test, and the marked positions.
    own: String,
    marks: Vec<(usize, usize)>,
    _place: tempfile::TempDir,
}

impl Fixture {
    fn new(text: &str) -> Self {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        let mut name = "a.np".to_owned();
        for line in text.split_inclusive('\n') {
            match line.strip_prefix("//- ") {
                Some(other) => {
                    name = other.trim().to_owned();
                    files.entry(name.clone()).or_default();
                }
                None => files.entry(name.clone()).or_default().push_str(line),
            }
        }
        let (mut own, mut marks) = ("a.np".to_owned(), Vec::new());
        for (name, text) in &mut files {
            while let Some(at) = text.find("$0") {
                text.replace_range(at..at + 2, "");
                own.clone_from(name);
                marks.push(place(text, at));
            }
        }
        let on_disk: Vec<(&str, &str)> =
            files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let place = folder(&on_disk);
        let mut editor = Editor::start(place.path());
        let cluster = files.contains_key("cluster.yaml").then_some("cluster.yaml");
        let can = json!({"textDocument": {"completion": {"completionItem": {"snippetSupport": true}}}});
        let commands = ["npc.runTest", "npc.showYaml", "npc.showPods"];
        editor.initialize_as(can, json!({"cluster": cluster, "commands": commands}));
        for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".np")) {
            editor.open(name, text);
        }
        Self { editor, files, own, marks, _place: place }
    }

    fn text(&self) -> &str {
        &self.files[&self.own]
    }

    /// Sends a request for the marked position, with more parameters.
    fn ask(&mut self, method: &str, more: Value) -> Value {
        let mut parameters = json!({"textDocument": {"uri": self.editor.uri(&self.own)}});
        if let Some((line, column)) = self.marks.first() {
            parameters["position"] = json!({"line": line, "character": column});
        }
        if let Value::Object(more) = more {
            parameters.as_object_mut().unwrap().extend(more);
        }
        let answer = self.editor.ask(method, parameters);
        match answer.get("error") {
            Some(error) => json!({"error": error["message"]}),
            None => answer["result"].clone(),
        }
    }

    /// The marked range; empty if there is one mark.
    fn range(&self) -> Value {
        let first = self.marks.first().copied().unwrap_or_default();
        let last = self.marks.get(1).copied().unwrap_or(first);
        let place = |(line, column)| json!({"line": line, "character": column});
        json!({"start": place(first), "end": place(last)})
    }

    fn whole(&self) -> Value {
        json!({"start": {"line": 0, "character": 0}, "end": {"line": 100_000, "character": 0}})
    }

    fn name(&self, uri: &Value) -> String {
        let prefix = self.editor.uri("");
        uri.as_str().unwrap().strip_prefix(&prefix).unwrap().to_owned()
    }

    /// `a.np:1:5 name`, counted from 1.
    fn location(&self, location: &Value) -> String {
        let name = self.name(&location["uri"]);
        let (from, to) = offsets(&self.files[&name], &location["range"]);
        let start = &location["range"]["start"];
        let (line, column) = (start["line"].as_u64().unwrap() + 1, start["character"].as_u64().unwrap() + 1);
        format!("{name}:{line}:{column} {}", &self.files[&name][from..to])
    }

    /// The changed files after the edits.
    fn edited(&self, changes: &Value) -> String {
        let mut out = String::new();
        let changes: BTreeMap<String, &Value> =
            changes.as_object().unwrap().iter().map(|(uri, edits)| (self.name(&json!(uri)), edits)).collect();
        for (name, edits) in changes {
            let text = apply(&self.files[&name], edits);
            let _ = write!(out, "//- {name}\n{text}");
        }
        out
    }
}

/// The line and UTF-16 column of an offset.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at];
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count(), before[start..].encode_utf16().count())
}

fn offset(text: &str, place: &Value) -> usize {
    let (line, column) =
        (place["line"].as_u64().unwrap() as usize, place["character"].as_u64().unwrap() as usize);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let mut units = 0;
    for (at, c) in text[start..].char_indices() {
        if units >= column || c == '\n' {
            return start + at;
        }
        units += c.len_utf16();
    }
    text.len()
}

fn offsets(text: &str, range: &Value) -> (usize, usize) {
    (offset(text, &range["start"]), offset(text, &range["end"]))
}

fn apply(text: &str, edits: &Value) -> String {
    let mut edits: Vec<(usize, usize, &str)> = edits
        .as_array()
        .unwrap()
        .iter()
        .map(|edit| {
            let (from, to) = offsets(text, &edit["range"]);
            (from, to, edit["newText"].as_str().unwrap())
        })
        .collect();
    edits.sort_unstable();
    let mut text = text.to_owned();
    for (from, to, by) in edits.into_iter().rev() {
        text.replace_range(from..to, by);
    }
    text
}

fn lines(list: &Value, one: impl Fn(&Value) -> String) -> String {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() { "nothing\n".to_owned() } else { list.iter().map(|own| one(own) + "\n").collect() }
}

fn error(answer: &Value) -> Option<String> {
    answer.get("error").map(|why| format!("refused: {}\n", why.as_str().unwrap()))
}

/// The server's answer for a case.
fn outcome(capability: &str, title: &str, text: &str) -> String {
    let mut own = Fixture::new(text);
    match capability {
        "hover" => {
            let answer = own.ask("textDocument/hover", Value::Null);
            answer["contents"]["value"].as_str().map_or("nothing\n".to_owned(), |text| format!("{text}\n"))
        }
        "definition" => {
            let answer = own.ask("textDocument/definition", Value::Null);
            lines(&answer, |location| own.location(location))
        }
        "references" => {
            let answer = own.ask("textDocument/references", json!({"context": {"includeDeclaration": true}}));
            lines(&answer, |location| own.location(location))
        }
        "highlight" => {
            let uri = json!(own.editor.uri(&own.own));
            let answer = own.ask("textDocument/documentHighlight", Value::Null);
            lines(&answer, |one| {
                let kind = if one["kind"] == 3 { "written" } else { "read" };
                format!("{} {kind}", own.location(&json!({"uri": uri, "range": one["range"]})))
            })
        }
        "rename" => {
            let (_, name) = title.rsplit_once(" -> ").unwrap();
            let prepared = own.ask("textDocument/prepareRename", Value::Null);
            if let Some(refused) = error(&prepared) {
                return refused;
            }
            if prepared.is_null() {
                return "nothing\n".to_owned();
            }
            let answer = own.ask("textDocument/rename", json!({"newName": name}));
            error(&answer).unwrap_or_else(|| {
                format!(
                    "was {}\n{}",
                    prepared["placeholder"].as_str().unwrap(),
                    own.edited(&answer["changes"])
                )
            })
        }
        "completion" => {
            let answer = own.ask("textDocument/completion", Value::Null);
            let mut items = answer["items"].as_array().unwrap().clone();
            items.sort_by_key(|item| item["sortText"].as_str().unwrap().to_owned());
            let accepted = title.rsplit_once(" => ").map(|(_, label)| label);
            if let Some(label) = accepted {
                let item = items.iter().find(|item| item["label"] == label);
                let item = item.unwrap_or_else(|| panic!("{title}: {items:#?}"));
                return apply(own.text(), &json!([item["textEdit"]]));
            }
            let names = [
                "",
                "text",
                "method",
                "function",
                "constructor",
                "field",
                "variable",
                "class",
                "interface",
                "module",
                "property",
                "unit",
                "value",
                "enum",
                "keyword",
                "snippet",
                "color",
                "file",
                "reference",
                "folder",
                "enum member",
                "constant",
            ];
            lines(&Value::Array(items), |item| {
                let kind = names[item["kind"].as_u64().unwrap() as usize];
                let detail = item["detail"].as_str().map(|own| format!(" — {own}")).unwrap_or_default();
                format!("{} ({kind}){detail}", item["label"].as_str().unwrap())
            })
        }
        "signature" => {
            let answer = own.ask("textDocument/signatureHelp", Value::Null);
            lines(&answer["signatures"], |one| {
                format!("{}: {}", one["label"].as_str().unwrap(), one["documentation"].as_str().unwrap())
            })
        }
        "tokens" => tokens(&mut own),
        "selection" => {
            let (line, column) = own.marks[0];
            let positions = json!([{"line": line, "character": column}]);
            let answer = own.ask("textDocument/selectionRange", json!({"positions": positions}));
            let mut out = String::new();
            let mut range = &answer[0];
            while range.is_object() {
                let (from, to) = offsets(own.text(), &range["range"]);
                let _ = writeln!(out, "{}", own.text()[from..to].replace('\n', "⏎"));
                range = &range["parent"];
            }
            out
        }
        "hints" => {
            let answer = own.ask("textDocument/inlayHint", json!({"range": own.whole()}));
            let edits: Vec<Value> = answer
                .as_array()
                .unwrap()
                .iter()
                .map(|hint| {
                    let label = format!(" ‹{}›", hint["label"].as_str().unwrap());
                    json!({"range": {"start": hint["position"], "end": hint["position"]}, "newText": label})
                })
                .collect();
            apply(own.text(), &Value::Array(edits))
        }
        "lenses" => {
            let answer = own.ask("textDocument/codeLens", Value::Null);
            lines(&answer, |lens| {
                let line = lens["range"]["start"]["line"].as_u64().unwrap() + 1;
                let command = &lens["command"];
                let arguments = &command["arguments"][1];
                let (title, name) =
                    (command["title"].as_str().unwrap(), command["command"].as_str().unwrap());
                format!("{line}: {title} ({name} {arguments})")
            })
        }
        "links" => {
            let answer = own.ask("textDocument/documentLink", Value::Null);
            lines(&answer, |link| {
                let (from, to) = offsets(own.text(), &link["range"]);
                format!("{} -> {}", &own.text()[from..to], own.name(&link["target"]))
            })
        }
        "calls" => {
            let prepared = own.ask("textDocument/prepareCallHierarchy", Value::Null);
            let Some(item) = prepared.as_array().and_then(|list| list.first()).cloned() else {
                return "nothing\n".to_owned();
            };
            let mut out =
                format!("{} ({})\n", item["name"].as_str().unwrap(), item["detail"].as_str().unwrap());
            for (method, key, word) in [("incomingCalls", "from", "<-"), ("outgoingCalls", "to", "->")] {
                let answer = own.ask(&format!("callHierarchy/{method}"), json!({"item": item}));
                for call in answer.as_array().unwrap() {
                    let ranges = call["fromRanges"].as_array().unwrap();
                    let lines: Vec<String> = ranges
                        .iter()
                        .map(|own| (own["start"]["line"].as_u64().unwrap() + 1).to_string())
                        .collect();
                    let name = call[key]["name"].as_str().unwrap();
                    let _ = writeln!(out, "{word} {name}, line {}", lines.join(", "));
                }
            }
            out
        }
        "actions" => {
            let mut context = json!({"diagnostics": []});
            if let Some((_, only)) = title.rsplit_once(", only ") {
                context["only"] = json!([only]);
            }
            let answer =
                own.ask("textDocument/codeAction", json!({"range": own.range(), "context": context}));
            lines(&answer, |action| {
                let mut out =
                    format!("[{}] {}", action["kind"].as_str().unwrap(), action["title"].as_str().unwrap());
                if let Some(why) = action["disabled"]["reason"].as_str() {
                    let _ = write!(out, " (not here: {why})");
                } else {
                    let _ = write!(out, "\n{}", own.edited(&action["edit"]["changes"]));
                }
                out.trim_end().to_owned()
            })
        }
        "range_formatting" => {
            let answer = own.ask(
                "textDocument/rangeFormatting",
                json!({"range": own.range(), "options": {"tabSize": 2, "insertSpaces": true}}),
            );
            apply(own.text(), &answer)
        }
        "on_type" => {
            let answer = own.ask(
                "textDocument/onTypeFormatting",
                json!({"ch": "}", "options": {"tabSize": 2, "insertSpaces": true}}),
            );
            if answer.is_null() { "nothing\n".to_owned() } else { apply(own.text(), &answer) }
        }
        "moves" => {
            let files: Vec<Value> = title
                .split(", ")
                .filter_map(|one| one.split_once(" -> "))
                .map(|(from, to)| json!({"oldUri": own.editor.uri(from), "newUri": own.editor.uri(to)}))
                .collect();
            let answer = own.ask("workspace/willRenameFiles", json!({"files": files}));
            if answer.is_null() { "nothing\n".to_owned() } else { own.edited(&answer["changes"]) }
        }
        "symbols" => {
            // Wait until the workspace is checked.
            own.ask("textDocument/hover", json!({"position": {"line": 0, "character": 0}}));
            let (_, query) = title.rsplit_once(": ").unwrap();
            let answer = own.ask("workspace/symbol", json!({"query": query}));
            lines(&answer, |symbol| own.location(&symbol["location"]))
        }
        "yaml" => {
            let target = title.split(' ').next().unwrap();
            let answer = own.ask("npc/yaml", json!({"target": target, "policy": "b"}));
            match answer["why"].as_str() {
                Some(why) => format!("why: {why}\n"),
                None => {
                    let line = answer["line"].as_u64().map_or("none".to_owned(), |line| line.to_string());
                    format!("line: {line}\n{}", answer["text"].as_str().unwrap())
                }
            }
        }
        "tests" => {
            let listed = own.ask("npc/tests", Value::Null);
            let mut out = lines(&listed, |test| {
                let (kind, id) = (test["kind"].as_str().unwrap(), test["id"].as_str().unwrap());
                format!("{kind} {id}")
            });
            let ran = own.ask("npc/runTests", Value::Null);
            if let Some(why) = ran["why"].as_str() {
                let _ = writeln!(out, "why: {why}");
            }
            for one in ran["results"].as_array().into_iter().flatten() {
                let word = if one["passed"] == true { "passed" } else { "failed" };
                let _ = writeln!(
                    out,
                    "{word} {}, {} connections",
                    one["id"].as_str().unwrap(),
                    one["connections"]
                );
                for failure in one["failures"].as_array().unwrap() {
                    let line = failure["range"]["start"]["line"].as_u64().unwrap() + 1;
                    let _ = writeln!(out, "line {line}: {}", failure["message"].as_str().unwrap());
                }
            }
            out
        }
        "reach" => {
            let answer = own.ask("npc/reach", Value::Null);
            let pods = own.ask("npc/pods", json!({"policy": "b"}));
            let page = match answer["html"].as_str() {
                Some(page) => format!("page: {}", page.starts_with("<!doctype html>")),
                None => format!("why: {}", answer["why"].as_str().unwrap()),
            };
            format!("{page}\npods: {}{}\n", pods["pods"], pods["why"])
        }
        other => panic!("there is no capability {other}"),
    }
}

/// All tokens with their types. Also checks that a delta and the full result agree.
fn tokens(own: &mut Fixture) -> String {
    let answer = own.ask("textDocument/semanticTokens/full", Value::Null);
    let kinds = [
        "keyword",
        "comment",
        "string",
        "number",
        "operator",
        "variable",
        "class",
        "namespace",
        "property",
        "enumMember",
        "function",
    ];
    let decode = |data: &[Value], text: &str| {
        let numbers: Vec<u64> = data.iter().map(|number| number.as_u64().unwrap()).collect();
        let (mut line, mut column, mut out) = (0, 0, String::new());
        for token in numbers.chunks(5) {
            (line, column) = (line + token[0], if token[0] == 0 { column + token[1] } else { token[1] });
            let from = offset(text, &json!({"line": line, "character": column}));
            let to = offset(text, &json!({"line": line, "character": column + token[2]}));
            let modifiers: String = [(1, " declared"), (2, " documentation")]
                .iter()
                .filter(|(bit, _)| token[4] & bit > 0)
                .map(|(_, name)| *name)
                .collect();
            let _ = writeln!(out, "{}: {}{modifiers}", &text[from..to], kinds[token[3] as usize]);
        }
        out
    };
    let data = answer["data"].as_array().unwrap().clone();
    let text = own.text().to_owned();
    let whole = decode(&data, &text);
    let part = own.ask("textDocument/semanticTokens/range", json!({"range": own.whole()}));
    assert_eq!(part["data"].as_array().unwrap(), &data, "a range that covers the whole file");
    // After an insertion at the start, the delta must give the same tokens as a full request.
    let name = own.own.clone();
    own.editor.change(&name, 2, json!([{"range": {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}, "text": "// 𝕟\n"}]));
    let delta =
        own.ask("textDocument/semanticTokens/full/delta", json!({"previousResultId": answer["resultId"]}));
    let mut numbers = data;
    for edit in delta["edits"].as_array().unwrap() {
        let start = edit["start"].as_u64().unwrap() as usize;
        let end = start + edit["deleteCount"].as_u64().unwrap() as usize;
        numbers.splice(start..end, edit["data"].as_array().unwrap().iter().cloned());
    }
    let again = own.ask("textDocument/semanticTokens/full", Value::Null);
    assert_eq!(&numbers, again["data"].as_array().unwrap(), "the delta");
    whole
}

fn run(path: &Path) -> usize {
    let capability = path.file_stem().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let update = npc_tests::settings::update();
    let (mut written, mut cases, mut wrong) = (String::new(), 0, Vec::new());
    for case in text.split("=== ").filter(|case| !case.trim().is_empty()) {
        let (title, body) = case.split_once('\n').unwrap();
        let (input, expected) = body.split_once("----\n").unwrap_or((body, ""));
        let said = outcome(capability, title, input);
        let _ = write!(written, "=== {title}\n{input}----\n{said}\n");
        cases += 1;
        if said.trim() != expected.trim() {
            wrong.push(format!("{capability}: {title}\n--- expected\n{expected}\n--- came\n{said}"));
        }
    }
    if update {
        std::fs::write(path, written.trim_end().to_owned() + "\n").unwrap();
    } else {
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
    cases
}

#[test]
fn capabilities_match_their_fixtures() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lsp/fixtures");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let cases: usize = paths.iter().map(|path| run(path)).sum();
    println!("language server: {cases} cases of {} capabilities match their fixtures", paths.len());
}
