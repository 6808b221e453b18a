//! Computes who can reach whom: between all pods of a cluster, and between them and the addresses outside.
//!
//! Pods with the same connections form a group, so that a large cluster gives a small table; outside
//! addresses that no rule distinguishes form a group too. The result for two groups is exact, for every port
//! of every protocol: it is the [`verdict`](npc_model::verdict) between any two different pods of the groups,
//! except that a pod's node may always reach it. Of several addresses of one family, only a pod's first
//! counts.

mod crossing;
mod describe;
mod destinations;
mod family;
mod groups;
mod matrix;
mod partition;
mod rows;
mod set;
mod traffic;
mod view;
pub mod write;

pub use describe::Members;
pub use destinations::Destinations;
pub use matrix::{Allowed, Group, Reach};
pub use traffic::TrafficSet;
pub use view::{View, ViewError};
