//! Text output of reasons and failures, shared by the command and the editors.

use std::fmt::Write as _;

use npc_diagnostics::SourceMap;

use crate::answer::{Reason, RuleReference, Side};
use crate::test_runner::{Failure, Why};

/// Writes the decision of one side, in lines indented by two spaces.
pub fn side_text(out: &mut String, word: &str, name: &str, side: &Side) {
    let verdict = if side.allowed { "allowed" } else { "denied" };
    match &side.reason {
        Reason::Outside => {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(out, "  {word} of {name}: not evaluated, it is outside the cluster");
        }
        Reason::HostNetwork => {
            let _ = writeln!(
                out,
                "  {word} of {name}: not evaluated, no policy selects a node or a host-network pod"
            );
        }
        Reason::Default => {
            let _ = writeln!(out, "  {word} of {name}: allowed by default, no policy isolates it for {word}");
        }
        Reason::Rule(rule) => {
            let _ = writeln!(out, "  {word} of {name}: {verdict} by {}", described(rule));
            let _ = writeln!(out, "    {}", rule.text);
        }
        Reason::Isolated { policies } => {
            let _ = writeln!(out, "  {word} of {name}: denied, no rule matches in");
            for policy in policies {
                let _ = writeln!(out, "    policy {} ({})", policy.policy, policy.location);
            }
            if let Some(near) = &side.nearest {
                let _ = writeln!(out, "    the nearest is {}", described(&near.rule));
                let _ = writeln!(out, "      {}", near.rule.text);
                for lack in &near.unmet {
                    let _ = writeln!(out, "      but {lack}");
                }
            }
        }
    }
}

fn described(rule: &RuleReference) -> String {
    let tier = match rule.policy.tier {
        "policy" => String::new(),
        tier => format!("{tier} "),
    };
    format!("rule {} of {tier}policy {} ({})", rule.rule, rule.policy.policy, rule.location)
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
