//! Finds conflicts between objects that are applied together.

use npc_diagnostics::{Diagnostic, Location};
use npc_program::{Policy, Scope, policies_overlap, scopes_overlap};
use npc_vocabulary::Tier;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{Import, Imported};

npc_diagnostics::codes! {
    /// # Two cluster policies with the same priority
    ///
    /// Two cluster policies of a tier have the same priority and can select the same pod. The API does not
    /// define which of them is evaluated first: one cluster may allow what another denies. In a program this
    /// is an error too.
    TIE = "NP0909" "same-priority" Error;

    /// # Duplicate object
    ///
    /// Two objects of one kind have the same name in the same namespace. A cluster keeps the one that is
    /// applied last, so the meaning of these files depends on their order.
    TWICE = "NP0910" "object-twice" Error;

    /// # Two policies create the same object
    ///
    /// Two Kyverno policies, or a Kyverno policy and a manifest, create a NetworkPolicy of the same name in
    /// the same namespace. A cluster keeps one object of a name, the one that is written last. npc evaluates
    /// both.
    ///
    /// Give them different names, or let them apply to different namespaces.
    ONE_OBJECT = "NP0912" "one-object-twice" Warning;

    /// # Manifest without a namespace
    ///
    /// A NetworkPolicy without `metadata.namespace` is created in the namespace that it is applied to. npc
    /// assumes `default`; use `-n NAMESPACE` for another one.
    NO_NAMESPACE = "NP0913" "no-namespace" Note;
}

impl Import {
    /// Reports conflicts: duplicate objects, NetworkPolicies that Kyverno and another source create, and
    /// cluster policies of one tier and priority that can select the same pod, whose order is not defined.
    /// Also reports the number of policies that assume the namespace `default`.
    #[must_use]
    pub fn conflicts(&self) -> Vec<Diagnostic> {
        let mut found = self.twice();
        found.extend(self.one_object());
        found.extend(self.ties());
        let assuming = self.policies.iter().filter(|one| one.assumes_namespace);
        let mut assuming = assuming.map(|one| one.policy.location);
        if let Some(first) = assuming.next() {
            let message = match assuming.count() {
                0 => "this policy has no namespace: npc assumes `default`".to_owned(),
                more => format!("{} policies have no namespace: npc assumes `default`", more + 1),
            };
            let note = Diagnostic::new(&NO_NAMESPACE, message, first, "no `metadata.namespace`");
            found.push(note.help("use `-n NAMESPACE` for another namespace"));
        }
        found
    }

    /// Finds duplicate objects.
    fn twice(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut known: FxHashMap<(&str, &str), Location> = FxHashMap::default();
        for Imported { policy, kind, generated, .. } in &self.policies {
            // One Kyverno policy may generate several policies, so identify these by the Kyverno policy.
            let (name, place) = match generated {
                Some(generated) => (generated.by.0.as_str(), generated.by.1),
                None => (&*policy.name, policy.location),
            };
            match known.insert((kind, name), place) {
                Some(other) if other != place => found.push(
                    Diagnostic::new(
                        &TWICE,
                        format!("the {kind} `{name}` is defined twice"),
                        place,
                        "the cluster keeps the one that is applied last",
                    )
                    .label(other, "the other one")
                    .help("remove one of them"),
                ),
                _ => {}
            }
        }
        found
    }

    /// Finds NetworkPolicies that Kyverno generates with the same name and in the same namespace as another
    /// one, which another rule generates or which is a manifest.
    fn one_object(&self) -> Vec<Diagnostic> {
        let mut by_name: FxHashMap<&str, Vec<&Imported>> = FxHashMap::default();
        for imported in self.policies.iter().filter(|one| one.policy.tier == Tier::Namespaced) {
            let name = match &imported.generated {
                Some(generated) => generated.name.as_deref(),
                None => Some(&*imported.short_name),
            };
            if let Some(name) = name {
                by_name.entry(name).or_default().push(imported);
            }
        }
        let meet = |one: &Imported, other: &Imported| {
            let subjects =
                |own: &Scope| other.policy.subjects.iter().any(|term| scopes_overlap(&[own, &term.scope]));
            one.policy.subjects.iter().any(|term| subjects(&term.scope))
        };
        let mut found = Vec::new();
        for (name, all) in by_name {
            for (at, one) in all.iter().enumerate() {
                let Some(generated) = &one.generated else { continue };
                let other = all.iter().enumerate().find(|(other_at, other)| {
                    // `twice` reports a duplicate Kyverno policy.
                    let is_twice = other
                        .generated
                        .as_ref()
                        .is_some_and(|other| other.by.0 == generated.by.0 && other.by.1 != generated.by.1);
                    // Report each pair of generated objects once.
                    let is_pair = other.generated.is_none() || *other_at < at;
                    is_pair && !is_twice && meet(one, other)
                });
                let Some((_, other)) = other else { continue };
                let made = match &other.generated {
                    Some(other) if other.by == generated.by => "by another of its rules".to_owned(),
                    Some(other) => format!("by `{}`", other.by.0),
                    None => "by a manifest".to_owned(),
                };
                found.push(
                    Diagnostic::new(
                        &ONE_OBJECT,
                        format!(
                            "`{}` generates the NetworkPolicy `{name}`, which is also created {made}",
                            generated.by.0
                        ),
                        one.policy.location,
                        "a namespace has only one object of each name",
                    )
                    .label(other.policy.location, "the other one")
                    .note("the cluster keeps the one that is written last; npc evaluates both")
                    .help("give them different names"),
                );
            }
        }
        found.sort_by_key(Diagnostic::location);
        found
    }

    /// Finds cluster policies of one tier and priority that can select the same pod.
    fn ties(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut by_rank: FxHashMap<(bool, u16), Vec<&Policy>> = FxHashMap::default();
        // `twice` reports duplicates.
        let mut names: FxHashSet<&str> = FxHashSet::default();
        for Imported { policy, .. } in &self.policies {
            if policy.tier == Tier::Namespaced || !names.insert(&policy.name) {
                continue;
            }
            let others = by_rank.entry((policy.tier == Tier::Admin, policy.priority)).or_default();
            let tied = others.iter().find(|other| policies_overlap(policy, other));
            if let Some(other) = tied {
                found.push(
                    Diagnostic::new(
                        &TIE,
                        format!("`{}` and `{}` have the same priority", policy.name, other.name),
                        policy.location,
                        "both can select the same pod, and their order is not defined",
                    )
                    .label(other.location, "the other one")
                    .help("give them different priorities"),
                );
            }
            others.push(policy);
        }
        found
    }
}
