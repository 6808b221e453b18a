//! Semantic analysis of `.np` programs: loads files and imports, resolves names, types sets and checks values.
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
//! [`load`] reads files and everything that they import; [`resolve`] returns the [`Program`], in which sets are
//! replaced by their members. Neither accesses the file system: files come from an implementation of [`Files`].

mod ir;
mod load;
mod names;
mod resolve;
mod selector;
pub mod values;

pub use ir::{
    Assertion, CidrTerm, End, Expectation, FailurePolicy, Isolation, LAST_PRIORITY, Labels, Peer, PodTerm,
    Policy, PortTerm, Program, Requirement, Rule, Scope, ScopeBase, Selector, Settings, Test, TestNamespace,
    TestPod,
};
pub use load::{Files, Known, Loaded, LoadedFile, MAX_SOURCE, ReadError, UNREADABLE, load};
pub use names::{Meaning, Names, Set, Value};
pub use resolve::{Memo, Resolved, SETTINGS, Setting, resolve};
pub use selector::{overlap, policies_overlap, scopes_overlap};

use npc_diagnostics::Code;

/// All diagnostic codes of this crate and of the parser, in numeric order.
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
