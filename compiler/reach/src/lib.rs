//! Who can reach whom: all pods of a cluster against all, and against the addresses outside.
//!
//! Pods that reach the same and are reached by the same are one group, so that a large cluster reads
//! as a small table; addresses outside that no rule tells apart are one, too. What is allowed between
//! two groups is exact: every port of every protocol. It is the verdict of
//! [`verdict`](npc_model::verdict) between any two different pods of the groups, but for what the
//! node that a pod runs on may always do. Of a pod with several addresses of one family the first
//! counts.

mod crossing;
mod describe;
mod groups;
mod matrix;
mod partition;
mod rows;
mod set;
mod traffic;
mod view;
pub mod write;

pub use crossing::Destinations;
pub use describe::Members;
pub use matrix::{Allowed, Group, Reach};
pub use traffic::TrafficSet;
pub use view::{View, ViewError};
