//! Answers, for people.

use std::fmt::Write as _;
use std::net::IpAddr;

use npc_driver::{Answer, side_text};

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
