//! `npc diff`

use std::fmt::Write as _;

use npc_diagnostics::{Diagnostic, Level};
use npc_driver::{
    Answer, Gaps, UpdateKind, ask, changes, exclude_filtered_from, kind_text, side_text, test_text, updates,
};
use npc_proof::Change;
use npc_targets::AnyTarget;
use serde_json::{Value, json};

use crate::Outcome;
use crate::arguments::{AnswerFormat, Diff, Format};
use crate::files::{Error, print};
use crate::policies::{self, Policies, Purpose};
use crate::report::Reporter;

/// The maximum number of kinds of connections that are listed, for gained and lost each.
const MOST: usize = 50;

pub(crate) fn run(arguments: &Diff, colour: bool) -> Result<Outcome, Error> {
    let reporter = Reporter::new(Format::Human, colour, false);
    let mut both = Vec::new();
    for input in [&arguments.old, &arguments.new] {
        let namespace = arguments.namespace.namespace.as_deref();
        let policies = policies::read(std::slice::from_ref(input), namespace, Purpose::Compare)?;
        if policies.has_errors() {
            reporter.print(&policies.diagnostics, &policies.sources)?;
            return Ok(Outcome::CouldNotRun);
        }
        both.push(policies);
    }
    let is_kyverno = both.iter().any(|policies| policies.has_generated);
    let mut gaps = Gaps::default();
    for policies in &mut both {
        gaps.extend(std::mem::take(&mut policies.gaps));
        policies.print_caveats(&reporter, |_| true)?;
        // The compiled output of a program is subject to the same Kyverno configuration.
        if is_kyverno && !policies.has_generated && policies.is_program() {
            let filtered = &policies.config.options.filtered_namespaces;
            exclude_filtered_from(&mut policies.program, filtered);
        }
    }
    policies::print_gaps(&gaps, |_| true);
    let [old, new] = both.as_slice() else { return Ok(Outcome::CouldNotRun) };
    let pod_cidrs = new.config.options.pod_cidrs.blocks();
    let found =
        changes(&old.program, &new.program, pod_cidrs, MOST).map_err(|why| Error::new(why.to_string()))?;
    // If one side is Kyverno policies, the other is probably compiled to Kyverno as well.
    let fallback = AnyTarget::with(|target| target.by_kyverno).next().filter(|_| is_kyverno);
    let updates = match [kyverno(old, arguments.target, fallback), kyverno(new, arguments.target, fallback)] {
        [Ok(was), Ok(is)] => {
            let text = |texts: &Option<Vec<String>>| texts.clone().unwrap_or_default();
            let (was, is, is_known) = (text(&was), text(&is), is.is_some());
            let mut found = updates(was.iter().map(String::as_str), is.iter().map(String::as_str));
            // The replacement of a removed policy is then unknown.
            found.retain(|update| is_known || !matches!(update.kind, UpdateKind::Removed { .. }));
            found
        }
        [Err(why), _] => {
            reporter.print(&why, &old.sources)?;
            return Ok(Outcome::CouldNotRun);
        }
        [_, Err(why)] => {
            reporter.print(&why, &new.sources)?;
            return Ok(Outcome::CouldNotRun);
        }
    };
    match arguments.format {
        AnswerFormat::Human => {
            let mut out = String::new();
            if found.is_empty() {
                out.push_str("no connection changes, in any cluster\n");
            }
            for (title, sign, list, was, is) in [
                ("newly allowed", '+', &found.gained, old, new),
                ("no longer allowed", '-', &found.lost, old, new),
            ] {
                if list.is_empty() {
                    continue;
                }
                // Writing to a string cannot fail.
                let _ = writeln!(out, "{title}:");
                for change in list {
                    human(&mut out, sign, change, was, is);
                }
            }
            if found.more {
                let _ = writeln!(out, "and more: only the first {MOST} kinds of each are listed");
            }
            if !updates.is_empty() {
                out.push_str("to apply the change with Kyverno:\n");
            }
            for update in &updates {
                let _ = writeln!(out, "  {update}");
            }
            print(&out)?;
        }
        AnswerFormat::Json => {
            let list =
                |list: &[Change]| list.iter().map(|change| to_json(change, old, new)).collect::<Vec<_>>();
            let value = json!({
                "equal": found.is_empty(),
                "gained": list(&found.gained),
                "lost": list(&found.lost),
                "more": found.more,
                "updates": updates.iter().map(|update| json!({
                    "policy": update.policy,
                    "kind": update.kind.word(),
                    "message": update.to_string(),
                })).collect::<Vec<_>>(),
            });
            print(format!("{value:#}\n"))?;
        }
    }
    Ok(if found.is_empty() { Outcome::Fine } else { Outcome::Found })
}

/// The texts of the Kyverno policies: manifests as they are, or the output of the program's target.
///
/// `None` if no Kyverno target is set and the program cannot be compiled to `fallback`.
fn kyverno(
    policies: &Policies,
    asked: Option<AnyTarget>,
    fallback: Option<AnyTarget>,
) -> Result<Option<Vec<String>>, Vec<Diagnostic>> {
    if !policies.is_program() {
        return Ok(Some(policies.sources.files().map(|(_, file)| file.text().to_owned()).collect()));
    }
    let configured = policies.config.targets.iter().copied();
    let target = asked.or_else(|| configured.into_iter().find(|target| target.capabilities().by_kyverno));
    let Some((target, is_named)) =
        target.map(|target| (target, true)).or(fallback.map(|target| (target, false)))
    else {
        return Ok(None);
    };
    let options = &policies.config.options;
    let output = npc_targets::compile(target, &policies.program, &policies.sources, options, None);
    if output.diagnostics.iter().any(|found| found.level == Level::Error) {
        return if is_named { Err(output.diagnostics) } else { Ok(None) };
    }
    Ok(Some(vec![output.text]))
}

fn answers(change: &Change, old: &Policies, new: &Policies) -> Option<(Answer, Answer)> {
    let connection = change.witness.connection()?;
    Some((ask(&old.program, &old.sources, &connection), ask(&new.program, &new.sources, &connection)))
}

fn human(out: &mut String, sign: char, change: &Change, old: &Policies, new: &Policies) {
    let _ = writeln!(out, "  {sign} {}", kind_text(&change.kind));
    let Some((before, after)) = answers(change, old, new) else { return };
    let _ = writeln!(out, "      for example {} -> {}, {}", after.source, after.destination, after.traffic);
    for (word, answer) in [("before", &before), ("now", &after)] {
        let verdict = if answer.allowed { "allowed" } else { "denied" };
        let _ = writeln!(out, "      {word} {verdict}:");
        let mut sides = String::new();
        for (word, name, side) in
            [("egress", &answer.source, &answer.egress), ("ingress", &answer.destination, &answer.ingress)]
        {
            // For a denied connection, show only the direction that denies it; otherwise both.
            if let Some(side) = side.as_ref().filter(|side| answer.allowed || !side.allowed) {
                side_text(&mut sides, word, name, side);
            }
        }
        for line in sides.lines() {
            let _ = writeln!(out, "      {line}");
        }
    }
}

fn to_json(change: &Change, old: &Policies, new: &Policies) -> Value {
    let answers = answers(change, old, new);
    let allowed = answers.as_ref().is_some_and(|(_, after)| after.allowed);
    json!({
        "connections": kind_text(&change.kind),
        "example": {
            "before": answers.as_ref().map(|(before, _)| before),
            "now": answers.as_ref().map(|(_, after)| after),
            "test": test_text("example", &change.witness, allowed),
        },
    })
}
