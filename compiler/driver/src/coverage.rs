//! What Kyverno's policies reach in a running cluster: not the namespaces that its configuration leaves out, and those
//! that exist only where the policy says so.

use std::collections::BTreeSet;
use std::sync::Arc;

use npc_import::Import;
use npc_program::{Policy, Program, Scope, Tier, scopes_overlap};

use crate::through::{kyverno_ignores, not_for_existing};

/// What a cluster does not have of the policies that were read.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    /// The namespaces that Kyverno's configuration leaves out, of those for which a policy is.
    pub filtered: BTreeSet<String>,
    /// The policies that Kyverno generates in new namespaces only.
    pub only_new: BTreeSet<String>,
}

impl Gaps {
    /// Adds others.
    pub fn extend(&mut self, other: Self) {
        self.filtered.extend(other.filtered);
        self.only_new.extend(other.only_new);
    }

    /// Them in sentences; of the namespaces that are left out, those for which `matters` holds.
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

/// Leaves out of what Kyverno generates the namespaces that its configuration leaves out.
pub fn leave_out_filtered(import: &mut Import, filtered: &[String]) -> Gaps {
    let mut gaps = Gaps::default();
    for imported in import.policies.iter_mut().filter(|one| one.generated.is_some()) {
        gaps.filtered.extend(filter(&mut imported.policy, filtered));
    }
    gaps
}

/// Leaves out what a cluster does not have whose namespaces all exist: the policies that Kyverno generates in new ones
/// only, and those of the namespaces that its configuration leaves out.
pub fn keep_in_force(import: &mut Import, filtered: &[String]) -> Gaps {
    let mut gaps = Gaps::default();
    import.policies.retain(|imported| {
        let is_made = imported.generated.as_ref().is_none_or(|generated| generated.existing);
        if !is_made {
            gaps.only_new.insert(imported.short_name.to_string());
        }
        is_made
    });
    gaps.extend(leave_out_filtered(import, filtered));
    gaps
}

/// Leaves out of a program the namespaces that Kyverno's configuration leaves out, as Kyverno will do with what the
/// program is compiled to.
pub fn leave_out_filtered_of(program: &mut Program, filtered: &[String]) {
    for policy in &mut program.policies {
        if policy.tier == Tier::Namespaced {
            filter(Arc::make_mut(policy), filtered);
        }
    }
}

/// Leaves namespaces out of a policy. Gives those for which it was.
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
