//! The sources of pods and namespaces.

mod common;
pub(crate) mod file;
pub(crate) mod kubernetes;
