//! Proves statements about a program for every cluster, or finds a counterexample.
//!
//! A verdict depends on the two ends of a connection and its port, so a statement about every cluster is a
//! statement about every possible pair of ends. This crate translates a program into a Boolean formula over
//! everything that a verdict depends on. A SAT solver then finds a connection that satisfies the formula, or
//! shows that there is none. Nothing is sampled: labels may have any value, namespaces any name, and
//! addresses any bits.
//!
//! The interpreter (`npc-model`) checks every counterexample before it is returned. One that it does not
//! confirm is a bug of this crate, and is reported as such.

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

/// Why a statement cannot be proved, as text: the problem is too large, or the prover has a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofError(String);

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProofError {}
