//! Builds the kernel tables from a map image and the pods of a cluster, and updates single cells when pods
//! change.
//!
//! Peers that no rule tells apart form one class. Local pods that the same policies select share a row. The
//! cell of a row for a class refers to a decision list, which has one decision for each column (ports that no
//! rule tells apart). [`Resolver`] maintains these tables. It returns [`Change`]s in the order in which they
//! must be written, so that a concurrent reader always sees a consistent state.

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
