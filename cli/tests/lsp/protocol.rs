//! The protocol: positions, order of messages, invalid messages, and diagnostics after edits.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::folder;
use crate::editor::Editor;

const FINE: &str = "policy p for all pods in namespace shop {\n  isolate ingress\n}\n";

fn codes(diagnostics: &[Value]) -> Vec<&str> {
    diagnostics.iter().map(|one| one["code"].as_str().unwrap()).collect()
}

fn range(one: &Value) -> [u64; 4] {
    let at = |end: &str, what: &str| one["range"][end][what].as_u64().unwrap();
    [at("start", "line"), at("start", "character"), at("end", "line"), at("end", "character")]
}

#[test]
fn diagnostics_follow_edits() {
    let place = folder(&[("sets.np", "let dns = udp/53\n")]);
    let mut editor = Editor::start(place.path());
    let capabilities = editor.initialize(&["utf-16"]);
    assert_eq!(capabilities["positionEncoding"], "utf-16");
    editor.open("a.np", FINE);
    assert_eq!(editor.diagnostics("a.np", 1), Vec::<Value>::new());
    // A character of two UTF-16 code units, before the error.
    editor.change("a.np", 2, json!([{"text": "/* 𝕟 */"}]));
    assert!(!editor.diagnostics("a.np", 2).is_empty());
    let text = "import \"sets.np\" // 𝕟\npolicy p for all pods in namespace shop {\n  allow ingress from pods { app = \"𝕟\" } on dsn\n}\n";
    editor.change("a.np", 3, json!([{"text": text}]));
    let found = editor.diagnostics("a.np", 3);
    let column = "  allow ingress from pods { app = \"𝕟\" } on ".encode_utf16().count() as u64;
    let name = found.iter().find(|one| range(one)[1] == column).unwrap_or_else(|| panic!("{found:#?}"));
    assert_eq!(range(name), [2, column, 2, column + 3]);
    assert_eq!((name["source"].as_str(), name["severity"].as_u64()), (Some("npc"), Some(1)));
    // Several changes in one notification, each applied to the result of the previous one. They repair the
    // name and the label.
    editor.change("a.np", 4, json!([
        {"range": {"start": {"line": 2, "character": column}, "end": {"line": 2, "character": column + 3}}, "text": "dns"},
        {"range": {"start": {"line": 2, "character": 34}, "end": {"line": 2, "character": 38}}, "text": "web"},
    ]));
    let found = editor.diagnostics("a.np", 4);
    assert!(found.iter().all(|one| one["severity"] != 1), "{found:#?}");
    // The text in the editor counts, not the file on disk.
    editor.open("sets.np", "let other = udp/53\n");
    let found = editor.diagnostics("a.np", 4);
    assert!(codes(&found).iter().any(|code| code.starts_with("NP02")), "{found:#?}");
    let uri = editor.uri("sets.np");
    editor.notify("textDocument/didClose", json!({"textDocument": {"uri": uri}}));
    let found = editor.diagnostics("a.np", 4);
    assert!(found.iter().all(|one| one["severity"] != 1), "{found:#?}");
    editor.exit();
}

#[test]
fn utf8_columns_if_negotiated() {
    let place = folder(&[]);
    let mut editor = Editor::start(place.path());
    assert_eq!(editor.initialize(&["utf-8", "utf-16"])["positionEncoding"], "utf-8");
    editor.open(
        "a.np",
        "policy p for all pods in namespace shop { // 𝕟\n  allow egress to pods { app = \"𝕟\" } on dsn\n}\n",
    );
    let found = editor.diagnostics("a.np", 1);
    // Two more than in UTF-16, where the character takes two units.
    let column = "  allow egress to pods { app = \"𝕟\" } on ".len() as u64;
    let name = found.iter().find(|one| range(one)[1] == column).unwrap_or_else(|| panic!("{found:#?}"));
    assert_eq!(range(name), [1, column, 1, column + 3]);
    // Read in UTF-16 units, this range would start inside the name.
    editor.change("a.np", 2, json!([
        {"range": {"start": {"line": 1, "character": column}, "end": {"line": 1, "character": column + 3}}, "text": "tcp"},
        {"range": {"start": {"line": 1, "character": 31}, "end": {"line": 1, "character": 37}}, "text": "web"},
    ]));
    let found = editor.diagnostics("a.np", 2);
    assert!(found.iter().all(|one| one["severity"] != 1), "{found:#?}");
    editor.exit();
}

#[test]
fn formatting_symbols_folding_and_fixes() {
    let place = folder(&[]);
    let mut editor = Editor::start(place.path());
    let capabilities = editor.initialize(&[]);
    for provider in
        ["documentFormattingProvider", "documentSymbolProvider", "foldingRangeProvider", "codeActionProvider"]
    {
        assert!(!capabilities[provider].is_null(), "{provider}");
    }
    let text = "// one\r\n// two\r\nlet x = tcp/80\r\npolicy p for all pods in namespace shop {\r\n   allow ingress from anywhere on x\r\n}\r\n";
    editor.open("a.np", text);
    let edits = editor.format("a.np");
    assert_eq!(
        edits,
        json!([{
            "range": {"start": {"line": 4, "character": 0}, "end": {"line": 5, "character": 0}},
            "newText": "  allow ingress from anywhere on x\r\n",
        }]),
        "edits only the changed line, and keeps its line end"
    );
    let symbols = editor.on("textDocument/documentSymbol", "a.np");
    let names: Vec<&str> =
        symbols.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["x", "p"]);
    assert_eq!(symbols[1]["children"][0]["name"], "allow ingress");
    assert_eq!(symbols[1]["children"][0]["detail"], "from anywhere on x");
    let folds = editor.on("textDocument/foldingRange", "a.np");
    let lines: Vec<(u64, u64)> = folds
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["startLine"].as_u64().unwrap(), one["endLine"].as_u64().unwrap()))
        .collect();
    assert_eq!(lines, [(0, 1), (3, 4)]);
    // A misspelled name: the fix is offered, and applying it removes the error.
    editor.change("a.np", 2, json!([{"text": "let dns = udp/53\npolicy p for all pods in namespace shop {\n  allow egress to anywhere on dnss\n}\n"}]));
    let found = editor.diagnostics("a.np", 2);
    let wrong = found.iter().find(|one| one["severity"] == 1).unwrap();
    let uri = editor.uri("a.np");
    let actions = editor.ask(
        "textDocument/codeAction",
        json!({"textDocument": {"uri": uri}, "range": wrong["range"], "context": {"diagnostics": [wrong]}}),
    )["result"]
        .clone();
    let action = &actions[0];
    assert_eq!(action["kind"], "quickfix", "{actions:#}");
    let edit = &action["edit"]["changes"][&uri][0];
    assert_eq!(edit["newText"], "dns", "{actions:#}");
    editor.change("a.np", 3, json!([{"range": edit["range"], "text": edit["newText"]}]));
    assert!(editor.diagnostics("a.np", 3).iter().all(|one| one["severity"] != 1));
    // A file with syntax errors is not formatted.
    editor.change("a.np", 4, json!([{"text": "policy p for {"}]));
    assert_eq!(editor.format("a.np"), Value::Null);
    editor.exit();
}

/// Requests before `initialize` and after `shutdown`, for unknown files, and invalid messages.
#[test]
fn invalid_and_out_of_order_messages_get_errors() {
    let place = folder(&[]);
    let mut editor = Editor::start(place.path());
    let early =
        editor.on_error("textDocument/documentSymbol", json!({"textDocument": {"uri": "file:///a.np"}}));
    assert_eq!(early, -32002, "not initialized yet");
    editor.initialize(&[]);
    assert_eq!(editor.on("textDocument/documentSymbol", "nobody.np"), Value::Null);
    editor.change("nobody.np", 2, json!([{"text": "x"}]));
    assert_eq!(editor.on_error("no/such", json!({})), -32601);
    assert_eq!(editor.on_error("textDocument/formatting", json!({"textDocument": 5})), -32602);
    for body in [
        &b"{"[..],
        b"[]",
        b"null",
        b"{\"jsonrpc\": \"2.0\"}",
        b"\xff\xfe",
        b"{\"jsonrpc\":\"2.0\",\"method\":5}",
    ] {
        editor.raw(body);
    }
    let id = editor.request("textDocument/documentSymbol", json!({"textDocument": {"uri": "untitled:one"}}));
    assert_eq!(editor.answer(id)["result"], Value::Null, "the URI is not a file");
    editor.notify("$/cancelRequest", json!({"id": 12345}));
    editor.open("a.np", FINE);
    assert_eq!(editor.diagnostics("a.np", 1), Vec::<Value>::new(), "the server continues");
    let last = editor.ask("shutdown", Value::Null);
    assert_eq!(last["result"], Value::Null);
    assert_eq!(
        editor.on_error("textDocument/documentSymbol", json!({"textDocument": {"uri": "file:///a.np"}})),
        -32600,
        "after `shutdown`"
    );
    editor.notify("exit", Value::Null);
    assert!(editor.process.wait().unwrap().success());
}

/// Random edits to several files: the final results equal those of a server that opens the final texts.
#[test]
fn edits_give_the_result_of_a_fresh_start() {
    let place = folder(&[]);
    let edits: u32 = npc_tests::settings::amount("NPC_TEST_EDITS", 10_000, 100_000);
    let mut random = fastrand::Rng::with_seed(7);
    let mut editor = Editor::start(place.path());
    editor.initialize(&[]);
    let names = ["a.np", "b.np", "c.np", "d.np", "e.np"];
    let pieces = [
        "policy p for all pods in namespace shop {\n",
        "  allow ingress from anywhere on dns\n",
        "}\n",
        "let dns = udp/53\n",
        "import \"a.np\"\n",
        "𝕟",
        "\r\n",
        "{",
        "\"",
        "// note\n",
    ];
    let mut texts: Vec<String> = names.iter().map(|_| FINE.to_owned()).collect();
    let mut past: Vec<Vec<String>> = vec![Vec::new(); names.len()];
    names.iter().for_each(|name| editor.open(name, FINE));
    let mut versions = [1; 5];
    for _ in 0..edits {
        let file = random.usize(..names.len());
        let before = texts[file].clone();
        let boundary = |at: usize| before.floor_char_boundary(at);
        let (from, to) = match random.u8(..4) {
            // Undo: restores an earlier text.
            0 => (0, before.len()),
            _ => {
                let from = boundary(random.usize(..=before.len()));
                (from, boundary((from + random.usize(..12)).min(before.len())).max(from))
            }
        };
        let by = match past[file].pop() {
            Some(old) if from == 0 && to == before.len() => old,
            _ => pieces[random.usize(..pieces.len())].repeat(random.usize(..2)),
        };
        let after = format!("{}{by}{}", &before[..from], &before[to..]);
        if after.len() > 4_000 {
            continue;
        }
        past[file].push(before.clone());
        let place = |at: usize| {
            // Line ends as the protocol defines them.
            let (mut line, mut start, bytes) = (0, 0, before.as_bytes());
            for (index, byte) in bytes.iter().enumerate().take(at) {
                let ends = *byte == b'\n' || *byte == b'\r' && bytes.get(index + 1) != Some(&b'\n');
                if ends {
                    (line, start) = (line + 1, index + 1);
                }
            }
            (line, before[start..at].encode_utf16().count())
        };
        let ((line, column), (end_line, end_column)) = (place(from), place(to));
        // The server maps a position inside a CRLF to the end of the line's text, so such edits are skipped.
        let is_exact = |at: usize| {
            !(at > 0 && before.as_bytes()[at - 1] == b'\r' && before.as_bytes().get(at) == Some(&b'\n'))
        };
        if !is_exact(from) || !is_exact(to) {
            continue;
        }
        versions[file] += 1;
        editor.change(names[file], versions[file], json!([{"range": {"start": {"line": line, "character": column}, "end": {"line": end_line, "character": end_column}}, "text": by}]));
        texts[file] = after;
    }
    let mut fresh = Editor::start(place.path());
    fresh.initialize(&[]);
    for (name, text) in names.iter().zip(&texts) {
        fresh.open(name, text);
    }
    for (file, name) in names.iter().enumerate() {
        assert_eq!(
            editor.on("textDocument/documentSymbol", name),
            fresh.on("textDocument/documentSymbol", name),
            "{name}"
        );
        assert_eq!(
            editor.on("textDocument/foldingRange", name),
            fresh.on("textDocument/foldingRange", name),
            "{name}"
        );
        // The last version of each file: no more diagnostics follow it.
        versions[file] += 1;
        editor.change(name, versions[file], json!([]));
        fresh.change(name, 2, json!([]));
    }
    for (file, name) in names.iter().enumerate() {
        let settled = |editor: &mut Editor, version: i64| {
            let mut found = editor.diagnostics(name, version);
            std::thread::sleep(Duration::from_millis(300));
            while let Ok(message) = editor.messages.try_recv() {
                editor.told.push(message);
            }
            let uri = editor.uri(name);
            for message in &editor.told {
                if message["params"]["uri"] == uri {
                    found = message["params"]["diagnostics"].as_array().unwrap().clone();
                }
            }
            found
        };
        let (own, other) = (settled(&mut editor, versions[file]), settled(&mut fresh, 2));
        assert_eq!(own, other, "{name}\n{}", texts[file]);
    }
    println!(
        "language server: after {edits} edits over {} files, the diagnostics equal those of a new server",
        names.len()
    );
    editor.exit();
    fresh.exit();
}

/// An editor that pulls diagnostics is not sent those of open files. It gets a refresh request if another
/// file changes them.
#[test]
fn pulled_diagnostics_are_not_pushed() {
    let place = folder(&[("sets.np", "let dns = udp/53\n"), ("broken.np", "policy q for {\n")]);
    let mut editor = Editor::start(place.path());
    let can = json!({
        "textDocument": {"diagnostic": {}},
        "workspace": {"diagnostics": {"refreshSupport": true}},
    });
    let capabilities = editor.initialize_as(can, Value::Null);
    assert_eq!(capabilities["diagnosticProvider"]["interFileDependencies"], true);
    editor.open(
        "a.np",
        "import \"sets.np\"\npolicy p for all pods in namespace shop { allow egress to anywhere on dns }\n",
    );
    let uri = editor.uri("a.np");
    let pull = |editor: &mut Editor, before: Value| {
        let parameters = json!({"textDocument": {"uri": uri}, "previousResultId": before});
        editor.ask("textDocument/diagnostic", parameters)["result"].clone()
    };
    let first = pull(&mut editor, Value::Null);
    assert_eq!((&first["kind"], &first["items"]), (&json!("full"), &json!([])));
    let same = pull(&mut editor, first["resultId"].clone());
    assert_eq!(same["kind"], "unchanged");
    // Diagnostics of closed files are pushed nevertheless.
    let told = editor.told_of("broken.np");
    assert!(!told.is_empty());
    // The imported file no longer defines the name.
    editor.open("sets.np", "let other = udp/53\n");
    let second = pull(&mut editor, first["resultId"].clone());
    assert_eq!(second["kind"], "full", "{second:#}");
    assert_eq!(codes(second["items"].as_array().unwrap()), ["NP0201"]);
    editor.until(|editor| editor.asked.iter().any(|own| own["method"] == "workspace/diagnostic/refresh"));
    let pushed = editor.told.iter().filter(|own| own["params"]["uri"] == editor.uri("a.np")).count();
    assert_eq!(pushed, 0, "pulled diagnostics are not also pushed");
    editor.exit();
}

/// Changes on disk: reported by an editor that watches files, otherwise noticed at the next check.
#[test]
fn changes_on_disk_are_noticed() {
    for watches in [true, false] {
        let place = folder(&[("sets.np", "let dns = udp/53\n")]);
        let mut editor = Editor::start(place.path());
        let can = json!({"workspace": {"didChangeWatchedFiles": {"dynamicRegistration": watches}}});
        editor.initialize_as(can, Value::Null);
        let text = "import \"sets.np\"\npolicy p for all pods in namespace shop { allow egress to anywhere on dns }\n";
        editor.open("a.np", text);
        assert_eq!(editor.diagnostics("a.np", 1), Vec::<Value>::new());
        if watches {
            editor
                .until(|editor| editor.asked.iter().any(|own| own["method"] == "client/registerCapability"));
        }
        std::fs::write(place.path().join("sets.np"), "let other = udp/5353\n").unwrap();
        let uri = editor.uri("sets.np");
        if watches {
            editor.notify("workspace/didChangeWatchedFiles", json!({"changes": [{"uri": uri, "type": 2}]}));
        } else {
            editor.change("a.np", 2, json!([{"text": text}]));
        }
        let version = if watches { 1 } else { 2 };
        assert_eq!(codes(&editor.diagnostics("a.np", version)), ["NP0201"], "{watches}");
        // A new file.
        std::fs::write(place.path().join("sets.np"), "let dns = udp/53\nimport \"new.np\"\n").unwrap();
        std::fs::write(place.path().join("new.np"), "policy q for {\n").unwrap();
        if watches {
            let new = editor.uri("new.np");
            editor.notify(
                "workspace/didChangeWatchedFiles",
                json!({"changes": [{"uri": uri, "type": 2}, {"uri": new, "type": 1}]}),
            );
        } else {
            editor.change("a.np", 3, json!([{"text": text}]));
        }
        let version = if watches { 1 } else { 3 };
        assert_eq!(editor.diagnostics("a.np", version), Vec::<Value>::new(), "{watches}");
        assert!(!editor.told_of("new.np").is_empty());
        // The configuration changes, and has an error itself.
        std::fs::write(place.path().join("new.np"), "").unwrap();
        std::fs::write(place.path().join("npc.toml"), "[lints]\nNP0805 = \"no\"\n").unwrap();
        if watches {
            let toml = editor.uri("npc.toml");
            editor.notify("workspace/didChangeWatchedFiles", json!({"changes": [{"uri": toml, "type": 1}]}));
        } else {
            let uri = editor.uri("a.np");
            editor.notify("textDocument/didClose", json!({"textDocument": {"uri": uri}}));
            editor.open("a.np", text);
        }
        assert_eq!(codes(&editor.told_of("npc.toml")), ["NP0701"], "{watches}");
        editor.exit();
    }
}

/// The cluster file, from the requested settings and from settings that the editor sends.
#[test]
fn cluster_setting_can_change() {
    let cluster =
        "kind: Namespace\nmetadata: {name: shop}\n---\nkind: Pod\nmetadata: {name: a, namespace: shop}\n";
    let place = folder(&[("one.yaml", cluster), ("bad.yaml", "- x")]);
    let mut editor = Editor::start(place.path());
    editor.settings = json!({"cluster": "one.yaml"});
    editor.initialize_as(json!({"workspace": {"configuration": true}}), Value::Null);
    editor.open("a.np", FINE);
    let pods = |editor: &mut Editor| {
        let uri = editor.uri("a.np");
        editor.ask("npc/pods", json!({"textDocument": {"uri": uri}, "policy": "p"}))["result"].clone()
    };
    editor.until(|editor| pods(editor) == json!({"pods": ["shop/a"]}));
    let why = |editor: &mut Editor| pods(editor)["why"].as_str().unwrap_or_default().to_owned();
    editor.notify("workspace/didChangeConfiguration", json!({"settings": {"npc": {"cluster": "bad.yaml"}}}));
    editor.until(|editor| why(editor).contains("bad.yaml is not a cluster file"));
    editor.notify("workspace/didChangeConfiguration", json!({"settings": {"npc": {"cluster": ""}}}));
    editor.until(|editor| why(editor).contains("no cluster file is set"));
    // Reading a device would block forever.
    editor.notify("workspace/didChangeConfiguration", json!({"settings": {"npc": {"cluster": "/dev/zero"}}}));
    editor.until(|editor| why(editor).contains("it is not a file"));
    // Without settings in the notification, the server requests them.
    editor.settings = json!({"cluster": "one.yaml"});
    editor.notify("workspace/didChangeConfiguration", json!({"settings": null}));
    editor.until(|editor| pods(editor) == json!({"pods": ["shop/a"]}));
    editor.exit();
}

/// A cancelled request gets an error, and does not block a later one.
#[test]
fn cancelled_requests_get_an_error() {
    let place = folder(&[]);
    let mut editor = Editor::start(place.path());
    editor.initialize(&[]);
    let many: String = (0..20_000)
        .map(|number| {
            format!(
                "policy p{number} for pods {{ app = a{number} }} in namespace shop {{ isolate ingress }}\n"
            )
        })
        .collect();
    editor.open("a.np", &many);
    let uri = editor.uri("a.np");
    let place = json!({"textDocument": {"uri": uri}, "position": {"line": 3, "character": 8}});
    let first = editor.request("textDocument/hover", place.clone());
    editor.notify("$/cancelRequest", json!({"id": first}));
    assert_eq!(editor.answer(first)["error"]["code"], -32800);
    let second = editor.ask("textDocument/hover", place);
    assert!(second["result"]["contents"]["value"].as_str().unwrap().contains("p3"), "{second}");
    editor.exit();
}

/// A long check shows its progress if the editor supports that.
#[test]
fn long_checks_show_progress() {
    let place = folder(&[]);
    let mut editor = Editor::start(place.path());
    editor.initialize_as(json!({"window": {"workDoneProgress": true}}), Value::Null);
    let many: String = (0..30_000)
        .map(|number| {
            format!(
                "policy p{number} for pods {{ app = a{number} }} in namespace shop {{ isolate ingress }}\n"
            )
        })
        .collect();
    editor.open("a.np", &many);
    editor.diagnostics("a.np", 1);
    // A fast machine needs no progress.
    if editor.asked.iter().any(|own| own["method"] == "window/workDoneProgress/create") {
        assert_eq!(editor.progress, ["begin", "end"]);
    }
    editor.exit();
}

/// Diagnostics cover every program in the editor's folders, even if no file is open.
#[test]
fn diagnostics_cover_the_workspace() {
    let place = folder(&[
        ("one/a.np", "policy p for {\n"),
        ("two/deep/b.np", "let x = nobody\npolicy q for all pods in namespace shop { allow egress to x }\n"),
        (".hidden/c.np", "policy r for {\n"),
    ]);
    let mut editor = Editor::start(place.path());
    editor.initialize(&[]);
    assert_eq!(codes(&editor.told_of("two/deep/b.np")), ["NP0201"]);
    let mut told = editor.told_of("one/a.np");
    while told.is_empty() {
        told = editor.told_of("one/a.np");
    }
    // Opened, changed and closed again: the file on disk counts.
    editor.open("one/a.np", FINE);
    assert_eq!(editor.diagnostics("one/a.np", 1), Vec::<Value>::new());
    let uri = editor.uri("one/a.np");
    editor.notify("textDocument/didClose", json!({"textDocument": {"uri": uri}}));
    assert!(!editor.told_of("one/a.np").is_empty());
    let symbols = editor.ask("workspace/symbol", json!({"query": "q"}));
    assert_eq!(symbols["result"][0]["name"], "q", "{symbols}");
    assert!(
        editor.told.iter().all(|own| !own["params"]["uri"].as_str().unwrap_or_default().contains("hidden"))
    );
    editor.exit();
}

/// A folder that is a symbolic link: changes are matched by the editor's path.
#[cfg(unix)]
#[test]
fn symlinked_workspace_folder() {
    let place = folder(&[("real/sets.np", "let dns = udp/53\n")]);
    let link = place.path().join("link");
    std::os::unix::fs::symlink(place.path().join("real"), &link).unwrap();
    let mut editor = Editor::start(&link);
    editor.initialize_as(
        json!({"workspace": {"didChangeWatchedFiles": {"dynamicRegistration": true}}}),
        Value::Null,
    );
    editor.open(
        "a.np",
        "import \"sets.np\"\npolicy p for all pods in namespace shop { allow egress to anywhere on dns }\n",
    );
    assert_eq!(editor.diagnostics("a.np", 1), Vec::<Value>::new());
    editor.until(|editor| editor.asked.iter().any(|own| own["method"] == "client/registerCapability"));
    std::fs::write(link.join("sets.np"), "let other = udp/53\n").unwrap();
    let uri = editor.uri("sets.np");
    editor.notify("workspace/didChangeWatchedFiles", json!({"changes": [{"uri": uri, "type": 2}]}));
    assert_eq!(codes(&editor.diagnostics("a.np", 1)), ["NP0201"]);
    editor.exit();
}

/// A file outside the editor's folders is a program with its imports only.
#[test]
fn file_outside_the_workspace_is_its_own_program() {
    let place =
        folder(&[("own/keep.txt", ""), ("sets.np", "let dns = udp/53\n"), ("other.np", "policy q for {\n")]);
    let mut editor = Editor::start(&place.path().join("own"));
    editor.initialize(&[]);
    editor.open(
        "../a.np",
        "import \"sets.np\"\npolicy p for all pods in namespace shop { allow egress to anywhere on dns }\n",
    );
    assert_eq!(editor.diagnostics("../a.np", 1), Vec::<Value>::new());
    editor.exit();
}

/// An unsaved document is a program of its own, whatever is on disk, and all requests work on it.
#[test]
fn unsaved_document_is_its_own_program() {
    let place = folder(&[("npc.toml", "[lints]\nNP0210 = \"deny\"\n"), ("sets.np", "let dns = udp/53\n")]);
    let mut editor = Editor::start(place.path());
    editor.initialize(&[]);
    for uri in ["untitled:Untitled-1", "untitled:/some/where/new%20one.np"] {
        let text = "let web = pods { app = web }\npolicy p for web in namespace shop { isolate ingres }\n";
        let document = json!({"uri": uri, "languageId": "np", "version": 3, "text": text});
        editor.notify("textDocument/didOpen", json!({"textDocument": document}));
        let told = editor.told(uri, 3);
        assert_eq!(codes(&told).len(), 1, "{told:?}");
        editor.notify(
            "textDocument/didChange",
            json!({
                "textDocument": {"uri": uri, "version": 4},
                "contentChanges": [{
                    "range": {"start": {"line": 1, "character": 45}, "end": {"line": 1, "character": 51}},
                    "text": "ingress",
                }],
            }),
        );
        assert_eq!(editor.told(uri, 4), Vec::<Value>::new());
        let at = json!({"textDocument": {"uri": uri}, "position": {"line": 1, "character": 13}});
        let answer = editor.ask("textDocument/definition", at.clone());
        assert_eq!(answer["result"][0]["uri"], uri, "{answer}");
        let mut rename = at.clone();
        rename["newName"] = "shop-web".into();
        let answer = editor.ask("textDocument/rename", rename);
        assert_eq!(answer["result"]["changes"][uri].as_array().map(Vec::len), Some(2), "{answer}");
        let answer = editor.ask("textDocument/completion", at.clone());
        let items = answer["result"]["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
        assert!(items.iter().any(|item| item["label"] == "web"), "{answer}");
        assert!(!items.iter().any(|item| item["label"] == "dns"), "files on disk belong to another program");
        editor.notify("textDocument/didClose", json!({"textDocument": {"uri": uri}}));
    }
    editor.exit();
}

/// Edits carry document versions if the editor supports them.
#[test]
fn edits_carry_document_versions() {
    let place = folder(&[("sets.np", "let dns = udp/53\n")]);
    let mut editor = Editor::start(place.path());
    editor.initialize_as(json!({"workspace": {"workspaceEdit": {"documentChanges": true}}}), Value::Null);
    editor.open(
        "a.np",
        "import \"sets.np\"\npolicy p for all pods in namespace shop { allow egress to anywhere on dns }\n",
    );
    editor.change("a.np", 7, json!([]));
    let uri = editor.uri("a.np");
    let answer = editor.ask(
        "textDocument/rename",
        json!({"textDocument": {"uri": uri}, "position": {"line": 1, "character": 71}, "newName": "names"}),
    );
    let versions: Vec<&Value> = answer["result"]["documentChanges"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"))
        .iter()
        .map(|own| &own["textDocument"]["version"])
        .collect();
    assert_eq!(versions, [&json!(7), &Value::Null]);
    editor.exit();
}

/// `exit` without `shutdown` gives exit code 1.
#[test]
fn exit_without_shutdown_fails() {
    let place = folder(&[]);
    let mut editor = Editor::start(place.path());
    editor.initialize(&[]);
    editor.notify("exit", Value::Null);
    assert_eq!(editor.process.wait().unwrap().code(), Some(1));
}
