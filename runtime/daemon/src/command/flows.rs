//! `npc-node flows`

use std::process::ExitCode;

use super::runtime;
use crate::arguments::{Flows, Format};
use crate::client::{Client, Error, print};
use crate::control::{DecidedBy, End, Flow};

pub(crate) fn run(options: &Flows) -> Result<ExitCode, Error> {
    let client = Client::new(&options.place.socket);
    let show = |line: &[u8]| {
        let flow: Flow = serde_json::from_slice(line).map_err(|why| Error::Other(why.to_string()))?;
        let is_of = |pod: &String| {
            [&flow.pod, &flow.source.pod, &flow.destination.pod]
                .into_iter()
                .any(|own| own.as_ref() == Some(pod))
        };
        if options.dropped && !flow.dropped || options.pod.as_ref().is_some_and(|pod| !is_of(pod)) {
            return Ok(());
        }
        match options.format {
            Format::Json => print(&String::from_utf8_lossy(line)),
            Format::Human => print(&text(&flow)),
        }
    };
    runtime()?.block_on(client.lines(if options.follow { "/flows/follow" } else { "/flows" }, show))?;
    Ok(ExitCode::SUCCESS)
}

fn end(end: &End) -> String {
    let address = match end.port {
        Some(port) if end.address.is_ipv6() => format!("[{}]:{port}", end.address),
        Some(port) => format!("{}:{port}", end.address),
        None => end.address.to_string(),
    };
    match &end.pod {
        Some(pod) => format!("{pod} ({address})"),
        None => address,
    }
}

fn describe(decided_by: &DecidedBy) -> String {
    let mut text = decided_by.reason.clone();
    if let (Some(tier), Some(policy)) = (&decided_by.tier, &decided_by.policy) {
        let tier = if tier == "policy" { String::new() } else { format!("{tier} ") };
        text += &format!(": {tier}policy {policy}");
    }
    if let Some(place) = &decided_by.place {
        text += &format!(", {place}");
    }
    text
}

fn text(flow: &Flow) -> String {
    let Flow { time, direction, protocol, .. } = flow;
    let verdict = if flow.dropped { "DROPPED" } else { "passed " };
    let (source, destination) = (end(&flow.source), end(&flow.destination));
    let time = time.as_deref().unwrap_or("-");
    let audit =
        flow.audit.as_ref().map(|audit| format!("; under audit: {}", describe(audit))).unwrap_or_default();
    format!(
        "{time} {verdict} {direction:7} {source} -> {destination} {protocol}: {}{audit}\n",
        describe(&flow.by)
    )
}
