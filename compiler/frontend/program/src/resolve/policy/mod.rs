//! Resolution of policies and assertions.

mod priorities;

use std::sync::Arc;

use npc_diagnostics::{Applicability, Diagnostic, Location};
use npc_syntax::ast::{self, Action, Direction, Item, Peer as PeerTree, Statement, Term, Tier};
use rustc_hash::FxHashMap;

use super::Context;
use super::sets::{Value, View, WRONG_KIND};
use crate::ir::{Isolation, LAST_PRIORITY, Peer, PodTerm, Policy, Rule, ScopeBase, Settings};
use crate::load::ItemSource;
use crate::values::address::{Block, subtract};
use crate::values::name::check_name;

pub(super) use priorities::priorities;

npc_diagnostics::codes! {
    /// # Two policies have the same name
    ///
    /// The name of a policy becomes the name of objects in the cluster, so it must be unique in the
    /// whole program.
    ///
    /// ```np fails
    /// policy web for pods { app = web } in namespace shop { isolate ingress }
    /// policy web for pods { app = web } in namespace blog { isolate ingress }
    /// ```
    ///
    /// ```np
    /// policy shop-web for pods { app = web } in namespace shop { isolate ingress }
    /// policy blog-web for pods { app = web } in namespace blog { isolate ingress }
    /// ```
    POLICY_TWICE = "NP0401" "policy-twice" Error;

    /// # The namespaces of a term are missing
    ///
    /// A policy belongs to no namespace, so it must state the namespaces of the pods that it selects.
    /// The same applies to the pods of an assertion.
    ///
    /// ```np fails
    /// policy web for pods { app = web } { isolate ingress }
    /// ```
    ///
    /// ```np
    /// policy web for pods { app = web } in namespace shop { isolate ingress }
    /// ```
    SUBJECT_SCOPE = "NP0402" "subject-scope" Error;

    /// # A subject's scope depends on the subject
    ///
    /// `same namespace` and `namespaces sharing` refer to the namespace of the pod that the policy
    /// selects. They are allowed only in the peers of a rule, not in the subject of a policy.
    ///
    /// ```np fails
    /// policy tenants for all pods in namespaces sharing tenant { isolate ingress }
    /// ```
    ///
    /// ```np
    /// policy tenants for all pods in namespaces { tenant } {
    ///   allow ingress from all pods in namespaces sharing tenant
    /// }
    /// ```
    RELATIVE_SUBJECT = "NP0403" "relative-subject" Error;

    /// # The tier does not support this statement
    ///
    /// A plain policy isolates and allows, like a NetworkPolicy: plain policies are a union, and none can
    /// deny a connection that another allows. Admin policies support `allow`, `deny` and `pass`, baseline
    /// policies `allow` and `deny`, and plain policies `allow` and `isolate`.
    ///
    /// ```np fails
    /// let metadata = 169.254.169.254/32
    /// policy no-metadata for all pods in all namespaces { deny egress to metadata }
    /// ```
    ///
    /// An admin policy denies connections regardless of plain policies:
    ///
    /// ```np
    /// let metadata = 169.254.169.254/32
    /// admin policy no-metadata priority 10 for all pods in all namespaces { deny egress to metadata }
    /// ```
    NOT_IN_TIER = "NP0404" "not-in-tier" Error;

    /// # An invalid priority
    ///
    /// Admin and baseline policies have a priority from 0 (evaluated first) to 1000 (evaluated last).
    /// Plain policies have none: they are a union, so their order does not matter.
    ///
    /// ```np fails
    /// policy p priority 10 for all pods in all namespaces { isolate ingress }
    /// ```
    ///
    /// ```np
    /// policy p for all pods in all namespaces { isolate ingress }
    /// ```
    PRIORITY = "NP0405" "priority" Error;

    /// # Two policies of the same priority can select the same pod
    ///
    /// If two admin policies or two baseline policies of the same priority select the same pod, it is
    /// undefined which of them decides. A policy without a priority has priority 1000.
    ///
    /// ```np fails
    /// admin policy a priority 5 for all pods in namespaces { env = prod } {
    ///   deny egress to 10.0.0.0/8
    /// }
    /// admin policy b priority 5 for pods { app = web } in all namespaces {
    ///   allow egress to 10.1.0.0/16
    /// }
    /// ```
    ///
    /// ```np
    /// admin policy a priority 5 for all pods in namespaces { env = prod } {
    ///   deny egress to 10.0.0.0/8
    /// }
    /// admin policy b priority 4 for pods { app = web } in all namespaces {
    ///   allow egress to 10.1.0.0/16
    /// }
    /// ```
    PRIORITY_OVERLAP = "NP0406" "priority-overlap" Error;

    /// # An empty policy
    ///
    /// The policy has no rule and isolates nothing, so it changes no verdict.
    ///
    /// ```np fails
    /// policy p for all pods in namespace shop { }
    /// ```
    ///
    /// To deny everything that no other policy allows:
    ///
    /// ```np
    /// policy p for all pods in namespace shop { isolate ingress, egress }
    /// ```
    EMPTY_POLICY = "NP0407" "empty-policy" Warning;

    /// # A peer next to `anywhere` is redundant
    ///
    /// `anywhere` already includes every pod and every address.
    ///
    /// ```np fails
    /// policy p for all pods in namespace shop { allow egress to anywhere, 10.0.0.0/8 }
    /// ```
    ///
    /// ```np
    /// policy p for all pods in namespace shop { allow egress to anywhere }
    /// ```
    BESIDE_ANYWHERE = "NP0408" "beside-anywhere" Warning;
}

/// The location of the first policy with each name.
pub(super) type Names = FxHashMap<Arc<str>, Location>;

impl Context<'_> {
    /// Reports a policy whose name is already in use.
    pub(super) fn policy_name(&mut self, source: ItemSource, tree: &ast::Policy, names: &mut Names) {
        let name = self.name(source, tree.name);
        let location = source.at(tree.name.span);
        match names.entry(Arc::clone(&name)) {
            std::collections::hash_map::Entry::Occupied(first) => {
                let first = *first.get();
                self.emit(
                    Diagnostic::new(
                        &POLICY_TWICE,
                        format!("two policies have the name `{name}`"),
                        location,
                        "again here",
                    )
                    .label(first, "first here")
                    .help("give this policy another name, or move its rules into the first one: policies are a union"),
                );
            }
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(location);
            }
        }
    }

    /// Resolves a policy. Returns `None` if its subject or one of its statements has an error, since its meaning is
    /// then unknown.
    pub(super) fn policy(
        &mut self,
        source: ItemSource,
        item: &Item,
        tree: &ast::Policy,
        view: &View<'_, '_>,
    ) -> Option<Policy> {
        let name = self.name(source, tree.name);
        let location = source.at(tree.name.span);
        let checked = check_name("policy", &name, location);
        self.ok(checked);
        let priority = self.priority(source, tree);
        let subjects = self.subjects(source, tree, view);

        let mut rules = Vec::with_capacity(tree.statements.len());
        let mut isolate = Isolation::default();
        let mut complete = !tree.broken;
        for statement in &tree.statements {
            match statement {
                Statement::Rule(rule) => match self.rule(source, tree, rule, view) {
                    Some(rule) => rules.push(rule),
                    None => complete = false,
                },
                Statement::Isolate(statement) => {
                    if tree.tier != Tier::Namespaced {
                        self.emit(isolate_in_tier(tree, source, source.at(statement.span), &name));
                        complete = false;
                        continue;
                    }
                    for (direction, span) in &statement.directions {
                        let place = Some(source.at(*span));
                        match direction {
                            Direction::Ingress => isolate.ingress = isolate.ingress.or(place),
                            Direction::Egress => isolate.egress = isolate.egress.or(place),
                        }
                    }
                }
            }
        }
        let mut settings = Settings::default();
        for block in &tree.settings {
            self.settings(source, block, &mut settings);
        }
        if tree.statements.is_empty() && !tree.broken {
            let help = match tree.tier {
                Tier::Namespaced => "to deny what no policy allows, write `isolate ingress, egress`",
                _ => "write a rule, such as `deny egress to 169.254.169.254`",
            };
            self.emit(
                Diagnostic::new(
                    &EMPTY_POLICY,
                    format!("the policy `{name}` is empty"),
                    location,
                    "it has no rule and isolates nothing",
                )
                .help(help),
            );
        }
        let subjects = subjects?;
        complete.then(|| Policy {
            name,
            location,
            whole: source.at(item.span),
            docs: self.docs(source, item),
            audit: tree.audit.map(|span| source.at(span)),
            tier: tree.tier,
            tier_location: tree.tier_span.map(|span| source.at(span)),
            priority: priority.unwrap_or(LAST_PRIORITY),
            priority_location: tree.priority.map(|word| source.at(word.span)),
            subjects,
            rules,
            isolate,
            settings,
        })
    }

    fn priority(&mut self, source: ItemSource, tree: &ast::Policy) -> Option<u16> {
        let word = tree.priority?;
        let location = source.at(word.span);
        let text = self.text(source, word).into_owned();
        if tree.tier == Tier::Namespaced {
            self.emit(
                Diagnostic::new(
                    &PRIORITY,
                    "a plain policy has no priority",
                    location,
                    "policies are a union: their order does not matter",
                )
                .help("write `admin policy` or `baseline policy`, or remove the priority"),
            );
            return None;
        }
        let number = text.parse().ok().filter(|number| *number <= LAST_PRIORITY);
        if number.is_none() {
            self.emit(Diagnostic::new(
                &PRIORITY,
                format!("`{text}` is not a priority"),
                location,
                "expected a number from 0 (evaluated first) to 1000",
            ));
        }
        number
    }

    fn subjects(
        &mut self,
        source: ItemSource,
        tree: &ast::Policy,
        view: &View<'_, '_>,
    ) -> Option<Vec<Arc<PodTerm>>> {
        let subjects = view.pods(source, &tree.subject, "a policy selects", self);
        let mut complete = subjects.is_some() && !tree.subject.is_empty();
        for term in &tree.subject {
            if let Term::Pods(pods) = term
                && pods.scope.is_none()
            {
                complete = false;
                self.emit(no_scope(source.at(pods.span), source.at(pods.span), None));
            }
        }
        for subject in subjects.iter().flatten() {
            if subject.scope_location.is_none() {
                // Terms in the policy itself are reported above. The others come from a set.
                let direct = tree.subject.iter().any(|term| source.at(term.span()) == subject.location);
                if !direct {
                    complete = false;
                    let place = tree.subject.iter().map(Term::span).reduce(npc_diagnostics::Span::to);
                    let place = source.at(place.unwrap_or(tree.name.span));
                    self.emit(no_scope(place, place, Some(subject.location)));
                }
                continue;
            }
            if let ScopeBase::Same | ScopeBase::Sharing(_) = subject.scope.base {
                complete = false;
                let place = subject.scope_location.unwrap_or(subject.location);
                let sharing = matches!(subject.scope.base, ScopeBase::Sharing(_));
                self.emit(
                    Diagnostic::new(
                        &RELATIVE_SUBJECT,
                        format!(
                            "`{}` is allowed only in the peers of a rule, not in the subject of a policy",
                            if sharing { "namespaces sharing" } else { "same namespace" }
                        ),
                        place,
                        "refers to the namespace of the pods that the policy selects",
                    )
                    .help(if sharing {
                        "select the namespaces that have the label: `namespaces { LABEL }`"
                    } else {
                        "name the namespaces: `namespace NAME`, `all namespaces`, `namespaces { … }`"
                    }),
                );
            }
        }
        subjects.filter(|_| complete)
    }

    fn rule(
        &mut self,
        source: ItemSource,
        policy: &ast::Policy,
        tree: &ast::Rule,
        view: &View<'_, '_>,
    ) -> Option<Rule> {
        let mut complete = true;
        let wrong_action = match (policy.tier, tree.action) {
            (Tier::Namespaced, Action::Deny | Action::Pass) | (Tier::Baseline, Action::Pass) => true,
            (_, Action::Allow | Action::Deny | Action::Pass) => false,
        };
        if wrong_action {
            complete = false;
            let name = self.text(source, policy.name).into_owned();
            self.emit(action_in_tier(policy, tree, source, &name));
        }
        let ports = view.ports(source, &tree.ports, self);
        let peers = self.peers(source, &tree.peers, view);
        let (ports, peers) = (ports?, peers?);
        complete.then(|| Rule {
            location: source.at(tree.span),
            action: tree.action,
            action_location: source.at(tree.action_span),
            direction: tree.direction,
            peers,
            ports,
            log: tree.log.map(|span| source.at(span)),
        })
    }

    fn peers(&mut self, source: ItemSource, trees: &[PeerTree], view: &View<'_, '_>) -> Option<Vec<Peer>> {
        let mut peers = Vec::with_capacity(trees.len());
        let upto = self.exceptions(source, trees, view);
        let mut complete = upto == trees.len();
        for tree in trees.iter().take(upto) {
            match tree {
                PeerTree::Anywhere { span, except } => {
                    let location = source.at(*span);
                    match view.addresses(source, except, self) {
                        Some(except) => {
                            complete &= self.leaves_something(&except, location);
                            peers.push(Peer::Anywhere { except, location });
                        }
                        None => complete = false,
                    }
                }
                PeerTree::Term(term) => match &*view.term(source, term, self) {
                    Value::Pods(list) => peers.extend(list.iter().cloned().map(Peer::Pods)),
                    Value::Addresses(list) => {
                        peers.extend(list.iter().map(|one| Peer::Block(Arc::clone(one))));
                    }
                    Value::Ports(_) => {
                        complete = false;
                        self.emit(
                            Diagnostic::new(
                                &WRONG_KIND,
                                "expected pods or addresses, found ports",
                                source.at(term.span()),
                                "these are ports",
                            )
                            .help("ports are written after `on`"),
                        );
                    }
                    Value::Broken => complete = false,
                },
            }
        }
        let everything =
            |tree: &&PeerTree| matches!(tree, PeerTree::Anywhere { except, .. } if except.is_empty());
        if let Some(anywhere) = trees.iter().find(everything)
            && let Some(beside) = trees.iter().find(|tree| tree.span() != anywhere.span())
        {
            self.emit(
                Diagnostic::new(
                    &BESIDE_ANYWHERE,
                    "`anywhere` already includes every pod and every address: other peers add nothing",
                    source.at(beside.span()),
                    "adds nothing",
                )
                .label(source.at(anywhere.span()), "this includes everything"),
            );
        }
        complete.then_some(peers)
    }

    /// Whether `anywhere except …` contains some address. Reports an error if not.
    fn leaves_something(&mut self, except: &[Block], location: Location) -> bool {
        let left = except.is_empty() || !subtract(&Block::everything(), except).is_empty();
        if !left {
            self.emit(Diagnostic::new(
                &crate::values::address::EXCEPT_OUTSIDE,
                "`except` excludes everything from `anywhere`",
                location,
                "every address is excluded",
            ));
        }
        left
    }

    /// Resolves an assertion. Returns `None` if it has an error.
    pub(super) fn assertion(
        &mut self,
        source: ItemSource,
        span: npc_diagnostics::Span,
        tree: &ast::Assert,
        view: &View<'_, '_>,
    ) -> Option<crate::ir::Assertion> {
        let sources =
            view.pods(source, std::slice::from_ref(&tree.source), "the source of an assertion must be", self);
        let destinations = self.peers(source, std::slice::from_ref(&tree.destination), view);
        let ports = view.ports(source, &tree.ports, self);
        let mut complete = true;
        for (list, span) in [(true, tree.source.span()), (false, tree.destination.span())] {
            let unscoped = if list {
                sources.iter().flatten().any(|pods| pods.scope_location.is_none())
            } else {
                destinations
                    .iter()
                    .flatten()
                    .any(|peer| matches!(peer, Peer::Pods(pods) if pods.scope_location.is_none()))
            };
            if unscoped {
                complete = false;
                let place = source.at(span);
                self.emit(no_scope(place, place, None));
            }
        }
        let (sources, destinations, ports) = (sources?, destinations?, ports?);
        complete.then(|| crate::ir::Assertion {
            allowed: tree.allowed,
            sources,
            destinations,
            ports,
            location: source.at(span),
        })
    }
}

fn no_scope(place: Location, end: Location, set: Option<Location>) -> Diagnostic {
    let diagnostic = Diagnostic::new(
        &SUBJECT_SCOPE,
        "the namespaces of these pods are missing",
        place,
        "add `in namespace NAME`, `in all namespaces` or `in namespaces { … }`",
    )
    .fix(
        Applicability::Maybe,
        "for every namespace write `in all namespaces`",
        Location::new(end.file, end.span.at_end()),
        " in all namespaces",
    );
    match set {
        Some(set) => diagnostic.label(set, "this set does not state them either"),
        None => diagnostic,
    }
}

fn action_in_tier(policy: &ast::Policy, rule: &ast::Rule, source: ItemSource, name: &str) -> Diagnostic {
    let place = source.at(rule.action_span);
    let ingress = rule.direction == Direction::Ingress;
    let (direction, preposition) = if ingress { ("ingress", "from") } else { ("egress", "to") };
    if rule.action == Action::Pass && policy.tier == Tier::Baseline {
        return Diagnostic::new(
            &NOT_IN_TIER,
            "a baseline policy cannot `pass`",
            place,
            "baseline is the last tier: there is no tier to pass to",
        )
        .help(format!("write `allow {direction} {preposition} …` or `deny {direction} {preposition} …`"));
    }
    let keyword = if rule.action == Action::Deny { "deny" } else { "pass" };
    let diagnostic = Diagnostic::new(
        &NOT_IN_TIER,
        format!("a plain policy cannot `{keyword}`"),
        place,
        "a plain policy has `allow` and `isolate`, and denies what no rule allows",
    )
    .note("plain policies are a union: none can deny what another allows");
    let policy_start = source.at(policy.name.span);
    let diagnostic = diagnostic.label(policy_start, format!("`{name}` is a plain policy"));
    if rule.action == Action::Pass {
        return diagnostic.help("make it an `admin policy`");
    }
    let allowed = policy.statements.iter().any(|statement| {
        matches!(statement, Statement::Rule(other) if other.action == Action::Allow && other.direction == rule.direction)
    });
    let everyone = matches!(rule.peers.as_slice(), [PeerTree::Anywhere { except, .. }] if except.is_empty());
    let addresses = matches!(rule.peers.as_slice(), [PeerTree::Term(Term::Word(_))]);
    match (everyone, allowed, addresses && rule.ports.is_empty()) {
        (true, _, _) if rule.ports.is_empty() => diagnostic.help(format!("write `isolate {direction}`: what no policy allows is then denied")).fix(
            Applicability::Maybe,
            format!("write `isolate {direction}`"),
            source.at(rule.span),
            format!("isolate {direction}"),
        ),
        (_, true, _) => diagnostic.help("what no rule allows is already denied: remove this rule, or exclude its peers with `except` in the rule that allows them; an `admin policy` denies regardless of plain policies"),
        (_, _, true) => diagnostic.help(format!(
            "write `allow {direction} {preposition} anywhere except …`, which allows everything else, or make it an `admin policy`, which denies regardless of plain policies"
        )),
        _ => diagnostic.help(format!(
            "list the allowed peers instead, with `allow {direction} {preposition} …`, or make it an `admin policy`, which denies regardless of plain policies"
        )),
    }
}

fn isolate_in_tier(policy: &ast::Policy, source: ItemSource, place: Location, name: &str) -> Diagnostic {
    let tier = if policy.tier == Tier::Admin { "an admin" } else { "a baseline" };
    Diagnostic::new(
        &NOT_IN_TIER,
        format!("{tier} policy cannot isolate"),
        place,
        "only plain policies isolate",
    )
    .label(source.at(policy.name.span), format!("`{name}` is {tier} policy"))
    .help("to deny everything, write `deny ingress from anywhere` as its last rule")
}
