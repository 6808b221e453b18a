//! Writes the table as a graph, for Graphviz.

use std::fmt::Write as _;

use crate::view::View;

/// A node for each selected group, and an edge for each allowed direction.
#[must_use]
pub fn dot(view: &View<'_, '_>) -> String {
    let mut out = String::from(
        "digraph reach {\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n",
    );
    for group in view.shown() {
        let outside = view.reach.is_outside(group);
        let style = if outside { ", style=dashed" } else { "" };
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(out, "  g{group} [label={}{style}];", quoted(&view.name(group)));
    }
    for (from, to, allowed) in view.cells() {
        let words = view.words(allowed);
        for to in to {
            let _ = writeln!(out, "  g{from} -> g{to} [label={}];", quoted(&words));
        }
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
