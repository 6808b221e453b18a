//! The policies of the Kubernetes API.
//!
//! Each file reads one kind, applies the defaults of the API, and rejects what the API server rejects, naming
//! the same fields.

pub(crate) mod admin_network_policy;
pub(crate) mod cluster_network_policy;
pub(crate) mod metadata;
pub(crate) mod network_policy;
pub(crate) mod selector;
pub(crate) mod subject;
