//! What Kyverno's two kinds of policy share: names, annotations, settings and their checks.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use npc_diagnostics::{Diagnostic, Location, SourceMap};
use npc_program::values::label::NAMESPACE_NAME;
use npc_program::{
    FailurePolicy, Operator, Policy, Program, Requirement, ScopeBase, Selector, Tier, scopes_overlap,
};
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;

use crate::limits::{annotations_fit, name_too_long, object_fits};
use crate::options::Options;
use crate::target::{AUDIT_LEFT_OUT, NAME_COLLISION, Target, cannot};
use crate::template::{Names, Template, templates};
use crate::yaml;

npc_diagnostics::codes! {
    /// # Kyverno's own configuration leaves these namespaces out
    ///
    /// As it is installed, Kyverno does not look at `kube-system`, `kube-public`,
    /// `kube-node-lease` and its own namespace, `kyverno`. The program means them, so what the
    /// cluster will have differs from what the program says.
    ///
    /// Either leave them out in the program, or let Kyverno look at them: in the ConfigMap
    /// `kyverno` of its namespace, take `[*/*,NAME,*]` out of `resourceFilters`, and for
    /// `kube-system` also the entry in `webhooks`. It takes effect in seconds, without a restart.
    /// Then say so in `npc.toml`: under `[kyverno]`, `filtered-namespaces` lists those that are
    /// still left out.
    ///
    /// ```np fails target=kyverno
    /// policy p for all pods in all namespaces { isolate ingress }
    /// ```
    ///
    /// ```np target=kyverno
    /// policy p for all pods in all namespaces except (kube-*, kyverno) { isolate ingress }
    /// ```
    FILTERED_NAMESPACES = "NP0606" "filtered-namespaces" Warning;

    /// # Existing namespaces get nothing
    ///
    /// With `generate-existing = false` the policy reaches only namespaces that are made or changed
    /// after it. It is also Kyverno's only repair of a namespace that was missed while its
    /// admission controller was away.
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

/// That a policy is not generated in namespaces that exist already.
fn not_existing(location: Location) -> Diagnostic {
    Diagnostic::new(
        &NOT_EXISTING,
        "namespaces that exist already get nothing",
        location,
        "only namespaces made or changed later do",
    )
}

/// What Kyverno does not reach of policies that were read from manifests of its kinds: namespaces that exist already,
/// and those that its configuration leaves out.
#[must_use]
pub fn unreached<'p>(policies: impl Iterator<Item = &'p Policy>, options: &Options) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut filtered = Filtered::new(options);
    for policy in policies {
        if let Some((false, location)) = policy.settings.generate_existing {
            let told = not_existing(location).help("set `generateExisting: true`");
            // The rules of one policy may share the setting.
            if !found.iter().any(|other| other.location() == told.location()) {
                found.push(told);
            }
        }
        filtered.look_at(policy);
    }
    found.extend(filtered.diagnostic(|names| format!("leave them out with `exclude` ({names})")));
    found
}

/// The annotation that says which policy of the program an object comes from.
pub(crate) const POLICY_ANNOTATION: &str = "npc/policy";
/// The annotation that says where that policy stands.
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

/// Adds the requirement that the label is there.
pub(crate) fn require_label(selector: &mut Selector, key: &Arc<str>) {
    if !selector.implies(key) {
        selector.requirements.push(Requirement {
            key: Arc::clone(key),
            operator: Operator::Exists,
            values: Vec::new(),
        });
    }
}

/// The settings of one policy, with every default filled in.
pub(crate) struct Resolved {
    pub(crate) synchronize: bool,
    pub(crate) generate_existing: bool,
    pub(crate) webhook_timeout: u8,
    pub(crate) failure_policy: FailurePolicy,
    pub(crate) orphan_on_delete: bool,
    /// Where `failure-policy` is set.
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

/// One template, with what a kind of policy needs to write it.
pub(crate) struct Made<'t, 'a> {
    pub(crate) template: Template<'a>,
    pub(crate) settings: &'t Resolved,
    /// `file:line` of the policy.
    pub(crate) source: &'t str,
    /// The name of the Kyverno policy.
    pub(crate) name: String,
}

/// One of Kyverno's kinds of policy.
///
/// What a kind tells of one place with one code is told once, however many objects ask for it.
pub(crate) trait Kind: Sync {
    type Policy: Serialize;
    type Names: Names;

    fn names(&self) -> Self::Names;
    fn policy(&self, made: Made<'_, '_>) -> Self::Policy;

    /// Tells what this kind cannot do with a policy's settings, or does in another way.
    fn check(&self, _: &Template<'_>, _: &Resolved, _: &Options, _: &mut Vec<Diagnostic>) {}
}

/// The prefix of Kyverno policies' names.
const PREFIX: &str = "netpol-";
/// The longest name that fits a label's value.
const MAX_NAME: usize = 63;
/// The longest name that a Kyverno policy can be made of.
pub(crate) const LONGEST: usize = MAX_NAME - PREFIX.len();

/// What one policy of the program became.
#[derive(Default)]
struct Piece {
    /// The names of its objects.
    names: Vec<String>,
    diagnostics: Vec<Diagnostic>,
}

/// How many policies one thread takes at a time.
const SHARE: usize = 64;

/// Compiles a program to one of Kyverno's kinds. The text is complete only where no diagnostic is an
/// error.
pub(crate) fn compile<K: Kind>(
    kind: &K,
    program: &Program,
    sources: &SourceMap,
    options: &Options,
) -> (String, usize, Vec<Diagnostic>) {
    // Policies have nothing to do with one another, but for the names of their objects.
    let shares: Vec<(String, Vec<Piece>)> = program
        .policies
        .par_chunks(SHARE)
        .map(|policies| {
            // What a usual policy becomes; growing by doubling would copy megabytes.
            let mut text = String::with_capacity(policies.len() * 2_000);
            let pieces =
                policies.iter().map(|policy| piece(kind, policy, program, sources, options, &mut text));
            let pieces = pieces.collect();
            (text, pieces)
        })
        .collect();

    let mut text = String::with_capacity(shares.iter().map(|(share, _)| share.len()).sum());
    let mut objects = 0;
    let mut told: FxHashSet<(&str, Option<Location>)> = FxHashSet::default();
    let mut diagnostics = Vec::new();
    let mut filtered = Filtered::new(options);
    let mut taken: FxHashMap<String, &Policy> = FxHashMap::default();
    let mut policies = program.policies.iter();
    for (share, pieces) in shares {
        text.push_str(&share);
        // The pieces are asked first: what they have no more of must not be taken from the policies.
        for (piece, policy) in pieces.into_iter().zip(policies.by_ref()) {
            if !piece.names.is_empty() {
                filtered.look_at(policy);
            }
            objects += piece.names.len();
            for name in piece.names {
                collision(name, policy, &mut taken, &mut diagnostics);
            }
            diagnostics
                .extend(piece.diagnostics.into_iter().filter(|d| told.insert((d.code.id, d.location()))));
        }
    }
    diagnostics.extend(filtered.diagnostic(|names| format!("leave them out here, with `except ({names})`")));
    (text, objects, diagnostics)
}

fn piece<K: Kind>(
    kind: &K,
    policy: &Policy,
    program: &Program,
    sources: &SourceMap,
    options: &Options,
    text: &mut String,
) -> Piece {
    let mut piece = Piece::default();
    let diagnostics = &mut piece.diagnostics;
    if !belongs(policy, <K::Names as Names>::TARGET, options, diagnostics) {
        return piece;
    }
    let settings = Resolved::new(policy, program, diagnostics);
    let source = sources.line_of(policy.location);
    annotations_fit(policy, &source, diagnostics);
    for template in templates(policy, &kind.names(), &options.pod_blocks, diagnostics) {
        check_name(&template, diagnostics);
        kind.check(&template, &settings, options, diagnostics);
        piece.names.push(template.name.clone());
        let name = format!("{PREFIX}{}", template.name);
        let before = text.len();
        text.push_str("---\n");
        // The types written here have no value that YAML lacks.
        if let Err(error) =
            yaml::write_to(text, &kind.policy(Made { template, settings: &settings, source: &source, name }))
        {
            debug_assert!(false, "{error}");
        }
        object_fits(policy, text.len() - before, diagnostics);
    }
    piece
}

/// Whether a policy is one that a NetworkPolicy can carry. Tells why where it is not.
pub(crate) fn belongs(
    policy: &Policy,
    target: Target,
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
        diagnostics.push(audit_left_out(policy, target, audit));
        return false;
    }
    let Some(tier) = tier else {
        return policy.speaks_of(npc_program::Direction::Ingress)
            || policy.speaks_of(npc_program::Direction::Egress);
    };
    diagnostics.push(
        cannot(
            target,
            tier,
            policy.tier_location.unwrap_or(policy.location),
            "NetworkPolicies have no tiers",
            &[Target::ClusterNetworkPolicy, Target::Ebpf],
        )
        .help(format!("with `--target {target},clusternetworkpolicy` each of the two carries its part")),
    );
    false
}

/// Says that an audit policy is left out.
pub(crate) fn audit_left_out(policy: &Policy, target: Target, audit: Location) -> Diagnostic {
    Diagnostic::new(
        &AUDIT_LEFT_OUT,
        format!("target `{target}` leaves out the audit policy `{}`", policy.name),
        audit,
        "decides nothing, and the API of Kubernetes cannot report",
    )
}

fn check_name(template: &Template<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let length = PREFIX.len() + template.name.len();
    if length > MAX_NAME {
        diagnostics.push(name_too_long(template, LONGEST).note(format!(
            "Kyverno writes `{PREFIX}{}` into a label, which has at most {MAX_NAME} characters; this has {length}",
            template.name
        )));
    }
}

/// Tells an object's name that another policy's object has.
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
                format!("two NetworkPolicies would have the name `{}`", other.key()),
                policy.location,
                "generated from this policy",
            )
            .label(other.get().location, "and from this one")
            .help("rename one of the policies"),
        ),
    }
}

/// Finds the policies that mean namespaces which Kyverno does not look at.
struct Filtered<'a> {
    names: &'a [String],
    found: Vec<(Location, Vec<&'a str>)>,
    /// Whether each of those names the namespace itself, so that leaving it out is no repair.
    fixed: bool,
}

impl<'a> Filtered<'a> {
    fn new(options: &'a Options) -> Self {
        Self { names: &options.filtered_namespaces, found: Vec::new(), fixed: true }
    }

    fn look_at(&mut self, policy: &Policy) {
        for subject in &policy.subjects {
            let meant: Vec<&str> = self
                .names
                .iter()
                .map(String::as_str)
                .filter(|name| {
                    let only = npc_program::Scope::named(name);
                    // What a namespace's labels are is not known: a scope by labels is not told,
                    // unless it asks for nothing or names them.
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

    /// One warning for all policies: there is one thing to do about it.
    /// `repair` says how policies leave out the namespaces of these names.
    fn diagnostic(self, repair: impl Fn(&str) -> String) -> Option<Diagnostic> {
        let ((place, names), others) = self.found.split_first()?;
        let mut all: Vec<&str> = self.found.iter().flat_map(|(_, names)| names).copied().collect();
        all.sort_unstable();
        all.dedup();
        let mut diagnostic = Diagnostic::new(
            &FILTERED_NAMESPACES,
            format!("Kyverno, as it is installed, does not look at {}", all.join(", ")),
            *place,
            format!("means {}", names.join(", ")),
        );
        for (place, names) in others.iter().take(3) {
            diagnostic = diagnostic.label(*place, format!("means {}", names.join(", ")));
        }
        if others.len() > 3 {
            diagnostic = diagnostic.note(format!("{} more policies mean them", others.len() - 3));
        }
        let diagnostic = if self.fixed {
            diagnostic
        } else {
            diagnostic.help(format!("{}, or let Kyverno look at them", repair(&all.join(", "))))
        };
        Some(
            diagnostic
                .note("to let Kyverno look at them: in the ConfigMap kyverno/kyverno take `[*/*,NAME,*]` out of `resourceFilters`, and kube-system out of `webhooks`; then set `filtered-namespaces` in npc.toml"),
        )
    }
}
