//! What a program means: the verdict on a connection, and the rule that decided.
//!
//! A program denotes one function, from (source, destination, protocol, port) to allow or deny.
//! [`verdict`] is that function, on the endpoints of a [`Cluster`](npc_cluster::Cluster); all targets
//! are held to it. [`Evaluator`] gives the same answers, faster where there are many questions.

mod addresses;
mod classes;
mod connection;
mod evaluator;
mod interpreter;
mod nearest;
mod verdict;

pub use addresses::{Addresses, Family, number};
pub use classes::{AddressSets, Classes};
pub use connection::{Connection, Endpoint, Route, Traffic};
pub use evaluator::{Evaluator, Labels, Prepared, Sides, Subjects, TermId, Terms, TierRules};
pub use interpreter::{rule_matches, verdict};
pub use nearest::{Lack, Nearest, nearest};
pub use verdict::{Decision, Verdict};
