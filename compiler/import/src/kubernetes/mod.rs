//! The policies of Kubernetes' API.
//!
//! Each file reads one kind, with the API's defaulting, and refuses what the API server refuses, by
//! the same fields.

pub(crate) mod admin_network_policy;
pub(crate) mod cluster_network_policy;
pub(crate) mod metadata;
pub(crate) mod network_policy;
pub(crate) mod selector;
pub(crate) mod subject;
