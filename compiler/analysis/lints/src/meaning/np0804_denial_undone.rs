//! Reports denials that other policies undo: addresses that one policy excludes and another allows, and rules
//! for all other addresses that open what another policy closes.

use std::borrow::Cow;
use std::sync::Arc;

use npc_diagnostics::{Diagnostic, Location};
use npc_program::values::address::{Block, IpNet};
use npc_program::{CidrTerm, Peer, Policy, Program, Rule};
use npc_proof::{Fact, Witness};
use npc_vocabulary::{Action, Direction, Tier};

use super::{Overview, Reader, RuleList, format_witness};

npc_diagnostics::codes! {
    /// # A denial that another policy undoes
    ///
    /// `except` does not deny: it only excludes the addresses from what this rule allows, so they
    /// are allowed if another policy allows them. Likewise, a rule that allows every address except
    /// a few also allows what another policy closes for some of the same pods, because the rules of
    /// plain policies add up.
    ///
    /// Nothing is reported if a policy allows the internet, without `10.0.0.0/8` or `fc00::/7`, to
    /// some of the pods that another policy isolates: that is a deliberate exception.
    ///
    /// ```np fails
    /// policy no-metadata for all pods in all namespaces {
    ///   allow egress to anywhere except 169.254.169.254
    /// }
    /// policy crawler for pods { app = crawler } in namespace shop {
    ///   allow egress to 0.0.0.0/0, ::/0 on tcp/80, udp/53
    /// }
    /// ```
    ///
    /// To deny connections whatever other policies allow, use an admin policy, if the cluster
    /// supports them:
    ///
    /// ```np
    /// admin policy no-metadata priority 10 for all pods in all namespaces {
    ///   deny egress to 169.254.169.254
    /// }
    /// policy crawler for pods { app = crawler } in namespace shop {
    ///   allow egress to 0.0.0.0/0, ::/0 on tcp/80, udp/53
    /// }
    /// ```
    DENIAL_UNDONE = "NP0804" "denial-undone" Warning;
}

/// The maximum number of pairs of a denial and a rule for which all pairs are compared. With more,
/// a denial is compared only with policies that select one of its example pods.
const MOST_PAIRS: usize = 200_000;

/// A rule with a peer that excludes addresses.
struct Denial<'p> {
    index: usize,
    policy: &'p Policy,
    rule: &'p Rule,
    /// The excluded addresses.
    except: Vec<Block>,
    location: Location,
    /// Whether the rule allows all other addresses, on every port.
    open: bool,
}

pub(crate) fn run(overview: &Overview<'_>) -> Vec<Diagnostic> {
    // The rules that allow addresses, which may undo a denial.
    let allows = overview.rules(allows_addresses);
    overview.each(|reader, index, policy, found| {
        if policy.tier != Tier::Namespaced {
            return;
        }
        for rule in &policy.rules {
            let denials = rule.peers.iter().filter_map(|peer| denial(index, policy, rule, peer));
            found.extend(denials.filter_map(|denial| look(reader, &denial, &allows)));
        }
    })
}

fn look<'p>(reader: &Reader<'_, 'p>, denial: &Denial<'p>, allows: &RuleList<'p>) -> Option<Diagnostic> {
    let near = reader.near(denial.index, denial.policy);
    let is_near = |index: usize| {
        index != denial.index && near.as_ref().is_none_or(|near| near.binary_search(&index).is_ok())
    };
    let mut undoing = reader
        .overlapping_rules(allows, denial.policy, |index, rule| is_near(index) && touches(denial, rule));
    if let Some((policy, rule, witness)) =
        undoing.find_map(|(_, policy, rule)| Some((policy, rule, undone(reader, denial, policy, rule)?)))
    {
        // One pair of conflicting policies is enough for one rule.
        return Some(report_undone(denial, policy, rule, &witness));
    }
    if !denial.open {
        return None;
    }
    let is_closed = |index: usize, policy: &Policy| {
        is_near(index) && policy.tier == Tier::Namespaced && policy.covers(denial.rule.direction)
    };
    let mut closed = reader.overlapping(denial.policy, is_closed);
    // Prefers the policy with the fewest rules: it is the strictest, and the conflict is
    // clearest.
    closed.sort_by_key(|(_, policy)| policy.rules.len());
    let opened = closed.into_iter().find_map(|(_, policy)| Some((policy, opened(reader, denial, policy)?)));
    opened.map(|(policy, witness)| report_opened(denial, policy, &witness))
}

/// Whether all pairs of denials and other policies are compared, or only those with a common
/// example pod.
pub(super) fn all_pairs(program: &Program) -> bool {
    let allows = rules(program).filter(|(_, _, rule)| allows_addresses(rule)).count();
    let denials = denying(program).filter(|(_, _, rule, peer)| left_out(rule, peer).next().is_some()).count();
    denials * allows.max(isolating(program).count()) <= MOST_PAIRS
}

fn allows_addresses(rule: &Rule) -> bool {
    rule.action == Action::Allow && rule.peers.iter().any(|peer| !matches!(peer, Peer::Pods(_)))
}

fn isolating(program: &Program) -> impl Iterator<Item = (usize, &Policy)> {
    program.deciding().filter(|(_, policy)| policy.tier == Tier::Namespaced)
}

fn rules(program: &Program) -> impl Iterator<Item = (usize, &Policy, &Rule)> {
    program.deciding().flat_map(|(index, policy)| policy.rules.iter().map(move |rule| (index, policy, rule)))
}

/// The peers of all rules of plain policies.
fn denying(program: &Program) -> impl Iterator<Item = (usize, &Policy, &Rule, &Peer)> {
    let plain = rules(program).filter(|(_, policy, _)| policy.tier == Tier::Namespaced);
    plain.flat_map(|(index, policy, rule)| rule.peers.iter().map(move |peer| (index, policy, rule, peer)))
}

/// The addresses that a peer of a rule excludes and no other peer of the rule includes.
fn left_out<'r>(rule: &'r Rule, peer: &'r Peer) -> impl Iterator<Item = Cow<'r, Block>> {
    let (all, nets): (&[Block], &[IpNet]) = match peer {
        Peer::Pods(_) => (&[], &[]),
        Peer::Anywhere { except, .. } => (except, &[]),
        Peer::Block(term) => (&[], &term.block.except),
    };
    let all = all.iter().map(Cow::Borrowed);
    let named = |block: &Block| {
        rule.peers.iter().any(|other| match other {
            Peer::Block(term) => inside(block, &term.block),
            Peer::Anywhere { except, .. } => except.is_empty(),
            Peer::Pods(_) => false,
        })
    };
    let nets = nets.iter().map(|net| Cow::Owned(Block::from(*net)));
    all.chain(nets).filter(move |block| !named(block))
}

/// The denial of a peer, if it excludes addresses.
fn denial<'p>(index: usize, policy: &'p Policy, rule: &'p Rule, peer: &Peer) -> Option<Denial<'p>> {
    let (location, everything) = match peer {
        Peer::Pods(_) => return None,
        Peer::Anywhere { location, .. } => (*location, true),
        Peer::Block(term) => (term.location, term.block.net.prefix_len() == 0),
    };
    let except: Vec<Block> = left_out(rule, peer).map(Cow::into_owned).collect();
    let open = everything && rule.ports.is_empty();
    (!except.is_empty()).then_some(Denial { index, policy, rule, except, location, open })
}

/// Whether all of a CIDR is in another, and no part of it is among the other's exceptions.
fn inside(block: &Block, other: &Block) -> bool {
    other.net.contains(&block.net)
        && !other.except.iter().any(|net| net.contains(&block.net) || block.net.contains(net))
}

/// Whether two CIDRs may share an address. An exception counts only if it contains the other CIDR
/// entirely.
fn overlaps(a: &Block, b: &Block) -> bool {
    (a.net.contains(&b.net) || b.net.contains(&a.net))
        && !b.except.iter().any(|net| net.contains(&a.net))
        && !a.except.iter().any(|net| net.contains(&b.net))
}

/// Whether a rule of another policy may allow some of the addresses that a denial excludes.
fn touches(denial: &Denial<'_>, rule: &Rule) -> bool {
    rule.direction == denial.rule.direction
        && rule.peers.iter().any(|peer| match peer {
            Peer::Pods(_) => false,
            Peer::Block(term) => denial.except.iter().any(|block| overlaps(block, &term.block)),
            Peer::Anywhere { except, .. } => {
                denial.except.iter().any(|block| !except.iter().any(|other| inside(block, other)))
            }
        })
}

/// Finds a connection to an excluded address that a rule of another policy allows.
fn undone<'p>(
    reader: &Reader<'_, 'p>,
    denial: &Denial<'p>,
    policy: &'p Policy,
    rule: &Rule,
) -> Option<Witness> {
    // The excluded addresses as a rule of the denial's policy, and the other rule with its address
    // peers only.
    let left_out = Rule {
        peers: denial
            .except
            .iter()
            .map(|block| Peer::Block(Arc::new(CidrTerm { block: block.clone(), location: denial.location })))
            .collect(),
        ..denial.rule.clone()
    };
    let by_address = Rule {
        peers: rule.peers.iter().filter(|peer| !matches!(peer, Peer::Pods(_))).cloned().collect(),
        ..rule.clone()
    };
    let mut judges = admin(reader, rule.direction);
    judges.extend([denial.policy, policy]);
    let facts = [
        Fact::Matches(denial.policy, &left_out),
        Fact::Matches(policy, &by_address),
        Fact::Allows(&judges, rule.direction),
    ];
    // The policy does not exclude addresses that another of its rules allows.
    let direction = denial.rule.direction;
    let own = denial.policy.rules.iter().filter(|own| own.direction == direction);
    let none: Vec<Fact<'_>> = own.map(|own| Fact::Matches(denial.policy, own)).collect();
    let witness = reader.find(&facts, &none)?;
    side_allows(reader, denial, &witness).then_some(witness)
}

/// Finds a connection that a denial allows, of a pod that another policy isolates, and that no
/// other rule allows.
fn opened<'p>(reader: &Reader<'_, 'p>, denial: &Denial<'p>, policy: &'p Policy) -> Option<Witness> {
    let direction = denial.rule.direction;
    if is_internet_access(reader, denial, policy) {
        return None;
    }
    // A policy that allows the same connections is not stricter.
    let plain = reader.overlapping(denial.policy, |_, other| other.tier == Tier::Namespaced);
    let rules = plain.iter().flat_map(|(_, of)| of.rules.iter().map(move |rule| (*of, rule)));
    let others: Vec<Fact<'_>> = rules
        .filter(|(_, rule)| rule.direction == direction && !std::ptr::eq(*rule, denial.rule))
        .map(|(of, rule)| Fact::Matches(of, rule))
        .collect();
    let mut judges = admin(reader, direction);
    judges.push(denial.policy);
    let facts = [
        Fact::Matches(denial.policy, denial.rule),
        Fact::Selects(policy, direction),
        Fact::Allows(&judges, direction),
    ];
    let witness = reader.find(&facts, &others)?;
    side_allows(reader, denial, &witness).then_some(witness)
}

/// Whether a rule deliberately allows the internet to some of the pods that another policy
/// isolates: it selects fewer pods, and it excludes private addresses (`10.0.0.0/8` or `fc00::/7`)
/// and not only a few addresses.
fn is_internet_access(reader: &Reader<'_, '_>, denial: &Denial<'_>, policy: &Policy) -> bool {
    let mut private = ["10.0.0.0/8", "fc00::/7"].into_iter().filter_map(|net| net.parse::<IpNet>().ok());
    let leaves_out_private =
        private.any(|net| denial.except.iter().any(|block| inside(&Block::from(net), block)));
    let direction = denial.rule.direction;
    let (own, others) = (Fact::Selects(denial.policy, direction), Fact::Selects(policy, direction));
    leaves_out_private && !reader.possible(&[own], &[others]) && reader.possible(&[others], &[own])
}

fn admin<'p>(reader: &Reader<'_, 'p>, direction: Direction) -> Vec<&'p Policy> {
    reader.tier(Tier::Admin).filter(|policy| policy.covers(direction)).collect()
}

/// Whether the whole program allows the connection, for the pod of the denial. The prover was given only some
/// of its policies, so this confirms a finding.
fn side_allows(reader: &Reader<'_, '_>, denial: &Denial<'_>, witness: &Witness) -> bool {
    let connection = witness.connection();
    connection.is_some_and(|connection| reader.allows(denial.policy, &connection, denial.rule.direction))
}

fn report_undone(denial: &Denial<'_>, policy: &Policy, rule: &Rule, witness: &Witness) -> Diagnostic {
    let diagnostic = Diagnostic::new(
        &DENIAL_UNDONE,
        format!("policy `{}` excludes addresses that policy `{}` allows", denial.policy.name, policy.name),
        denial.location,
        "excluded here, which does not deny them",
    )
    .label(rule.location, "allowed here, for some of the same pods");
    let help = format!("exclude them in policy `{}` too", policy.name);
    finish(diagnostic, denial, &help, witness)
}

fn report_opened(denial: &Denial<'_>, policy: &Policy, witness: &Witness) -> Diagnostic {
    let diagnostic = Diagnostic::new(
        &DENIAL_UNDONE,
        format!("policy `{}` allows connections that policy `{}` restricts", denial.policy.name, policy.name),
        denial.location,
        "allows all other addresses",
    )
    .label(policy.location, "stricter for some of the same pods, but plain policies add up");
    let help = format!("exclude the pods of policy `{}` from this policy", policy.name);
    finish(diagnostic, denial, &help, witness)
}

fn finish(diagnostic: Diagnostic, denial: &Denial<'_>, help: &str, witness: &Witness) -> Diagnostic {
    let word = match denial.rule.direction {
        Direction::Egress => "egress to",
        Direction::Ingress => "ingress from",
    };
    let diagnostic = match format_witness(witness) {
        Some(example) => diagnostic.note(example),
        None => diagnostic,
    };
    let blocks: Vec<String> = denial.except.iter().take(3).map(npc_print::block_text).collect();
    let more = if denial.except.len() > 3 { ", …" } else { "" };
    diagnostic.help(format!(
        "{help}, or replace `except` with an admin policy, which no other policy can undo: `deny {word} {}{more}`",
        blocks.join(", ")
    ))
}
