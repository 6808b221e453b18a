//! Writes the table as a picture: sources at the left, destinations at the top.

use std::fmt::Write as _;

use super::TooLarge;
use crate::view::View;

/// The maximum number of groups of a picture.
const MOST: usize = 200;

const CELL: usize = 22;
/// The approximate width of a character of the labels, in pixels.
const LETTER: usize = 7;

/// The picture.
///
/// # Errors
///
/// If there are too many groups to display.
pub fn svg(view: &View<'_, '_>) -> Result<String, TooLarge> {
    view.fits(MOST)?;
    let name = |group: &usize| view.name(*group);
    let longest = |groups: &[usize]| {
        groups.iter().map(|group| name(group).chars().count()).max().unwrap_or(0) * LETTER + 16
    };
    let (left, top) = (longest(&view.from), longest(&view.to));
    let width = left + view.to.len() * CELL + 16;
    let height = top + view.from.len() * CELL + 56;
    let mut out = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"ui-monospace, monospace\" font-size=\"11\">
<style>
  svg {{ background: #fff; color: #1c2430 }} text {{ fill: #1c2430 }}
  .none {{ fill: #eef1f5 }} .part {{ fill: #f0b429 }} .all {{ fill: #2f855a }} .self {{ fill: #fff }}
</style>"
    );
    for (index, group) in view.to.iter().enumerate() {
        let (x, y) = (left + index * CELL + CELL / 2 + 4, top - 8);
        let _ = writeln!(
            out,
            "<text transform=\"translate({x} {y}) rotate(-90)\">{}</text>",
            escaped(&name(group))
        );
    }
    let mut cells = vec![("none", String::from("denied")); view.from.len() * view.to.len()];
    let columns = view.to.len();
    for (from, to, allowed) in view.cells() {
        let Ok(row) = view.from.binary_search(&from) else { continue };
        for to in to {
            let Ok(column) = view.to.binary_search(&to) else { continue };
            if let Some(cell) = cells.get_mut(row * columns + column) {
                let class = if view.is_all(allowed) { "all" } else { "part" };
                *cell = (class, view.words(allowed));
            }
        }
    }
    for (row, from) in view.from.iter().enumerate() {
        let y = top + row * CELL;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            left - 8,
            y + CELL / 2 + 4,
            escaped(&name(from))
        );
        for (column, to) in view.to.iter().enumerate() {
            let x = left + column * CELL;
            let itself = from == to && view.reach.is_single(*from);
            let nothing = ("none", String::new());
            let (class, words) = match cells.get(row * columns + column).unwrap_or(&nothing) {
                _ if itself => ("self", "itself"),
                _ if view.reach.is_outside(*from) && view.reach.is_outside(*to) => {
                    ("self", "both outside the cluster")
                }
                (class, words) => (*class, words.as_str()),
            };
            let _ = writeln!(
                out,
                "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{size}\" height=\"{size}\" rx=\"3\"><title>{} to {}: {}</title></rect>",
                escaped(&name(from)),
                escaped(&name(to)),
                escaped(words),
                size = CELL - 2,
            );
        }
    }
    let y = top + view.from.len() * CELL + 20;
    let mut x = 16;
    for (class, word) in [("all", "all traffic"), ("part", "some ports"), ("none", "denied")] {
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"16\" height=\"16\" rx=\"3\"/><text x=\"{}\" y=\"{}\">{word}</text>",
            x + 22,
            y + 12,
        );
        x += 120;
    }
    out.push_str("</svg>\n");
    Ok(out)
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
