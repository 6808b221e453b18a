//! From a map image and the pods of a cluster to the tables that the kernel reads, and from one change
//! of a pod to the few cells that change.
//!
//! Peers that no rule tells apart are one class, subjects for which the same policies decide share a
//! row, and a cell of a row names a list that has a decision for each class of ports. [`Resolver`] keeps
//! all of it true as pods come and go; [`Change`]s say what to write, in which order, so that a reader
//! in between never sees a mix.

mod changes;
mod interned;
pub mod layout;
mod lists;
mod reason;
mod resolver;
mod select;
mod tables;
mod trie;

pub use changes::Change;
pub use lists::Decision;
pub use reason::{Reason, Reasons};
pub use resolver::{Pod, Resolver};
pub use select::Labels;
pub use tables::PORTS;
pub use trie::{Compare, Family, Trie};
