//! Reads Kubernetes manifests as kubectl reads them, with the location of every value.
//!
//! `serde_yaml` keeps no locations, and types scalars by YAML 1.2. kubectl types them by YAML 1.1: `no` is
//! false, `010` is 8. Here each document of a stream becomes a tree of [`Node`]s. A [`Reader`] reads the tree
//! by the fields of a type, and names each field as the API server does:
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
    /// npc cannot read this document as YAML or JSON. It reads the other documents of the stream.
    BAD_YAML = "NP0901" "bad-yaml" Error;

    /// # A field that the API server refuses
    ///
    /// The API server would reject this object: a required field is missing, or a field is not known, has the
    /// wrong type, or has a value that is not allowed. The rules are those of Kubernetes 1.36. Earlier
    /// versions only warned about some forms of addresses.
    BAD_FIELD = "NP0902" "bad-field" Error;
}
