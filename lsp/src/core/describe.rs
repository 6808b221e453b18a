//! Descriptions for hovers and views: a sentence for a policy, the members of a set, the meaning of a
//! keyword.

use std::sync::Arc;

use npc_diagnostics::{Diagnostic, Level, Location, Span};
use npc_driver::draft;
use npc_program::{Policy, Rule, Set, Value};
use npc_syntax::TokenKind;
use npc_syntax::ast::{ItemKind, Peer, Statement};
use npc_targets::AnyTarget;
use npc_vocabulary::{Action, Direction, Tier};

use super::program::Program;
use super::selected;

/// How many members of a set are listed.
const MOST_MEMBERS: usize = 20;

/// How many lines of YAML are shown.
const MOST_LINES: usize = 80;

impl Program {
    /// Describes a policy in one sentence.
    #[must_use]
    pub fn sentence(&self, policy: &Policy) -> String {
        let subject: Vec<String> = policy.subjects.iter().map(|own| self.code(own.location)).collect();
        let subject = listed(&subject, "and");
        let mut parts: Vec<String> = Vec::new();
        match policy.tier {
            Tier::Namespaced => {
                for direction in [Direction::Ingress, Direction::Egress] {
                    if policy.covers(direction) {
                        parts.push(self.allowances(policy, direction));
                    }
                }
                let audit = if policy.audit.is_some() { "If it were enforced: " } else { "" };
                match parts.is_empty() {
                    true => format!("{audit}{subject} are not affected by this policy."),
                    false => format!(
                        "{audit}{subject} {}, unless another policy allows more.",
                        listed(&parts, "and")
                    ),
                }
            }
            Tier::Admin | Tier::Baseline => {
                parts.extend(policy.rules.iter().map(|rule| self.verdict(rule)));
                let when = match policy.tier {
                    Tier::Admin => "before all other tiers",
                    _ => "if no other tier decides",
                };
                let said = if parts.is_empty() { "nothing".to_owned() } else { parts.join("; then ") };
                let audit =
                    if policy.audit.is_some() { "this policy would decide" } else { "this policy decides" };
                format!("For {subject}, {audit} {when} (priority {}): {said}.", policy.priority)
            }
        }
    }

    fn allowances(&self, policy: &Policy, direction: Direction) -> String {
        let rules = policy.rules.iter().filter(|rule| rule.direction == direction);
        let rules: Vec<String> = rules.map(|rule| self.peers(rule)).collect();
        match (direction, rules.is_empty()) {
            (Direction::Ingress, true) => "accept no connections".to_owned(),
            (Direction::Egress, true) => "may not connect to anything".to_owned(),
            (Direction::Ingress, false) => format!("may be reached only by {}", listed(&rules, "or by")),
            (Direction::Egress, false) => format!("may reach only {}", listed(&rules, "and")),
        }
    }

    fn verdict(&self, rule: &Rule) -> String {
        let action = match rule.action {
            Action::Allow => "allowed",
            Action::Deny => "denied",
            Action::Pass => "passed on to the lower tiers",
        };
        let (direction, preposition) = match rule.direction {
            Direction::Ingress => ("ingress", "from"),
            Direction::Egress => ("egress", "to"),
        };
        format!("{direction} {preposition} {} is {action}", self.peers(rule))
    }

    /// The peers and ports of a rule, as written in the source.
    fn peers(&self, rule: &Rule) -> String {
        let Location { file, span } = self.absolute(rule.location);
        let index = self.files().iter().position(|own| own.id == file);
        let item = index.and_then(|index| self.item(index, span.start));
        let Some(ItemKind::Policy(policy)) = item.map(|item| &item.kind) else { return String::new() };
        let tree = policy.statements.iter().find_map(|statement| match statement {
            Statement::Rule(own) if own.span == span => Some(own),
            _ => None,
        });
        let Some(tree) = tree else { return String::new() };
        let written = |spans: &mut dyn Iterator<Item = Span>| {
            spans.reduce(Span::to).map(|span| format!("`{}`", self.written(Location::new(file, span))))
        };
        let peers = written(&mut tree.peers.iter().map(Peer::span)).unwrap_or_default();
        match written(&mut tree.ports.iter().map(|port| port.span)) {
            Some(ports) => format!("{peers} on {ports}"),
            None => peers,
        }
    }

    fn code(&self, location: Location) -> String {
        format!("`{}`", self.written(location))
    }

    /// The members of a set, one line each.
    #[must_use]
    pub fn members(&self, set: &Set) -> Vec<String> {
        let most = MOST_MEMBERS;
        let mut shown: Vec<String> = match &set.value {
            Value::Addresses(list) => {
                list.iter().take(most).map(|term| npc_print::block_text(&term.block)).collect()
            }
            Value::Ports(list) => list.iter().take(most).map(|term| term.port.to_string()).collect(),
            Value::Pods(list) => {
                list.iter().take(most).map(|term| npc_print::pods_text(term, false)).collect()
            }
            Value::Broken => Vec::new(),
        };
        let rest = set.value.len().saturating_sub(shown.len());
        if rest > 0 {
            shown.push(format!("… and {rest} more"));
        }
        shown
    }

    /// How many of the cluster's pods a set selects.
    #[must_use]
    pub fn pods_of(&self, set: &Set) -> Option<usize> {
        let Value::Pods(list) = &set.value else { return None };
        let cluster = self.cluster.as_deref()?;
        Some(selected::any(cluster, list.iter().map(|term| &**term))?.len())
    }

    /// The doc comment of an item.
    #[must_use]
    pub fn docs(&self, file: usize, offset: u32) -> String {
        let source = self.source(file);
        let lines = self.item(file, offset).into_iter().flat_map(|item| item.documentation(source));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Compiles one policy. Uses the first target of the configuration that supports it, otherwise the
    /// default target for its tier.
    #[must_use]
    pub fn yaml_of(&self, policy: &Arc<Policy>) -> Option<(AnyTarget, String)> {
        let needs_tiers = policy.tier != Tier::Namespaced;
        let usual = AnyTarget::with(|target| target.text && (target.tiers || !needs_tiers)).next();
        let named = self.config.targets.iter().copied().filter(|target| target.capabilities().text);
        named.chain(usual).find_map(|target| {
            let text = self.compiled(target, Some(policy)).ok()?;
            let mut lines: Vec<&str> = text.lines().skip_while(|line| line.starts_with(['#', '-'])).collect();
            if lines.len() > MOST_LINES {
                lines.truncate(MOST_LINES);
                lines.push("# …");
            }
            (!lines.is_empty()).then(|| (target, lines.join("\n")))
        })
    }

    /// If the program has errors, a message with the first one.
    #[must_use]
    pub fn mistake(&self) -> Option<String> {
        let first = self.first_error(&self.checked.report.diagnostics)?;
        Some(format!("the program has errors: {first}"))
    }

    fn first_error(&self, found: &[Diagnostic]) -> Option<String> {
        let first = found.iter().find(|own| own.level == Level::Error)?;
        let place = first.location().map(|place| format!("{}: ", self.checked.sources().line_of(place)));
        Some(format!("{}{}", place.unwrap_or_default(), first.message))
    }

    /// Compiles the program, or one policy of it, for a target.
    ///
    /// # Errors
    ///
    /// The first error of the program or the target.
    pub fn compiled(&self, target: AnyTarget, policy: Option<&Arc<Policy>>) -> Result<String, String> {
        let cluster = self.cluster.as_deref();
        let output = match policy {
            Some(policy) => {
                let alone = npc_program::Program {
                    policies: vec![Arc::clone(policy)],
                    settings: self.checked.program.settings.clone(),
                    ..npc_program::Program::default()
                };
                npc_targets::compile(target, &alone, self.checked.sources(), &self.config.options, cluster)
            }
            None => {
                if let Some(why) = self.mistake() {
                    return Err(why);
                }
                let outputs = draft(&self.checked, &[target], &self.config.options, cluster);
                outputs.into_iter().next().ok_or_else(|| "there is no output".to_owned())?
            }
        };
        match self.first_error(&output.diagnostics) {
            Some(why) => Err(why),
            None => Ok(output.text),
        }
    }
}

/// "a", "a and b", "a, b and c"
fn listed(parts: &[String], word: &str) -> String {
    match parts.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, [first])) => format!("{first} {word} {last}"),
        Some((last, rest)) => format!("{}, {word} {last}", rest.join(", ")),
    }
}

/// Describes a keyword in one sentence.
#[must_use]
pub const fn keyword(kind: TokenKind) -> Option<&'static str> {
    use TokenKind as T;
    Some(match kind {
        T::Import => "Imports the sets of another file. The path is relative to this file.",
        T::Let => "Gives a name to addresses, ports or pods.",
        T::Policy => "Selects pods and decides about their connections. Plain policies for one pod add up.",
        T::Audit => "An audit policy decides nothing. Targets that support it report what it would decide.",
        T::Admin => "The first tier: its rules allow, deny or pass, and no other tier can override them.",
        T::Baseline => "The last tier: it decides if no other policy does.",
        T::Priority => "The order within a tier, from 0 to 1000. The lowest is evaluated first.",
        T::For => "The pods that the policy selects, with their namespaces.",
        T::Kyverno => "Settings of the generated Kyverno policies.",
        T::Test => "Connections in a small cluster, with their expected verdicts. `npc test` runs it.",
        T::Assert => "A property of every possible cluster: npc proves it or shows a counterexample.",
        T::Allow => "Allows connections.",
        T::Deny => "Denies connections. Only in the admin and baseline tiers, in tests and in assertions.",
        T::Pass => "Leaves connections to the tiers below the admin tier.",
        T::Isolate => "Denies connections that no policy allows, in these directions.",
        T::Ingress => "Connections to the selected pods.",
        T::Egress => "Connections from the selected pods.",
        T::From => "The sources of connections.",
        T::To => "The destinations of connections.",
        T::On => "The destination ports. Without it, the rule matches every protocol and port.",
        T::Log => "Logs the decisions of this rule, if the target supports it.",
        T::Anywhere => "Every pod and every address, inside and outside the cluster.",
        T::Except => "Excludes the following item, or several in parentheses.",
        T::All => "`all pods`, or `all namespaces`.",
        T::Pods => "Pods with some labels: `pods { app = web } in namespace shop`.",
        T::In => "The namespaces of pods; in a selector, one of several values.",
        T::Notin => "None of several values. Objects without the label match too.",
        T::Namespace => "One namespace, by name.",
        T::Namespaces => "Namespaces by name `(team-*)`, by label `{ env = prod }`, or `sharing tenant`.",
        T::Same => "`same namespace`: the selected pod's own namespace.",
        T::Sharing => "Namespaces that have the same values of these labels as the selected pod's namespace.",
        T::Cluster => "A file with the namespaces and pods of this test, as `kubectl get -o yaml` prints it.",
        T::Pod => "A pod of this test: `pod web in shop { app = web } at 10.0.0.1`.",
        T::At => "The addresses of the pod.",
        T::Ports => "The named ports of the pod: `ports { http = tcp/8080 }`.",
        _ => return None,
    })
}
