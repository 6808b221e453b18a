//! The meaning of a program: the verdict for a connection, and the rule that decides it.
//!
//! A program defines one function from (source, destination, protocol, port) to allow or deny. [`verdict`]
//! computes it for the endpoints of a [`Cluster`](npc_cluster::Cluster), and every target must agree with it.
//! [`Evaluator`] gives the same answers, and is faster for many connections of one cluster.

mod addresses;
mod classes;
mod evaluator;
mod interpreter;
mod nearest;

pub use addresses::{Addresses, Family, number};
pub use classes::{AddressSets, Classes};
pub use evaluator::{Evaluator, Labels, Prepared, Sides, Subjects, TermId, Terms, TierRules};
pub use interpreter::{rule_matches, verdict};
pub use nearest::{Nearest, UnmetCondition, nearest};
