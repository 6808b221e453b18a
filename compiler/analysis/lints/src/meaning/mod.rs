//! Lints that hold in every cluster.
//!
//! Most rules do not need the prover: a minimal example, a pod and a connection that only this rule decides,
//! shows that the rule has an effect. An index finds the policies of the example; only if the example leaves
//! a doubt is the prover called, with the few policies that matter.

mod example;
mod memo;
pub(crate) mod np0803_redundant;
pub(crate) mod np0804_denial_undone;
pub(crate) mod np0805_no_dns;
pub(crate) mod np0806_half_allowed;
pub(crate) mod np0807_one_family;
pub(crate) mod np0808_pods_by_address;
mod overview;

use npc_program::{PodTerm, ScopeBase};
use npc_proof::Witness;

pub(crate) use example::{Example, Home};
pub use memo::Memo;
pub use overview::Overview;
pub(crate) use overview::{Deciders, Reader, RuleList};

pub(crate) const fn is_relative(term: &PodTerm) -> bool {
    matches!(term.scope.base, ScopeBase::Same | ScopeBase::Sharing(_))
}

/// Formats the connection of a witness, with the labels of its pods.
pub(crate) fn format_witness(witness: &Witness) -> Option<String> {
    let connection = witness.connection()?;
    let end = |end: &npc_vocabulary::Endpoint<'_>| match end {
        npc_vocabulary::Endpoint::Outside(address) | npc_vocabulary::Endpoint::Node { address, .. } => {
            address.to_string()
        }
        npc_vocabulary::Endpoint::Pod { pod, namespace, .. } => {
            let labels = |labels: &std::collections::BTreeMap<String, String>| {
                let labels: Vec<String> = labels
                    .iter()
                    .filter(|(key, _)| *key != npc_cluster::NAMESPACE_NAME)
                    .map(|(key, value)| format!("{key} = {value}"))
                    .collect();
                if labels.is_empty() { String::new() } else { format!(" {{ {} }}", labels.join(", ")) }
            };
            format!(
                "a pod{} in the namespace {}{}",
                labels(&pod.labels),
                namespace.name,
                labels(&namespace.labels)
            )
        }
    };
    Some(format!(
        "for example from {} to {}, {}",
        end(&connection.source),
        end(&connection.destination),
        connection.traffic
    ))
}
