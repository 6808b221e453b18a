//! Programs of the `.np` language: files and imports, names resolved, sets typed, values checked.
//!
//! ```
//! use npc_program::{Files, ReadError, load, resolve};
//!
//! struct OneFile;
//! impl Files for OneFile {
//!     fn read(&self, _: &str) -> Result<Vec<u8>, ReadError> {
//!         Ok(b"policy db for all pods in namespace payments { isolate ingress }".to_vec())
//!     }
//! }
//!
//! let loaded = load(&OneFile, &["policies.np".to_owned()]);
//! let resolved = resolve(&loaded, None);
//! assert!(resolved.diagnostics.is_empty());
//! assert_eq!(&*resolved.program.policies[0].name, "db");
//! ```
//!
//! A file is read by [`load`] with all that it imports; [`resolve`] gives the [`Program`], in which
//! sets are replaced by what they hold. Neither touches a disk: files come through [`Files`].

mod ir;
mod load;
mod names;
mod resolve;
mod same;
mod selector;
pub mod values;

pub use ir::{
    Action, Assertion, BlockTerm, Direction, End, Expectation, FailurePolicy, Isolation, LAST_PRIORITY,
    Labels, Operator, Peer, PodTerm, Policy, PortTerm, Program, Requirement, Rule, Scope, ScopeBase,
    Selector, Settings, Test, TestNamespace, TestPod, Tier,
};
pub use load::{Files, Known, Loaded, LoadedFile, MAX_SOURCE, ReadError, UNREADABLE, load};
pub use names::{Meaning, Names, Set, Value};
pub use resolve::{Kept, Resolved, SETTINGS, Setting, resolve};
pub use same::Same;
pub use selector::{overlap, policies_overlap, scopes_overlap};

use npc_diagnostics::Code;

/// Every code of this crate and of the parser, in the order of their numbers.
#[must_use]
pub fn codes() -> Vec<&'static Code> {
    let mut codes: Vec<&Code> = [npc_syntax::CODES, load::CODES]
        .into_iter()
        .chain(values::CODES)
        .chain(resolve::ALL_CODES)
        .flatten()
        .copied()
        .collect();
    codes.sort_by_key(|code| code.id);
    codes
}
