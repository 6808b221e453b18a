//! Writes the table as a self-contained, interactive HTML page.

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::TooLarge;
use super::svg::escaped;
use crate::view::View;

/// The maximum number of groups of a page.
const MOST: usize = 400;

/// A connection between two groups, and the reason for its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Example {
    /// The connection, as text.
    pub connection: String,
    /// Whether it is allowed.
    pub allowed: bool,
    /// The decision of each side, as text.
    pub reason: String,
}

/// The data of the page.
#[derive(Serialize)]
struct Data {
    groups: Vec<Shown>,
    from: Vec<usize>,
    to: Vec<usize>,
    /// Each result of a cell: its text, and whether it is all traffic.
    kinds: Vec<(String, bool)>,
    texts: Vec<String>,
    /// Row by row: the index in `kinds`, or -1 if everything is denied, -2 if the cell has no verdict; then
    /// for each example whether it is allowed, and the indices in `texts` of its connection and its reason.
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Cell(i32, Vec<(bool, usize, usize)>);

#[derive(Serialize)]
struct Shown {
    id: usize,
    name: String,
    members: String,
    pods: usize,
}

/// The page, with the examples that `explain` gives for each pair of groups.
///
/// # Errors
///
/// If there are too many groups to display.
pub fn html(
    view: &View<'_, '_>,
    title: &str,
    mut explain: impl FnMut(usize, usize) -> Vec<Example>,
) -> Result<String, TooLarge> {
    view.fits(MOST)?;
    let reach = view.reach;
    let groups = view
        .shown()
        .iter()
        .filter_map(|at| Some((at, reach.groups.get(*at)?)))
        .map(|(at, group)| Shown {
            id: *at,
            name: group.members.short(2),
            members: group.members.long(),
            pods: group.pods.len(),
        })
        .collect();
    let mut kinds = Vec::new();
    let mut kind_of = FxHashMap::default();
    let mut texts = Texts::default();
    let mut cells = Vec::with_capacity(view.from.len() * view.to.len());
    for from in &view.from {
        for to in &view.to {
            let itself = from == to && reach.is_single(*from);
            if itself || (reach.is_outside(*from) && reach.is_outside(*to)) {
                cells.push(Cell(-2, Vec::new()));
                continue;
            }
            let kind = match reach.cell(*from, *to) {
                None => -1,
                Some(allowed) => *kind_of.entry(allowed).or_insert_with(|| {
                    kinds.push((view.words(allowed), view.is_all(allowed)));
                    i32::try_from(kinds.len()).unwrap_or(i32::MAX) - 1
                }),
            };
            let examples = explain(*from, *to)
                .into_iter()
                .map(|example| {
                    (example.allowed, texts.place(example.connection), texts.place(example.reason))
                })
                .collect();
            cells.push(Cell(kind, examples));
        }
    }
    let data = Data { groups, from: view.from.clone(), to: view.to.clone(), kinds, texts: texts.list, cells };
    // Text that looks like a tag or a comment could end the script. JSON contains `<` only in strings.
    let data = serde_json::to_string(&data).unwrap_or_default().replace('<', "\\u003c");
    Ok(include_str!("page.html").replace("{{title}}", &escaped(title)).replace("\"{{data}}\"", &data))
}

/// Interned texts.
#[derive(Default)]
struct Texts {
    list: Vec<String>,
    places: FxHashMap<String, usize>,
}

impl Texts {
    fn place(&mut self, text: String) -> usize {
        if let Some(place) = self.places.get(&text) {
            return *place;
        }
        self.list.push(text.clone());
        self.places.insert(text, self.list.len() - 1);
        self.list.len() - 1
    }
}
