//! The map image (`.npmap`): a compiled program that is not bound to a cluster. A node builds the kernel
//! tables from it.
//!
//! [`Image`] is the data model. [`write`] and [`read`] implement the format, which `docs/image.md` describes.
//! [`verdict`] defines what an image decides for one connection; faster implementations are tested against
//! it. This crate does not depend on the compiler, so that a node can read images without it.

mod image;
mod interpret;
mod read;
mod write;

pub use image::{
    AddressSets, Glob, Image, Place, PodTerm, Policy, PortName, PortSets, Requirement, Rule, Scope,
    ScopeBase, Selector,
};
pub use interpret::{audit, verdict};
pub use read::{ReadError, read};
pub use write::{Digest, digest, digest_text, write};

/// The version of the format that this crate reads and writes.
pub const VERSION: u32 = 1;
