//! Descriptions for hovers and views: a sentence for a policy, the members of a set, the meaning of a
//! keyword.

use std::sync::Arc;

use npc_diagnostics::{Diagnostic, Level, Location, Span};
use npc_driver::draft;
use npc_program::{Action, Direction, Policy, Rule, Set, Tier, Value};
use npc_syntax::TokenKind;
use npc_syntax::ast::{ItemKind, Peer, Statement};
use npc_targets::Target;

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
                    if policy.speaks_of(direction) {
                        parts.push(self.allowances(policy, direction));
                    }
                }
                let audit = if policy.audit.is_some() { "If it were in force: " } else { "" };
                match parts.is_empty() {
                    true => format!("{audit}{subject} are judged as if it were not there."),
                    false => format!(
                        "{audit}{subject} {}, unless another policy allows more.",
                        listed(&parts, "and")
                    ),
                }
            }
            Tier::Admin | Tier::Baseline => {
                parts.extend(policy.rules.iter().map(|rule| self.verdict(rule)));
                let when = match policy.tier {
                    Tier::Admin => "before any other policy is asked",
                    _ => "where no other policy decides",
                };
                let said =
                    if parts.is_empty() { "nothing is decided".to_owned() } else { parts.join("; then ") };
                let audit = if policy.audit.is_some() { "it would be decided" } else { "it is decided" };
                format!("For {subject}, {audit} {when} (priority {}): {said}.", policy.priority)
            }
        }
    }

    fn allowances(&self, policy: &Policy, direction: Direction) -> String {
        let rules = policy.rules.iter().filter(|rule| rule.direction == direction);
        let rules: Vec<String> = rules.map(|rule| self.peers(rule)).collect();
        match (direction, rules.is_empty()) {
            (Direction::Ingress, true) => "may be reached by nobody".to_owned(),
            (Direction::Egress, true) => "may reach nobody".to_owned(),
            (Direction::Ingress, false) => format!("may be reached only by {}", listed(&rules, "or by")),
            (Direction::Egress, false) => format!("may reach only {}", listed(&rules, "and")),
        }
    }

    fn verdict(&self, rule: &Rule) -> String {
        let action = match rule.action {
            Action::Allow => "allowed",
            Action::Deny => "denied",
            Action::Pass => "left to the policies below",
        };
        let (direction, preposition) = match rule.direction {
            Direction::Ingress => ("ingress", "from"),
            Direction::Egress => ("egress", "to"),
        };
        format!("{direction} {preposition} {} is {action}", self.peers(rule))
    }

    /// The peers and ports of a rule, as written in the source.
    fn peers(&self, rule: &Rule) -> String {
        let file = rule.location.file;
        let index = self.files().iter().position(|own| own.id == file);
        let item = index.and_then(|index| self.item(index, rule.location.span.start));
        let Some(ItemKind::Policy(policy)) = item.map(|item| &item.kind) else { return String::new() };
        let tree = policy.statements.iter().find_map(|statement| match statement {
            Statement::Rule(own) if own.span == rule.location.span => Some(own),
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
                list.iter().take(most).map(|term| npc_import::block_text(&term.block)).collect()
            }
            Value::Ports(list) => list.iter().take(most).map(|term| term.port.to_string()).collect(),
            Value::Pods(list) => {
                list.iter().take(most).map(|term| npc_import::pods_text(term, false)).collect()
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
    pub fn yaml_of(&self, policy: &Arc<Policy>) -> Option<(Target, String)> {
        let usual = match policy.tier {
            Tier::Namespaced => Target::Kyverno,
            Tier::Admin | Tier::Baseline => Target::ClusterNetworkPolicy,
        };
        let named = self.config.targets.iter().copied().filter(|target| *target != Target::Ebpf);
        named.chain([usual]).find_map(|target| {
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
        Some(format!("the program has mistakes: {first}"))
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
    pub fn compiled(&self, target: Target, policy: Option<&Arc<Policy>>) -> Result<String, String> {
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
                outputs.into_iter().next().ok_or_else(|| "nothing was written".to_owned())?
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
        T::Import => "Takes the sets of another file, whose path is relative to this one.",
        T::Let => "Gives a name to addresses, ports or pods.",
        T::Policy => "Says what some pods may do; several policies for one pod are a union.",
        T::Audit => "This policy decides nothing: what it would have decided is reported.",
        T::Admin => "The first tier: it can allow, deny or pass on, and no other policy undoes it.",
        T::Baseline => "The last tier: it decides where no other policy does.",
        T::Priority => "The order within a tier, 0 to 1000: the lower is asked first.",
        T::For => "The pods that the policy is for, each with their namespaces.",
        T::Kyverno => "Settings of what is generated for Kyverno.",
        T::Test => "Connections of a small cluster, and whether each is to be allowed. `npc test` runs it.",
        T::Assert => "A claim about every cluster there could be: it is proved, or refuted with an example.",
        T::Allow => "Lets connections through.",
        T::Deny => "Refuses connections: in the admin and baseline tiers, and in tests.",
        T::Pass => "Leaves connections to the policies below the admin tier.",
        T::Isolate => "Refuses what no policy allows, in these directions.",
        T::Ingress => "Towards the pods that the policy is for.",
        T::Egress => "From the pods that the policy is for.",
        T::From => "Where connections come from.",
        T::To => "Where connections go.",
        T::On => "The destination's ports. Without it, every protocol and port is meant.",
        T::Log => "What this rule decides is told, where a target can.",
        T::Anywhere => "Every pod and every address, in the cluster and outside.",
        T::Except => "Leaves out what follows: one thing, or several in parentheses.",
        T::All => "`all pods`, or `all namespaces`.",
        T::Pods => "Pods with some labels: `pods { app = web } in namespace shop`.",
        T::In => "In which namespaces; or, in a selector, one of some values.",
        T::Notin => "None of some values; an object without the label is meant too.",
        T::Namespace => "One namespace, by its name.",
        T::Namespaces => "Some namespaces: `(team-*)` by name, `{ env = prod }` by label, `sharing tenant`.",
        T::Same => "`same namespace`: that of the pod that the policy is for.",
        T::Sharing => "Namespaces that have these labels with the same values as the policy's own pod's.",
        T::Cluster => "A file with the namespaces and pods of this test, as kubectl prints them.",
        T::Pod => "A pod of this test: `pod web in shop { app = web } at 10.0.0.1`.",
        T::At => "The addresses of the pod.",
        T::Ports => "The named ports of the pod: `ports { http = tcp/8080 }`.",
        _ => return None,
    })
}
