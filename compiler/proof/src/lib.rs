//! Proves what a program means for every cluster, or gives one where it does not.
//!
//! A verdict depends on two ends and a port, so a claim about every cluster is one about every pair of
//! ends that could exist. Here the program becomes a formula over everything that a verdict depends on,
//! and a solver finds a connection for which it holds, or that there is none. Nothing is sampled: labels
//! may have any value, names any form, addresses any bit.
//!
//! What is found is asked of the interpreter (`npc-model`) before it is given: a counterexample that
//! it does not confirm would be a fault here, and is told as one.

mod changes;
mod claim;
mod describe;
mod encode;
mod equal;
mod facts;
mod formula;
mod names;
mod solver;
mod universe;
mod witness;

use std::fmt;

pub use changes::{Change, Changes, changes};
pub use claim::{Outcome, prove};
pub use describe::{Kind, KindEnd};
pub use equal::{Difference, difference, policies_differ};
pub use facts::{Fact, exists};
pub use witness::{Witness, WitnessEnd};

/// Why something cannot be proved, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLarge(String);

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TooLarge {}
