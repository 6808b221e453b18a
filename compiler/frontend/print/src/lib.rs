//! Prints policies, and parts of them, as the text of a program.
//!
//! The text means exactly what the policies mean. Policies are joined only if that changes nothing, and a
//! policy without effect (nothing can satisfy its selector) becomes a comment.

mod join;
mod rule;
mod sets;
mod term;

use std::sync::Arc;

use npc_diagnostics::{Diagnostic, FileId};
use npc_program::values::address::{Block, IpNet, is_reserved};
use npc_program::{
    FailurePolicy, LAST_PRIORITY, Peer, PodTerm, Policy, Rule, ScopeBase, Selector, Settings, scopes_overlap,
};
use npc_vocabulary::{Direction, Tier, Which, check_port_name};

pub use self::rule::rule_text;
use self::rule::write_rule;
use self::sets::Sets;
pub use self::term::{block_text, pods_text, scope_text, selector_text, word};

npc_diagnostics::codes! {
    /// # A part that has no effect
    ///
    /// Nothing can satisfy a selector of this policy (a label cannot have two values, or be both present and
    /// absent), so the policy selects no pod, or a peer matches no pod. Or no port can have the name that a
    /// rule gives. `npc import` omits such a part. In place of a policy that selects no pod it writes a
    /// comment.
    NO_EFFECT = "NP0907" "no-effect" Warning;
}

/// A policy to print.
#[derive(Clone, Debug)]
pub struct Printed {
    /// The policy. Its name must be valid in a program.
    pub policy: Policy,
    /// The name that policies of different namespaces share if they are joined.
    pub short_name: Arc<str>,
    /// The names of its rules, which are printed as comments. May be shorter than the list of rules.
    pub rule_names: Vec<Option<String>>,
}

/// The text of a program that means the same as the policies. Values that occur several times become sets, and equal
/// policies of several namespaces become one policy. Parts without effect are reported in `diagnostics`.
#[must_use]
pub fn program_text(policies: &[Printed], diagnostics: &mut Vec<Diagnostic>) -> String {
    let policies = join::join(policies);
    let mut kept = Vec::with_capacity(policies.len());
    let mut out = String::new();
    let mut comments = Vec::new();
    for imported in policies {
        match without_effect(imported, diagnostics) {
            Ok(imported) => kept.push(imported),
            Err(comment) => comments.push(comment),
        }
    }
    let sets = Sets::find(&kept);
    sets.write(&mut out);
    // Settings that all policies have are written once.
    let settings = |imported: &Printed| {
        let mut text = String::new();
        settings_text(&mut text, &imported.policy.settings);
        text
    };
    if let [first, _, ..] = kept.as_slice() {
        let common = settings(first);
        if !common.is_empty() && kept.iter().all(|other| settings(other) == common) {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&common);
            kept.iter_mut().for_each(|imported| imported.policy.settings = Settings::default());
        }
    }
    for imported in &kept {
        if !out.is_empty() {
            out.push('\n');
        }
        policy_text(&mut out, imported, &sets);
    }
    for comment in comments {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&comment);
    }
    // If formatting fails, the text is returned as it is, and the parser reports the error.
    npc_format::format(FileId(0), &out).unwrap_or(out)
}

/// Whether nothing can satisfy the selector.
fn is_empty(selector: &Selector) -> bool {
    selector.contradiction().is_some()
}

fn selects_nothing(term: &PodTerm) -> bool {
    let labels = match &term.scope.base {
        ScopeBase::Labels(selector) => is_empty(selector),
        _ => false,
    };
    labels || is_empty(&term.selector) || !scopes_overlap(&[&term.scope])
}

/// The policy without the parts that have no effect, or a comment if the whole policy has none.
fn without_effect(mut imported: Printed, diagnostics: &mut Vec<Diagnostic>) -> Result<Printed, String> {
    let policy = &mut imported.policy;
    let reported = |what: &str, term: &PodTerm| {
        Diagnostic::new(&NO_EFFECT, what, term.location, "nothing can satisfy this selector")
            .note("the program omits it")
    };
    let first = policy.subjects.first().cloned();
    policy.subjects.retain(|term| !selects_nothing(term));
    if policy.subjects.is_empty() {
        if let Some(term) = first {
            diagnostics.push(reported(&format!("the policy `{}` selects no pod", policy.name), &term));
        }
        return Err(format!(
            "// The policy `{}` selects no pod: nothing can satisfy its selector.\n",
            policy.name
        ));
    }
    let mut names = std::mem::take(&mut imported.rule_names);
    names.resize(policy.rules.len(), None);
    let mut rules = Vec::with_capacity(policy.rules.len());
    for (mut rule, name) in std::mem::take(&mut policy.rules).into_iter().zip(names) {
        rule.peers.retain(|peer| match peer {
            Peer::Pods(term) if selects_nothing(term) => {
                diagnostics.push(reported(&format!("a peer of `{}` matches no pod", policy.name), term));
                false
            }
            _ => true,
        });
        // A port name that no pod can have matches nothing, but a rule without ports matches everything.
        let on_ports = !rule.ports.is_empty();
        rule.ports.retain(|term| match &term.port.which {
            Which::Named(name) => {
                let fine = check_port_name(name).is_ok();
                if !fine {
                    diagnostics.push(
                        Diagnostic::new(
                            &NO_EFFECT,
                            format!("no port can have the name `{name}`"),
                            term.location,
                            "matches nothing",
                        )
                        .note("the program omits it"),
                    );
                }
                fine
            }
            _ => true,
        });
        if !rule.peers.is_empty() && (!rule.ports.is_empty() || !on_ports) {
            simplify(&mut rule);
            rules.push((rule, name));
        } else if policy.tier == Tier::Namespaced {
            // A rule that allows nothing still isolates.
            match rule.direction {
                Direction::Ingress => policy.isolate.ingress.get_or_insert(rule.location),
                Direction::Egress => policy.isolate.egress.get_or_insert(rule.location),
            };
        }
    }
    (policy.rules, imported.rule_names) = rules.into_iter().unzip();
    Ok(imported)
}

/// Replaces all addresses of both families by `anywhere`. `anywhere` also replaces all pods in all
/// namespaces, if no pod can have an excepted address.
fn simplify(rule: &mut Rule) {
    let all = Block::everything().map(|block| block.net);
    let place = |net: IpNet| {
        let mut found = rule.peers.iter().enumerate().filter_map(|(index, peer)| match peer {
            Peer::Block(term) if term.block.net == net => Some((index, term)),
            _ => None,
        });
        found.next().filter(|_| found.next().is_none())
    };
    let [Some((first, v4)), Some((second, v6))] = all.map(place) else { return };
    let except: Vec<Block> =
        v4.block.except.iter().chain(&v6.block.except).map(|net| Block::from(*net)).collect();
    let location = v4.location;
    let no_pod = except.iter().all(|block| is_reserved(&block.net));
    let mut index = 0;
    rule.peers.retain(|peer| {
        index += 1;
        let everyone = matches!(peer, Peer::Pods(term)
            if term.selector.requirements.is_empty()
                && term.scope.base == ScopeBase::All
                && term.scope.except_names.is_empty()
                && term.scope.except_labels.is_empty());
        index - 1 != first && index - 1 != second && !(everyone && no_pod)
    });
    rule.peers.insert(0, Peer::Anywhere { except, location });
}

fn policy_text(out: &mut String, imported: &Printed, sets: &Sets) {
    let policy = &imported.policy;
    for line in &policy.docs {
        let line = line.replace(['\r', '\u{b}', '\u{c}'], " ");
        out.push_str(if line.is_empty() { "///" } else { "/// " });
        out.push_str(&line);
        out.push('\n');
    }
    let tier = match policy.tier {
        Tier::Admin => "admin ",
        Tier::Baseline => "baseline ",
        Tier::Namespaced => "",
    };
    let priority = match policy.tier {
        Tier::Namespaced => String::new(),
        _ if policy.priority == LAST_PRIORITY => String::new(),
        _ => format!(" priority {}", policy.priority),
    };
    let subjects: Vec<String> = policy.subjects.iter().map(|term| pods_text(term, true)).collect();
    out.push_str(&format!("{tier}policy {}{priority} for {} {{\n", policy.name, subjects.join(", ")));
    let mut names = imported.rule_names.iter();
    for rule in &policy.rules {
        if let Some(Some(name)) = names.next() {
            out.push_str(&format!("  // {}\n", name.replace(['\r', '\n'], " ")));
        }
        write_rule(out, rule, sets);
    }
    let silent = |direction: Direction| {
        policy.isolate.of(direction).is_some() && !policy.rules.iter().any(|rule| rule.direction == direction)
    };
    match (silent(Direction::Ingress), silent(Direction::Egress)) {
        (true, true) => out.push_str("  isolate ingress, egress\n"),
        (true, false) => out.push_str("  isolate ingress\n"),
        (false, true) => out.push_str("  isolate egress\n"),
        (false, false) => {}
    }
    settings_text(out, &policy.settings);
    out.push_str("}\n");
}

/// Writes the settings that are given.
fn settings_text(out: &mut String, settings: &Settings) {
    let failure = |policy: FailurePolicy| match policy {
        FailurePolicy::Ignore => "ignore",
        FailurePolicy::Fail => "fail",
    };
    let given = [
        settings.synchronize.map(|(value, _)| format!("synchronize = {value}")),
        settings.generate_existing.map(|(value, _)| format!("generate-existing = {value}")),
        settings.webhook_timeout.map(|(seconds, _)| format!("webhook-timeout = {seconds}s")),
        settings.failure_policy.map(|(value, _)| format!("failure-policy = {}", failure(value))),
        settings.orphan_on_delete.map(|(value, _)| format!("orphan-on-delete = {value}")),
    ];
    let given: Vec<String> = given.into_iter().flatten().collect();
    if !given.is_empty() {
        out.push_str(&format!("  kyverno {{\n    {}\n  }}\n", given.join("\n    ")));
    }
}
