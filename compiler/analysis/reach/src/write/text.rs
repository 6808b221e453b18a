//! Writes the table as text, for the terminal.

use std::fmt::Write as _;

use crate::view::View;

/// The table: who may send to whom, and what. Connections that are not in it are denied.
#[must_use]
pub fn text(view: &View<'_, '_>) -> String {
    let groups = &view.reach.groups;
    let count = |kind: bool| groups.iter().filter(|group| group.pods.is_empty() == kind).count();
    let pods: usize = groups.iter().map(|group| group.pods.len()).sum();
    let mut out = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        out,
        "{pods} {} in {} {}, and {} of addresses outside\n",
        plural(pods, "pod"),
        count(false),
        plural(count(false), "group"),
        count(true),
    );
    let all_pods: Vec<usize> =
        (0..groups.len()).filter(|at| groups.get(*at).is_some_and(|g| !g.pods.is_empty())).collect();
    let outside: Vec<usize> = (0..groups.len()).filter(|at| all_pods.binary_search(at).is_err()).collect();
    let mut rows: Vec<[String; 3]> = vec![["FROM".to_owned(), "TO".to_owned(), "ON".to_owned()]];
    let mut last = None;
    for (from, to, allowed) in view.cells() {
        let mut source = if last == Some(from) { String::new() } else { view.name(from) };
        last = Some(from);
        let on = view.words(allowed);
        for name in destinations(view, from, &to, &all_pods, &outside) {
            rows.push([std::mem::take(&mut source), name, on.clone()]);
        }
    }
    if rows.len() == 1 {
        out.push_str("no connection is allowed\n");
    } else {
        let width = |column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let (first, second) = (width(0), width(1));
        for [from, to, on] in &rows {
            let _ = writeln!(out, "{from:first$}  {to:second$}  {on}");
        }
    }
    out.push_str("\nConnections that are not listed are denied. A pod always reaches itself, and its node reaches it.\n");
    out
}

/// The names of destinations; all pods, and all addresses outside, are summarized as one.
fn destinations(
    view: &View<'_, '_>,
    from: usize,
    to: &[usize],
    pods: &[usize],
    outside: &[usize],
) -> Vec<String> {
    let has_all = |all: &[usize]| {
        // The table does not say whether a single pod may send to itself.
        all.iter().all(|at| to.binary_search(at).is_ok() || (*at == from && view.reach.is_single(*at)))
    };
    let mut names = Vec::new();
    let every_pod = pods.len() > 1 && has_all(pods);
    let everywhere = outside.len() > 1 && has_all(outside);
    if every_pod {
        names.push("every pod".to_owned());
    }
    for group in to {
        let is_pods = pods.binary_search(group).is_ok();
        if (is_pods && !every_pod) || (!is_pods && !everywhere) {
            names.push(view.name(*group));
        }
    }
    if everywhere {
        names.push("everywhere outside".to_owned());
    }
    names
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}
