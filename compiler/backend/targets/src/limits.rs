//! The size limits of Kubernetes objects.

use npc_diagnostics::Diagnostic;
use npc_program::Policy;

use crate::metadata::object_annotations;
use crate::template::Template;

npc_diagnostics::codes! {
    /// # The name of a policy is too long for the target
    ///
    /// Kyverno writes the names of its policies and rules into label values, which have at most 63
    /// characters. The Kyverno policy for `policy NAME` is named `netpol-NAME`. The name of a plain
    /// NetworkPolicy has at most 253 characters.
    NAME_TOO_LONG = "NP0602" "name-too-long" Error;

    /// # An object is too large
    ///
    /// Kubernetes stores objects of at most about 1.5 MB, with annotations of at most 256 KiB, and
    /// Kyverno evaluates expressions of at most 100,000 characters.
    ///
    /// Replace long lists: use larger CIDRs instead of many addresses, and a label that the namespaces
    /// share instead of their names. The documentation of a policy becomes an annotation; shorten it if
    /// it exceeds the limit.
    TOO_LARGE = "NP0617" "too-large" Error;
}

/// The longest name of an object (DNS-1123 subdomain).
pub(crate) const MAX_NAME: usize = 253;
/// The maximum size of all annotations of an object together, in bytes (apimachinery's
/// `TotalAnnotationSizeLimitB`).
const MAX_ANNOTATIONS: usize = 256 << 10;
/// The maximum size of an object, in bytes. etcd accepts requests of at most 1.5 MiB; the limit is lower because the
/// API server adds fields.
const MAX_OBJECT: usize = 1_500_000;

/// The error for a template whose name has more than `limit` characters.
pub(crate) fn name_too_long(template: &Template<'_>, limit: usize) -> Diagnostic {
    too_long(template.policy, &template.name, limit)
}

/// The error for an object whose name has more than `limit` characters.
pub(crate) fn too_long(policy: &Policy, name: &str, limit: usize) -> Diagnostic {
    let what = if *name == *policy.name {
        format!("at most {limit} characters")
    } else {
        format!("the object name `{name}` may have at most {limit} characters")
    };
    Diagnostic::new(&NAME_TOO_LONG, format!("the name `{}` is too long", policy.name), policy.location, what)
}

/// Reports a policy whose documentation, which becomes an annotation, exceeds [`MAX_ANNOTATIONS`].
pub(crate) fn check_annotation_size(policy: &Policy, source: &str, diagnostics: &mut Vec<Diagnostic>) {
    let size: usize =
        object_annotations(policy, source).iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > MAX_ANNOTATIONS {
        diagnostics.push(Diagnostic::new(
            &TOO_LARGE,
            format!("the documentation of `{}` is too long for an annotation", policy.name),
            policy.location,
            format!("{size} bytes together with the other annotations; the limit is {MAX_ANNOTATIONS}"),
        ));
    }
}

/// Reports an object whose YAML has more than [`MAX_OBJECT`] bytes.
pub(crate) fn check_object_size(policy: &Policy, size: usize, diagnostics: &mut Vec<Diagnostic>) {
    if size > MAX_OBJECT {
        diagnostics.push(
            Diagnostic::new(
                &TOO_LARGE,
                format!("an object of `{}` is too large for Kubernetes", policy.name),
                policy.location,
                format!("{:.1} MB; the limit is 1.5 MB", size as f64 / 1e6),
            )
            .help("split the policy, or use larger CIDRs and fewer names"),
        );
    }
}
