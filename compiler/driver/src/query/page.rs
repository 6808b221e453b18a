//! The HTML page of the reachability matrix, with the reason for each cell.

use npc_diagnostics::SourceMap;
use npc_model::{Evaluator, Family};
use npc_program::Program;
use npc_reach::write::{Example, TooLarge, html};
use npc_reach::{Reach, TrafficSet, View};
use npc_vocabulary::{Connection, Traffic, Verdict};

use super::answer::Side;
use super::explain::Explainer;
use super::text::side_text;

/// Returns a view of the reachability matrix as a self-contained HTML page.
///
/// # Errors
///
/// If the view has too many groups for a readable page.
pub fn reach_page(program: &Program, sources: &SourceMap, view: &View<'_, '_>) -> Result<String, TooLarge> {
    let why = Why::new(program, sources, view.reach);
    html(view, "Who can reach whom", |from, to| why.examples(from, to))
}

/// Explains why connections between two groups are allowed or denied.
struct Why<'a> {
    reach: &'a Reach<'a>,
    evaluator: Evaluator<'a>,
    explainer: Explainer<'a>,
}

impl<'a> Why<'a> {
    fn new(program: &'a Program, sources: &'a SourceMap, reach: &'a Reach<'a>) -> Self {
        Self {
            reach,
            evaluator: Evaluator::new(program, reach.cluster),
            explainer: Explainer::new(program, sources),
        }
    }

    /// An allowed and a denied connection between two groups, where they exist; separately for each IP family if the
    /// families differ.
    fn examples(&self, from: usize, to: usize) -> Vec<Example> {
        let denied = TrafficSet::default();
        let sets = match self.reach.cell(from, to) {
            Some(cell) => self.reach.traffic(cell),
            None => vec![(None, &denied)],
        };
        let all = TrafficSet::all();
        let mut examples = Vec::new();
        for (family, set) in sets {
            let families = match family {
                Some(family) => vec![family],
                None => vec![Family::V4, Family::V6],
            };
            for traffic in [set.example(), all.without(set).example()].into_iter().flatten() {
                examples.extend(families.iter().find_map(|family| self.example(from, to, *family, traffic)));
            }
        }
        examples
    }

    fn example(&self, from: usize, to: usize, family: Family, traffic: Traffic) -> Option<Example> {
        let source = self.reach.endpoint(from, family, 0)?;
        // Within one group, the destination is its second member.
        let destination = self.reach.endpoint(to, family, usize::from(from == to))?;
        let connection = Connection::direct(source, destination, traffic);
        let verdict = self.evaluator.verdict(&connection);
        let answer = self.explainer.explain(&connection, &verdict);
        let mut reason = String::new();
        if let Verdict::Decided { .. } = verdict {
            let mut tell = |word: &str, name: &str, side: &Option<Side>| {
                if let Some(side) = side {
                    side_text(&mut reason, word, name, side);
                }
            };
            tell("egress", &answer.source, &answer.egress);
            tell("ingress", &answer.destination, &answer.ingress);
        } else {
            reason.push_str(answer.always.unwrap_or_default());
        }
        let lines: Vec<&str> = reason.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
        Some(Example {
            connection: format!("{} → {}, {}", answer.source, answer.destination, answer.traffic),
            allowed: answer.allowed,
            reason: lines.join("\n"),
        })
    }
}
