//! What a program means in every cluster.
//!
//! Most rules are plainly what they seem: a pod and a connection that are the rule's own, as simple as
//! they can be, show it. Those examples are looked up in an index; only where they leave a doubt is the
//! prover asked, about the few policies that matter.

mod example;
pub(crate) mod np0803_decides_nothing;
pub(crate) mod np0804_denial_undone;
pub(crate) mod np0805_no_dns;
pub(crate) mod np0806_half_allowed;
pub(crate) mod np0807_one_family;
pub(crate) mod np0808_pods_by_address;

use npc_diagnostics::Diagnostic;
use npc_model::Terms;
use npc_program::values::address::IpNet;
use npc_program::{Action, Direction, Policy, Program};
use npc_proof::{Fact, Witness, exists};
use rayon::prelude::*;

pub(crate) use example::Example;

/// A program, with its policies found by the pods that they select.
pub(crate) struct Overview<'p> {
    pub(crate) program: &'p Program,
    pub(crate) pod_blocks: &'p [IpNet],
    terms: Terms<'p>,
    /// The policies of each subject, by its term.
    of_term: Vec<Vec<usize>>,
    /// The directions in which some admin rule says `pass`.
    passes: Vec<Direction>,
}

impl<'p> Overview<'p> {
    pub(crate) fn new(program: &'p Program, pod_blocks: &'p [IpNet]) -> Self {
        let mut terms = Terms::default();
        let mut of_term: Vec<Vec<usize>> = Vec::new();
        for (index, policy) in program.policies.iter().enumerate() {
            if policy.audit.is_some() {
                continue;
            }
            for subject in &policy.subjects {
                let term = terms.intern(subject) as usize;
                if of_term.len() <= term {
                    of_term.resize_with(term + 1, Vec::new);
                }
                if let Some(policies) = of_term.get_mut(term) {
                    policies.push(index);
                }
            }
        }
        let rules = program.policies.iter().filter(|policy| policy.audit.is_none());
        let passes = rules
            .flat_map(|policy| &policy.rules)
            .filter(|rule| rule.action == Action::Pass)
            .map(|rule| rule.direction)
            .collect();
        Self { program, pod_blocks, terms, of_term, passes }
    }

    /// Whether some admin rule of the direction says `pass`.
    pub(crate) fn passes_on(&self, direction: Direction) -> bool {
        self.passes.contains(&direction)
    }

    /// The policies that select a pod, by their places in the program, in order.
    pub(crate) fn selecting(&self, example: &Example) -> Vec<usize> {
        let scopes = self.terms.scopes_of(&example.namespace);
        let mut policies: Vec<usize> = self
            .terms
            .matching(&scopes, &example.pod.labels)
            .iter()
            .filter_map(|term| self.of_term.get(*term as usize))
            .flatten()
            .copied()
            .collect();
        policies.sort_unstable();
        policies.dedup();
        policies
    }

    pub(crate) fn policy(&self, index: usize) -> Option<&'p Policy> {
        self.program.policies.get(index)
    }

    /// The policies that decide, with their places, in shares for as many threads as there are.
    pub(crate) fn each(
        &self,
        look: impl Fn(usize, &'p Policy, &mut Vec<Diagnostic>) + Sync + Send,
    ) -> Vec<Diagnostic> {
        let policies: Vec<(usize, &'p Policy)> =
            self.program.policies.iter().enumerate().filter(|(_, policy)| policy.audit.is_none()).collect();
        let shares: Vec<Vec<Diagnostic>> = policies
            .par_chunks(256)
            .map(|share| {
                let mut found = Vec::new();
                for (index, policy) in share {
                    look(*index, policy, &mut found);
                }
                found
            })
            .collect();
        shares.into_iter().flatten().collect()
    }

    /// Whether some connection could be of which all of `all` hold and none of `none`. Where that is
    /// more than can be proved, it is taken to be so, since nothing is said then.
    pub(crate) fn possible(&self, all: &[Fact<'_>], none: &[Fact<'_>]) -> bool {
        !matches!(exists(all, none, self.pod_blocks), Ok(None))
    }

    /// A connection of which all of `all` hold and none of `none`, where there is one and it is found.
    pub(crate) fn find(&self, all: &[Fact<'_>], none: &[Fact<'_>]) -> Option<Witness> {
        exists(all, none, self.pod_blocks).ok().flatten()
    }
}

/// A connection, as `npc query` would name it, with the labels of its pods.
pub(crate) fn told(witness: &Witness) -> Option<String> {
    let connection = witness.connection()?;
    let end = |end: &npc_model::Endpoint<'_>| match end {
        npc_model::Endpoint::Outside(address) => address.to_string(),
        npc_model::Endpoint::Pod { pod, namespace, .. } => {
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
