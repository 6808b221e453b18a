//! `npc test`

use std::fmt::Write as _;

use npc_diagnostics::SourceMap;
use npc_driver::{Failure, TestResult, Why, failure_text, run as run_all};
use serde_json::{Value, json};

use crate::Outcome;
use crate::arguments::{Format, Test, TestFormat};
use crate::files::{Error, print};
use crate::project::Project;
use crate::report::{Reporter, line};

pub(crate) fn run(arguments: &Test, colour: bool) -> Result<Outcome, Error> {
    let mut reporter = Reporter::new(Format::Human, colour, false);
    let project = match Project::find(&arguments.inputs)? {
        Ok(project) => project,
        Err(broken) => {
            reporter.print(&broken.diagnostics, &broken.sources)?;
            return Ok(Outcome::CouldNotRun);
        }
    };
    reporter.style.prefix.clone_from(&project.prefix);
    let checked = crate::policies::check_errors(&project);
    if checked.report.has_errors() {
        reporter.print(&checked.report.diagnostics, checked.sources())?;
        return Ok(Outcome::CouldNotRun);
    }
    let mut sources = checked.sources().clone();
    sources.prefix(&project.prefix);
    let options = &project.config.options;
    let wanted = |name: &str, _| arguments.filter.as_ref().is_none_or(|filter| name.contains(&**filter));
    let ran = run_all(&checked.program, checked.sources(), &sources, &project.disk, options, wanted);
    match arguments.format {
        TestFormat::Human => print(human(&ran, &sources))?,
        TestFormat::Json => print(format!("{:#}\n", json(&ran, &sources)))?,
        TestFormat::Junit => print(junit(&ran, &sources))?,
    }
    if ran.is_empty() {
        let program = &checked.program;
        match &arguments.filter {
            Some(filter) if !program.tests.is_empty() || !program.asserts.is_empty() => {
                line(&format!("no test or assertion has `{filter}` in its name"));
            }
            _ => line("there is nothing to test: write `test \"…\" { … }` or `assert …`"),
        }
    }
    let failed = ran.iter().any(|one| !one.failures.is_empty());
    Ok(if failed { Outcome::Found } else { Outcome::Fine })
}

/// "1 test", "2 tests"
fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn human(ran: &[TestResult], sources: &SourceMap) -> String {
    let mut out = String::new();
    for one in ran {
        let word = if one.failures.is_empty() { "ok    " } else { "FAILED" };
        let what = if one.is_assertion {
            if one.failures.is_empty() { " (proved for every cluster)".to_owned() } else { String::new() }
        } else {
            format!(" ({})", count(one.connections, "connection"))
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{word} {}{what}", one.name);
        for failure in &one.failures {
            failure_text(&mut out, failure, one.is_assertion, sources);
        }
    }
    let failed = ran.iter().filter(|one| !one.failures.is_empty()).count();
    let assertions = ran.iter().filter(|one| one.is_assertion).count();
    if !ran.is_empty() {
        let _ = writeln!(
            out,
            "\n{} and {}: {}",
            count(ran.len() - assertions, "test"),
            count(assertions, "assertion"),
            if failed == 0 { "all passed".to_owned() } else { format!("{failed} failed") },
        );
    }
    out
}

fn json(ran: &[TestResult], sources: &SourceMap) -> Value {
    let failure = |failure: &Failure| {
        let mut value = json!({
            "location": sources.line_of(failure.location),
            "expected": failure.expected,
        });
        let mut set = |key: &str, what: Value| {
            if let Some(object) = value.as_object_mut() {
                object.insert(key.to_owned(), what);
            }
        };
        match &failure.why {
            Why::NotEvaluated(why) => set("error", why.as_str().into()),
            Why::Vacuous => set("error", "covers no possible connection".into()),
            Why::Verdict(answer) => set("answer", serde_json::to_value(answer).unwrap_or_default()),
            Why::Refuted(answer, test) => {
                set("answer", serde_json::to_value(answer).unwrap_or_default());
                set("counterexample", test.as_str().into());
            }
        }
        value
    };
    let tests: Vec<Value> = ran
        .iter()
        .map(|one| {
            json!({
                "name": one.name,
                "kind": if one.is_assertion { "assertion" } else { "test" },
                "location": sources.line_of(one.location),
                "passed": one.failures.is_empty(),
                "connections": one.connections,
                "failures": one.failures.iter().map(failure).collect::<Vec<_>>(),
            })
        })
        .collect();
    let failed = ran.iter().filter(|one| !one.failures.is_empty()).count();
    json!({"tests": tests, "passed": ran.len() - failed, "failed": failed})
}

/// The JUnit XML format, which CI systems read.
fn junit(ran: &[TestResult], sources: &SourceMap) -> String {
    let failed = ran.iter().filter(|one| !one.failures.is_empty()).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ =
        writeln!(out, "<testsuites name=\"npc\" tests=\"{}\" failures=\"{failed}\" errors=\"0\">", ran.len());
    let _ = writeln!(
        out,
        "  <testsuite name=\"npc\" tests=\"{}\" failures=\"{failed}\" errors=\"0\">",
        ran.len()
    );
    for one in ran {
        let place = sources.line_of(one.location);
        let (file, number) = place.rsplit_once(':').unwrap_or((&place, "1"));
        let _ = write!(
            out,
            "    <testcase classname=\"{}\" name=\"{}\" file=\"{}\" line=\"{number}\"",
            if one.is_assertion { "assert" } else { "test" },
            escaped(&one.name),
            escaped(file),
        );
        if one.failures.is_empty() {
            out.push_str("/>\n");
            continue;
        }
        out.push_str(">\n");
        for failure in &one.failures {
            let mut text = String::new();
            failure_text(&mut text, failure, one.is_assertion, sources);
            let _ = writeln!(
                out,
                "      <failure message=\"{}\">{}</failure>",
                escaped(&failure.expected),
                escaped(&text),
            );
        }
        out.push_str("    </testcase>\n");
    }
    out.push_str("  </testsuite>\n</testsuites>\n");
    out
}

/// Escapes text for XML. Drops characters that XML does not allow.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(c),
            c if c < ' ' => {}
            c => out.push(c),
        }
    }
    out
}
