//! The metadata of emitted objects.

use std::collections::BTreeMap;

use npc_program::Policy;
use serde::Serialize;

/// The metadata of an object that belongs to no namespace.
#[derive(Serialize)]
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) annotations: BTreeMap<&'static str, String>,
}

/// The annotation with the name of the policy that an object comes from.
pub(crate) const POLICY_ANNOTATION: &str = "npc/policy";
/// The annotation with the location of that policy, as `file:line`.
pub(crate) const SOURCE_ANNOTATION: &str = "npc/source";

/// The annotations of a generated NetworkPolicy.
pub(crate) fn object_annotations(policy: &Policy, source: &str) -> BTreeMap<&'static str, String> {
    let mut annotations = BTreeMap::from([
        (POLICY_ANNOTATION, policy.name.to_string()),
        (SOURCE_ANNOTATION, source.to_owned()),
    ]);
    if !policy.docs.is_empty() {
        annotations.insert("kubernetes.io/description", policy.docs.join("\n"));
    }
    annotations
}

/// The annotations of a Kyverno policy.
pub(crate) fn annotations(policy: &Policy, source: &str) -> BTreeMap<&'static str, String> {
    let mut annotations = object_annotations(policy, source);
    if let Some(description) = annotations.remove("kubernetes.io/description") {
        annotations.insert("policies.kyverno.io/description", description);
    }
    annotations
}
