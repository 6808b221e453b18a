//! The language server, as an editor speaks with it: JSON over standard input and output, with none of the
//! server's own types.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::folder;
use serde_json::{Value, json};

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

struct Editor {
    process: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    folder: PathBuf,
    last: i64,
    /// Diagnostics that came while something else was waited for.
    told: Vec<Value>,
}

impl Editor {
    fn start(folder: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_npc"))
            .args(["lsp", "--stdio"])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let (to, messages) = channel();
        std::thread::spawn(move || {
            loop {
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if output.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                    if let Some(own) = line.to_lowercase().strip_prefix("content-length:") {
                        length = own.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                if output.read_exact(&mut body).is_err()
                    || to.send(serde_json::from_slice(&body).unwrap()).is_err()
                {
                    return;
                }
            }
        });
        Self { process, input, messages, folder: folder.to_owned(), last: 0, told: Vec::new() }
    }

    /// Says that it is there, and gives what the server can do.
    fn initialize(&mut self, encodings: &[&str]) -> Value {
        let capabilities = json!({"general": {"positionEncodings": encodings}});
        let answer =
            self.ask("initialize", json!({"processId": null, "rootUri": null, "capabilities": capabilities}));
        self.notify("initialized", json!({}));
        answer["result"]["capabilities"].clone()
    }

    fn raw(&mut self, body: &[u8]) {
        write!(self.input, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
        self.input.write_all(body).unwrap();
        self.input.flush().unwrap();
    }

    fn send(&mut self, message: &Value) {
        self.raw(message.to_string().as_bytes());
    }

    #[allow(clippy::needless_pass_by_value)]
    fn notify(&mut self, method: &str, parameters: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": parameters}));
    }

    fn request(&mut self, method: &str, parameters: Value) -> i64 {
        self.last += 1;
        let mut message = json!({"jsonrpc": "2.0", "id": self.last, "method": method});
        if !parameters.is_null() {
            message["params"] = parameters;
        }
        self.send(&message);
        self.last
    }

    fn next(&mut self) -> Value {
        self.messages.recv_timeout(PATIENCE).expect("the server says nothing")
    }

    fn answer(&mut self, id: i64) -> Value {
        loop {
            let message = self.next();
            if message["id"] == id {
                return message;
            }
            self.told.push(message);
        }
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.request(method, parameters);
        self.answer(id)
    }

    fn uri(&self, name: &str) -> String {
        format!("file://{}", self.folder.join(name).display())
    }

    fn open(&mut self, name: &str, text: &str) {
        let uri = self.uri(name);
        self.notify(
            "textDocument/didOpen",
            json!({"textDocument": {"uri": uri, "languageId": "np", "version": 1, "text": text}}),
        );
    }

    #[allow(clippy::needless_pass_by_value)]
    fn change(&mut self, name: &str, version: i64, changes: Value) {
        let uri = self.uri(name);
        self.notify(
            "textDocument/didChange",
            json!({"textDocument": {"uri": uri, "version": version}, "contentChanges": changes}),
        );
    }

    /// The diagnostics of a file, once they are of this version.
    fn diagnostics(&mut self, name: &str, version: i64) -> Vec<Value> {
        let uri = self.uri(name);
        let begin = Instant::now();
        loop {
            let message = if self.told.is_empty() { self.next() } else { self.told.remove(0) };
            let own = &message["params"];
            if message["method"] == "textDocument/publishDiagnostics"
                && own["uri"] == uri
                && own["version"] == version
            {
                return own["diagnostics"].as_array().unwrap().clone();
            }
            assert!(begin.elapsed() < PATIENCE);
        }
    }

    fn on(&mut self, method: &str, name: &str) -> Value {
        let uri = self.uri(name);
        self.ask(method, json!({"textDocument": {"uri": uri}}))["result"].clone()
    }

    fn format(&mut self, name: &str) -> Value {
        let uri = self.uri(name);
        self.ask(
            "textDocument/formatting",
            json!({"textDocument": {"uri": uri}, "options": {"tabSize": 2, "insertSpaces": true}}),
        )["result"]
            .clone()
    }

    /// Ends as editors end a server.
    fn exit(mut self) {
        assert_eq!(self.ask("shutdown", Value::Null)["result"], Value::Null);
        self.notify("exit", Value::Null);
        drop(self.input);
        let begin = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

const FINE: &str = "policy p for all pods in namespace shop {\n  isolate ingress\n}\n";

fn codes(diagnostics: &[Value]) -> Vec<&str> {
    diagnostics.iter().map(|one| one["code"].as_str().unwrap()).collect()
}

fn range(one: &Value) -> [u64; 4] {
    let at = |end: &str, what: &str| one["range"][end][what].as_u64().unwrap();
    [at("start", "line"), at("start", "character"), at("end", "line"), at("end", "character")]
}

#[test]
fn diagnostics_as_typed() {
    let place = folder(&[("sets.np", "let dns = udp/53\n")]);
    let mut editor = Editor::start(place.path());
    let capabilities = editor.initialize(&["utf-16"]);
    assert_eq!(capabilities["positionEncoding"], "utf-16");
    editor.open("a.np", FINE);
    assert_eq!(editor.diagnostics("a.np", 1), Vec::<Value>::new());
    // A letter that is two units of UTF-16, in front of what is wrong.
    editor.change("a.np", 2, json!([{"text": "/* 𝕟 */"}]));
    assert!(!editor.diagnostics("a.np", 2).is_empty());
    let text = "import \"sets.np\" // 𝕟\npolicy p for all pods in namespace shop {\n  allow ingress from pods { app = \"𝕟\" } on dsn\n}\n";
    editor.change("a.np", 3, json!([{"text": text}]));
    let found = editor.diagnostics("a.np", 3);
    let column = "  allow ingress from pods { app = \"𝕟\" } on ".encode_utf16().count() as u64;
    let name = found.iter().find(|one| range(one)[1] == column).unwrap_or_else(|| panic!("{found:#?}"));
    assert_eq!(range(name), [2, column, 2, column + 3]);
    assert_eq!((name["source"].as_str(), name["severity"].as_u64()), (Some("npc"), Some(1)));
    // Part by part, each on what the one before left: the name is repaired, and so is the label.
    editor.change("a.np", 4, json!([
        {"range": {"start": {"line": 2, "character": column}, "end": {"line": 2, "character": column + 3}}, "text": "dns"},
        {"range": {"start": {"line": 2, "character": 34}, "end": {"line": 2, "character": 38}}, "text": "web"},
    ]));
    let found = editor.diagnostics("a.np", 4);
    assert!(found.iter().all(|one| one["severity"] != 1), "{found:#?}");
    // What another file says counts as it is in the editor, not as it is on the disk.
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
fn columns_in_bytes_where_that_is_agreed() {
    let place = folder(&[]);
    let mut editor = Editor::start(place.path());
    assert_eq!(editor.initialize(&["utf-8", "utf-16"])["positionEncoding"], "utf-8");
    editor.open("a.np", "policy p for all pods in namespace shop { // 𝕟\n  allow egress to \"𝕟\" x\n}\n");
    let found = editor.diagnostics("a.np", 1);
    assert!(!found.is_empty());
    editor.change("a.np", 2, json!([{"range": {"start": {"line": 1, "character": 18}, "end": {"line": 1, "character": 26}}, "text": "anywhere"}]));
    let found = editor.diagnostics("a.np", 2);
    assert!(found.iter().all(|one| one["severity"] != 1), "{found:#?}");
    editor.exit();
}

#[test]
fn formatting_symbols_folds_and_repairs() {
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
        "only the line that changes, and lines end as they did"
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
    // A name that is nearly one: the repair is offered, and applied it is one.
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
    // What is broken is not formatted.
    editor.change("a.np", 4, json!([{"text": "policy p for {"}]));
    assert_eq!(editor.format("a.np"), Value::Null);
    editor.exit();
}

/// Before it is asked to, after it was told to stop, of files that it does not know, and what is no message.
#[test]
fn out_of_order() {
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
    assert_eq!(editor.answer(id)["result"], Value::Null, "what is no file is none of its");
    editor.notify("$/cancelRequest", json!({"id": 12345}));
    editor.open("a.np", FINE);
    assert_eq!(editor.diagnostics("a.np", 1), Vec::<Value>::new(), "it goes on");
    let last = editor.ask("shutdown", Value::Null);
    assert_eq!(last["result"], Value::Null);
    assert_eq!(
        editor.on_error("textDocument/documentSymbol", json!({"textDocument": {"uri": "file:///a.np"}})),
        -32600,
        "after the end"
    );
    editor.notify("exit", Value::Null);
    assert!(editor.process.wait().unwrap().success());
}

impl Editor {
    fn on_error(&mut self, method: &str, parameters: Value) -> i64 {
        let answer = self.ask(method, parameters);
        answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{method}: {answer}"))
    }
}

/// Edits of all kinds over several files: in the end the server says what a fresh one says.
#[test]
fn edits_come_to_what_a_fresh_start_does() {
    let place = folder(&[]);
    let edits: u32 = std::env::var("NPC_TEST_EDITS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
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
            // Undone: all is as it was some edits ago.
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
            // Lines end as the protocol says.
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
        // A place within the end of a line is the end of that line's text for the server.
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
        // The last of each: nothing more comes then.
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
    editor.exit();
    fresh.exit();
}
