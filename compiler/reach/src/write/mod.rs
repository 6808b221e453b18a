//! Tables for people and for other programs.

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

/// A picture of more groups than can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// How many groups it would have on its longer side.
    pub groups: usize,
    /// How many it may have.
    pub most: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a picture of {} groups cannot be looked at, {} are the most: name the namespaces of interest with `--from` and `--to`",
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

    /// A group's name, for tables.
    fn name(&self, group: usize) -> String {
        self.reach.groups.get(group).map(|group| group.members.short(3)).unwrap_or_default()
    }

    /// What a cell allows, in words.
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

    /// Whether a cell allows everything.
    fn is_all(&self, allowed: Allowed) -> bool {
        self.reach.traffic(allowed).iter().all(|(_, set)| set.is_all())
    }
}
