//! Reports scopes that match no namespace of the cluster.

use npc_cluster::Cluster;
use npc_diagnostics::Diagnostic;
use npc_program::{Peer, PodTerm, Program, ScopeBase};
use npc_suggest::nearest;
use rustc_hash::FxHashSet;

use super::Index;

npc_diagnostics::codes! {
    /// # The scope matches no namespace in the cluster
    ///
    /// The cluster given with `--cluster` has no namespace that this scope matches. If it is the
    /// scope of a policy, the policy selects no pod; if it is the scope of a peer, the rule matches
    /// no pod. The name or the label key may be misspelt.
    ///
    /// ```np fails cluster=shop,payments
    /// policy p for all pods in namespace shpo { isolate ingress }
    /// policy q for all pods in namespaces (shop, payments) { isolate ingress }
    /// ```
    ///
    /// Correct the name:
    ///
    /// ```np cluster=shop,payments
    /// policy p for all pods in namespace shop { isolate ingress }
    /// policy q for all pods in namespaces (shop, payments) { isolate ingress }
    /// ```
    SELECTS_NOTHING = "NP0801" "selects-nothing" Warning;
}

/// The maximum number of findings that get a suggestion, since each is compared with every name or
/// label key of the cluster. More findings usually have one cause: the wrong cluster.
const MAX_SUGGESTIONS: usize = 100;

pub(crate) fn run(
    program: &Program,
    cluster: &Cluster,
    index: &Index<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let mut seen = FxHashSet::default();
    let mut look = |pods: &PodTerm| {
        let Some(place) = pods.scope_location else { return };
        if seen.insert(place) && index.held(&pods.scope).next().is_none() {
            let near = if diagnostics.len() < MAX_SUGGESTIONS { near(pods, cluster) } else { None };
            let diagnostic = Diagnostic::new(
                &SELECTS_NOTHING,
                "no namespace in the cluster matches this scope",
                place,
                "selects no pods",
            );
            diagnostics.push(match near {
                Some(near) => diagnostic.help(format!("did you mean `{near}`?")),
                None => diagnostic,
            });
        }
    };
    for policy in &program.policies {
        policy.subjects.iter().for_each(|subject| look(subject));
        for peer in policy.rules.iter().flat_map(|rule| &rule.peers) {
            if let Peer::Pods(pods) = peer {
                look(pods);
            }
        }
    }
}

/// The namespace name or label key of the cluster that is most similar to a name or key of the
/// scope.
fn near<'a>(pods: &PodTerm, cluster: &'a Cluster) -> Option<&'a str> {
    match &pods.scope.base {
        ScopeBase::Names(names) => names.iter().find_map(|name| {
            nearest(name, cluster.namespaces.iter().map(|namespace| namespace.name.as_str()))
        }),
        ScopeBase::Labels(selector) => selector.requirements.iter().find_map(|requirement| {
            let keys = || cluster.namespaces.iter().flat_map(|namespace| namespace.labels.keys());
            if keys().any(|key| **key == *requirement.key) {
                return None;
            }
            nearest(&requirement.key, keys().map(String::as_str))
        }),
        ScopeBase::Sharing(keys) => keys.iter().find_map(|key| {
            nearest(
                key,
                cluster.namespaces.iter().flat_map(|namespace| namespace.labels.keys().map(String::as_str)),
            )
        }),
        ScopeBase::All | ScopeBase::Same => None,
    }
}
