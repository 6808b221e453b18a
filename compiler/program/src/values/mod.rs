//! The values of the language: addresses, ports, labels and names.
//!
//! Each module holds the rules of one kind of value, and the codes of what may be wrong with it.
//! The rules are Kubernetes' own; what the API server would refuse is refused here.

pub mod address;
pub mod label;
pub mod name;
pub mod port;

use npc_diagnostics::Code;

/// The codes of this module, by file.
pub(crate) static CODES: [&[&Code]; 4] = [address::CODES, label::CODES, name::CODES, port::CODES];
