//! Kyverno's policies that generate NetworkPolicies, as what they mean for every namespace.
//!
//! What they generate is not made for a cluster: the namespaces that a rule matches become the
//! scope of a policy, and a value that is read from the namespace becomes `same namespace` or
//! `namespaces sharing LABEL`.

pub(crate) mod cluster_policy;
mod condition;
mod expression;
pub(crate) mod generating_policy;
mod object;

use npc_diagnostics::{Diagnostic, Location};
use npc_manifest::{Node, Path, Reader};
use npc_program::values::name::is_subdomain;

use crate::NOT_CARRIED;

npc_diagnostics::codes! {
    /// # A rule that makes no NetworkPolicy
    ///
    /// The rule generates objects of another kind, which decide nothing of connections. It has no
    /// part in the program.
    OTHER_OBJECT = "NP0908" "other-object" Note;
}

/// Says that a ValidatingPolicy makes nothing.
pub(crate) fn validating(node: &Node) -> Diagnostic {
    let place = node.get("kind").map_or(node.location, |kind| kind.location);
    let what = "a ValidatingPolicy makes no NetworkPolicy, and has no part in the program";
    Diagnostic::new(&OTHER_OBJECT, what, place, "judges objects, not connections")
}

/// The name of a generated object, where it is one that an object can have.
pub(crate) fn object_name(
    reader: &mut Reader,
    path: &Path<'_>,
    name: String,
    place: Location,
) -> Option<String> {
    if is_subdomain(&name) {
        return Some(name);
    }
    let why = "no object can have this name, so that nothing would be generated";
    reader.refuse(&path.field("name"), place, why);
    None
}

/// Tells something that a program cannot say.
pub(crate) fn not_carried(
    reader: &mut Reader,
    what: impl Into<String>,
    place: Location,
    why: impl Into<String>,
) {
    reader.diagnostics.push(Diagnostic::new(
        &NOT_CARRIED,
        format!("a program cannot say {}", what.into()),
        place,
        why,
    ));
}
