//! Guards: ValidatingPolicies that reject NetworkPolicies which would undo a denial of the program.
//!
//! NetworkPolicies are a union, so `allow egress to anywhere except C` denies C only until someone creates a
//! NetworkPolicy that allows it. A guard rejects such a NetworkPolicy when it is created or updated. The compiler
//! writes a guard only for denials that a guard can check exactly, and reports why a denial gets none.

use npc_diagnostics::{Diagnostic, Location, SourceMap};
use npc_program::values::address::{Block, IpNet, subtract};
use npc_program::{FailurePolicy, Peer, PodTerm, Policy, Program, Rule, scopes_overlap};
use npc_vocabulary::{Direction, Tier};
use serde::Serialize;

use crate::kyverno_cel::expression::{NAMESPACE_OBJECT, in_scopes, string};
use crate::metadata::annotations;
use crate::options::{KyvernoVersion, Options};
use crate::yaml;

npc_diagnostics::codes! {
    /// # A guard would reject the program's own objects
    ///
    /// `--with-guard` writes a ValidatingPolicy that rejects every NetworkPolicy which allows what the
    /// program denies with `anywhere except`. Here another policy of the program allows it. Policies
    /// are a union, so the denial does not hold, and the guard would reject the program's own objects.
    ///
    /// ```np fails target=kyverno guard
    /// policy no-metadata for all pods in namespaces { env = prod } {
    ///   allow egress to anywhere except 169.254.169.254
    /// }
    /// policy agent for pods { app = agent } in namespaces { env = prod } {
    ///   allow egress to 169.254.0.0/16
    /// }
    /// ```
    ///
    /// Exclude the denied addresses from the other policy, or exclude from the denial the namespaces
    /// that need these addresses:
    ///
    /// ```np target=kyverno guard
    /// policy no-metadata for all pods in namespaces { env = prod } {
    ///   allow egress to anywhere except 169.254.169.254
    /// }
    /// policy agent for pods { app = agent } in namespaces { env = prod } {
    ///   allow egress to 169.254.0.0/16 except 169.254.169.254
    /// }
    /// ```
    GUARD_CONFLICT = "NP0613" "guard-conflict" Error;

    /// # A denial gets no guard
    ///
    /// A guard checks NetworkPolicies, not pods. It can detect that a NetworkPolicy allows an address,
    /// but not which pods have which addresses, nor which pods two selectors have in common. So the
    /// compiler writes guards only for policies that select all pods of their namespaces, and only for
    /// addresses that no pod can have: link-local, loopback and multicast addresses, and addresses
    /// outside `pod-cidrs` in `npc.toml`.
    ///
    /// ```np fails target=kyverno guard
    /// policy no-private for all pods in namespaces { env = prod } {
    ///   allow egress to anywhere except 10.0.0.0/8
    /// }
    /// ```
    ///
    /// No pod has a link-local address, so this denial gets a guard:
    ///
    /// ```np target=kyverno guard
    /// policy no-metadata for all pods in namespaces { env = prod } {
    ///   allow egress to anywhere except 169.254.169.254
    /// }
    /// ```
    NO_GUARD = "NP0614" "no-guard" Warning;

    /// # This version of Kyverno is too old for guards
    ///
    /// A guard is a `policies.kyverno.io/v1` ValidatingPolicy, and uses features of Kyverno 1.19. Use
    /// Kyverno 1.19.0 or later, or compile without `--with-guard`.
    GUARD_TOO_OLD = "NP0615" "guard-too-old" Error;
}

/// The first version of Kyverno that supports guards.
const FIRST: KyvernoVersion = KyvernoVersion { minor: 19, patch: 0 };

/// The prefix of a guard's name. It is shorter than the prefix of policies, so a guard's name is never too long if the
/// policy's name is not.
const PREFIX: &str = "guard-";

/// The denial of one policy in one direction.
struct Denial<'a> {
    policy: &'a Policy,
    direction: Direction,
    /// The denied CIDRs, each without exceptions.
    blocks: Vec<IpNet>,
    /// The subjects for which the guard is written: those that select all pods of their namespaces.
    subjects: Vec<&'a PodTerm>,
    /// The location of the first `anywhere except …`.
    location: Location,
}

/// Compiles the guards of a program. Returns the YAML documents and their number.
pub(crate) fn compile(
    program: &Program,
    sources: &SourceMap,
    options: &Options,
    failure_policy: FailurePolicy,
    diagnostics: &mut Vec<Diagnostic>,
) -> (String, usize) {
    let plain = |policy: &&Policy| policy.audit.is_none() && policy.tier == Tier::Namespaced;
    let mut denials = Vec::new();
    for policy in program.policies.iter().map(|policy| &**policy).filter(plain) {
        for direction in [Direction::Ingress, Direction::Egress] {
            denials.extend(denial(policy, direction, options, diagnostics));
        }
    }
    if options.kyverno_version < FIRST && !denials.is_empty() {
        diagnostics.push(
            Diagnostic::without_place(
                &GUARD_TOO_OLD,
                format!("Kyverno {} does not support guards", options.kyverno_version),
            )
            .help(format!("use Kyverno {FIRST} or later, or compile without `--with-guard`")),
        );
    }
    // Only rules that name addresses can undo a denial: no pod has a denied address.
    let openings: Vec<(&Policy, &Rule, Vec<Block>)> = program
        .policies
        .iter()
        .map(|policy| &**policy)
        .filter(plain)
        .flat_map(|policy| policy.rules.iter().map(move |rule| (policy, rule, allowed(rule))))
        .filter(|(_, _, blocks)| !blocks.is_empty())
        .collect();
    for denial in &denials {
        conflicts(denial, &openings, diagnostics);
    }
    let mut text = String::new();
    let mut guards = 0;
    for of_one in denials.chunk_by(|a, b| a.policy.name == b.policy.name) {
        let Some(first) = of_one.first() else { continue };
        text.push_str("---\n");
        // These types have no value that the YAML writer rejects.
        if let Err(error) = yaml::write_to(&mut text, &guard(first.policy, of_one, sources, failure_policy)) {
            debug_assert!(false, "{error}");
        }
        guards += 1;
    }
    (text, guards)
}

/// The addresses that a rule allows, without those of pods that it selects.
fn allowed(rule: &Rule) -> Vec<Block> {
    let mut blocks = Vec::new();
    for peer in &rule.peers {
        match peer {
            Peer::Anywhere { except, .. } => blocks.extend(subtract(&Block::everything(), except)),
            Peer::Block(term) => blocks.push(term.block.clone()),
            Peer::Pods(_) => {}
        }
    }
    blocks
}

/// Whether a guard of `denied` would reject an object that allows the block. Computes the same condition as the CEL of
/// [`expression`].
fn undoes(block: &Block, denied: &IpNet) -> bool {
    let overlap = block.net.contains(denied) || denied.contains(&block.net);
    overlap && !block.except.iter().any(|except| except.contains(denied))
}

/// The denial that a policy expresses in a direction with `anywhere except …`. Reports each part that a guard cannot
/// check; returns `None` if nothing is left.
fn denial<'a>(
    policy: &'a Policy,
    direction: Direction,
    options: &Options,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Denial<'a>> {
    let rules = || policy.rules.iter().filter(|rule| rule.direction == direction);
    let mut blocks = Vec::new();
    let mut location = None;
    for rule in rules() {
        for peer in &rule.peers {
            let Peer::Anywhere { except, location: place } = peer else { continue };
            if except.is_empty() {
                continue;
            }
            location.get_or_insert(*place);
            let mut none = |why: &str, help: &str| {
                diagnostics
                    .push(Diagnostic::new(&NO_GUARD, "this denial gets no guard", *place, why).help(help));
            };
            if !rule.ports.is_empty() {
                none(
                    "it covers only some ports, and a guard can only check whole addresses",
                    "write the rule without `on`, or add `isolate` and other rules for other ports",
                );
                continue;
            }
            for block in except {
                if !block.except.is_empty() {
                    none("the exception has an exception of its own", "list the denied CIDRs one by one");
                } else if !options.pod_cidrs.never_a_pod(&block.net) {
                    let why = format!(
                        "pods may have addresses in {}, and a guard cannot check which pods a selector matches",
                        block.net
                    );
                    none(&why, "set the CIDRs of the pods in npc.toml: `pod-cidrs` under `[cluster]`");
                } else if !blocks.contains(&block.net) {
                    blocks.push(block.net);
                }
            }
        }
    }
    // The policy does not deny an address that another of its rules allows.
    let own: Vec<Block> = rules().flat_map(allowed).collect();
    blocks.retain(|denied| !own.iter().any(|block| undoes(block, denied)));
    let location = location.filter(|_| !blocks.is_empty())?;
    let mut subjects = Vec::new();
    for subject in &policy.subjects {
        if subject.selector.requirements.is_empty() {
            subjects.push(&**subject);
        } else {
            diagnostics.push(
                Diagnostic::new(
                    &NO_GUARD,
                    "this denial gets no guard",
                    subject.location,
                    "selects only some pods, and a guard cannot check which pods two selectors have in common",
                )
                .help("make the denial a policy for `all pods`"),
            );
        }
    }
    (!subjects.is_empty()).then_some(Denial { policy, direction, blocks, subjects, location })
}

/// Reports the rules of the program whose objects the guard would reject.
fn conflicts(
    denial: &Denial<'_>,
    openings: &[(&Policy, &Rule, Vec<Block>)],
    diagnostics: &mut Vec<Diagnostic>,
) {
    for (policy, rule, blocks) in openings {
        if rule.direction != denial.direction {
            continue;
        }
        let hit = denial.blocks.iter().find(|denied| blocks.iter().any(|block| undoes(block, denied)));
        let Some(denied) = hit else { continue };
        let meet = |other: &std::sync::Arc<PodTerm>| {
            denial.subjects.iter().any(|subject| scopes_overlap(&[&subject.scope, &other.scope]))
        };
        if !policy.subjects.iter().any(meet) {
            continue;
        }
        diagnostics.push(
            Diagnostic::new(
                &GUARD_CONFLICT,
                format!(
                    "the guard of `{}` would reject the NetworkPolicies of `{}`",
                    denial.policy.name, policy.name
                ),
                rule.location,
                format!("allows what `{}` denies: {denied}", denial.policy.name),
            )
            .label(denial.location, "denied here")
            .note("policies are a union: the denial does not hold in namespaces that both policies cover")
            .help(format!(
                "exclude it here with `except {denied}`, or make the namespaces of the two policies disjoint"
            )),
        );
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ValidatingPolicy {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Serialize)]
struct Metadata {
    name: String,
    annotations: std::collections::BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    validation_actions: [&'static str; 1],
    failure_policy: &'static str,
    match_constraints: MatchConstraints,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    match_conditions: Vec<MatchCondition>,
    validations: Vec<Validation>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MatchConstraints {
    resource_rules: [ResourceRule; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceRule {
    api_groups: [&'static str; 1],
    api_versions: [&'static str; 1],
    operations: [&'static str; 2],
    resources: [&'static str; 1],
}

#[derive(Serialize)]
struct MatchCondition {
    name: &'static str,
    expression: String,
}

#[derive(Serialize)]
struct Validation {
    message: String,
    expression: String,
}

/// The guard of one policy.
fn guard(
    policy: &Policy,
    denials: &[Denial<'_>],
    sources: &SourceMap,
    failure_policy: FailurePolicy,
) -> ValidatingPolicy {
    let source = sources.line_of(policy.location);
    let scopes =
        denials.iter().take(1).flat_map(|denial| denial.subjects.iter().map(|subject| &subject.scope));
    let scope = in_scopes(NAMESPACE_OBJECT, scopes);
    ValidatingPolicy {
        api_version: "policies.kyverno.io/v1",
        kind: "ValidatingPolicy",
        metadata: Metadata {
            name: format!("{PREFIX}{}", policy.name),
            annotations: annotations(policy, &source),
        },
        spec: Spec {
            validation_actions: ["Deny"],
            failure_policy: match failure_policy {
                FailurePolicy::Ignore => "Ignore",
                FailurePolicy::Fail => "Fail",
            },
            match_constraints: MatchConstraints {
                resource_rules: [ResourceRule {
                    api_groups: ["networking.k8s.io"],
                    api_versions: ["v1"],
                    operations: ["CREATE", "UPDATE"],
                    resources: ["networkpolicies"],
                }],
            },
            match_conditions: scope
                .into_iter()
                .map(|expression| MatchCondition { name: "scope", expression })
                .collect(),
            validations: denials.iter().map(|denial| validation(denial, &source)).collect(),
        },
    }
}

fn validation(denial: &Denial<'_>, source: &str) -> Validation {
    let blocks: Vec<String> = denial.blocks.iter().map(ToString::to_string).collect();
    let (direction, preposition) = match denial.direction {
        Direction::Ingress => ("ingress", "from"),
        Direction::Egress => ("egress", "to"),
    };
    Validation {
        message: format!(
            "{direction} {preposition} {} is denied by the policy {} ({source}), and this NetworkPolicy would allow it",
            blocks.join(", "),
            denial.policy.name
        ),
        expression: expression(direction, preposition, &blocks),
    }
}

/// The CEL condition that no rule of the object allows an address of the denied CIDRs: every rule lists its peers, and
/// every `ipBlock` among them is disjoint from each denied CIDR or excludes all of it.
fn expression(direction: &str, peers: &str, denied: &[String]) -> String {
    let denied: Vec<String> = denied.iter().map(|block| string(block)).collect();
    format!(
        "object.spec.?{direction}.orValue([]).all(rule, has(rule.{peers}) && size(rule.{peers}) > 0 && \
         rule.{peers}.all(peer, !has(peer.ipBlock) || [{}].all(denied, \
         !cidr(peer.ipBlock.cidr).containsCIDR(denied) && !cidr(denied).containsCIDR(peer.ipBlock.cidr) || \
         peer.ipBlock.?except.orValue([]).exists(except, cidr(except).containsCIDR(denied)))))",
        denied.join(", ")
    )
}
