//! Output formats of the table, for people and for other programs.

mod csv;
mod dot;
mod html;
mod json;
mod svg;
mod text;

use std::fmt;

use crate::matrix::Allowed;
use crate::view::View;

pub use csv::csv;
pub use dot::dot;
pub use html::{Example, html};
pub use json::json;
pub use svg::svg;
pub use text::text;

/// The error for a picture or page with too many groups to display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// The number of groups on its longer side.
    pub groups: usize,
    /// The maximum number.
    pub most: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} groups are too many to display, the maximum is {}: select namespaces with `--from` and `--to`",
            self.groups, self.most
        )
    }
}

impl std::error::Error for TooLarge {}

impl View<'_, '_> {
    fn fits(&self, most: usize) -> Result<(), TooLarge> {
        let groups = self.from.len().max(self.to.len());
        if groups > most { Err(TooLarge { groups, most }) } else { Ok(()) }
    }

    /// The groups that are sources or destinations, in order.
    fn shown(&self) -> Vec<usize> {
        let mut shown: Vec<usize> = self.from.iter().chain(&self.to).copied().collect();
        shown.sort_unstable();
        shown.dedup();
        shown
    }

    /// The short name of a group.
    fn name(&self, group: usize) -> String {
        self.reach.groups.get(group).map(|group| group.members.short(3)).unwrap_or_default()
    }

    /// What a cell allows, as text.
    fn words(&self, allowed: Allowed) -> String {
        let sets = self.reach.traffic(allowed);
        let words: Vec<String> = sets
            .iter()
            .filter(|(_, set)| !set.is_empty())
            .map(|(family, set)| match family {
                None => set.to_string(),
                Some(family) => format!("{set} ({})", family.as_str()),
            })
            .collect();
        words.join("; ")
    }

    /// Whether a cell allows all traffic.
    fn is_all(&self, allowed: Allowed) -> bool {
        self.reach.traffic(allowed).iter().all(|(_, set)| set.is_all())
    }
}
