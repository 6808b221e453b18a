//! Where pods and namespaces come from.

mod common;
pub(crate) mod file;
pub(crate) mod kubernetes;
