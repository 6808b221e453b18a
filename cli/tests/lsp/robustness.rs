//! Malformed messages and large inputs do not end the server.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};

use crate::common::folder;
use crate::editor::Editor;

const FINE: &str = "policy p for all pods in namespace shop {\n  isolate ingress\n}\n";

/// The id of the request that a message answers, if it is one of those with a random method.
fn answer_to(message: &Value) -> Option<i64> {
    let is_answer =
        message["method"].is_null() && (message.get("result").is_some() || message.get("error").is_some());
    message["id"].as_i64().filter(|id| is_answer && *id >= 1_000_000)
}

/// Ten thousand malformed messages or impossible requests: the server answers those with an id and continues.
#[test]
fn malformed_messages_do_not_end_the_server() {
    let place = folder(&[]);
    let mut editor = Editor::start(place.path());
    editor.initialize(&["utf-8"]);
    editor.open("a.np", FINE);
    let uri = editor.uri("a.np");
    let mut random = Rng::with_seed(11);
    let methods = [
        "textDocument/hover",
        "textDocument/completion",
        "textDocument/rename",
        "textDocument/codeAction",
        "textDocument/semanticTokens/full/delta",
        "textDocument/inlayHint",
        "textDocument/selectionRange",
        "callHierarchy/incomingCalls",
        "workspace/executeCommand",
        "workspace/symbol",
        "npc/yaml",
        "npc/runTests",
        "npc/tests",
        "npc/reach",
        "npc/pods",
        "textDocument/onTypeFormatting",
        "textDocument/diagnostic",
        "textDocument/didChange",
        "textDocument/didOpen",
        "textDocument/didClose",
        "workspace/didChangeConfiguration",
        "workspace/didChangeWatchedFiles",
        "$/setTrace",
        "$/cancelRequest",
        "nothing/like/it",
    ];
    let values = [
        json!(null),
        json!(-1),
        json!(4_294_967_295_u32),
        json!(1e300),
        json!("x"),
        json!([]),
        json!({}),
        json!([[[[]]]]),
        json!({"uri": uri}),
        json!({"uri": "file:///"}),
        json!({"uri": "untitled:x"}),
        json!({"uri": "::"}),
        json!({"line": 4_294_967_295_u32, "character": 4_294_967_295_u32}),
        json!({"line": 0, "character": 0}),
        json!({"start": {"line": 9, "character": 9}, "end": {"line": 0, "character": 0}}),
        json!([{"range": {"start": {"line": 9, "character": 0}, "end": {"line": 0, "character": 9}}, "text": "𝕟"}]),
        json!([{"text": "policy { \u{0} \""}]),
    ];
    let keys = [
        "textDocument",
        "position",
        "range",
        "context",
        "newName",
        "options",
        "ch",
        "item",
        "command",
        "arguments",
        "query",
        "target",
        "policy",
        "ids",
        "contentChanges",
        "settings",
        "changes",
        "positions",
        "previousResultId",
        "id",
        "value",
    ];
    let (mut requests, mut answered) = (HashSet::new(), HashSet::new());

    for number in 0..10_000 {
        match random.u8(..8) {
            0 => {
                let bytes: Vec<u8> = (0..random.usize(..60)).map(|_| random.u8(..)).collect();
                editor.raw(&bytes);
            }
            1 => {
                // A truncated message.
                let whole =
                    json!({"jsonrpc": "2.0", "id": number, "method": methods[0], "params": {}}).to_string();
                editor.raw(&whole.as_bytes()[..random.usize(..whole.len())]);
            }
            _ => {
                let mut parameters = json!({"textDocument": {"uri": uri, "version": number}});
                for _ in 0..random.usize(..5) {
                    let key = keys[random.usize(..keys.len())];
                    parameters[key] = values[random.usize(..values.len())].clone();
                }
                let parameters = if random.u8(..10) == 0 {
                    values[random.usize(..values.len())].clone()
                } else {
                    parameters
                };
                let method = methods[random.usize(..methods.len())];
                let mut message = json!({"jsonrpc": "2.0", "method": method, "params": parameters});
                if random.bool() {
                    message["id"] = json!(1_000_000 + number);
                    requests.insert(1_000_000 + number);
                }
                editor.send(&message);
            }
        }
        // Reads the server's messages, as editors do.
        while let Ok(message) = editor.messages.try_recv() {
            answered.extend(answer_to(&message));
        }
    }
    while answered.len() < requests.len() {
        let message = editor.messages.recv_timeout(Duration::from_secs(30));
        let message = message.unwrap_or_else(|_| {
            panic!("{} of {} requests have no answer", requests.len() - answered.len(), requests.len())
        });
        answered.extend(answer_to(&message));
    }
    assert_eq!(answered, requests);
    editor.open("b.np", FINE);
    assert_eq!(editor.diagnostics("b.np", 1), Vec::<Value>::new(), "the server continues");
    println!(
        "language server: 10,000 malformed messages, each of {} requests is answered, and the server continues",
        requests.len()
    );
    editor.exit();
}

/// A file of 100,000 lines: opened, edited and queried.
#[test]
fn large_file() {
    let place = folder(&[]);
    let mut editor = Editor::start(place.path());
    editor.initialize(&[]);
    let mut text = String::from("let dns = udp/53\n");
    for number in 0..33_333 {
        let _ = write!(
            text,
            "policy p{number} for pods {{ app = a{} }} in namespace ns-{} {{\n  allow egress to anywhere on dns\n}}\n",
            number % 97,
            number % 1009
        );
    }
    let begin = Instant::now();
    editor.open("a.np", &text);
    editor.diagnostics("a.np", 1);
    let opened = begin.elapsed();
    let begin = Instant::now();
    let at = |line: u64, character: u64| json!({"line": line, "character": character});
    editor.change(
        "a.np",
        2,
        json!([{"range": {"start": at(50_000, 0), "end": at(50_000, 0)}, "text": "\n"}]),
    );
    editor.diagnostics("a.np", 2);
    let changed = begin.elapsed();
    let uri = editor.uri("a.np");
    let uses = editor.ask(
        "textDocument/references",
        json!({"textDocument": {"uri": uri}, "position": at(0, 5), "context": {"includeDeclaration": false}}),
    );
    assert_eq!(uses["result"].as_array().unwrap().len(), 33_333);
    println!(
        "language server: a file of 100,000 lines has diagnostics after {opened:.1?}, and after a keystroke again in {changed:.1?}"
    );
    editor.exit();
}

/// A workspace of 5,000 files, one of which is open.
#[test]
fn large_workspace() {
    let files: Vec<(String, String)> = (0..5_000)
        .map(|number| {
            let text = format!(
                "import \"../sets.np\"\npolicy p{number} for pods {{ app = a{number} }} in namespace ns-{} {{\n  allow egress to anywhere on dns\n}}\n",
                number % 100
            );
            (format!("team-{}/p{number}.np", number % 50), text)
        })
        .collect();
    let mut all: Vec<(&str, &str)> =
        files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    all.extend([("sets.np", "let dns = udp/53\n"), ("npc.toml", "")]);
    let place = folder(&all);
    let mut editor = Editor::start(place.path());
    editor.initialize_as(
        json!({"workspace": {"didChangeWatchedFiles": {"dynamicRegistration": true}}}),
        Value::Null,
    );
    let begin = Instant::now();
    let (name, text) = &files[0];
    editor.open(name, text);
    editor.diagnostics(name, 1);
    let opened = begin.elapsed();
    let uri = editor.uri("sets.np");
    editor.open("sets.np", "let dns = udp/53\n");
    // A rename that edits all of them.
    let answer = editor.ask(
        "textDocument/rename",
        json!({"textDocument": {"uri": uri}, "position": {"line": 0, "character": 5}, "newName": "names"}),
    );
    assert_eq!(answer["result"]["changes"].as_object().unwrap().len(), 5_001, "{answer}");
    println!(
        "language server: a workspace of 5,000 files has diagnostics after {opened:.1?}, and a set is renamed in all of them"
    );
    editor.exit();
}

/// An hour of edits, in `tests/all`, does not increase memory use, which only Linux shows in a file.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_edits() {
    let place = folder(&[("sets.np", "let dns = udp/53\n")]);
    let mut editor = Editor::start(place.path());
    editor.initialize(&[]);
    let text: String = (0..200)
        .map(|number| format!("policy p{number} for all pods in namespace ns-{number} {{\n  allow egress to anywhere on tcp/{}\n}}\n", number + 1))
        .collect();
    editor.open("a.np", &text);
    let memory = |editor: &Editor| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", editor.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    };
    let uri = editor.uri("a.np");
    let mut version = 1;
    let mut edit = |editor: &mut Editor, times: usize| {
        for _ in 0..times {
            version += 1;
            let end = usize::from(version % 2 != 0);
            let by = if version % 2 == 0 { "x" } else { "" };
            let (start, end) =
                (json!({"line": 300, "character": 8}), json!({"line": 300, "character": 8 + end}));
            editor.change("a.np", version, json!([{"range": {"start": start, "end": end}, "text": by}]));
            if version % 20 == 0 {
                let place = json!({"textDocument": {"uri": uri}, "position": {"line": 300, "character": 9}});
                editor.ask("textDocument/completion", place.clone());
                editor.ask("textDocument/hover", place);
                editor.on("textDocument/semanticTokens/full", "a.np");
                editor.told.clear();
            }
        }
        editor.diagnostics("a.np", version);
    };
    edit(&mut editor, npc_tests::settings::amount("NPC_TEST_EDITS", 1_000, 3_000));
    let first = memory(&editor);
    let begin = Instant::now();
    // Three per second.
    let edits = npc_tests::settings::amount("NPC_TEST_EDITS", 2_000, 10_800);
    edit(&mut editor, edits);
    let last = memory(&editor);
    println!(
        "language server: {edits} edits in {:.0?}, memory from {first} kB to {last} kB",
        Duration::from_secs(begin.elapsed().as_secs())
    );
    assert!(last < first + first / 4 + 8_192, "{first} kB to {last} kB");
    editor.exit();
}

/// With a single rayon thread no task may wait for work that only the waiting thread could do.
#[test]
fn single_thread_does_not_deadlock() {
    let policies: String = (0..600)
        .map(|number| {
            format!("policy p{number} for pods {{ app = a{number} }} in namespace n {{ isolate ingress }}\n")
        })
        .collect();
    let place =
        folder(&[("npc.toml", "[compile]\ntargets = [\"kyverno\", \"kyverno-cel\", \"networkpolicy\"]\n")]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_npc"));
    let mut editor = Editor::run(command.arg("lsp").env("RAYON_NUM_THREADS", "1"), place.path());
    editor.initialize(&[]);
    for round in 0..5 {
        let name = format!("a{round}.np");
        editor.open(
            &name,
            &policies
                .replace("policy p", &format!("policy q{round}-"))
                .replace("namespace n", &format!("namespace n{round}")),
        );
        // Requested while the file is being checked.
        for method in ["textDocument/documentSymbol", "textDocument/foldingRange"] {
            assert!(!editor.on(method, &name).is_null());
        }
        assert_eq!(editor.diagnostics(&name, 1), Vec::<Value>::new());
    }
    editor.exit();
}
