//! `npc-node status`

use std::fmt::Write as _;
use std::process::ExitCode;

use npc_node::Node;

use super::runtime;
use crate::arguments::{self, Format};
use crate::client::{Client, Error, print};
use crate::control::{Isolation, Status};

pub(crate) fn run(options: &arguments::Status) -> Result<ExitCode, Error> {
    let client = Client::new(&options.place.socket);
    let status: Status = match runtime()?.block_on(client.get("/status")) {
        Ok(status) => status,
        Err(error) => {
            left(&options.place.pins)?;
            return Err(error);
        }
    };
    match options.format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&status).map_err(|why| Error::Other(why.to_string()))?;
            print(&format!("{text}\n"))?;
        }
        Format::Human => print(&text(&status))?,
    }
    let well = status.ready
        && status.image.error.is_none()
        && status.source.error.is_none()
        && status.displaced.is_empty()
        && status.pods.iter().all(|pod| pod.not_enforced.is_none());
    Ok(ExitCode::from(u8::from(!well)))
}

/// Prints what stays enforced without a daemon.
fn left(pins: &std::path::Path) -> Result<(), Error> {
    if !pins.exists() {
        return Ok(());
    }
    let Ok(node) = Node::open(pins) else { return Ok(()) };
    let judged = node.attached().unwrap_or_default();
    print(&format!(
        "without a daemon, generation {} stays in force on {} interface{}\n",
        node.generation(),
        judged.len(),
        if judged.len() == 1 { "" } else { "s" }
    ))
}

fn text(status: &Status) -> String {
    let mut out = String::new();
    let Status { generation, image, policies, pods_known, namespaces_known, .. } = status;
    // Writing to a string cannot fail.
    let _ = match (&image.digest, status.ready) {
        (Some(digest), true) => writeln!(
            out,
            "in force    {} (generation {generation}, {policies} policies)\n            {digest}",
            image.path
        ),
        _ => writeln!(out, "in force    nothing yet"),
    };
    if let Some(why) = &image.error {
        let _ = writeln!(out, "refused     the current content of {}: {why}", image.path);
    }
    let _ = writeln!(out, "known       {pods_known} pods in {namespaces_known} namespaces");
    if let Some(why) = &status.source.error {
        let _ = writeln!(out, "            out of date: {why}");
    }
    let _ = writeln!(out, "tables      {:.1} MiB", status.memory as f64 / 1024.0 / 1024.0);
    let dropped = &status.dropped;
    for (count, what) in [
        (dropped.unreadable, "packets dropped that cannot be parsed"),
        (dropped.fragments, "fragments dropped whose first fragment was not seen or not allowed"),
        (dropped.unknown_interface, "packets dropped from or to unknown pods"),
        (dropped.foreign_source, "packets dropped with a source address that is not the pod's"),
        (dropped.foreign_destination, "packets dropped with a destination address that is not the pod's"),
        (dropped.tunnelled, "packets dropped that a pod encapsulated for a tunnel of this node"),
        (dropped.between_generations, "packets dropped that one generation allows and the next denies"),
        (dropped.lost_reports, "reports lost"),
    ] {
        if count > 0 {
            let _ = writeln!(out, "            {count} {what}");
        }
    }
    if !status.displaced.is_empty() {
        let names = status.displaced.join(", ");
        let _ =
            writeln!(out, "DISPLACED   another program is in front on {names}: packets may bypass npc-node");
    }
    if status.displacements > 0 {
        let _ = writeln!(out, "            {} times another program was in front", status.displacements);
    }
    let _ = writeln!(out);
    let name = status.pods.iter().map(|pod| pod.pod.len()).max().unwrap_or(0).max(3);
    let interface = |pod: &crate::control::PodStatus| pod.interface.clone().unwrap_or_else(|| "-".to_owned());
    let width = status.pods.iter().map(|pod| interface(pod).len()).max().unwrap_or(0).max(9);
    let _ =
        writeln!(out, "{:name$}  {:width$}  {:8}  {:8}  ADDRESSES", "POD", "INTERFACE", "EGRESS", "INGRESS");
    let isolation = |isolation: Isolation| match isolation {
        Isolation::Open => "open",
        Isolation::Audited => "audited",
        Isolation::Enforced => "enforced",
    };
    for pod in &status.pods {
        let addresses: Vec<String> = pod.addresses.iter().map(ToString::to_string).collect();
        let _ = write!(out, "{:name$}  {:width$}  ", pod.pod, interface(pod));
        let _ = match &pod.not_enforced {
            Some(why) => writeln!(out, "NOT ENFORCED: {why}"),
            None => {
                let [egress, ingress] = [pod.egress, pod.ingress].map(isolation);
                writeln!(out, "{egress:8}  {ingress:8}  {}", addresses.join(", "))
            }
        };
    }
    out
}
