//! `npc/tests` and `npc/runTests`: lists and runs the tests and assertions of a program.

use npc_diagnostics::Location;
use npc_driver::{TestResult, failure_text};
use npc_syntax::ast::{Item, ItemKind};
use serde::{Deserialize, Serialize};
use tower_lsp::ls_types::{Range, TextDocumentIdentifier, Uri};

use crate::convert::Places;
use crate::core::program::Program;

/// Which tests to list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TestsParams {
    /// Those of this file's program; if absent, those of all programs.
    #[serde(default)]
    pub(crate) text_document: Option<TextDocumentIdentifier>,
}

/// A test or an assertion.
#[derive(Debug, Serialize)]
pub(crate) struct Test {
    id: String,
    name: String,
    kind: &'static str,
    uri: Uri,
    range: Range,
}

impl Test {
    /// The location, which is unique among tests.
    pub(crate) fn place(&self) -> (String, u32, u32) {
        (self.uri.to_string(), self.range.start.line, self.range.start.character)
    }
}

/// Which tests to run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunParams {
    pub(crate) text_document: TextDocumentIdentifier,
    /// The ids; if absent, all tests of the program.
    #[serde(default)]
    pub(crate) ids: Option<Vec<String>>,
}

/// The results, or why the tests could not run.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum RunResult {
    TestResult { results: Vec<Outcome> },
    Not { why: String },
}

#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) passed: bool,
    connections: usize,
    pub(crate) failures: Vec<Failure>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) message: String,
    uri: Uri,
    range: Range,
}

/// The id of a test: its file, and its name or, for an assertion, its source text. Later duplicates get a
/// number.
pub(crate) fn id(program: &Program, file: usize, item: &Item) -> String {
    let path = program.files().get(file).map_or("", |own| &*own.path);
    let own = name(program, file, item);
    let items = program.files().get(file).map(|own| &own.parsed.tree.items);
    let before = items.into_iter().flatten().take_while(|other| other.span.start < item.span.start);
    let same = before.filter(|other| is_test(other) && name(program, file, other) == own).count();
    let number = if same == 0 { String::new() } else { format!("#{}", same + 1) };
    format!("{path}#{own}{number}")
}

const fn is_test(item: &Item) -> bool {
    matches!(item.kind, ItemKind::Test(_) | ItemKind::Assert(_))
}

fn name(program: &Program, file: usize, item: &Item) -> String {
    match (&item.kind, program.files().get(file)) {
        (ItemKind::Test(test), _) => program.says(file, test.name),
        (_, Some(own)) => program.written(Location::new(own.id, item.span)),
        _ => String::new(),
    }
}

/// The tests and assertions of a program, sorted by file and position.
pub(crate) fn tests(places: Places<'_>) -> Vec<Test> {
    let program = places.program;
    let mut found = Vec::new();
    for (index, file) in program.files().iter().enumerate() {
        for item in file.parsed.tree.items.iter().filter(|item| is_test(item)) {
            let location = Location::new(file.id, item.span);
            let Some(uri) = places.uri(location) else { continue };
            found.push(Test {
                id: id(program, index, item),
                name: name(program, index, item),
                kind: if matches!(item.kind, ItemKind::Test(_)) { "test" } else { "assert" },
                uri,
                range: places.range(location),
            });
        }
    }
    found
}

/// Runs tests as `npc test` does.
pub(crate) fn run(places: Places<'_>, ids: Option<&[String]>, files: &impl npc_program::Files) -> RunResult {
    let program = places.program;
    let sources = program.checked.sources();
    if let Some(why) = program.mistake() {
        return RunResult::Not { why };
    }
    let wanted = |location: Location| {
        let file = program.files().iter().position(|file| file.id == location.file)?;
        let item = program.item(file, location.span.start)?;
        let id = id(program, file, item);
        ids.is_none_or(|ids| ids.contains(&id)).then_some(id)
    };
    let options = &program.config.options;
    let is_wanted = |_: &str, location| wanted(location).is_some();
    let ran = npc_driver::run(&program.checked.program, sources, sources, files, options, is_wanted);
    let outcome = |ran: &TestResult| {
        let failures = ran.failures.iter().filter_map(|failure| {
            let mut message = String::new();
            failure_text(&mut message, failure, ran.is_assertion, sources);
            // The first line is the location, which the editor shows itself.
            let lines: Vec<&str> =
                message.lines().skip(1).map(|line| line.strip_prefix("       ").unwrap_or(line)).collect();
            let place = places.location(failure.location)?;
            // The editor shows the failure at the expectation, so the message begins with what is wrong.
            let reported = lines.join("\n");
            let reported = reported.strip_prefix("but ").unwrap_or(&reported);
            let message = reported.trim_end().to_owned();
            Some(Failure { message, uri: place.uri, range: place.range })
        });
        Some(Outcome {
            id: wanted(ran.location)?,
            name: ran.name.clone(),
            passed: ran.failures.is_empty(),
            connections: ran.connections,
            failures: failures.collect(),
        })
    };
    RunResult::TestResult { results: ran.iter().filter_map(outcome).collect() }
}
