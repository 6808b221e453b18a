//! A rule or a policy without which everything would be as it is.

use npc_diagnostics::{Applicability, Diagnostic};
use npc_model::rule_matches;
use npc_program::{Direction, Policy, Rule, Tier};
use npc_proof::Fact;

use super::Overview;
use super::example::Case;

npc_diagnostics::codes! {
    /// # A rule that decides nothing
    ///
    /// Whatever this rule names is decided already: by other rules that allow all of it, or, in a tier
    /// in which the first rule decides, by rules before it. Without it every connection would be judged
    /// as it is, in any cluster.
    ///
    /// ```np fails
    /// policy web for pods { app = web } in namespace shop {
    ///   allow ingress from all pods in all namespaces on tcp/443
    ///   allow ingress from pods { app = proxy } in namespace edge on tcp/443
    /// }
    /// ```
    ///
    /// Without it:
    ///
    /// ```np
    /// policy web for pods { app = web } in namespace shop {
    ///   allow ingress from all pods in all namespaces on tcp/443
    /// }
    /// ```
    DECIDES_NOTHING = "NP0803" "decides-nothing" Warning;
}

/// So many rules are weighed against one; where more might cover it, nothing is said.
const MOST: usize = 300;

pub(crate) fn run(overview: &Overview<'_>) -> Vec<Diagnostic> {
    overview.each(|index, policy, found| {
        let beside = Beside { overview, index, policy };
        let mut idle = Vec::new();
        for place in 0..policy.rules.len() {
            idle.extend(beside.covered(place).map(|by| (place, by)));
        }
        let directions = [Direction::Ingress, Direction::Egress];
        // A rule that isolates decides something, unless others isolate the same pods.
        let isolates = |beside: &Beside<'_, '_>, direction| {
            policy.tier == Tier::Namespaced && policy.speaks_of(direction) && !beside.isolated(direction)
        };
        let needed = directions.map(|direction| isolates(&beside, direction));
        if idle.len() == policy.rules.len() && needed == [false; 2] {
            // What only isolates is a floor under the others, which may change: it is idle where another
            // says just that.
            if policy.rules.is_empty() && !beside.isolated_by_word() {
                return;
            }
            found.push(of_policy(policy, &idle, &beside));
            return;
        }
        for (place, by) in &idle {
            let Some(rule) = policy.rules.get(*place) else { continue };
            let keeps = policy.isolate.of(rule.direction).is_some()
                || policy.rules.iter().enumerate().any(|(other, kept)| {
                    kept.direction == rule.direction && !idle.iter().any(|(idle, _)| *idle == other)
                });
            let [ingress, egress] = needed;
            let needed = if rule.direction == Direction::Ingress { ingress } else { egress };
            if keeps || !needed {
                found.push(of_rule(policy, rule, by));
            }
        }
    })
}

/// The rules that decide all that a rule names.
struct Coverers<'p> {
    rules: Vec<(&'p Policy, &'p Rule)>,
    /// The policies that isolate its pods, so that no baseline policy is asked.
    isolating: Vec<&'p Policy>,
}

/// A policy, and those that select a pod of it.
pub(crate) struct Beside<'o, 'p> {
    pub(crate) overview: &'o Overview<'p>,
    /// Its place in the program.
    pub(crate) index: usize,
    pub(crate) policy: &'p Policy,
}

impl<'p> Beside<'_, 'p> {
    /// The policies that select a pod of this one.
    fn selecting(&self) -> &[usize] {
        &self.overview.first(self.index).policies
    }

    /// Whether some other policy selects all pods of this one, and says that it isolates them in each
    /// direction that this one does.
    fn isolated_by_word(&self) -> bool {
        let (overview, index, policy) = (self.overview, self.index, self.policy);
        let said: Vec<Direction> = [Direction::Ingress, Direction::Egress]
            .into_iter()
            .filter(|direction| policy.isolate.of(*direction).is_some())
            .collect();
        let others: Vec<&Policy> = self
            .selecting()
            .iter()
            .filter(|other| **other != index)
            .filter_map(|other| overview.policy(*other))
            .filter(|other| said.iter().all(|direction| other.isolate.of(*direction).is_some()))
            .collect();
        !said.is_empty()
            && others.iter().any(|other| {
                said.iter().all(|way| {
                    !overview.possible(&[Fact::Selects(policy, *way)], &[Fact::Selects(other, *way)])
                })
            })
    }

    /// Whether other plain policies isolate all pods of this one.
    fn isolated(&self, direction: Direction) -> bool {
        let (overview, index, policy) = (self.overview, self.index, self.policy);
        let others: Vec<Fact<'_>> = self
            .selecting()
            .iter()
            .filter(|other| **other != index)
            .filter_map(|other| overview.policy(*other))
            .filter(|other| other.tier == Tier::Namespaced && other.speaks_of(direction))
            .map(|other| Fact::Selects(other, direction))
            .collect();
        !others.is_empty()
            && others.len() <= MOST
            && !overview.possible(&[Fact::Selects(policy, direction)], &others)
    }

    /// What decides all that a rule names, where something does.
    fn covered(&self, place: usize) -> Option<Coverers<'p>> {
        let (overview, policy) = (self.overview, self.policy);
        let rule = policy.rules.get(place)?;
        let (rules, isolating) = self.before(place, rule)?;
        if (rules.is_empty() && isolating.is_empty()) || rules.len() + isolating.len() > MOST {
            return None;
        }
        let example = overview.first(self.index).example.as_ref()?;
        let case = rule.peers.first().and_then(|peer| Case::of(example, rule, peer))?;
        let connection = case.connection()?;
        if !rule_matches(rule, &connection) {
            return None;
        }
        // Its own connection is its own to decide: so it is with nearly every rule.
        let decided =
            rules.iter().any(|(_, other)| rule_matches(other, &connection)) || !isolating.is_empty();
        if !decided {
            return None;
        }
        let own = Fact::Matches(policy, rule);
        let fact = |other: &(&'p Policy, &'p Rule)| Fact::Matches(other.0, other.1);
        let is_before = |other: &(&'p Policy, &'p Rule)| other.1.location < rule.location;
        // Of two that say the same, the second is told.
        let rules: Vec<(&Policy, &Rule)> = rules
            .into_iter()
            .filter(|other| {
                policy.tier != Tier::Namespaced
                    || is_before(other)
                    || overview.possible(&[fact(other)], &[own])
            })
            .collect();
        let single = rules
            .iter()
            .find(|other| rule_matches(other.1, &connection) && !overview.possible(&[own], &[fact(other)]));
        if let Some(single) = single {
            return Some(Coverers { rules: vec![*single], isolating: Vec::new() });
        }
        let mut none: Vec<Fact<'_>> = rules.iter().map(fact).collect();
        none.extend(isolating.iter().map(|other| Fact::Selects(other, rule.direction)));
        (!overview.possible(&[own], &none)).then_some(Coverers { rules, isolating })
    }

    /// The rules that decide before this one, or as well; and the policies that isolate.
    #[allow(clippy::type_complexity)]
    pub(crate) fn before(
        &self,
        place: usize,
        rule: &'p Rule,
    ) -> Option<(Vec<(&'p Policy, &'p Rule)>, Vec<&'p Policy>)> {
        let (overview, index, policy) = (self.overview, self.index, self.policy);
        let mut rules = Vec::new();
        let mut isolating = Vec::new();
        for other_index in self.selecting() {
            let other = overview.policy(*other_index)?;
            let of_direction =
                other.rules.iter().enumerate().filter(|(_, other)| other.direction == rule.direction);
            match (policy.tier, other.tier) {
                (Tier::Namespaced, Tier::Namespaced) => {
                    let others = of_direction.filter(|(at, _)| (*other_index, *at) != (index, place));
                    rules.extend(others.map(|(_, rule)| (other, rule)));
                }
                (Tier::Admin, Tier::Admin) | (Tier::Baseline, Tier::Baseline) => {
                    let before =
                        |at: usize| (other.priority, *other_index, at) < (policy.priority, index, place);
                    rules.extend(of_direction.filter(|(at, _)| before(*at)).map(|(_, rule)| (other, rule)));
                }
                (Tier::Namespaced | Tier::Baseline, Tier::Admin) => {
                    // What some rule passes on may be decided here all the same.
                    if !overview.passes_on(rule.direction) {
                        rules.extend(of_direction.map(|(_, rule)| (other, rule)));
                    }
                }
                (Tier::Baseline, Tier::Namespaced) => {
                    if other.speaks_of(rule.direction) {
                        isolating.push(other);
                    }
                }
                (Tier::Admin, _) | (Tier::Namespaced, Tier::Baseline) => {}
            }
        }
        Some((rules, isolating))
    }
}

fn of_rule(policy: &Policy, rule: &Rule, by: &Coverers<'_>) -> Diagnostic {
    let shadowed = policy.tier != Tier::Namespaced || by.rules.iter().any(|(by, _)| by.tier == Tier::Admin);
    let how = if shadowed { "is decided before" } else { "is allowed without it" };
    let diagnostic = Diagnostic::new(
        &DECIDES_NOTHING,
        "this rule decides nothing",
        rule.location,
        format!("all that it names {how}"),
    );
    let diagnostic = name(diagnostic, by);
    diagnostic.help(help(shadowed)).fix(Applicability::Maybe, "remove the rule", rule.location, "")
}

fn of_policy(policy: &Policy, idle: &[(usize, Coverers<'_>)], beside: &Beside<'_, '_>) -> Diagnostic {
    let mut diagnostic = Diagnostic::new(
        &DECIDES_NOTHING,
        format!("the policy `{}` decides nothing", policy.name),
        policy.location,
        "all that it says holds without it",
    );
    if let [(_, first), ..] = idle {
        diagnostic = name(diagnostic, first);
    } else {
        let overview = beside.overview;
        let index = beside.index;
        let others = beside.selecting().iter().filter(|other| **other != index);
        let isolating =
            others.filter_map(|other| overview.policy(*other)).find(|other| other.tier == Tier::Namespaced);
        if let Some(other) = isolating {
            diagnostic = diagnostic.label(other.location, format!("`{}` isolates the same pods", other.name));
        }
    }
    diagnostic.help(help(policy.tier != Tier::Namespaced))
}

const fn help(shadowed: bool) -> &'static str {
    if shadowed { "what comes first decides: put it before, or remove it" } else { "remove it" }
}

/// Names what decides instead.
fn name(mut diagnostic: Diagnostic, by: &Coverers<'_>) -> Diagnostic {
    let all = by.rules.len() == 1;
    for (other, rule) in by.rules.iter().take(3) {
        let and = if all { "" } else { ", together with others" };
        diagnostic = diagnostic.label(rule.location, format!("by this rule of `{}`{and}", other.name));
    }
    if by.rules.is_empty()
        && let Some(other) = by.isolating.first()
    {
        diagnostic = diagnostic.label(other.location, format!("`{}` isolates the pods", other.name));
    }
    diagnostic
}
