//! Reports redundant and unreachable rules and policies: without them, no verdict changes.

use npc_diagnostics::{Applicability, Diagnostic, Location};
use npc_model::rule_matches;
use npc_program::{Policy, Rule};
use npc_proof::Fact;
use npc_vocabulary::{Direction, Tier};
use rustc_hash::FxHashSet;

use super::example::{Case, ports_may_overlap};
use super::{Deciders, Overview, Reader};

npc_diagnostics::codes! {
    /// # A redundant or unreachable rule
    ///
    /// Without this rule every verdict is the same, in any cluster, because other rules and policies
    /// already decide its connections:
    ///
    /// - A plain rule is redundant if other rules allow all of its connections.
    /// - A rule of the admin or baseline tier is unreachable if earlier rules of that tier match all of its
    ///   connections, since the first matching rule decides.
    /// - A plain or baseline rule is unreachable if the admin tier decides all of its connections, and a
    ///   baseline rule also if plain policies isolate its pods.
    ///
    /// ```np fails
    /// policy web for pods { app = web } in namespace shop {
    ///   allow ingress from all pods in all namespaces on tcp/443
    ///   allow ingress from pods { app = proxy } in namespace edge on tcp/443
    /// }
    /// ```
    ///
    /// Remove the redundant rule:
    ///
    /// ```np
    /// policy web for pods { app = web } in namespace shop {
    ///   allow ingress from all pods in all namespaces on tcp/443
    /// }
    /// ```
    DECIDES_NOTHING = "NP0803" "decides-nothing" Warning;
}

/// The maximum number of rules that are compared with one rule. With more, the lint reports
/// nothing.
const MOST: usize = 300;

pub(crate) fn run(overview: &Overview<'_>) -> Vec<Diagnostic> {
    let mut found: Vec<Redundant<'_>> = overview.each(|reader, index, policy, found| {
        let context = PolicyContext { reader, index, policy };
        let rules: Vec<(usize, Deciders<'_>)> =
            (0..policy.rules.len()).filter_map(|place| Some((place, context.covered(place)?))).collect();
        let idle_policy = || {
            if rules.len() < policy.rules.len() {
                return None;
            }
            // A policy that only isolates is the default deny under other policies. It is kept even
            // if they isolate the same pods today, because they may change.
            let is_floor = |direction: &Direction| {
                policy.isolate.of(*direction).is_some()
                    && !policy.rules.iter().any(|rule| rule.direction == *direction)
            };
            let directions = [Direction::Ingress, Direction::Egress];
            if policy.tier == Tier::Namespaced && directions.iter().any(is_floor) {
                return None;
            }
            let mut isolating = Vec::new();
            for direction in directions {
                if policy.tier == Tier::Namespaced && policy.covers(direction) {
                    isolating.extend(context.isolated(direction)?);
                }
            }
            Some(isolating)
        };
        // Rules are candidates too: if the policy cannot be removed as a whole, some of its rules
        // may.
        if let Some(isolating) = idle_policy() {
            found.push(Redundant { policy, what: Subject::Policy, rules: rules.clone(), isolating });
        }
        for (place, by) in rules {
            let Some(rule) = policy.rules.get(place) else { continue };
            // The only rule of a direction also isolates the pods. It is redundant only if other
            // policies isolate the same pods.
            let keeps = policy.tier != Tier::Namespaced
                || policy.isolate.of(rule.direction).is_some()
                || policy
                    .rules
                    .iter()
                    .enumerate()
                    .any(|(other, kept)| other != place && kept.direction == rule.direction);
            let isolating = if keeps { Some(Vec::new()) } else { context.isolated(rule.direction) };
            if let Some(isolating) = isolating {
                found.push(Redundant {
                    policy,
                    what: Subject::Rule(rule),
                    rules: vec![(place, by)],
                    isolating,
                });
            }
        }
    });
    // A user may follow all reports at once, so nothing that makes one finding true may itself be
    // reported.
    let mut gone: FxHashSet<Location> = FxHashSet::default();
    let mut needed: FxHashSet<Location> = FxHashSet::default();
    found.retain(|idle| {
        let own: Vec<Location> = match idle.what {
            Subject::Rule(rule) => vec![rule.location],
            Subject::Policy => {
                let rules = idle.policy.rules.iter().map(|rule| rule.location);
                rules.chain([idle.policy.location]).collect()
            }
        };
        if own.iter().all(|place| gone.contains(place)) {
            return false;
        }
        let by = idle.rules.iter().flat_map(|(_, by)| {
            let rules = by.rules.iter().map(|(_, rule)| rule.location);
            rules.chain(by.isolating.iter().map(|policy| policy.location))
        });
        let by: Vec<Location> = by.chain(idle.isolating.iter().map(|policy| policy.location)).collect();
        // A policy cannot make itself redundant, and the last rule of a direction may isolate the
        // pods.
        let keeps_one = match idle.what {
            Subject::Policy => true,
            Subject::Rule(rule) => {
                let left = |other: &&Rule| {
                    other.direction == rule.direction
                        && other.location != rule.location
                        && !gone.contains(&other.location)
                };
                idle.policy.tier != Tier::Namespaced
                    || idle.policy.isolate.of(rule.direction).is_some()
                    || idle.policy.rules.iter().any(|other| left(&other))
                    || !idle.isolating.is_empty()
            }
        };
        let sound = keeps_one
            && !by.iter().any(|place| gone.contains(place) || own.contains(place))
            && !own.iter().any(|place| needed.contains(place));
        if sound {
            gone.extend(own);
            needed.extend(by);
        }
        sound
    });
    found.iter().map(Redundant::diagnostic).collect()
}

/// A redundant rule or policy.
struct Redundant<'p> {
    policy: &'p Policy,
    what: Subject<'p>,
    /// The redundant rules by index, each with what decides its connections instead.
    rules: Vec<(usize, Deciders<'p>)>,
    /// The other policies that isolate the same pods.
    isolating: Vec<&'p Policy>,
}

enum Subject<'p> {
    Policy,
    Rule(&'p Rule),
}

/// A policy, with access to the policies that select its example pod.
struct PolicyContext<'r, 'o, 'p> {
    reader: &'r Reader<'o, 'p>,
    /// The policy's index in the program.
    index: usize,
    policy: &'p Policy,
}

impl<'o, 'p> PolicyContext<'_, 'o, 'p> {
    /// The policies that select the example pod of this one.
    fn selecting(&self) -> &'o [usize] {
        &self.reader.first(self.index).policies
    }

    /// The other policies that select the example pod of this one.
    fn others(&self) -> impl Iterator<Item = (usize, &'p Policy)> {
        let reader = self.reader;
        let own = self.index;
        let others = self.selecting().iter().copied().filter(move |other| *other != own);
        others.filter_map(move |index| Some((index, &**reader.policy(index)?)))
    }

    /// Whether another policy selects all pods of this one. If both select the same pods, only the
    /// first can replace the second, so that at most one of them is reported.
    fn stands_in(&self, index: usize, other: &Policy, way: Direction) -> bool {
        let (own, other) = (Fact::Selects(self.policy, way), Fact::Selects(other, way));
        !self.reader.possible(&[own], &[other])
            && (index < self.index || self.reader.possible(&[other], &[own]))
    }

    /// Plain policies that isolate all pods of this one: a single policy, or all earlier ones
    /// together.
    fn isolated(&self, direction: Direction) -> Option<Vec<&'p Policy>> {
        let isolates = |other: &Policy| other.tier == Tier::Namespaced && other.covers(direction);
        let others: Vec<(usize, &Policy)> =
            self.others().filter(|(_, other)| isolates(other)).take(MOST).collect();
        if let Some((_, one)) = others.iter().find(|(index, other)| self.stands_in(*index, other, direction))
        {
            return Some(vec![one]);
        }
        let before: Vec<&Policy> =
            others.into_iter().filter(|(index, _)| *index < self.index).map(|(_, other)| other).collect();
        let facts: Vec<Fact<'_>> = before.iter().map(|other| Fact::Selects(other, direction)).collect();
        let all =
            !before.is_empty() && !self.reader.possible(&[Fact::Selects(self.policy, direction)], &facts);
        all.then_some(before)
    }

    /// What decides every connection of a rule instead of it, if the rule is redundant.
    fn covered(&self, place: usize) -> Option<Deciders<'p>> {
        let (reader, policy) = (self.reader, self.policy);
        // A rule that logs has an effect even if other rules decide its connections.
        let rule = policy.rules.get(place).filter(|rule| rule.log.is_none())?;
        let Deciders { rules, earlier, isolating } = reader.competing_rules(self.index, place)?;
        if (rules.is_empty() && isolating.is_empty()) || rules.len() + isolating.len() > MOST {
            return None;
        }
        // Most rules differ in their ports, so this excludes most of them early.
        if isolating.is_empty() && !rules.iter().any(|(_, other)| ports_may_overlap(rule, other)) {
            return None;
        }
        let example = reader.first(self.index).example.as_ref()?;
        let case = rule.peers.first().and_then(|peer| Case::of(example, rule, peer))?;
        let connection = case.connection()?;
        if !rule_matches(rule, &connection) {
            return None;
        }
        // For nearly every rule, nothing else decides its example connection.
        let decided =
            rules.iter().any(|(_, other)| rule_matches(other, &connection)) || !isolating.is_empty();
        if !decided {
            return None;
        }
        let own = Fact::Matches(policy, rule);
        let fact = |other: &(&'p Policy, &'p Rule)| Fact::Matches(other.0, other.1);
        // Of two identical rules, the second is reported.
        let rules: Vec<(&Policy, &Rule)> = rules
            .into_iter()
            .enumerate()
            .filter(|(at, other)| {
                policy.tier != Tier::Namespaced || *at < earlier || reader.possible(&[fact(other)], &[own])
            })
            .map(|(_, other)| other)
            .collect();
        let single = rules
            .iter()
            .find(|other| rule_matches(other.1, &connection) && !reader.possible(&[own], &[fact(other)]));
        if let Some(single) = single {
            return Some(Deciders { rules: vec![*single], earlier: 0, isolating: Vec::new() });
        }
        let mut none: Vec<Fact<'_>> = rules.iter().map(fact).collect();
        none.extend(isolating.iter().map(|other| Fact::Selects(other, rule.direction)));
        (!reader.possible(&[own], &none)).then_some(Deciders { rules, earlier: 0, isolating })
    }
}

impl Redundant<'_> {
    fn diagnostic(&self) -> Diagnostic {
        let by_admin = |by: &Deciders<'_>| by.rules.iter().any(|(by, _)| by.tier == Tier::Admin);
        let shadowed = self.policy.tier != Tier::Namespaced || self.rules.iter().any(|(_, by)| by_admin(by));
        let kind = if shadowed { "unreachable" } else { "redundant" };
        let how = if shadowed { "is decided before it" } else { "is allowed without it" };
        let mut diagnostic = match self.what {
            Subject::Rule(rule) => Diagnostic::new(
                &DECIDES_NOTHING,
                format!("this rule of policy `{}` is {kind}", self.policy.name),
                rule.location,
                format!("every connection that it matches {how}"),
            ),
            Subject::Policy => Diagnostic::new(
                &DECIDES_NOTHING,
                format!("policy `{}` is {kind}", self.policy.name),
                self.policy.location,
                if shadowed {
                    "every connection that it matches is decided before it"
                } else {
                    "other policies isolate the same pods and allow the same connections"
                },
            ),
        };
        if let Some((_, by)) = self.rules.first() {
            diagnostic = name(diagnostic, by);
        }
        diagnostic = diagnostic.help(if shadowed {
            "remove it, or move it before the rule that decides, or to an earlier tier"
        } else {
            "remove it"
        });
        match self.what {
            Subject::Rule(rule) => diagnostic.fix(Applicability::Maybe, "remove the rule", rule.location, ""),
            Subject::Policy => diagnostic,
        }
    }
}

/// Adds labels for what decides instead.
fn name(mut diagnostic: Diagnostic, by: &Deciders<'_>) -> Diagnostic {
    if let Some(other) = by.isolating.first() {
        return diagnostic.label(other.location, format!("policy `{}` isolates these pods", other.name));
    }
    let and = if by.rules.len() == 1 { "" } else { ", together with other rules" };
    for (other, rule) in by.rules.iter().take(3) {
        diagnostic =
            diagnostic.label(rule.location, format!("decided by this rule of policy `{}`{and}", other.name));
    }
    diagnostic
}
