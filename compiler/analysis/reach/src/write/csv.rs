//! Writes the table as comma-separated values, for spreadsheets.

use npc_model::Family;

use crate::view::View;

/// One line for each pair of groups with a connection, as RFC 4180 specifies.
#[must_use]
pub fn csv(view: &View<'_, '_>) -> String {
    let mut out = String::from("from,to,family,traffic\r\n");
    let name = |group: usize| view.reach.groups.get(group).map(|group| group.members.long());
    for (from, to, allowed) in view.cells() {
        let source = name(from).unwrap_or_default();
        for (family, set) in view.reach.traffic(allowed) {
            if set.is_empty() {
                continue;
            }
            for destination in &to {
                let destination = name(*destination).unwrap_or_default();
                let family = family.map_or("", Family::as_str);
                let cells = [source.as_str(), &destination, family, &set.to_string()].map(field);
                out.push_str(&cells.join(","));
                out.push_str("\r\n");
            }
        }
    }
    out
}

fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
