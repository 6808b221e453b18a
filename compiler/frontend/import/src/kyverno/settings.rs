//! Reads the settings of Kyverno policies, which `kyverno { … }` contains in a program.
//!
//! Only settings that differ from the language's defaults are set, so that the program states them and
//! compiles to them again.

use npc_diagnostics::Location;
use npc_manifest::{Fields, Node, Path, Reader, Value};
use npc_program::{FailurePolicy, Settings};

use super::report_unsupported;

/// The value of a setting, with its location.
type Setting<T> = (T, Location);

/// The setting, if it differs from the language's default.
fn unless<T: PartialEq + Copy>(default: T, (value, location): Setting<T>) -> Option<Setting<T>> {
    (value != default).then_some((value, location))
}

/// The settings of a policy as Kyverno reads them.
#[derive(Clone)]
pub(crate) struct PolicySettings {
    pub(crate) synchronize: Setting<bool>,
    pub(crate) generate_existing: Setting<bool>,
    pub(crate) orphan_on_delete: Setting<bool>,
    /// `None` if it is not given: then Kyverno's default is ten seconds.
    pub(crate) webhook_timeout: Option<Setting<u8>>,
    /// `None` if it is not given: then the API server rejects namespaces while Kyverno is unavailable.
    pub(crate) failure_policy: Option<Setting<FailurePolicy>>,
}

impl PolicySettings {
    /// Whether a setting is not given whose default in Kyverno differs from the language's.
    pub(crate) const fn leaves_defaults(&self) -> bool {
        self.webhook_timeout.is_none() || self.failure_policy.is_none()
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            synchronize: unless(true, self.synchronize),
            generate_existing: unless(true, self.generate_existing),
            webhook_timeout: self.webhook_timeout.and_then(|given| unless(5, given)),
            failure_policy: self.failure_policy.and_then(|given| unless(FailurePolicy::Ignore, given)),
            orphan_on_delete: unless(false, self.orphan_on_delete),
        }
    }
}

/// Reads a boolean setting; `default` if it is not given.
pub(crate) fn switch(
    reader: &mut Reader,
    path: &Path<'_>,
    fields: &Fields<'_>,
    key: &str,
    default: Setting<bool>,
) -> Option<Setting<bool>> {
    match fields.get(key) {
        Some(node) => Some((reader.boolean(&path.field(key), node)?, node.location)),
        None => Some(default),
    }
}

/// Reads the settings in a ClusterPolicy's `spec`, which apply to all its rules. Settings that are not given
/// get the location `here`.
pub(crate) fn of_cluster_policy(
    reader: &mut Reader,
    path: &Path<'_>,
    spec: &Fields<'_>,
    here: Location,
) -> Option<PolicySettings> {
    let mut existing = switch(reader, path, spec, "generateExisting", (false, here))?;
    // The deprecated name of `generateExisting`.
    let older = switch(reader, path, spec, "generateExistingOnPolicyUpdate", (false, here))?;
    if older.0 {
        existing = older;
    }
    let (mut timeout, mut failure) = (None, None);
    let webhook_path = path.field("webhookConfiguration");
    let webhook = match spec.get("webhookConfiguration") {
        Some(node) => {
            let known = ["failurePolicy", "timeoutSeconds", "matchConditions"];
            Some(reader.object(&webhook_path, node, &known)?)
        }
        None => None,
    };
    let at_top = (path, Some(spec), "webhookTimeoutSeconds", "failurePolicy");
    let at_webhook = (&webhook_path, webhook.as_ref(), "timeoutSeconds", "failurePolicy");
    for (path, fields, timeout_key, failure_key) in [at_top, at_webhook] {
        let Some(fields) = fields else { continue };
        if let Some(node) = fields.get(timeout_key) {
            timeout = Some((seconds(reader, &path.field(timeout_key), node)?, node.location));
        }
        if let Some(node) = fields.get(failure_key) {
            failure = Some((failure_policy(reader, &path.field(failure_key), node)?, node.location));
        }
    }
    if let Some(node) = webhook.as_ref().and_then(|webhook| webhook.get("matchConditions"))
        && !matches!(&node.value, Value::List(list) if list.is_empty())
    {
        let what = format!("`{}`", webhook_path.field("matchConditions"));
        let why = "it keeps requests from Kyverno: select the namespaces with `match` and `exclude` instead";
        report_unsupported(reader, what, node.location, why);
        return None;
    }
    let admission = switch(reader, path, spec, "admission", (true, here))?;
    looks_at_new_namespaces(reader, "`spec.admission: false`", admission)?;
    Some(PolicySettings {
        synchronize: (false, here),
        generate_existing: existing,
        orphan_on_delete: (false, here),
        webhook_timeout: timeout,
        failure_policy: failure,
    })
}

/// Reads the settings of a generate rule; others are those of the policy.
pub(crate) fn of_rule(
    reader: &mut Reader,
    path: &Path<'_>,
    generate: &Fields<'_>,
    policy: &PolicySettings,
) -> Option<PolicySettings> {
    let here = policy.synchronize.1;
    Some(PolicySettings {
        synchronize: switch(reader, path, generate, "synchronize", (false, here))?,
        generate_existing: switch(reader, path, generate, "generateExisting", policy.generate_existing)?,
        orphan_on_delete: switch(reader, path, generate, "orphanDownstreamOnPolicyDelete", (false, here))?,
        ..policy.clone()
    })
}

/// Reads the settings of a GeneratingPolicy.
pub(crate) fn of_generating_policy(
    reader: &mut Reader,
    path: &Path<'_>,
    spec: &Fields<'_>,
    here: Location,
) -> Option<PolicySettings> {
    let evaluation_path = path.field("evaluation");
    let null = Node { value: Value::Null, location: here };
    let known = [
        "admission",
        "generateExisting",
        "synchronize",
        "orphanDownstreamOnPolicyDelete",
        "skipBackgroundRequests",
    ];
    let evaluation = reader.object(&evaluation_path, spec.get("evaluation").unwrap_or(&null), &known)?;
    let mut enabled = |key: &str, default: bool| {
        let path = evaluation_path.field(key);
        let Some(node) = evaluation.get(key) else { return Some((default, here)) };
        let fields = reader.object(&path, node, &["enabled"])?;
        switch(reader, &path, &fields, "enabled", (default, node.location))
    };
    let given = PolicySettings {
        synchronize: enabled("synchronize", false)?,
        generate_existing: enabled("generateExisting", false)?,
        orphan_on_delete: enabled("orphanDownstreamOnPolicyDelete", false)?,
        webhook_timeout: None,
        // For a GeneratingPolicy, the API server always accepts namespaces while Kyverno is unavailable.
        failure_policy: Some((FailurePolicy::Ignore, here)),
    };
    let admission = enabled("admission", true)?;
    looks_at_new_namespaces(reader, "`spec.evaluation.admission.enabled: false`", admission)?;
    let webhook_path = path.field("webhookConfiguration");
    let Some(node) = spec.get("webhookConfiguration") else { return Some(given) };
    let webhook = reader.object(&webhook_path, node, &["timeoutSeconds"])?;
    let webhook_timeout = match webhook.get("timeoutSeconds") {
        Some(node) => {
            let path = webhook_path.field("timeoutSeconds");
            let number = reader.integer(&path, node)?;
            // The API server accepts any number here, unlike in a ClusterPolicy.
            let Some(seconds) = waits(number) else {
                let why = "the API server waits 1 to 30 seconds for a webhook";
                report_unsupported(reader, format!("`{path}: {number}`"), node.location, why);
                return None;
            };
            Some((seconds, node.location))
        }
        None => None,
    };
    Some(PolicySettings { webhook_timeout, ..given })
}

/// Checks that Kyverno handles the admission of namespaces. `what` is the setting that turns it off.
fn looks_at_new_namespaces(reader: &mut Reader, what: &str, (admission, place): Setting<bool>) -> Option<()> {
    if !admission {
        let why = "without admission, Kyverno handles new namespaces only in the background";
        report_unsupported(reader, what, place, why);
    }
    admission.then_some(())
}

fn seconds(reader: &mut Reader, path: &Path<'_>, node: &Node) -> Option<u8> {
    let number = reader.integer(path, node)?;
    let seconds = waits(number);
    if seconds.is_none() {
        reader.report_invalid(path, node.location, "a timeout is between 1 and 30 seconds");
    }
    seconds
}

/// A webhook timeout in seconds, if the API server accepts it.
fn waits(seconds: i64) -> Option<u8> {
    u8::try_from(seconds).ok().filter(|seconds| (1..=30).contains(seconds))
}

fn failure_policy(reader: &mut Reader, path: &Path<'_>, node: &Node) -> Option<FailurePolicy> {
    match reader.string(path, node)? {
        "Fail" => Some(FailurePolicy::Fail),
        "Ignore" => Some(FailurePolicy::Ignore),
        word => {
            reader.report_invalid(path, node.location, format!("`{word}` is neither `Fail` nor `Ignore`"));
            None
        }
    }
}
