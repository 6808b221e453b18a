//! Evaluation of connections with an explanation.

use std::sync::{Arc, OnceLock};

use npc_diagnostics::SourceMap;
use npc_model::{nearest, verdict};
use npc_print::rule_text;
use npc_program::{Policy, Program};
use npc_vocabulary::{Connection, Decision, Direction, Tier, Verdict};

use super::answer::{Answer, NearestRule, PolicyReference, Reason, RuleReference, Side};

/// Explains the verdicts of a program. Caches the descriptions of policies and rules.
pub struct Explainer<'a> {
    program: &'a Program,
    sources: &'a SourceMap,
    policies: Vec<OnceLock<Arc<PolicyReference>>>,
    /// The index in `rules` of the first rule of each policy.
    first_rule: Vec<usize>,
    rules: Vec<OnceLock<Arc<RuleReference>>>,
}

/// Evaluates a connection and explains the verdict.
#[must_use]
pub fn ask(program: &Program, sources: &SourceMap, connection: &Connection<'_>) -> Answer {
    Explainer::new(program, sources).explain(connection, &verdict(program, connection))
}

impl<'a> Explainer<'a> {
    /// Creates an explainer for a program, whose files are in `sources`.
    #[must_use]
    pub fn new(program: &'a Program, sources: &'a SourceMap) -> Self {
        let mut rules = 0;
        let first_rule = program
            .policies
            .iter()
            .map(|policy| {
                rules += policy.rules.len();
                rules - policy.rules.len()
            })
            .collect();
        Self {
            program,
            sources,
            policies: (0..program.policies.len()).map(|_| OnceLock::new()).collect(),
            first_rule,
            rules: (0..rules).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Explains a verdict that the program gave for a connection.
    #[must_use]
    pub fn explain(&self, connection: &Connection<'_>, verdict: &Verdict) -> Answer {
        let mut answer = Answer::without_reasons(connection, verdict);
        if let Verdict::Decided { egress, ingress } = verdict {
            answer.egress = Some(self.side(Direction::Egress, egress, connection));
            answer.ingress = Some(self.side(Direction::Ingress, ingress, connection));
        }
        answer
    }

    /// Explains the decision of one side.
    #[must_use]
    pub fn side(&self, direction: Direction, decision: &Decision, connection: &Connection<'_>) -> Side {
        let mut near = None;
        let reason = match decision {
            Decision::Outside => Reason::Outside,
            Decision::HostNetwork => Reason::HostNetwork,
            Decision::Default => Reason::Default,
            Decision::Rule { policy, rule, .. } => match self.rule(*policy, *rule) {
                Some(found) => Reason::Rule(found),
                None => Reason::Default,
            },
            Decision::Isolated { policies } => {
                let isolating =
                    policies.iter().filter_map(|at| Some((*at, &**self.program.policies.get(*at)?)));
                near = nearest(isolating, direction, connection).and_then(|near| {
                    let rule = self.rule(near.policy, near.rule)?;
                    Some(NearestRule { rule, unmet: near.unmet.iter().map(ToString::to_string).collect() })
                });
                Reason::Isolated { policies: policies.iter().filter_map(|at| self.policy(*at)).collect() }
            }
        };
        Side { allowed: decision.allowed(), reason, nearest: near }
    }

    fn policy(&self, index: usize) -> Option<Arc<PolicyReference>> {
        let policy = self.program.policies.get(index)?;
        let reference =
            self.policies.get(index)?.get_or_init(|| Arc::new(policy_reference(self.sources, policy)));
        Some(Arc::clone(reference))
    }

    fn rule(&self, policy: usize, index: usize) -> Option<Arc<RuleReference>> {
        let rule = self.program.policies.get(policy)?.rules.get(index)?;
        let own = self.policy(policy)?;
        let reference = self.rules.get(self.first_rule.get(policy)? + index)?.get_or_init(|| {
            let file = self.sources.file(self.sources.absolute(rule.location).file);
            let text = if file.name().ends_with(".np") {
                let text = self.sources.text(rule.location);
                text.split_whitespace().collect::<Vec<_>>().join(" ")
            } else {
                rule_text(rule)
            };
            let location = self.sources.line_of(rule.location);
            Arc::new(RuleReference { policy: own, rule: index + 1, location, text })
        });
        Some(Arc::clone(reference))
    }
}

fn policy_reference(sources: &SourceMap, policy: &Policy) -> PolicyReference {
    PolicyReference {
        tier: match policy.tier {
            Tier::Admin => "admin",
            Tier::Namespaced => "policy",
            Tier::Baseline => "baseline",
        },
        policy: policy.name.to_string(),
        location: sources.line_of(policy.location),
    }
}
