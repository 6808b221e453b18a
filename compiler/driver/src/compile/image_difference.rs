//! Comparison of map images with their programs.

use std::sync::Arc;

use npc_image as image;
use npc_image::Image;
use npc_model::{Addresses, Family};
use npc_program::{Peer, PodTerm, Policy, PortTerm, Program, Rule, Scope, ScopeBase, Selector};
use npc_vocabulary::{Direction, Protocol, Which};

/// Compares an image with the program that it was compiled from. Returns a description of the first difference. All
/// parts are compared in canonical forms, so without a difference both give the same verdicts in every cluster.
pub(crate) fn difference(program: &Program, image: &Image) -> Option<String> {
    if program.policies.len() != image.policies.len() {
        return Some(format!("it has {} policies", image.policies.len()));
    }
    let sets = Sets::new(image);
    program.policies.iter().zip(&image.policies).find_map(|(policy, read)| {
        let differ = |what: &str| Some(format!("{what} of `{}` differs", policy.name));
        if !same_head(policy, read) {
            return differ("the head");
        }
        if !sets.same_terms(policy.subjects.iter().map(|term| &**term), &read.subjects) {
            return differ("the subject");
        }
        if policy.rules.len() != read.rules.len() {
            return differ("the number of rules");
        }
        let mut rules = policy.rules.iter().zip(&read.rules).zip(1..);
        rules.find_map(|((rule, read), number)| match sets.differ(rule, read) {
            None => None,
            Some(what) => differ(&format!("{what} of rule {number}")),
        })
    })
}

fn same_head(policy: &Policy, read: &image::Policy) -> bool {
    let isolates = [Direction::Egress, Direction::Ingress].map(|way| policy.isolate.of(way).is_some());
    (&policy.name, policy.tier, policy.priority, policy.audit.is_some(), isolates)
        == (&read.name, read.tier, read.priority, read.audit, read.isolates)
}

/// The address and port sets of an image, as lists of ranges.
struct Sets<'i> {
    image: &'i Image,
    /// For each address set, the ranges of IPv4 and IPv6.
    addresses: Vec<[Vec<(u128, u128)>; 2]>,
    /// For each port set, the ranges of each protocol.
    ports: Vec<[Vec<(u16, u16)>; 3]>,
}

/// Calls `add` for each range and each set that contains the range's class. The closure that `add` receives appends the
/// range to the set's list, merged with the previous range if they are adjacent.
fn in_sets<K: Copy + Ord>(
    ranges: &[(K, u32)],
    classes: &[Vec<u32>],
    before: impl Fn(K) -> K,
    end: K,
    mut add: impl FnMut(u32, &dyn Fn(&mut Vec<(K, K)>)),
) {
    for (index, (first, class)) in ranges.iter().enumerate() {
        let last = ranges.get(index + 1).map_or(end, |(next, _)| before(*next));
        for set in classes.get(*class as usize).into_iter().flatten() {
            add(*set, &|list: &mut Vec<(K, K)>| match list.last_mut() {
                Some((_, to)) if *to < *first && *to == before(*first) => *to = last,
                _ => list.push((*first, last)),
            });
        }
    }
}

impl<'i> Sets<'i> {
    fn new(image: &'i Image) -> Self {
        let mut addresses: Vec<[Vec<(u128, u128)>; 2]> =
            vec![Default::default(); image.addresses.count as usize];
        let v4: Vec<(u128, u32)> =
            image.addresses.v4.iter().map(|(first, class)| (u128::from(*first), *class)).collect();
        let families = [(&v4, Family::V4), (&image.addresses.v6, Family::V6)];
        for (place, (ranges, family)) in families.into_iter().enumerate() {
            in_sets(
                ranges,
                &image.addresses.classes,
                |first| first.wrapping_sub(1),
                family.last(),
                |set, add| {
                    if let Some(list) = addresses.get_mut(set as usize).and_then(|own| own.get_mut(place)) {
                        add(list);
                    }
                },
            );
        }
        let mut ports: Vec<[Vec<(u16, u16)>; 3]> = vec![Default::default(); image.ports.named.len()];
        for (place, ranges) in image.ports.ranges.iter().enumerate() {
            in_sets(
                ranges,
                &image.ports.classes,
                |first| first.wrapping_sub(1),
                u16::MAX,
                |set, add| {
                    if let Some(list) = ports.get_mut(set as usize).and_then(|own| own.get_mut(place)) {
                        add(list);
                    }
                },
            );
        }
        Self { image, addresses, ports }
    }

    /// Compares a rule. Returns the part that differs.
    fn differ(&self, rule: &Rule, read: &image::Rule) -> Option<&'static str> {
        if (rule.action, rule.direction, rule.log.is_some()) != (read.action, read.direction, read.log) {
            return Some("the action");
        }
        let pods = rule.peers.iter().filter_map(|peer| match peer {
            Peer::Pods(term) => Some(&**term),
            Peer::Anywhere { .. } | Peer::Block(_) => None,
        });
        if !self.same_terms(pods, &read.pods) {
            return Some("a selector");
        }
        if !self.same_addresses(rule, read.addresses) {
            return Some("an address");
        }
        (!self.same_ports(&rule.ports, read.ports)).then_some("a port")
    }

    fn same_addresses(&self, rule: &Rule, read: Option<u32>) -> bool {
        let said = Addresses::of(&rule.peers);
        let nothing = Default::default();
        let read_list = match read {
            None => &nothing,
            Some(set) => match self.addresses.get(set as usize) {
                Some(list) => list,
                None => return false,
            },
        };
        let of_unknown = read.is_some_and(|set| self.image.addresses.of_unknown.contains(&set));
        let ranges = [Family::V4, Family::V6].map(|family| said.ranges(family));
        said.contain(None) == of_unknown && ranges == [read_list[0].as_slice(), read_list[1].as_slice()]
    }

    fn same_ports(&self, said: &[PortTerm], read: Option<u32>) -> bool {
        let Some(set) = read else { return said.is_empty() };
        let (Some(numbers), Some(named)) =
            (self.ports.get(set as usize), self.image.ports.named.get(set as usize))
        else {
            return false;
        };
        // A quadratic comparison suffices, since a set has few ports.
        let by_number = Protocol::ALL.into_iter().zip(numbers).all(|(protocol, read)| {
            let own = said.iter().filter(|term| term.port.protocol == protocol);
            let mut ranges: Vec<(u32, u32)> = own
                .filter_map(|term| match &term.port.which {
                    Which::All => Some((0, u32::from(u16::MAX))),
                    Which::Range(first, last) => Some((u32::from(*first), u32::from(*last))),
                    Which::Named(_) => None,
                })
                .collect();
            ranges.sort_unstable();
            let mut together: Vec<(u32, u32)> = Vec::new();
            for (first, last) in ranges {
                match together.last_mut() {
                    Some((_, to)) if first <= *to + 1 => *to = last.max(*to),
                    _ => together.push((first, last)),
                }
            }
            together.into_iter().eq(read.iter().map(|(first, last)| (u32::from(*first), u32::from(*last))))
        });
        let names: Vec<(Protocol, &str)> = said
            .iter()
            .filter_map(|term| match &term.port.which {
                Which::Named(name) => Some((term.port.protocol, &**name)),
                Which::All | Which::Range(..) => None,
            })
            .collect();
        let read: Vec<(Protocol, &str)> = named.iter().map(|port| (port.protocol, &*port.name)).collect();
        !said.is_empty()
            && by_number
            && names.iter().all(|name| read.contains(name))
            && read.iter().all(|name| names.contains(name))
    }

    fn same_terms<'p>(&self, said: impl Iterator<Item = &'p PodTerm>, read: &[u32]) -> bool {
        let mut read = read.iter().map(|term| self.image.pod_terms.get(*term as usize));
        for term in said {
            let Some(Some(read)) = read.next() else { return false };
            let (Some(scope), true) = (
                self.image.scopes.get(read.scope as usize),
                self.same_selector(&term.selector, read.selector),
            ) else {
                return false;
            };
            if !self.same_scope(&term.scope, scope) {
                return false;
            }
        }
        read.next().is_none()
    }

    fn same_selector(&self, said: &Selector, read: u32) -> bool {
        let Some(read) = self.image.selectors.get(read as usize) else { return false };
        said.requirements.len() == read.len()
            && said.requirements.iter().zip(read).all(|(said, read)| {
                (&said.key, said.operator, &said.values) == (&read.key, read.operator, &read.values)
            })
    }

    fn same_scope(&self, said: &Scope, read: &image::Scope) -> bool {
        let globs =
            |said: &[Arc<str>], read: &[image::Glob]| said.iter().eq(read.iter().map(image::Glob::text));
        let base = match (&said.base, &read.base) {
            (ScopeBase::All, image::ScopeBase::All) | (ScopeBase::Same, image::ScopeBase::Same) => true,
            (ScopeBase::Names(said), image::ScopeBase::Names(read)) => globs(said, read),
            (ScopeBase::Labels(said), image::ScopeBase::Labels(read)) => self.same_selector(said, *read),
            (ScopeBase::Sharing(said), image::ScopeBase::Sharing(read)) => said == read,
            _ => false,
        };
        base && globs(&said.except_names, &read.except_names)
            && said.except_labels.len() == read.except_selectors.len()
            && said
                .except_labels
                .iter()
                .zip(&read.except_selectors)
                .all(|(said, read)| self.same_selector(said, *read))
    }
}
