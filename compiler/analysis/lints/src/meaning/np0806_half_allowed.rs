//! Reports rules that allow connections which the other side denies in every cluster.

use std::sync::Arc;

use npc_diagnostics::{Applicability, Diagnostic};
use npc_model::verdict;
use npc_print::pods_text;
use npc_program::{Peer, PodTerm, Policy, Program, Rule};
use npc_proof::Fact;
use npc_vocabulary::{Action, Direction, Tier};

use super::example::{Case, Example};
use super::{Overview, Reader, format_witness, is_relative};

npc_diagnostics::codes! {
    /// # The other side denies the connection
    ///
    /// A connection needs both sides: the source's policies must allow it as egress, and the
    /// destination's as ingress. Here the policies of the other side deny every connection that this rule
    /// allows, in every cluster: a policy denies it, or policies isolate the pods there and none of their
    /// rules matches.
    ///
    /// ```np fails
    /// policy web for pods { app = web } in namespace shop {
    ///   allow egress to pods { app = db } in namespace data on tcp/5432
    ///   allow egress to pods { k8s-app = kube-dns } in namespace kube-system on udp/53, tcp/53
    /// }
    /// policy db for pods { app = db } in namespace data {
    ///   isolate ingress
    /// }
    /// ```
    ///
    /// Allow the connection on the other side too:
    ///
    /// ```np
    /// policy web for pods { app = web } in namespace shop {
    ///   allow egress to pods { app = db } in namespace data on tcp/5432
    ///   allow egress to pods { k8s-app = kube-dns } in namespace kube-system on udp/53, tcp/53
    /// }
    /// policy db for pods { app = db } in namespace data {
    ///   allow ingress from pods { app = web } in namespace shop on tcp/5432
    /// }
    /// ```
    HALF_ALLOWED = "NP0806" "half-allowed" Warning;
}

pub(crate) fn run(overview: &Overview<'_>) -> Vec<Diagnostic> {
    overview.each(|reader, index, policy, found| {
        if policy.tier != Tier::Namespaced {
            return;
        }
        let Some(example) = &reader.first(index).example else { return };
        for rule in policy.rules.iter().filter(|rule| rule.action == Action::Allow) {
            for peer in &rule.peers {
                if let Peer::Pods(term) = peer {
                    found.extend(half(reader, policy, example, rule, peer, term));
                }
            }
        }
    })
}

fn half<'p>(
    reader: &Reader<'_, 'p>,
    policy: &'p Policy,
    subject: &Example<'p>,
    rule: &'p Rule,
    peer: &'p Peer,
    term: &'p Arc<PodTerm>,
) -> Option<Diagnostic> {
    let opposite = rule.direction.opposite();
    // The policies that select the pod at the other end.
    let other = reader.peer(term, &subject.namespace);
    let judges: Vec<&Arc<Policy>> = other.policies.iter().filter_map(|index| reader.policy(*index)).collect();
    // A policy that denies is the cause in preference to one that isolates.
    let denies = |judge: &&&Arc<Policy>| {
        judge.rules.iter().any(|rule| rule.direction == opposite && rule.action == Action::Deny)
    };
    let isolates = |judge: &&&Arc<Policy>| judge.tier == Tier::Namespaced && judge.covers(opposite);
    let tiers = judges.iter().filter(|judge| judge.tier != Tier::Namespaced);
    let denying = tiers.filter(denies).find(|judge| {
        // Considers only policies that deny all of these connections by themselves.
        let alone: [&Policy; 1] = [judge];
        !reader.possible(&[Fact::Matches(policy, rule), Fact::Allows(&alone, opposite)], &[])
    });
    let isolating = judges.iter().find(isolates);
    let far_policy = denying.or(isolating)?;
    let case = Case::of(subject, rule, peer)?;
    let connection = case.connection()?;
    let far_side = Program { policies: judges.iter().copied().cloned().collect(), ..Program::default() };
    if !verdict(&far_side, &connection).denied_in(opposite) {
        return None;
    }
    // The other side denies the example. The finding needs that it denies all connections of this
    // peer.
    let only = Rule { peers: vec![peer.clone()], ..rule.clone() };
    let all = reader.overlapping_term(term, |_, other| other.covers(opposite));
    let own = Fact::Matches(policy, &only);
    if reader.possible(&[own, Fact::Allows(&all, opposite)], &[]) {
        return None;
    }
    let witness = reader.find(&[own], &[])?;
    let (side, far, way) = match opposite {
        Direction::Ingress => ("destination", "ingress", "ingress from"),
        Direction::Egress => ("source", "egress", "egress to"),
    };
    let mut diagnostic = Diagnostic::new(
        &HALF_ALLOWED,
        format!("policy `{}` allows this, but the policies of the {side} deny it", policy.name),
        term.location,
        "allowed on this side only",
    )
    .label(
        far_policy.location,
        match denying {
            Some(_) => format!("denies {far} of those pods"),
            None => format!("isolates those pods for {far}, and no rule there allows this"),
        },
    );
    if let Some(example) = format_witness(&witness) {
        diagnostic = diagnostic.note(example);
    }
    let subjects: Vec<String> = policy.subjects.iter().map(|subject| pods_text(subject, false)).collect();
    let ports: Vec<String> = rule.ports.iter().map(|term| term.port.to_string()).collect();
    let on = if ports.is_empty() { String::new() } else { format!(" on {}", ports.join(", ")) };
    let rule = format!("allow {way} {}{on}", subjects.join(", "));
    let floor = far_policy.rules.iter().all(|rule| rule.direction != opposite);
    if denying.is_none() && !floor {
        let statements = far_policy.rules.iter().map(|rule| rule.location);
        let isolations = [Direction::Ingress, Direction::Egress];
        let isolations = isolations.into_iter().filter_map(|direction| far_policy.isolate.of(direction));
        if let Some(last) = statements.chain(isolations).max_by_key(|place| place.span.end) {
            let title = format!("allow it in policy `{}`", far_policy.name);
            diagnostic = diagnostic.fix(Applicability::Maybe, title, last.end(), format!("\n  {rule}"));
        }
    }
    Some(diagnostic.help(match denying {
        Some(policy) => format!("add to policy `{}`, before the rule that denies: `{rule}`", policy.name),
        // A policy that only isolates is a default deny: other policies allow connections, not this
        // one.
        None if floor => {
            let pods = if is_relative(term) { "those pods".to_owned() } else { pods_text(term, true) };
            format!("allow it in a policy for those pods: `policy … for {pods} {{ {rule} }}`")
        }
        None => format!("add to policy `{}`: `{rule}`", far_policy.name),
    }))
}
