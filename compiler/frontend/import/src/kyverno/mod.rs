//! Reads Kyverno policies that generate NetworkPolicies.
//!
//! The import does not depend on a cluster. The namespaces that a rule matches become the scope of a policy,
//! and a value that is read from the namespace becomes `same namespace` or `namespaces sharing LABEL`.

pub(crate) mod cluster_policy;
mod condition;
mod expression;
mod filter;
pub(crate) mod generating_policy;
mod jmespath;
mod object;
mod settings;

use npc_diagnostics::{Diagnostic, Location};
use npc_manifest::{Node, Path, Reader};
use npc_program::Scope;
use npc_program::values::name::is_subdomain;

use self::condition::Condition;
use crate::{UNKNOWN_KIND, UNSUPPORTED};

npc_diagnostics::codes! {
    /// # A rule that generates no network policy
    ///
    /// The rule generates objects of another kind, validates or mutates. It decides nothing about
    /// connections, so it has no part in the program.
    OTHER_OBJECT = "NP0908" "other-object" Note;

    /// # Name from a label that may be invalid
    ///
    /// The name of the generated object is read from a label of the namespace. If the label's value contains
    /// capital letters or `_`, it is not a valid name: Kyverno generates nothing in that namespace, but npc
    /// evaluates the policy there.
    ///
    /// Use a fixed name, or the name of the namespace.
    NAME_FROM_LABEL = "NP0911" "name-from-label" Warning;
}

/// The note that a ValidatingPolicy generates nothing.
pub(crate) fn validating(node: &Node) -> Diagnostic {
    let place = node.get("kind").map_or(node.location, |kind| kind.location);
    let what = "a ValidatingPolicy generates no NetworkPolicy, so npc ignores it";
    Diagnostic::new(&OTHER_OBJECT, what, place, "it validates objects, not connections")
}

/// A kind of object that is generated: the version, the kind, and its location.
pub(crate) type Kind<'n> = (&'n str, &'n str, Location);

/// Whether `kinds` contains NetworkPolicy, which is read. For other objects, reports a note that they have no
/// part in the program; for network policies that npc cannot read, an error, since all answers would be wrong
/// without them.
pub(crate) fn generates_network_policies(reader: &mut Reader, what: &str, kinds: &[Kind<'_>]) -> bool {
    let mut any = false;
    for (version, kind, place) in kinds {
        if (*version, *kind) == ("networking.k8s.io/v1", "NetworkPolicy") {
            any = true;
        } else if crate::is_network_policy(version, kind) {
            reader.diagnostics.push(
                Diagnostic::new(
                    &UNKNOWN_KIND,
                    format!(
                        "{what} generates `{kind}` of `{version}`, a network policy that npc cannot read"
                    ),
                    *place,
                    "answers without it would be wrong",
                )
                .help("to get answers that ignore it, remove it from the input"),
            );
        } else {
            reader.diagnostics.push(Diagnostic::new(
                &OTHER_OBJECT,
                format!("{what} generates no NetworkPolicy, so npc ignores it"),
                *place,
                format!("generates `{kind}`"),
            ));
        }
    }
    any
}

/// The name of a generated object, if it is valid.
pub(crate) fn object_name(
    reader: &mut Reader,
    path: &Path<'_>,
    name: String,
    place: Location,
) -> Option<String> {
    if is_subdomain(&name) {
        return Some(name);
    }
    let why = "this is not a valid name, so Kyverno would generate nothing";
    reader.report_invalid(&path.field("name"), place, why);
    None
}

/// Reports something that a program cannot express.
pub(crate) fn report_unsupported(
    reader: &mut Reader,
    what: impl Into<String>,
    place: Location,
    why: impl Into<String>,
) {
    reader.diagnostics.push(Diagnostic::new(
        &UNSUPPORTED,
        format!("npc does not support {}", what.into()),
        place,
        why,
    ));
}

/// The scopes of a condition on namespaces. Reports an error if scopes cannot express it; `what` names the
/// condition in the message.
pub(crate) fn scopes(
    reader: &mut Reader,
    condition: &Condition,
    what: &str,
    place: Location,
) -> Option<Vec<Scope>> {
    condition.scopes().map_err(|why| report_unsupported(reader, what, place, why)).ok()
}
