//! The code that the targets `kyverno` and `kyverno-cel` share: names, annotations, settings and their checks.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use npc_diagnostics::{Diagnostic, Location, SourceMap};
use npc_program::values::label::NAMESPACE_NAME;
use npc_program::{FailurePolicy, Policy, Program, Requirement, ScopeBase, Selector, scopes_overlap};
use npc_vocabulary::{Operator, Tier};
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::guard;
use crate::limits::{check_annotation_size, check_object_size, name_too_long};
use crate::options::Options;
use crate::target::{AUDIT_OMITTED, AnyTarget, Emitted, Input, NAME_COLLISION, unsupported};
use crate::template::{MAX_NAME, MAX_TEMPLATE_NAME, Names, PREFIX, Template, templates};
use crate::yaml;

npc_diagnostics::codes! {
    /// # Kyverno's default configuration excludes these namespaces
    ///
    /// In its default configuration, Kyverno ignores `kube-system`, `kube-public`, `kube-node-lease`
    /// and its own namespace, `kyverno`. The scope of this policy contains some of them, so they will
    /// not get the NetworkPolicies of the program.
    ///
    /// Either exclude these namespaces in the program, or remove them from Kyverno's filters: in the
    /// ConfigMap `kyverno` in Kyverno's namespace, remove `[*/*,NAME,*]` from `resourceFilters`, and for
    /// `kube-system` also the entry in `webhooks`. The change takes effect within seconds, without a
    /// restart. Then list the namespaces that are still excluded in `npc.toml`, as
    /// `filtered-namespaces` under `[kyverno]`.
    ///
    /// ```np fails target=kyverno
    /// policy p for all pods in all namespaces { isolate ingress }
    /// ```
    ///
    /// ```np target=kyverno
    /// policy p for all pods in all namespaces except (kube-*, kyverno) { isolate ingress }
    /// ```
    FILTERED_NAMESPACES = "NP0606" "filtered-namespaces" Warning;

    /// # Existing namespaces get no NetworkPolicies
    ///
    /// With `generate-existing = false`, Kyverno generates objects only in namespaces that are created
    /// or updated after the policy. `generate-existing` is also the only way in which Kyverno repairs a
    /// namespace that it missed while its admission controller was unavailable.
    ///
    /// ```np fails target=kyverno
    /// policy p for all pods in namespace shop {
    ///   isolate ingress
    ///   kyverno { generate-existing = false }
    /// }
    /// ```
    ///
    /// ```np target=kyverno
    /// policy p for all pods in namespace shop {
    ///   isolate ingress
    /// }
    /// ```
    NOT_EXISTING = "NP0607" "not-existing" Warning;
}

/// The warning for a policy that generates nothing in namespaces that already exist.
fn not_existing(location: Location) -> Diagnostic {
    Diagnostic::new(
        &NOT_EXISTING,
        "existing namespaces get no NetworkPolicies",
        location,
        "only namespaces that are created or updated later get them",
    )
}

/// The warnings for imported Kyverno policies about namespaces in which they generate nothing: namespaces that already
/// exist, and namespaces that Kyverno's configuration excludes.
#[must_use]
pub fn unreached<'p>(policies: impl Iterator<Item = &'p Policy>, options: &Options) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut filtered = Filtered::new(options);
    for policy in policies {
        if let Some((false, location)) = policy.settings.generate_existing {
            let reported = not_existing(location).help("set `generateExisting: true`");
            // The rules of one Kyverno policy can share the setting; report its location once.
            if !found.iter().any(|other| other.location() == reported.location()) {
                found.push(reported);
            }
        }
        filtered.collect_policy(policy);
    }
    found.extend(filtered.diagnostic(|names| format!("exclude them with `exclude` ({names})")));
    found
}

/// Adds the requirement that the label exists, unless the selector implies it.
pub(crate) fn require_label(selector: &mut Selector, key: &Arc<str>) {
    if !selector.implies(key) {
        selector.requirements.push(Requirement {
            key: Arc::clone(key),
            operator: Operator::Exists,
            values: Vec::new(),
        });
    }
}

/// The settings of one policy, with defaults applied.
pub(crate) struct Resolved {
    pub(crate) synchronize: bool,
    pub(crate) generate_existing: bool,
    pub(crate) webhook_timeout: u8,
    pub(crate) failure_policy: FailurePolicy,
    pub(crate) orphan_on_delete: bool,
    /// The location of `failure-policy`, if it is set.
    pub(crate) failure_policy_location: Option<Location>,
}

impl Resolved {
    fn new(policy: &Policy, program: &Program, diagnostics: &mut Vec<Diagnostic>) -> Self {
        let settings = policy.settings.clone().or(&program.settings);
        if let Some((false, location)) = settings.generate_existing {
            let found = not_existing(location);
            diagnostics
                .push(found.note("Kyverno repairs a namespace that it missed only with `generate-existing`"));
        }
        Self {
            synchronize: settings.synchronize.is_none_or(|(value, _)| value),
            generate_existing: settings.generate_existing.is_none_or(|(value, _)| value),
            webhook_timeout: settings.webhook_timeout.map_or(5, |(value, _)| value),
            failure_policy: settings.failure_policy.map_or(FailurePolicy::Ignore, |(value, _)| value),
            orphan_on_delete: settings.orphan_on_delete.is_some_and(|(value, _)| value),
            failure_policy_location: settings.failure_policy.map(|(_, location)| location),
        }
    }
}

/// A template with the values that a [`Kind`] needs to write it.
pub(crate) struct TemplateContext<'t, 'a> {
    pub(crate) template: Template<'a>,
    pub(crate) settings: &'t Resolved,
    /// The location of the policy, as `file:line`.
    pub(crate) source: &'t str,
    /// The name of the Kyverno policy.
    pub(crate) name: String,
}

/// One of Kyverno's kinds of policy.
///
/// [`compile`] keeps one diagnostic for each code and location, so a kind may report it for every object.
pub(crate) trait Kind: Sync {
    type Policy: Serialize;
    type Names: Names;

    fn names(&self) -> Self::Names;
    fn policy(&self, made: TemplateContext<'_, '_>) -> Self::Policy;

    /// Reports settings of the policy that this kind does not support or handles differently.
    fn check(&self, _: &Template<'_>, _: &Resolved, _: &Options, _: &mut Vec<Diagnostic>) {}
}

/// The output of one policy of the program, apart from its text.
#[derive(Default)]
struct PolicyOutput {
    /// The names of the generated NetworkPolicies.
    names: Vec<String>,
    diagnostics: Vec<Diagnostic>,
}

/// The number of policies that a thread compiles at a time.
const CHUNK_SIZE: usize = 64;

/// Compiles a program to one of Kyverno's kinds. Returns the YAML text, the number of objects and the diagnostics. The
/// text is incomplete if a diagnostic is an error.
pub(crate) fn compile<K: Kind>(kind: &K, input: &Input<'_>) -> Emitted {
    let Input { program, sources, options, cluster: _ } = *input;
    // Policies are independent of each other except for the names of their objects, so they are compiled in parallel.
    let shares: Vec<(String, Vec<PolicyOutput>)> = program
        .policies
        .par_chunks(CHUNK_SIZE)
        .map(|policies| {
            // 2,000 bytes are enough for a typical policy. Growing the string by doubling would copy megabytes.
            let mut text = String::with_capacity(policies.len() * 2_000);
            let pieces = policies
                .iter()
                .map(|policy| compile_policy(kind, policy, program, sources, options, &mut text));
            let pieces = pieces.collect();
            (text, pieces)
        })
        .collect();

    let mut text = String::with_capacity(shares.iter().map(|(share, _)| share.len()).sum());
    let mut objects = 0;
    let mut reported: FxHashSet<(&str, Option<Location>)> = FxHashSet::default();
    let mut diagnostics = Vec::new();
    let mut filtered = Filtered::new(options);
    let mut taken: FxHashMap<String, &Policy> = FxHashMap::default();
    let mut policies = program.policies.iter();
    for (share, pieces) in shares {
        text.push_str(&share);
        // `zip` advances its left iterator first, so at the end of the pieces it consumes no policy.
        for (output, policy) in pieces.into_iter().zip(policies.by_ref()) {
            if !output.names.is_empty() {
                filtered.collect_policy(policy);
            }
            objects += output.names.len();
            for name in output.names {
                collision(name, policy, &mut taken, &mut diagnostics);
            }
            diagnostics.extend(
                output.diagnostics.into_iter().filter(|d| reported.insert((d.code.id, d.location()))),
            );
        }
    }
    diagnostics.extend(filtered.diagnostic(|names| format!("exclude them with `except ({names})`")));
    let mut guards = 0;
    if let Some(failure_policy) = options.guard {
        let documents;
        (documents, guards) = guard::compile(program, sources, options, failure_policy, &mut diagnostics);
        text.push_str(&documents);
    }
    Emitted { text, objects, guards, diagnostics, ..Emitted::default() }
}

fn compile_policy<K: Kind>(
    kind: &K,
    policy: &Policy,
    program: &Program,
    sources: &SourceMap,
    options: &Options,
    text: &mut String,
) -> PolicyOutput {
    let mut output = PolicyOutput::default();
    let diagnostics = &mut output.diagnostics;
    if !is_expressible(policy, <K::Names as Names>::TARGET, options, diagnostics) {
        return output;
    }
    let settings = Resolved::new(policy, program, diagnostics);
    let source = sources.line_of(policy.location);
    check_annotation_size(policy, &source, diagnostics);
    for template in templates(policy, &kind.names(), &options.pod_cidrs, diagnostics) {
        check_name(&template, diagnostics);
        kind.check(&template, &settings, options, diagnostics);
        output.names.push(template.name.clone());
        let name = format!("{PREFIX}{}", template.name);
        let before = text.len();
        text.push_str("---\n");
        // These types have no value that the YAML writer rejects.
        if let Err(error) = yaml::write_to(
            text,
            &kind.policy(TemplateContext { template, settings: &settings, source: &source, name }),
        ) {
            debug_assert!(false, "{error}");
        }
        check_object_size(policy, text.len() - before, diagnostics);
    }
    output
}

/// Whether NetworkPolicies can express a policy, and the policy covers a direction. Reports the reason if it is in a
/// tier or is an audit policy; a policy in a tier that another target of the same compilation writes is skipped without
/// a report.
pub(crate) fn is_expressible(
    policy: &Policy,
    target: AnyTarget,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> bool {
    let tier = match policy.tier {
        Tier::Admin | Tier::Baseline if options.tiers_elsewhere => return false,
        Tier::Namespaced => None,
        Tier::Admin => Some("an admin policy"),
        Tier::Baseline => Some("a baseline policy"),
    };
    if let Some(audit) = policy.audit {
        diagnostics.push(audit_omitted(policy, target, audit));
        return false;
    }
    let Some(tier) = tier else {
        return policy.covers(npc_vocabulary::Direction::Ingress)
            || policy.covers(npc_vocabulary::Direction::Egress);
    };
    diagnostics.push(
        unsupported(
            target,
            tier,
            policy.tier_location.unwrap_or(policy.location),
            "NetworkPolicies have no tiers",
            &[AnyTarget::CLUSTER_NETWORK_POLICY, AnyTarget::EBPF],
        )
        .help(format!("compile with `--target {target},clusternetworkpolicy`, which writes this policy as a ClusterNetworkPolicy")),
    );
    false
}

/// The note for an audit policy that the target omits.
pub(crate) fn audit_omitted(policy: &Policy, target: AnyTarget, audit: Location) -> Diagnostic {
    Diagnostic::new(
        &AUDIT_OMITTED,
        format!("target `{target}` omits the audit policy `{}`", policy.name),
        audit,
        "the Kubernetes API has no audit mode; target `ebpf` supports it",
    )
}

fn check_name(template: &Template<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let length = PREFIX.len() + template.name.len();
    if length > MAX_NAME {
        diagnostics.push(name_too_long(template, MAX_TEMPLATE_NAME).note(format!(
            "Kyverno writes `{PREFIX}{}` into a label value, which has at most {MAX_NAME} characters; this name has {length}",
            template.name
        )));
    }
}

/// Reports an object name that another object already has.
pub(crate) fn collision<'a>(
    name: String,
    policy: &'a Policy,
    taken: &mut FxHashMap<String, &'a Policy>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    match taken.entry(name) {
        Entry::Vacant(entry) => {
            entry.insert(policy);
        }
        Entry::Occupied(other) => diagnostics.push(
            Diagnostic::new(
                &NAME_COLLISION,
                format!("two generated objects would have the name `{}`", other.key()),
                policy.location,
                "generated from this policy",
            )
            .label(other.get().location, "and from this one")
            .help("rename one of the policies"),
        ),
    }
}

/// Collects the policies whose scopes contain namespaces that Kyverno's configuration excludes.
struct Filtered<'a> {
    names: &'a [String],
    found: Vec<(Location, Vec<&'a str>)>,
    /// Whether every collected scope lists these namespaces by name, so that excluding them is not a useful repair.
    fixed: bool,
}

impl<'a> Filtered<'a> {
    fn new(options: &'a Options) -> Self {
        Self { names: &options.filtered_namespaces, found: Vec::new(), fixed: true }
    }

    fn collect_policy(&mut self, policy: &Policy) {
        for subject in &policy.subjects {
            let meant: Vec<&str> = self
                .names
                .iter()
                .map(String::as_str)
                .filter(|name| {
                    let only = npc_program::Scope::named(name);
                    // The labels of these namespaces are unknown. A scope by labels is reported only if it
                    // has no requirements or requires the name label to have certain values.
                    let names_it =
                        |one: &Requirement| *one.key == *NAMESPACE_NAME && one.operator == Operator::In;
                    let by_label = matches!(&subject.scope.base, ScopeBase::Labels(s)
                        if !s.requirements.is_empty() && !s.requirements.iter().any(names_it));
                    !by_label
                        && subject.scope.except_labels.is_empty()
                        && scopes_overlap(&[&subject.scope, &only])
                })
                .collect();
            if !meant.is_empty() {
                self.fixed &= matches!(&subject.scope.base, ScopeBase::Names(list) if meant.iter().all(|name| list.iter().any(|listed| **listed == **name)));
                self.found.push((subject.scope_location.unwrap_or(subject.location), meant));
                break;
            }
        }
    }

    /// One warning for all collected policies, since they have one repair. `repair` returns the help text for excluding
    /// the namespaces with the given names.
    fn diagnostic(self, repair: impl Fn(&str) -> String) -> Option<Diagnostic> {
        let ((place, names), others) = self.found.split_first()?;
        let mut all: Vec<&str> = self.found.iter().flat_map(|(_, names)| names).copied().collect();
        all.sort_unstable();
        all.dedup();
        let mut diagnostic = Diagnostic::new(
            &FILTERED_NAMESPACES,
            format!("Kyverno's configuration excludes {}", all.join(", ")),
            *place,
            format!("includes {}", names.join(", ")),
        );
        for (place, names) in others.iter().take(3) {
            diagnostic = diagnostic.label(*place, format!("includes {}", names.join(", ")));
        }
        if others.len() > 3 {
            diagnostic = diagnostic.note(format!("{} more policies include them", others.len() - 3));
        }
        let diagnostic = if self.fixed {
            diagnostic
        } else {
            diagnostic.help(format!("{}, or remove them from Kyverno's filters", repair(&all.join(", "))))
        };
        Some(
            diagnostic
                .note("to remove them from Kyverno's filters: in the ConfigMap kyverno/kyverno, remove `[*/*,NAME,*]` from `resourceFilters`, and kube-system from `webhooks`; then set `filtered-namespaces` in npc.toml"),
        )
    }
}
