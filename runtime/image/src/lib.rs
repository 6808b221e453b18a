//! The map image (`.npmap`): a compiled program, without knowledge of any cluster, from which a node
//! makes the kernel's tables.
//!
//! [`Image`] is what one holds; [`write`] and [`read`] are its format, which `docs/image.md` describes;
//! [`verdict`] is what it means for one connection, and the judge of everything that answers faster.
//! Nothing here knows the compiler: a node needs this crate and no language.

mod image;
mod interpret;
mod read;
mod write;

pub use image::{
    Action, AddressSets, Direction, Glob, Image, NamedPort, Operator, Place, PodTerm, Policy, PortSets,
    Protocol, Requirement, Rule, Scope, ScopeBase, Selector, Tier,
};
pub use interpret::{Connection, Decision, Endpoint, Named, Pod, Route, Traffic, Verdict, audit, verdict};
pub use read::{ReadError, read};
pub use write::{Digest, digest, digest_text, write};

/// The version of the format that this crate writes and reads.
pub const VERSION: u32 = 1;
