//! The results of tests and assertions, and their text, which the command and the editors share.

use std::fmt::Write as _;

use npc_diagnostics::{Location, SourceMap};

use crate::query::{Answer, side_text};

/// The result of a test or an assertion.
#[derive(Clone, Debug)]
pub struct TestResult {
    /// The name of the test, or the text of the assertion.
    pub name: String,
    /// Whether it is an assertion.
    pub is_assertion: bool,
    /// The location of the test's name, or of the assertion.
    pub location: Location,
    /// The number of connections that were evaluated. 0 for an assertion, which is proved for all connections.
    pub connections: usize,
    /// The failures. Empty if the test or assertion passed.
    pub failures: Vec<Failure>,
}

/// A failed expectation or assertion.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The location of the expectation.
    pub location: Location,
    /// The source text of the expectation.
    pub expected: String,
    /// The reason for the failure.
    pub why: Why,
}

/// The reason for a failure.
#[derive(Clone, Debug)]
pub enum Why {
    /// This connection has the opposite verdict.
    Verdict(Box<Answer>),
    /// An assertion is refuted: this connection of a possible cluster has the opposite verdict. With the text of a test
    /// that shows it.
    Refuted(Box<Answer>, String),
    /// The expectation could not be evaluated, for this reason.
    NotEvaluated(String),
    /// An assertion covers no possible connection, so it would hold for every program.
    Vacuous,
}

/// Writes the failure of a test or an assertion, in lines indented by seven spaces.
pub fn failure_text(out: &mut String, failure: &Failure, is_assertion: bool, sources: &SourceMap) {
    let place = sources.line_of(failure.location);
    if is_assertion {
        let _ = writeln!(out, "       {place}");
    } else {
        let _ = writeln!(out, "       {place}: {}", failure.expected);
    }
    match &failure.why {
        Why::NotEvaluated(why) => {
            let _ = writeln!(out, "       could not be evaluated: {why}");
        }
        Why::Vacuous => {
            let _ = writeln!(out, "       covers no possible connection: it would hold for any policies");
        }
        Why::Verdict(answer) | Why::Refuted(answer, _) => {
            let verdict = if answer.allowed { "allowed" } else { "denied" };
            let _ = writeln!(
                out,
                "       but {} -> {}, {} is {verdict}",
                answer.source, answer.destination, answer.traffic
            );
            let mut sides = String::new();
            for (word, name, side) in [
                ("egress", &answer.source, &answer.egress),
                ("ingress", &answer.destination, &answer.ingress),
            ] {
                if let Some(side) = side {
                    side_text(&mut sides, word, name, side);
                }
            }
            for line in sides.lines() {
                let _ = writeln!(out, "       {line}");
            }
        }
    }
    if let Why::Refuted(_, test) = &failure.why {
        let _ = writeln!(out, "       in this cluster, as a test:\n");
        for line in test.lines() {
            let _ = writeln!(out, "           {line}");
        }
        out.push('\n');
    }
}
