//! Where pods and namespaces come from.

pub(crate) mod file;
pub(crate) mod kubernetes;
