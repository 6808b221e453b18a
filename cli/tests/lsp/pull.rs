//! Diagnostics of the whole workspace, and invalid requests.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::common::folder;
use crate::editor::Editor;

const FINE: &str = "policy p for all pods in namespace shop {\n  isolate ingress\n}\n";
const BROKEN: &str = "policy q for all pods in namespace shop {\n  allow egress to nobody\n}\n";

/// The client capabilities of an editor that pulls diagnostics.
fn pulls() -> Value {
    json!({
        "textDocument": {"diagnostic": {}},
        "workspace": {"diagnostics": {"refreshSupport": true}},
    })
}

/// The reports of the workspace, by URI.
fn ask(editor: &mut Editor, before: &[(String, String)]) -> BTreeMap<String, Value> {
    let before: Vec<Value> = before.iter().map(|(uri, id)| json!({"uri": uri, "value": id})).collect();
    let answer =
        editor.ask("workspace/diagnostic", json!({"identifier": "npc", "previousResultIds": before}));
    let items = answer["result"]["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let reports: BTreeMap<String, Value> =
        items.iter().map(|own| (own["uri"].as_str().unwrap().to_owned(), own.clone())).collect();
    assert_eq!(reports.len(), items.len(), "one report for each file: {answer:#}");
    reports
}

fn ids(reports: &BTreeMap<String, Value>) -> Vec<(String, String)> {
    let id =
        |(uri, report): (&String, &Value)| (uri.clone(), report["resultId"].as_str().unwrap().to_owned());
    reports.iter().map(id).collect()
}

fn codes(report: &Value) -> Vec<&str> {
    assert_eq!(report["kind"], "full", "{report:#}");
    report["items"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect()
}

#[test]
fn workspace_diagnostics_cover_all_files() {
    let place = folder(&[
        ("one/npc.toml", ""),
        ("one/fine.np", FINE),
        ("one/broken.np", BROKEN),
        ("two/npc.toml", "nothing = 1\n"),
        ("two/alone.np", FINE),
    ]);
    let mut editor = Editor::start(place.path());
    let capabilities = editor.initialize_as(pulls(), Value::Null);
    assert_eq!(capabilities["diagnosticProvider"]["workspaceDiagnostics"], true);
    let first = ask(&mut editor, &[]);
    let of = |editor: &Editor, reports: &BTreeMap<String, Value>, name: &str| {
        let uri = editor.uri(name);
        reports.get(&uri).unwrap_or_else(|| panic!("{name}: {reports:#?}")).clone()
    };
    assert_eq!(codes(&of(&editor, &first, "one/fine.np")), Vec::<&str>::new());
    assert_eq!(codes(&of(&editor, &first, "one/broken.np")), ["NP0201"]);
    assert_eq!(codes(&of(&editor, &first, "two/alone.np")), Vec::<&str>::new());
    assert_eq!(codes(&of(&editor, &first, "two/npc.toml")).len(), 1, "{first:#?}");
    assert!(first.values().all(|own| own["version"].is_null()), "nothing is open: {first:#?}");

    // `textDocument/diagnostic` returns the same result id for the file.
    let uri = editor.uri("one/broken.np");
    let one = editor.ask("textDocument/diagnostic", json!({"textDocument": {"uri": uri}}))["result"].clone();
    assert_eq!(one["resultId"], of(&editor, &first, "one/broken.np")["resultId"]);

    // Nothing changed. A file that never existed and URIs that are no files have no diagnostics.
    let mut before = ids(&first);
    let gone = [editor.uri("one/gone.np"), "untitled:one".to_owned(), "https://example.com/a.np".to_owned()];
    before.extend(gone.iter().map(|uri| (uri.clone(), "1".to_owned())));
    let second = ask(&mut editor, &before);
    for (uri, report) in &second {
        if gone.contains(uri) {
            assert_eq!(codes(report), Vec::<&str>::new());
        } else {
            assert_eq!((&report["kind"], report.get("items")), (&json!("unchanged"), None), "{report:#}");
            assert_eq!(report["resultId"], first[uri]["resultId"]);
        }
    }
    assert_eq!(second.len(), first.len() + gone.len());

    // An open file has a version, and its text in the editor counts.
    editor.open("one/broken.np", FINE);
    editor.change("one/broken.np", 7, json!([{"text": BROKEN.replace("nobody", "somebody")}]));
    let third = ask(&mut editor, &ids(&first));
    let open = of(&editor, &third, "one/broken.np");
    assert_eq!((codes(&open), &open["version"]), (vec!["NP0201"], &json!(7)));
    assert!(open["items"][0]["message"].as_str().unwrap().contains("somebody"));
    assert_eq!(of(&editor, &third, "one/fine.np")["kind"], "unchanged");
    let fourth = ask(&mut editor, &ids(&third));
    let open = of(&editor, &fourth, "one/broken.np");
    assert_eq!((&open["kind"], &open["version"]), (&json!("unchanged"), &json!(7)));
    editor.exit();
}

/// After the first `workspace/diagnostic` request, the server clears the diagnostics that it had sent
/// for files that are not open, and sends no more. After a change it asks the editor to refresh.
#[test]
fn workspace_pull_clears_pushed_diagnostics() {
    let place = folder(&[("sets.np", "let dns = udp/53\n"), ("broken.np", BROKEN)]);
    let mut editor = Editor::start(place.path());
    editor.initialize_as(pulls(), Value::Null);
    assert_eq!(editor.told_of("broken.np").len(), 1, "not requested yet");
    let first = ask(&mut editor, &[]);
    assert_eq!(editor.told_of("broken.np"), Vec::<Value>::new(), "taken back");
    let broken = editor.uri("broken.np");
    assert_eq!(codes(&first[&broken]), ["NP0201"]);
    // A file beside it defines the name and is imported.
    editor.open("broken.np", &format!("import \"sets.np\"\n{}", BROKEN.replace("nobody", "anywhere on dns")));
    let open = ask(&mut editor, &ids(&first));
    assert_eq!(codes(&open[&broken]), Vec::<&str>::new());
    editor.notify("textDocument/didClose", json!({"textDocument": {"uri": broken}}));
    let asked = |editor: &Editor| {
        editor.asked.iter().filter(|own| own["method"] == "workspace/diagnostic/refresh").count()
    };
    editor.until(|editor| asked(editor) > 0);
    let closed = ask(&mut editor, &ids(&open));
    assert_eq!(codes(&closed[&broken]), ["NP0201"]);
    let sent = |own: &&Value| own["method"] == "textDocument/publishDiagnostics";
    assert_eq!(editor.told.iter().filter(sent).count(), 0, "{:#?}", editor.told);
    editor.exit();
}

#[test]
fn partial_results_precede_the_response() {
    let names: Vec<String> = (0..150).map(|number| format!("p{number:03}.np")).collect();
    let texts: Vec<String> = names
        .iter()
        .map(|name| format!("policy {} for all pods in namespace shop {{ isolate ingress }}\n", &name[..4]))
        .collect();
    let files: Vec<(&str, &str)> =
        names.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
    let place = folder(&files);
    let mut editor = Editor::start(place.path());
    editor.initialize_as(pulls(), Value::Null);
    // No response overtakes a partial result.
    for number in 0..20 {
        let parameters = json!({"previousResultIds": [], "partialResultToken": number});
        let answer = editor.ask("workspace/diagnostic", parameters);
        assert_eq!(answer["result"], json!({"items": []}), "everything is in the partial results");
        let told = std::mem::take(&mut editor.told);
        let parts = told.iter().filter(|own| own["params"]["token"] == number);
        let counts: Vec<usize> =
            parts.map(|own| own["params"]["value"]["items"].as_array().unwrap().len()).collect();
        assert_eq!(counts, [100, 50]);
    }
    editor.exit();
}

/// A waiting request can be cancelled.
#[test]
fn waiting_request_can_be_cancelled() {
    let place = folder(&[("a.np", FINE)]);
    let mut editor = Editor::start(place.path());
    let mut can = pulls();
    // The server waits for the answer to this registration before it looks for programs, and the test editor
    // answers only when it reads the next message.
    can["workspace"]["didChangeWatchedFiles"] = json!({"dynamicRegistration": true});
    editor.initialize_as(can, Value::Null);
    let id = editor.request("workspace/diagnostic", json!({"previousResultIds": []}));
    editor.notify("$/cancelRequest", json!({"id": id}));
    assert_eq!(editor.answer(id)["error"]["code"], -32800);
    assert_eq!(ask(&mut editor, &[]).len(), 1, "the server continues");
    editor.exit();
}

/// A request whose parameters are neither an object nor an array is invalid, whatever its method.
#[test]
fn invalid_parameters_are_rejected() {
    let place = folder(&[]);
    let mut editor = Editor::start(place.path());
    let refused = |editor: &mut Editor, id: Value, method: &str, parameters: &Value| {
        editor.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters}));
        loop {
            let message = editor.next();
            if message.get("result").is_some() || message.get("error").is_some() {
                assert_eq!(message["id"], id, "{message}");
                assert_eq!(message["error"]["code"], -32600, "{message}");
                return;
            }
        }
    };
    let none = [json!(5), json!("x"), json!(true), json!(1.5)];
    for parameters in &none {
        refused(&mut editor, json!(900), "initialize", parameters);
    }
    editor.initialize(&[]);
    for (number, parameters) in none.iter().enumerate() {
        for method in ["textDocument/hover", "workspace/diagnostic", "shutdown", "npc/yaml", "no/such"] {
            refused(&mut editor, json!(number), method, parameters);
            refused(&mut editor, json!(format!("id {number}")), method, parameters);
        }
    }
    // The error for an invalid notification has a null id.
    editor.send(&json!({"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": 5}));
    let answer = editor.next();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(-32600)));
    editor.raw(b"{");
    let answer = editor.next();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&Value::Null, &json!(-32700)));
    // `null` means no parameters.
    editor.send(&json!({"jsonrpc": "2.0", "id": 77, "method": "shutdown", "params": null}));
    assert_eq!(editor.answer(77)["result"], Value::Null);
    editor.notify("exit", Value::Null);
    assert!(editor.process.wait().unwrap().success());
}
