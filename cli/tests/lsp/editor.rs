//! An editor that talks to the server in JSON over standard input and output, without the server's own types.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long to wait for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Editor {
    pub(crate) process: Child,
    pub(crate) input: ChildStdin,
    pub(crate) messages: Receiver<Value>,
    pub(crate) folder: PathBuf,
    pub(crate) last: i64,
    /// Notifications that arrived while waiting for something else.
    pub(crate) told: Vec<Value>,
    /// The answer to a request for settings.
    pub(crate) settings: Value,
    /// The kinds of the progress notifications received.
    pub(crate) progress: Vec<String>,
    /// The requests received from the server.
    pub(crate) asked: Vec<Value>,
}

impl Editor {
    pub(crate) fn start(folder: &Path) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_npc")).args(["lsp", "--stdio"]), folder)
    }

    /// Starts a server with the given command.
    pub(crate) fn run(command: &mut Command, folder: &Path) -> Self {
        let mut process =
            command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
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
        Self {
            process,
            input,
            messages,
            folder: folder.to_owned(),
            last: 0,
            told: Vec::new(),
            settings: Value::Null,
            progress: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// Initializes the server, and returns its capabilities.
    pub(crate) fn initialize(&mut self, encodings: &[&str]) -> Value {
        self.initialize_as(json!({"general": {"positionEncodings": encodings}}), Value::Null)
    }

    /// Initializes the server with client capabilities and options.
    pub(crate) fn initialize_as(&mut self, capabilities: Value, options: Value) -> Value {
        let root = self.uri("");
        let parameters = json!({
            "processId": null,
            "rootUri": root.trim_end_matches('/'),
            "capabilities": capabilities,
            "initializationOptions": options,
        });
        let answer = self.ask("initialize", parameters);
        self.notify("initialized", json!({}));
        answer["result"]["capabilities"].clone()
    }

    pub(crate) fn raw(&mut self, body: &[u8]) {
        write!(self.input, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
        self.input.write_all(body).unwrap();
        self.input.flush().unwrap();
    }

    pub(crate) fn send(&mut self, message: &Value) {
        self.raw(message.to_string().as_bytes());
    }

    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn notify(&mut self, method: &str, parameters: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": parameters}));
    }

    pub(crate) fn request(&mut self, method: &str, parameters: Value) -> i64 {
        self.last += 1;
        let mut message = json!({"jsonrpc": "2.0", "id": self.last, "method": method});
        if !parameters.is_null() {
            message["params"] = parameters;
        }
        self.send(&message);
        self.last
    }

    pub(crate) fn next(&mut self) -> Value {
        loop {
            let message = self.messages.recv_timeout(PATIENCE).expect("no message from the server");
            // A progress notification without a kind is a partial result.
            if message["method"] == "$/progress"
                && let Some(kind) = message["params"]["value"]["kind"].as_str()
            {
                self.progress.push(kind.to_owned());
                continue;
            }
            if message.get("method").is_none() || message.get("id").is_none() {
                return message;
            }
            // A request from the server.
            let result = match message["method"].as_str().unwrap() {
                "workspace/configuration" => json!([self.settings]),
                _ => Value::Null,
            };
            self.send(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
            self.asked.push(message);
        }
    }

    pub(crate) fn answer(&mut self, id: i64) -> Value {
        loop {
            let message = self.next();
            if message["id"] == id {
                return message;
            }
            self.told.push(message);
        }
    }

    pub(crate) fn ask(&mut self, method: &str, parameters: Value) -> Value {
        let id = self.request(method, parameters);
        self.answer(id)
    }

    pub(crate) fn uri(&self, name: &str) -> String {
        format!("file://{}", self.folder.join(name).display())
    }

    pub(crate) fn open(&mut self, name: &str, text: &str) {
        let uri = self.uri(name);
        self.notify(
            "textDocument/didOpen",
            json!({"textDocument": {"uri": uri, "languageId": "np", "version": 1, "text": text}}),
        );
    }

    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn change(&mut self, name: &str, version: i64, changes: Value) {
        let uri = self.uri(name);
        self.notify(
            "textDocument/didChange",
            json!({"textDocument": {"uri": uri, "version": version}, "contentChanges": changes}),
        );
    }

    /// Waits for the diagnostics of a version of a file.
    pub(crate) fn diagnostics(&mut self, name: &str, version: i64) -> Vec<Value> {
        let uri = self.uri(name);
        self.told(&uri, version)
    }

    /// Waits for the diagnostics of a version of a URI.
    pub(crate) fn told(&mut self, uri: &str, version: i64) -> Vec<Value> {
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

    /// The next diagnostics of a file, for any version.
    pub(crate) fn told_of(&mut self, name: &str) -> Vec<Value> {
        let uri = self.uri(name);
        let is_own = |own: &Value| {
            own["method"] == "textDocument/publishDiagnostics" && own["params"]["uri"] == uri.as_str()
        };
        if let Some(at) = self.told.iter().position(is_own) {
            return self.told.remove(at)["params"]["diagnostics"].as_array().unwrap().clone();
        }
        loop {
            let message = self.next();
            if is_own(&message) {
                return message["params"]["diagnostics"].as_array().unwrap().clone();
            }
            self.told.push(message);
        }
    }

    /// Polls until a condition holds. Sends requests meanwhile, so that the server's messages are read.
    pub(crate) fn until(&mut self, mut is: impl FnMut(&mut Self) -> bool) {
        let begin = Instant::now();
        while !is(self) {
            assert!(begin.elapsed() < PATIENCE, "timeout: the condition is not met");
            self.on("textDocument/documentSymbol", "nobody.np");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn on(&mut self, method: &str, name: &str) -> Value {
        let uri = self.uri(name);
        self.ask(method, json!({"textDocument": {"uri": uri}}))["result"].clone()
    }

    pub(crate) fn format(&mut self, name: &str) -> Value {
        let uri = self.uri(name);
        self.ask(
            "textDocument/formatting",
            json!({"textDocument": {"uri": uri}, "options": {"tabSize": 2, "insertSpaces": true}}),
        )["result"]
            .clone()
    }

    /// Shuts the server down as editors do.
    pub(crate) fn exit(mut self) {
        assert_eq!(self.ask("shutdown", Value::Null)["result"], Value::Null);
        self.notify("exit", Value::Null);
        drop(self.input);
        let begin = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                assert!(status.success(), "{status}");
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "timeout: the server does not exit");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn on_error(&mut self, method: &str, parameters: Value) -> i64 {
        let answer = self.ask(method, parameters);
        answer["error"]["code"].as_i64().unwrap_or_else(|| panic!("{method}: {answer}"))
    }
}
