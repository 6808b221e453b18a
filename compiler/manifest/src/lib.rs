//! Kubernetes manifests, read as kubectl reads them, with the place of every value.
//!
//! `serde_yaml` keeps no places, and types scalars as YAML 1.2 does; kubectl's reader does not (`no`
//! is false, `010` is 8). Here each document of a stream becomes a tree of [`Node`]s, and a
//! [`Reader`] walks it by the fields of a type and names each field as the API server does:
//! `spec.ingress[0].from[1].ipBlock.cidr`.
//!
//! ```
//! use npc_diagnostics::FileId;
//! use npc_manifest::{Documents, Value};
//!
//! let documents = Documents::parse(FileId(0), "kind: Namespace\nmetadata: {name: shop}\n");
//! assert!(documents.diagnostics.is_empty());
//! let metadata = documents.list[0].get("metadata").unwrap();
//! assert_eq!(metadata.get("name").unwrap().value, Value::String("shop".to_owned()));
//! ```

mod node;
mod reader;
mod scalar;
mod stream;

pub use node::{Entry, Node, Value};
pub use reader::{Fields, Path, Reader};
pub use scalar::typed;
pub use stream::Documents;

npc_diagnostics::codes! {
    /// # Not YAML
    ///
    /// The document cannot be read as YAML or JSON. The other documents of the stream are read.
    BAD_YAML = "NP0901" "bad-yaml" Error;

    /// # A field that the API server refuses
    ///
    /// The API server would not take this object: a field is missing that must be there, has a value
    /// that is not allowed, is of another type or is not known. The rules are those of Kubernetes
    /// 1.36; until then some forms of addresses were warnings.
    BAD_FIELD = "NP0902" "bad-field" Error;
}
