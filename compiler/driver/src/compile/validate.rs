//! Translation validation: every compilation imports its own output and proves it equivalent to the program.

use npc_cluster::Cluster;
use npc_diagnostics::Diagnostic;
use npc_import::Imported;
use npc_program::{Policy, Program};
use npc_proof::{Witness, policies_differ};
use npc_targets::{Capabilities, Options, Output, ReadBack};
use npc_vocabulary::{Direction, Tier};
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::round_trip::{NOT_PROVED, READ_BACK};

/// Checks that the output gives exactly the verdicts of the program. An error means a bug in the compiler; the output
/// must then not be used. A policy whose proof would be too large gets a warning.
///
/// Every policy is compared with the objects that were written for it, for every possible cluster, or for the given
/// namespaces if the output is for one cluster. A map image contains the policies and rules of the program one to one,
/// so these are compared structurally.
#[must_use]
pub fn validate(
    output: &Output,
    program: &Program,
    options: &Options,
    cluster: Option<&Cluster>,
) -> Vec<Diagnostic> {
    let target = output.target;
    let fault = |what: String| {
        Diagnostic::without_place(&READ_BACK, what)
            .note("this is a bug in npc, and no output is written: please report it, with the program")
    };
    let policies = match output.read_back() {
        Err(why) => return vec![fault(format!("the output of target `{target}` cannot be read: {why}"))],
        Ok(ReadBack::Image(image)) => {
            let found = super::image_difference::difference(program, &image);
            let found = found.map(|what| fault(format!("the map image differs from the program: {what}")));
            return found.into_iter().collect();
        }
        Ok(ReadBack::Policies(policies)) => policies,
    };
    let mut objects: FxHashMap<&str, Vec<&Policy>> = FxHashMap::default();
    for Imported { policy, origin, .. } in &policies {
        objects.entry(origin.as_deref().unwrap_or("")).or_default().push(policy);
    }
    let capabilities = target.capabilities();
    let namespaces =
        cluster.filter(|_| capabilities.per_cluster).map(|cluster| cluster.namespaces.as_slice());
    let carried: Vec<&Policy> = program
        .policies
        .iter()
        .map(|policy| &**policy)
        .filter(|policy| carries(capabilities, options, policy))
        .collect();
    let known = carried.iter().filter(|policy| objects.contains_key(&*policy.name)).count();
    if known < objects.len() {
        return vec![fault(format!("target `{target}` wrote an object that belongs to no policy"))];
    }
    carried
        .par_iter()
        .filter_map(|policy| {
            let made = objects.get(&*policy.name).map_or(&[][..], Vec::as_slice);
            match policies_differ(policy, made, options.pod_cidrs.blocks(), namespaces) {
                Ok(None) => None,
                Ok(Some(witness)) => Some(
                    fault(format!(
                        "the output of target `{target}` for `{}` is not equivalent to it",
                        policy.name
                    ))
                    .note(format!("they differ on {}", described(&witness))),
                ),
                Err(why) => Some(
                    Diagnostic::new(
                        &NOT_PROVED,
                        format!(
                            "the output of target `{target}` for `{}` is not proved to be equivalent to it",
                            policy.name
                        ),
                        policy.location,
                        why.to_string(),
                    )
                    .note("the output is written anyway"),
                ),
            }
        })
        .collect()
}

/// Whether the target writes the policy in this compilation.
fn carries(capabilities: Capabilities, options: &Options, policy: &Policy) -> bool {
    let says = policy.covers(Direction::Ingress) || policy.covers(Direction::Egress);
    policy.audit.is_none()
        && match policy.tier {
            Tier::Namespaced => says && !(capabilities.tiers && options.plain_elsewhere),
            Tier::Admin | Tier::Baseline => capabilities.tiers,
        }
}

/// Describes the connection of a witness in one line.
pub(crate) fn described(witness: &Witness) -> String {
    match witness.connection() {
        Some(connection) => format!(
            "{} -> {} {} in {:?}",
            connection.source, connection.destination, connection.traffic, witness.cluster
        ),
        None => format!("{witness:?}"),
    }
}
