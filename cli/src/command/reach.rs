//! `npc reach`

use npc_driver::{Explainer, Side};
use npc_model::{Connection, Evaluator, Family, Traffic, Verdict};
use npc_reach::write::{Example, csv, dot, html, json, svg, text};
use npc_reach::{Reach, TrafficSet, View};

use crate::Outcome;
use crate::answer::side_text;
use crate::arguments::{Format, Reach as Arguments, ReachFormat};
use crate::files::{Error, print};
use crate::policies::{self, Policies};
use crate::project::cluster;
use crate::report::Reporter;

pub(crate) fn run(arguments: &Arguments, colour: bool) -> Result<Outcome, Error> {
    let policies = policies::read(&arguments.inputs)?;
    let reporter = Reporter::new(Format::Human, colour, false);
    if policies.has_errors() {
        reporter.print(&policies.diagnostics, &policies.sources)?;
        return Ok(Outcome::CouldNotRun);
    }
    let Some(Some(cluster)) = cluster(Some(&arguments.cluster), &reporter)? else {
        return Ok(Outcome::CouldNotRun);
    };
    if cluster.pods.is_empty() {
        return Err(Error::new(format!(
            "{} has no pods that run: print them too, with `kubectl get namespaces,pods -A -o yaml`",
            arguments.cluster.display()
        )));
    }
    let reach = Reach::new(&policies.program, &cluster);
    let view = View::new(&reach, &arguments.from, &arguments.to)
        .map_err(|error| Error::new(format!("{}: {error}", arguments.cluster.display())))?;
    let too_large = |error: npc_reach::write::TooLarge| Error::new(error.to_string());
    let written = match arguments.format {
        ReachFormat::Human => text(&view),
        ReachFormat::Json => json(&view),
        ReachFormat::Csv => csv(&view),
        ReachFormat::Dot => dot(&view),
        ReachFormat::Svg => svg(&view).map_err(too_large)?,
        ReachFormat::Html => {
            let why = Why::new(&policies, &reach);
            html(&view, "Who can reach whom", |from, to| why.examples(from, to)).map_err(too_large)?
        }
    };
    print(&written)?;
    Ok(Outcome::Fine)
}

/// Tells why two groups may talk, or not.
struct Why<'a> {
    reach: &'a Reach<'a>,
    evaluator: Evaluator<'a>,
    explainer: Explainer<'a>,
}

impl<'a> Why<'a> {
    fn new(policies: &'a Policies, reach: &'a Reach<'a>) -> Self {
        Self {
            reach,
            evaluator: Evaluator::new(&policies.program, reach.cluster),
            explainer: Explainer::new(&policies.program, &policies.sources),
        }
    }

    /// A connection that is allowed, and one that is denied, of each family that is spoken.
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
        // Of one group, its second member is the other end.
        let destination = self.reach.endpoint(to, family, usize::from(from == to))?;
        let connection = Connection { source, destination, traffic };
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
