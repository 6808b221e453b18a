//! What the server can do, a file each.

pub(crate) mod actions;
pub(crate) mod diagnostics;
pub(crate) mod folding;
pub(crate) mod formatting;
pub(crate) mod symbols;
