//! Measures the latency of the language server: from a keystroke to the diagnostics, for completion,
//! and for startup.
//!
//! `cargo bench -p npc --bench editor`. If `NPC_YAML_SERVER` is the path of yaml-language-server's
//! script, measures that server in the same run, with NetworkPolicy YAML of the same number of lines.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::print_stdout,
    dead_code
)]

#[path = "../tests/lsp/editor.rs"]
mod editor;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use editor::Editor;
use serde_json::{Value, json};

/// A program with the given number of policies, of ten lines each.
fn program(from: usize, policies: usize) -> String {
    let mut out = String::from("import \"sets.np\"\n\n");
    for number in from..from + policies {
        let (namespace, app) = (number % 200, number / 200);
        let _ = write!(
            out,
            "/// What application {number} may do.\npolicy app-{number} for pods {{ app = app-{app}, tier = web }} in namespace ns-{namespace} {{\n  \
             allow ingress from pods {{ app = front }} in namespace ns-{} on tcp/8080, tcp/9090\n  \
             allow ingress from office on tcp/443\n  \
             allow ingress from pods {{ app = app-{} }} on http\n  \
             allow egress to kube-dns on dns\n  \
             allow egress to pods {{ app in (db, cache) }} in same namespace on tcp/5432, tcp/6379\n  \
             allow egress to anywhere except (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16) on tcp/443\n}}\n\n",
            (namespace + 1) % 200,
            app + 1,
        );
    }
    out
}

const SETS: &str = "let dns = udp/53, tcp/53\nlet http = tcp/80, tcp/8080\nlet office = 203.0.113.0/24\n\
                    let kube-dns = pods { k8s-app = kube-dns } in namespace kube-system\n";

/// NetworkPolicies with at least the given number of lines.
fn manifests(lines: usize) -> String {
    let mut out = String::new();
    let mut number = 0;
    while out.lines().count() < lines {
        let _ = write!(
            out,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: app-{number}\n  namespace: ns-{}\nspec:\n  \
             podSelector:\n    matchLabels:\n      app: app-{number}\n  policyTypes:\n  - Ingress\n  ingress:\n  - from:\n    - podSelector:\n        \
             matchLabels:\n          app: front\n    ports:\n    - protocol: TCP\n      port: 8080\n",
            number % 200,
        );
        number += 1;
    }
    out.lines().take(lines).map(|line| format!("{line}\n")).collect()
}

/// The measured times, in order of measurement.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, share: f64) -> f64 {
        let mut times = self.0.clone();
        times.sort_unstable();
        let place = ((times.len() - 1) as f64 * share).round() as usize;
        times[place].as_secs_f64() * 1e3
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms", self.at(0.5), self.at(0.99), self.at(1.0))
    }
}

/// Types letters into a line and deletes them again. After each change, waits for the diagnostics and
/// requests completion.
fn type_in(editor: &mut Editor, name: &str, line: usize, column: usize, times: usize) -> (Times, Times) {
    let (mut told, mut completed) = (Vec::new(), Vec::new());
    let uri = editor.uri(name);
    let mut version = 1;
    for round in 0..times {
        version += 1;
        let place = |column: usize| json!({"line": line, "character": column});
        let (from, to, text) = match round % 2 {
            0 => (place(column), place(column), "x"),
            _ => (place(column), place(column + 1), ""),
        };
        let start = Instant::now();
        editor.change(name, version, json!([{"range": {"start": from, "end": to}, "text": text}]));
        editor.diagnostics(name, version);
        told.push(start.elapsed());
        let start = Instant::now();
        let answer = editor
            .ask("textDocument/completion", json!({"textDocument": {"uri": uri}, "position": place(column)}));
        assert!(answer.get("result").is_some(), "{answer}");
        completed.push(start.elapsed());
    }
    (Times(told), Times(completed))
}

/// Measures from the start of the process to the first diagnostics.
fn start(folder: &Path, name: &str, text: &str) -> (Editor, Duration) {
    let begin = Instant::now();
    let mut editor = Editor::start(folder);
    // Like real editors, it watches files.
    let can = json!({"workspace": {"didChangeWatchedFiles": {"dynamicRegistration": true}}});
    editor.initialize_as(can, Value::Null);
    editor.open(name, text);
    editor.diagnostics(name, 1);
    (editor, begin.elapsed())
}

/// The position in a label of the first policy that begins at or after a line.
fn position_after(text: &str, line: usize) -> (usize, usize) {
    let (line, text) =
        text.lines().enumerate().skip(line).find(|(_, line)| line.starts_with("policy")).unwrap();
    (line, text.find(", tier").unwrap())
}

fn ours(what: &str, files: usize, policies: usize) -> Times {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("sets.np"), SETS).unwrap();
    std::fs::write(place.path().join("npc.toml"), "").unwrap();
    let mut first = String::new();
    let mut lines = 0;
    for file in 0..files {
        let text = program(file * policies, policies);
        lines += text.lines().count();
        std::fs::write(place.path().join(format!("app-{file}.np")), &text).unwrap();
        if file == 0 {
            first = text;
        }
    }
    let starts = (0..5).map(|_| {
        let (editor, time) = start(place.path(), "app-0.np", &first);
        editor.exit();
        time
    });
    let starts = Times(starts.collect());
    // The positions are in a label of a policy at the top, in the middle and at the end: `app = app-0x`.
    let count = first.lines().count();
    let [top, end] = [0, count - 12].map(|line| {
        let (mut editor, _) = start(place.path(), "app-0.np", &first);
        let (line, column) = position_after(&first, line);
        let (told, _) = type_in(&mut editor, "app-0.np", line, column, 400);
        editor.exit();
        told
    });
    let (mut editor, _) = start(place.path(), "app-0.np", &first);
    let (line, column) = position_after(&first, count / 2);
    let (told, completed) = type_in(&mut editor, "app-0.np", line, column, 400);
    let memory = std::fs::read_to_string(format!("/proc/{}/status", editor.process.id())).unwrap_or_default();
    let memory =
        memory.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("unknown").trim().to_owned();
    editor.exit();
    println!("{what}, {lines} lines in {files} files ({memory})");
    println!("  keystroke to diagnostics: {told}");
    println!("  the same in the first policy of the file: {top}");
    println!("  the same in the last policy of the file: {end}");
    println!("  completion: {completed}");
    println!("  start to first diagnostics: {starts}");
    told
}

/// Measures the same keystrokes in YAML, with yaml-language-server.
fn theirs(script: &str, lines: usize) -> Times {
    let place = tempfile::tempdir().unwrap();
    let text = manifests(lines);
    let mut editor = Editor::run(Command::new("node").args([script, "--stdio"]), place.path());
    editor.settings = json!({"validate": true, "schemaStore": {"enable": false}});
    editor.initialize_as(json!({"workspace": {"configuration": true}}), Value::Null);
    let uri = editor.uri("a.yaml");
    editor.notify(
        "textDocument/didOpen",
        json!({"textDocument": {"uri": uri, "languageId": "yaml", "version": 1, "text": text}}),
    );
    editor.told_of("a.yaml");
    let (line, own) =
        text.lines().enumerate().skip(lines / 2).find(|(_, line)| line.contains("app: app-")).unwrap();
    let column = own.len();
    let mut times = Vec::new();
    for round in 0..40 {
        let place = |column: usize| json!({"line": line, "character": column});
        let (to, by) = if round % 2 == 0 { (place(column), "x") } else { (place(column + 1), "") };
        let begin = Instant::now();
        editor.change(
            "a.yaml",
            2 + round,
            json!([{"range": {"start": place(column), "end": to}, "text": by}]),
        );
        editor.told_of("a.yaml");
        times.push(begin.elapsed());
    }
    let times = Times(times);
    println!("yaml-language-server, {lines} lines of NetworkPolicies in 1 file, without a schema");
    println!("  keystroke to diagnostics: {times}");
    times
}

fn main() {
    let large = ours("a large program", 1, 1_000);
    ours("a workspace of small files", 1_000, 3);
    ours("a workspace of larger files", 1_000, 10);
    match std::env::var("NPC_YAML_SERVER") {
        Ok(script) => {
            let yaml = theirs(&script, 10_000);
            println!(
                "yaml-language-server takes {:.0} times as long, in the middle",
                yaml.at(0.5) / large.at(0.5)
            );
        }
        Err(_) => println!("yaml-language-server was not measured: NPC_YAML_SERVER is not set"),
    }
}
