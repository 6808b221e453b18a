//! What is wrong between objects that are applied together.

use npc_diagnostics::{Diagnostic, Location};
use npc_program::{Policy, Scope, Tier, policies_overlap, scopes_overlap};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::{Import, Imported};

npc_diagnostics::codes! {
    /// # Two cluster policies of one priority
    ///
    /// Of two cluster policies of a tier that have the same priority and can select one pod, it is
    /// not defined which is asked first: one cluster may allow what another denies. In a program
    /// this is an error too.
    TIE = "NP0909" "same-priority" Error;

    /// # An object that stands twice
    ///
    /// Two objects of one kind have the same name, in the same namespace. A cluster keeps the one that
    /// is applied last, so that what these files mean depends on their order.
    TWICE = "NP0910" "object-twice" Error;

    /// # Two sources of one object
    ///
    /// Two of Kyverno's policies, or one of them and a manifest, make a NetworkPolicy of the same name in
    /// the same namespace. A cluster keeps one object of a name, the one that was written last; npc
    /// answers as if it kept both.
    ///
    /// Give them different names, or let them be for different namespaces.
    ONE_OBJECT = "NP0912" "one-object-twice" Warning;

    /// # A manifest without a namespace
    ///
    /// A NetworkPolicy without `metadata.namespace` goes to the namespace that it is applied to. npc takes
    /// it for one of `default`; `-n NAMESPACE` says another.
    NO_NAMESPACE = "NP0913" "no-namespace" Note;
}

impl Import {
    /// Tells what is wrong between objects: those that stand twice, those that Kyverno makes twice, and cluster
    /// policies of one tier and priority that can select one pod, of which it is not defined which is asked
    /// first. And how many assume their namespace.
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
            found.push(note.help("to apply them to another namespace: `-n NAMESPACE`"));
        }
        found
    }

    /// Objects that stand twice.
    fn twice(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut known: FxHashMap<(&str, &str), Location> = FxHashMap::default();
        for Imported { policy, kind, generated, .. } in &self.policies {
            // Several policies may be of one of Kyverno's.
            let (name, place) = match generated {
                Some(generated) => (generated.by.0.as_str(), generated.by.1),
                None => (&*policy.name, policy.location),
            };
            match known.insert((kind, name), place) {
                Some(other) if other != place => found.push(
                    Diagnostic::new(
                        &TWICE,
                        format!("the {kind} `{name}` stands twice"),
                        place,
                        "the cluster keeps the one that is applied last",
                    )
                    .label(other, "the other")
                    .help("leave out one of them"),
                ),
                _ => {}
            }
        }
        found
    }

    /// NetworkPolicies that Kyverno generates under the name of another one in the same namespace: one that another
    /// rule generates, or a manifest.
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
                    // `twice` reports a policy of Kyverno's that is given twice.
                    let is_twice = other
                        .generated
                        .as_ref()
                        .is_some_and(|other| other.by.0 == generated.by.0 && other.by.1 != generated.by.1);
                    // Each pair of generated objects once.
                    let is_pair = other.generated.is_none() || *other_at < at;
                    is_pair && !is_twice && meet(one, other)
                });
                let Some((_, other)) = other else { continue };
                let made = match &other.generated {
                    Some(other) if other.by == generated.by => "by another rule of it".to_owned(),
                    Some(other) => format!("by `{}`", other.by.0),
                    None => "as a manifest".to_owned(),
                };
                found.push(
                    Diagnostic::new(
                        &ONE_OBJECT,
                        format!(
                            "`{}` generates the NetworkPolicy `{name}`, which is also made {made}",
                            generated.by.0
                        ),
                        one.policy.location,
                        "a namespace keeps one object of a name",
                    )
                    .label(other.policy.location, "the other")
                    .note("the one that is written last stays; npc answers as if both did")
                    .help("give them different names"),
                );
            }
        }
        found.sort_by_key(Diagnostic::location);
        found
    }

    /// Cluster policies of one tier and priority that can select one pod.
    fn ties(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        let mut by_rank: FxHashMap<(bool, u16), Vec<&Policy>> = FxHashMap::default();
        // `twice` reports those that are given twice.
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
                        format!("`{}` and `{}` have one priority", policy.name, other.name),
                        policy.location,
                        "can select a pod that the other one selects",
                    )
                    .label(other.location, "the other")
                    .help("give them different priorities"),
                );
            }
            others.push(policy);
        }
        found
    }
}
