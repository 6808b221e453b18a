//! Compares two versions of policies.

mod describe;
mod updates;

pub use describe::kind_text;
pub use updates::{Update, UpdateKind, updates};
