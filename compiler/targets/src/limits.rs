//! What the API server limits.

use npc_diagnostics::Diagnostic;
use npc_program::Policy;

use crate::kyverno_common::object_annotations;
use crate::template::Template;

npc_diagnostics::codes! {
    /// # A name too long for what is generated from it
    ///
    /// Kyverno writes the names of its policies and rules into labels, which have at most 63
    /// characters. The Kyverno policy for `policy NAME` is called `netpol-NAME`. The name of a plain
    /// NetworkPolicy has at most 253.
    NAME_TOO_LONG = "NP0602" "name-too-long" Error;

    /// # An object larger than a cluster takes
    ///
    /// Kubernetes stores objects of about 1.5 MB at most, with annotations of 256 KiB at most, and
    /// Kyverno evaluates expressions of 100,000 characters at most. Name fewer things one by one:
    /// larger blocks of addresses, or a label that the namespaces share. Documentation becomes an
    /// annotation.
    TOO_LARGE = "NP0617" "too-large" Error;
}

/// The longest name of an object (DNS-1123 subdomain).
pub(crate) const MAX_NAME: usize = 253;
/// What all annotations of an object may have together, in bytes (apimachinery's
/// `TotalAnnotationSizeLimitB`).
const MAX_ANNOTATIONS: usize = 256 << 10;
/// What etcd takes in one request is 1.5 MiB; the server adds fields of its own.
const MAX_OBJECT: usize = 1_500_000;

/// The error for a template's name of more than `limit` characters.
pub(crate) fn name_too_long(template: &Template<'_>, limit: usize) -> Diagnostic {
    too_long(template.policy, &template.name, limit)
}

/// The error for an object's name of more than `limit` characters.
pub(crate) fn too_long(policy: &Policy, name: &str, limit: usize) -> Diagnostic {
    let what = if *name == *policy.name {
        format!("at most {limit} characters")
    } else {
        format!("`{name}` is generated from it, and may have {limit}")
    };
    Diagnostic::new(&NAME_TOO_LONG, format!("the name `{}` is too long", policy.name), policy.location, what)
}

/// Tells documentation that is too long for an annotation.
pub(crate) fn annotations_fit(policy: &Policy, source: &str, diagnostics: &mut Vec<Diagnostic>) {
    let size: usize =
        object_annotations(policy, source).iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_ANNOTATIONS {
        diagnostics.push(Diagnostic::new(
            &TOO_LARGE,
            format!("the documentation of `{}` is too long for an annotation", policy.name),
            policy.location,
            format!("{size} bytes with the other annotations, of {MAX_ANNOTATIONS}"),
        ));
    }
}

/// Tells an object that is too large.
pub(crate) fn object_fits(policy: &Policy, size: usize, diagnostics: &mut Vec<Diagnostic>) {
    if size > MAX_OBJECT {
        diagnostics.push(
            Diagnostic::new(
                &TOO_LARGE,
                format!("an object of `{}` is larger than a cluster takes", policy.name),
                policy.location,
                format!("{:.1} MB, of 1.5", size as f64 / 1e6),
            )
            .help("divide the policy, or name larger blocks and fewer names"),
        );
    }
}
