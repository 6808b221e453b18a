//! Answers, for people.

use std::fmt::Write as _;
use std::net::IpAddr;

use npc_driver::{Answer, Reason, RuleReference, Side};

/// The answer, for people.
pub(crate) fn human(out: &mut String, answer: &Answer) {
    let end = |name: &str, address: Option<IpAddr>| match address {
        Some(address) if address.to_string() != name => format!("{name} ({address})"),
        _ => name.to_owned(),
    };
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        out,
        "{}: {} -> {}, {}",
        if answer.allowed { "allowed" } else { "denied" },
        end(&answer.source, answer.source_address),
        end(&answer.destination, answer.destination_address),
        answer.traffic,
    );
    if let Some(always) = answer.always {
        let _ = writeln!(out, "  {always}");
    }
    for (word, name, side) in
        [("egress", &answer.source, &answer.egress), ("ingress", &answer.destination, &answer.ingress)]
    {
        if let Some(side) = side {
            side_text(out, word, name, side);
        }
    }
}

/// What one side says, in lines that are indented by two.
pub(crate) fn side_text(out: &mut String, word: &str, name: &str, side: &Side) {
    let verdict = if side.allowed { "allowed" } else { "denied" };
    match &side.reason {
        Reason::Outside => {
            let _ = writeln!(out, "  {word} of {name}: not judged, it is outside the cluster");
        }
        Reason::HostNetwork => {
            let _ = writeln!(out, "  {word} of {name}: not judged, it is on its node's network");
        }
        Reason::Default => {
            let _ = writeln!(out, "  {word} of {name}: allowed, no policy says anything of it");
        }
        Reason::Rule(rule) => {
            let _ = writeln!(out, "  {word} of {name}: {verdict} by {}", described(rule));
            let _ = writeln!(out, "    {}", rule.text);
        }
        Reason::Isolated { policies } => {
            let _ = writeln!(out, "  {word} of {name}: denied, no rule allows it of");
            for policy in policies {
                let _ = writeln!(out, "    policy {} ({})", policy.policy, policy.location);
            }
            if let Some(near) = &side.nearest {
                let _ = writeln!(out, "    the nearest is {}", described(&near.rule));
                let _ = writeln!(out, "      {}", near.rule.text);
                for lack in &near.lacks {
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
