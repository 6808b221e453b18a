//! The values of the language: addresses, ports, labels and names.
//!
//! Each module contains the rules for one kind of value and the diagnostic codes for violations. The rules are those of
//! Kubernetes: a value that the API server would reject is rejected here.

pub mod address;
pub mod label;
pub mod name;
pub mod port;

use npc_diagnostics::Code;

/// The codes of this module, by file.
pub(crate) static CODES: [&[&Code]; 4] = [address::CODES, label::CODES, name::CODES, port::CODES];
