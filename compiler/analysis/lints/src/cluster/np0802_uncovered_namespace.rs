//! Reports namespaces of the cluster that have no policy.

use npc_diagnostics::Diagnostic;
use npc_program::Program;
use rustc_hash::FxHashSet;

use super::Index;
use crate::portability::Origin;

npc_diagnostics::codes! {
    /// # A namespace without a policy
    ///
    /// No policy selects pods in this namespace of the cluster given with `--cluster`, so every
    /// connection from and to its pods is allowed on their side. Namespaces whose names begin with
    /// `kube-` belong to the system and are not reported.
    ///
    /// ```np fails cluster=shop,payments
    /// policy p for all pods in namespace shop { isolate ingress }
    /// ```
    ///
    /// Add a policy for the namespace, or one for all namespaces:
    ///
    /// ```np cluster=shop,payments
    /// policy p for all pods in all namespaces { isolate ingress }
    /// ```
    UNCOVERED_NAMESPACE = "NP0802" "uncovered-namespace" Warning;
}

pub(crate) fn run(program: &Program, origin: Origin, index: &Index<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let example = match origin {
        Origin::Program => "policy default-deny for all pods in namespace … { isolate ingress }",
        Origin::Manifests => "{podSelector: {}, policyTypes: [Ingress]}",
    };
    let mut covered = FxHashSet::default();
    let subjects = program.deciding().flat_map(|(_, policy)| &policy.subjects);
    for subject in subjects {
        covered.extend(index.held(&subject.scope).map(|namespace| namespace.name.as_str()));
        if covered.len() == index.all.len() {
            return;
        }
    }
    let names = index.all.iter().map(|namespace| namespace.name.as_str());
    let uncovered: Vec<&str> =
        names.filter(|name| !name.starts_with("kube-") && !covered.contains(name)).collect();
    let shown = uncovered.iter().take(10).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let message = match uncovered.len() {
        0 => return,
        1 => format!("namespace {shown} has no policy"),
        count if count > 10 => format!("{count} namespaces have no policy, among them {shown}"),
        count => format!("{count} namespaces have no policy: {shown}"),
    };
    diagnostics.push(
        Diagnostic::without_place(&UNCOVERED_NAMESPACE, message)
            .note("a pod without a policy may connect to everything and accepts every connection")
            .help(format!("add a policy for their pods, such as `{example}`")),
    );
}
