//! Text output of reasons, shared by the command and the editors.

use std::fmt::Write as _;

use super::answer::{Reason, RuleReference, Side};

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
