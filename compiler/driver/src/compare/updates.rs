//! The effects of an update of Kyverno policies: policies that Kyverno refuses to change in place, and objects that
//! remain.
//!
//! The rules are those of Kyverno 1.19's admission (`pkg/validation/policy/generate.go`). In the generate rules of a
//! ClusterPolicy, the name, the exclude block, the preconditions and the context are immutable, and so is the match
//! block if a rule synchronizes. A change of the target is accepted, and the old objects remain. A GeneratingPolicy
//! may change in every way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use npc_diagnostics::FileId;
use npc_import::import;
use npc_program::{Scope, scopes_overlap};
use npc_vocabulary::Tier;
use serde::Deserialize as _;
use serde_json::{Map, Value};

/// An action or a fact that the user must know to update a Kyverno policy. Updates that Kyverno applies correctly in
/// place are not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The policy's name.
    pub policy: String,
    /// The effect.
    pub kind: UpdateKind,
}

/// The effect of an update on a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateKind {
    /// Kyverno refuses the update, because these fields of a generate rule changed.
    Refused(Vec<&'static str>),
    /// Kyverno accepts the update, and the generated objects with these names remain.
    Orphans(Vec<String>),
    /// A ClusterPolicy becomes a GeneratingPolicy, or the reverse.
    OtherKind,
    /// The policy was removed from the manifests. It generates objects until it is deleted in the cluster.
    Removed {
        /// Whether Kyverno deletes its objects together with it, because it synchronizes them.
        synchronized: bool,
    },
    /// The policy was removed, and other policies create the same objects. Deleting it in the cluster would delete the
    /// objects too, unless `keep` is set first.
    Replaced {
        /// The policies that create the objects now.
        by: Vec<String>,
        /// The field that keeps the objects when the policy is deleted; `None` if they remain anyway.
        keep: Option<&'static str>,
    },
    /// Existing namespaces get, or no longer get, the objects of the policy.
    Existing {
        /// Whether they get them now.
        now: bool,
    },
}

impl UpdateKind {
    /// The name of the variant, for machine-readable output.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Orphans(_) => "orphans",
            Self::OtherKind => "other-kind",
            Self::Removed { .. } => "removed",
            Self::Replaced { .. } => "replaced",
            Self::Existing { .. } => "existing",
        }
    }
}

impl fmt::Display for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = &self.policy;
        match &self.kind {
            UpdateKind::Refused(fields) => write!(
                f,
                "{policy}: Kyverno rejects the update, because `{}` of a generate rule changed; set `orphanDownstreamOnPolicyDelete: true` in the old policy, delete it and create the new one, which adopts its objects; then delete the objects in namespaces that the new one no longer matches",
                fields.join("` and `")
            ),
            UpdateKind::Orphans(names) => write!(
                f,
                "{policy}: the objects `{}` that it generated remain, and Kyverno does not delete them: delete them once the new ones exist",
                names.join("`, `")
            ),
            UpdateKind::OtherKind => write!(
                f,
                "{policy}: the kind changes; set `orphanDownstreamOnPolicyDelete: true` in the old policy, delete it, create the new one with the old content, and change the content last"
            ),
            UpdateKind::Replaced { by, keep } => {
                let by = by.join("`, `");
                match keep {
                    Some(field) => write!(
                        f,
                        "{policy}: `{by}` now creates the same objects, and deleting `{policy}` would delete them: set `{field}: true` in it first, then delete it, create `{by}` with the old content, and change the content last"
                    ),
                    None => write!(
                        f,
                        "{policy}: `{by}` now creates the same objects; delete `{policy}`, which does not delete them, then create `{by}` with the old content, and change the content last"
                    ),
                }
            }
            UpdateKind::Existing { now: true } => write!(
                f,
                "{policy}: namespaces that already exist now get its objects too (`generateExisting` is on)"
            ),
            UpdateKind::Existing { now: false } => write!(
                f,
                "{policy}: it is now generated only in new namespaces, not in existing ones (`generateExisting` is off)"
            ),
            UpdateKind::Removed { synchronized: true } => {
                write!(f, "{policy}: delete it; Kyverno deletes its objects with it")
            }
            UpdateKind::Removed { synchronized: false } => {
                write!(f, "{policy}: delete it, and then its objects, which Kyverno does not delete")
            }
        }
    }
}

/// Compares the Kyverno policies in two sets of YAML streams. Ignores other objects.
#[must_use]
pub fn updates<'t>(
    old: impl IntoIterator<Item = &'t str>,
    new: impl IntoIterator<Item = &'t str>,
) -> Vec<Update> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.into_iter().collect(), new.into_iter().collect());
    let (made, made_now) = (made(&old), made(&new));
    let new = policies(new);
    let mut updates = Vec::new();
    for (name, (kind, old)) in policies(old) {
        let own: Vec<&Made> = made.iter().filter(|object| object.by.as_deref() == Some(&*name)).collect();
        let others = made_now.iter().filter(|object| own.iter().any(|own| own.is_same(object)));
        let mut others: Vec<&Made> = others.collect();
        if let Some(now) = coverage_changes(&own, &others) {
            updates.push(Update { policy: name.clone(), kind: UpdateKind::Existing { now } });
        }
        others.retain(|object| object.by.as_deref() != Some(&*name));
        let kind = match new.get(&name) {
            None if !others.is_empty() => {
                let by = others.iter().map(|object| object.by.as_ref().unwrap_or(&object.full_name).clone());
                let by: BTreeSet<String> = by.collect();
                Some(UpdateKind::Replaced { by: by.into_iter().collect(), keep: keeping_field(kind, &old) })
            }
            None => Some(UpdateKind::Removed { synchronized: synchronizes(kind, &old) }),
            Some((other, _)) if *other != kind => Some(UpdateKind::OtherKind),
            Some((PolicyKind::Generating, _)) => None,
            Some((PolicyKind::Cluster, new)) => changed(&old, new),
        };
        updates.extend(kind.map(|kind| Update { policy: name, kind }));
    }
    updates
}

/// A NetworkPolicy: a manifest, or an object that Kyverno generates in each namespace of some scopes.
struct Made {
    /// The name of the Kyverno policy; `None` for a manifest.
    by: Option<String>,
    /// The object's name; `None` if it depends on the namespace.
    name: Option<String>,
    full_name: String,
    /// Whether it also exists in namespaces that are older than the Kyverno policy.
    existing: bool,
    scopes: Vec<Scope>,
}

impl Made {
    /// Whether both can be the same object in a cluster.
    fn is_same(&self, other: &Self) -> bool {
        let same_name = match (&self.name, &other.name) {
            (Some(a), Some(b)) => a == b,
            // Names that depend on the namespace are not compared.
            (None, None) => true,
            _ => false,
        };
        same_name
            && self.scopes.iter().any(|own| other.scopes.iter().any(|scope| scopes_overlap(&[own, scope])))
    }
}

fn made(texts: &[&str]) -> Vec<Made> {
    let imports = texts.iter().map(|text| import(FileId(0), text));
    let all = imports.flat_map(|import| import.policies).filter(|one| one.policy.tier == Tier::Namespaced);
    all.map(|imported| Made {
        scopes: imported.policy.subjects.iter().map(|term| term.scope.clone()).collect(),
        existing: imported.generated.as_ref().is_none_or(|generated| generated.existing),
        name: match &imported.generated {
            Some(generated) => generated.name.clone(),
            None => Some(imported.short_name.to_string()),
        },
        by: imported.generated.map(|generated| generated.by.0),
        full_name: imported.policy.name.to_string(),
    })
    .collect()
}

/// Whether existing namespaces now get (`true`) or lose (`false`) the objects of a policy; `None` if nothing changes.
fn coverage_changes(own: &[&Made], now: &[&Made]) -> Option<bool> {
    own.iter().find_map(|own| {
        let other = now.iter().find(|other| own.is_same(other) && other.by.is_some())?;
        (own.existing != other.existing).then_some(other.existing)
    })
}

/// The field that keeps the objects of a policy when the policy is deleted; `None` if they remain anyway.
fn keeping_field(kind: PolicyKind, policy: &Value) -> Option<&'static str> {
    let is_set = |value: Option<&Value>| value == Some(&Value::Bool(true));
    let keeps = match kind {
        PolicyKind::Cluster => generate_rules(policy).iter().all(|rule| {
            is_set(rule.get("generate").and_then(|generate| generate.get("orphanDownstreamOnPolicyDelete")))
        }),
        PolicyKind::Generating => {
            is_set(policy.pointer("/spec/evaluation/orphanDownstreamOnPolicyDelete/enabled"))
        }
    };
    if keeps || !synchronizes(kind, policy) {
        return None;
    }
    Some(match kind {
        PolicyKind::Cluster => "orphanDownstreamOnPolicyDelete",
        PolicyKind::Generating => "spec.evaluation.orphanDownstreamOnPolicyDelete.enabled",
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PolicyKind {
    Cluster,
    Generating,
}

/// The generating Kyverno policies, by name.
fn policies<'t>(texts: impl IntoIterator<Item = &'t str>) -> BTreeMap<String, (PolicyKind, Value)> {
    let mut found = BTreeMap::new();
    for text in texts {
        for document in serde_yaml::Deserializer::from_str(text) {
            // The caller has already parsed the text and reported its errors.
            let Ok(value) = Value::deserialize(document) else { continue };
            collect(value, &mut found);
        }
    }
    found
}

fn collect(value: Value, found: &mut BTreeMap<String, (PolicyKind, Value)>) {
    if let Some(Value::Array(items)) = value.get("items") {
        for item in items {
            collect(item.clone(), found);
        }
        return;
    }
    let kind = match value.get("kind").and_then(Value::as_str) {
        Some("ClusterPolicy") if !generate_rules(&value).is_empty() => PolicyKind::Cluster,
        Some("GeneratingPolicy") => PolicyKind::Generating,
        _ => return,
    };
    if let Some(name) = value.pointer("/metadata/name").and_then(Value::as_str) {
        found.insert(name.to_owned(), (kind, value));
    }
}

fn generate_rules(policy: &Value) -> Vec<&Map<String, Value>> {
    let rules = policy.pointer("/spec/rules").and_then(Value::as_array);
    let rules = rules.into_iter().flatten().filter_map(Value::as_object);
    rules.filter(|rule| rule.get("generate").is_some_and(Value::is_object)).collect()
}

fn synchronizes(kind: PolicyKind, policy: &Value) -> bool {
    let is_set = |value: Option<&Value>| value == Some(&Value::Bool(true));
    match kind {
        PolicyKind::Cluster => generate_rules(policy)
            .iter()
            .any(|rule| is_set(rule.get("generate").and_then(|generate| generate.get("synchronize")))),
        PolicyKind::Generating => is_set(policy.pointer("/spec/evaluation/synchronize/enabled")),
    }
}

/// Splits a rule into the parts that Kyverno's admission compares: the generation target and the rest, without mutable
/// fields.
fn compared(rule: &Map<String, Value>, synchronizes: bool) -> (Value, Map<String, Value>) {
    let mut rest = rule.clone();
    let mut target = rest.remove("generate").unwrap_or_default();
    if !synchronizes {
        rest.remove("match");
    }
    if let Some(target) = target.as_object_mut() {
        for mutable in
            ["synchronize", "data", "foreach", "orphanDownstreamOnPolicyDelete", "generateExisting"]
        {
            target.remove(mutable);
        }
    }
    (target, rest)
}

fn changed(old: &Value, new: &Value) -> Option<UpdateKind> {
    let synchronizes = synchronizes(PolicyKind::Cluster, old);
    let of = |policy: &Value| -> Vec<(Value, Map<String, Value>)> {
        generate_rules(policy).into_iter().map(|rule| compared(rule, synchronizes)).collect()
    };
    let (old, new) = (of(old), of(new));
    let gone: Vec<&Value> = old
        .iter()
        .map(|(target, _)| target)
        .filter(|target| !new.iter().any(|(new, _)| new == *target))
        .collect();
    if !gone.is_empty() {
        // If a target changed, Kyverno compares nothing else. It deletes the objects of a removed rule, but not the old
        // objects of a rule with another target.
        let orphans = old
            .iter()
            .filter(|(target, rest)| {
                gone.contains(&target) && new.iter().any(|(_, new)| new.get("name") == rest.get("name"))
            })
            .map(|(target, _)| target.get("name").and_then(Value::as_str).unwrap_or_default().to_owned());
        let orphans: Vec<String> = orphans.collect();
        return (!orphans.is_empty()).then_some(UpdateKind::Orphans(orphans));
    }
    let mut fields = Vec::new();
    for (target, rest) in &old {
        if new.iter().any(|(_, new)| new == rest) {
            continue;
        }
        // The rule of the new policy with the same target.
        let other = new.iter().find(|(new, _)| new == target);
        for field in ["name", "match", "exclude", "preconditions", "context"] {
            if other.is_none_or(|(_, new)| new.get(field) != rest.get(field)) && !fields.contains(&field) {
                fields.push(field);
            }
        }
    }
    (!fields.is_empty()).then_some(UpdateKind::Refused(fields))
}
