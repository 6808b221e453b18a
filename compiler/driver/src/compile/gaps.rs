//! The namespaces in which Kyverno generates objects in a running cluster. It generates nothing in namespaces that its
//! configuration excludes, and in existing namespaces only with `generateExisting`.

use std::collections::BTreeSet;
use std::sync::Arc;

use npc_import::Import;
use npc_program::{Policy, Program, Scope, scopes_overlap};
use npc_vocabulary::Tier;

/// The parts of imported policies that are not in force in a cluster.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    /// The namespaces in the scope of a policy that Kyverno's configuration excludes.
    pub filtered: BTreeSet<String>,
    /// The policies that Kyverno generates only in new namespaces.
    pub only_new: BTreeSet<String>,
}

impl Gaps {
    /// Adds the gaps of other policies.
    pub fn extend(&mut self, other: Self) {
        self.filtered.extend(other.filtered);
        self.only_new.extend(other.only_new);
    }

    /// Describes the gaps in sentences. Lists only excluded namespaces for which `matters` returns true.
    #[must_use]
    pub fn sentences(&self, matters: impl Fn(&str) -> bool) -> Vec<String> {
        let mut all: Vec<String> = self.only_new.iter().map(|name| not_for_existing(name)).collect();
        let filtered: Vec<&str> =
            self.filtered.iter().map(String::as_str).filter(|name| matters(name)).collect();
        if !filtered.is_empty() {
            all.push(kyverno_ignores(filtered.into_iter()));
        }
        all
    }
}

/// Removes from generated policies the namespaces that Kyverno's configuration excludes. Returns the removed parts.
pub fn exclude_filtered(import: &mut Import, filtered: &[String]) -> Gaps {
    let mut gaps = Gaps::default();
    for imported in import.policies.iter_mut().filter(|one| one.generated.is_some()) {
        gaps.filtered.extend(filter(&mut imported.policy, filtered));
    }
    gaps
}

/// Removes the policies that are not in force in a cluster without new namespaces: policies that Kyverno generates only
/// in new namespaces, and in other generated policies the namespaces that its configuration excludes. Returns the
/// removed parts.
pub fn retain_in_force(import: &mut Import, filtered: &[String]) -> Gaps {
    let mut gaps = Gaps::default();
    import.policies.retain(|imported| {
        let is_made = imported.generated.as_ref().is_none_or(|generated| generated.existing);
        if !is_made {
            gaps.only_new.insert(imported.short_name.to_string());
        }
        is_made
    });
    gaps.extend(exclude_filtered(import, filtered));
    gaps
}

/// Removes from the plain policies of a program the namespaces that Kyverno's configuration excludes, as Kyverno will
/// ignore them in the compiled output.
pub fn exclude_filtered_from(program: &mut Program, filtered: &[String]) {
    for policy in &mut program.policies {
        if policy.tier == Tier::Namespaced {
            filter(Arc::make_mut(policy), filtered);
        }
    }
}

/// Excludes namespaces from the subjects of a policy. Returns those that were in a subject's scope.
fn filter(policy: &mut Policy, filtered: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for subject in &mut policy.subjects {
        let is_meant = |name: &&String| scopes_overlap(&[&subject.scope, &Scope::named(name)]);
        let meant: Vec<String> = filtered.iter().filter(is_meant).cloned().collect();
        if meant.is_empty() {
            continue;
        }
        let mut narrow = npc_program::PodTerm::clone(subject);
        narrow.scope.except_names.extend(meant.iter().map(|name| Arc::from(name.as_str())));
        *subject = Arc::new(narrow);
        found.extend(meant);
    }
    found
}

/// The sentence for namespaces in which Kyverno, as configured, generates nothing.
pub(super) fn kyverno_ignores<'n>(namespaces: impl Iterator<Item = &'n str>) -> String {
    format!(
        "Kyverno's configuration excludes {}: it generates nothing there (npc explain NP0606)",
        namespaces.collect::<Vec<_>>().join(", ")
    )
}

/// The sentence for a policy that Kyverno does not generate in existing namespaces.
pub(super) fn not_for_existing(name: &str) -> String {
    format!(
        "`{name}` is generated only in new namespaces, and in existing ones after they are updated: `generateExisting` is off (npc explain NP0607)"
    )
}
