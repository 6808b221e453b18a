//! Target `ebpf`: the map image of the node runtime. It supports every construct of the language.

use std::hash::Hash;
use std::sync::Arc;

use npc_diagnostics::{FileId, Location, SourceMap};
use npc_image as image;
use npc_image::Image;
use npc_model::{AddressSets, Addresses, Classes, Family};
use npc_program::values::port::merge;
use npc_program::{Peer, PodTerm, Policy, PortTerm, Program, Rule, Scope, ScopeBase, Selector};
use npc_vocabulary::{Direction, Protocol, Which};
use rustc_hash::FxHashMap;

use crate::Output;
use crate::target::{Capabilities, Emitted, Input, ReadBack, Target};

/// Target `ebpf`.
pub(crate) struct MapImage;

impl Target for MapImage {
    fn name(&self) -> &'static str {
        "ebpf"
    }

    fn nouns(&self) -> [&'static str; 2] {
        ["policy", "policies"]
    }

    fn extension(&self) -> &'static str {
        "npmap"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { tiers: true, text: false, by_kyverno: false, per_cluster: false }
    }

    fn emit(&self, input: &Input<'_>) -> Emitted {
        let image = npc_image::write(&compile(input.program, input.sources));
        Emitted { image, objects: input.program.policies.len(), ..Emitted::default() }
    }

    fn read(&self, output: &Output) -> Result<ReadBack, String> {
        npc_image::read(&output.image)
            .map(|image| ReadBack::Image(Box::new(image)))
            .map_err(|why| why.to_string())
    }
}

/// Compiles a program to a map image.
fn compile(program: &Program, sources: &SourceMap) -> Image {
    let rules = || program.policies.iter().flat_map(|policy| &policy.rules);
    let addresses: Vec<Option<Addresses>> = rules().map(addresses_of).collect();
    let sets = AddressSets::new(addresses.iter().flatten());
    let mut writer = Writer {
        sources,
        files: Numbered::default(),
        selectors: Numbered::default(),
        scopes: Numbered::default(),
        terms: Numbered::default(),
        port_sets: Numbered::default(),
    };
    // The address sets of the rules that name addresses, in rule order.
    let mut of_rule = sets.of_rule.iter().map(|set| number(*set));
    let mut named = addresses.iter().map(|set| set.as_ref().and_then(|_| of_rule.next()));
    let policies =
        program.policies.iter().map(|policy| writer.policy(policy, &mut named)).collect::<Vec<_>>();
    Image {
        addresses: address_sets(&sets),
        ports: writer.ports(),
        policies,
        files: writer.files.list.iter().map(|file| Arc::from(sources.file(*file).name())).collect(),
        selectors: writer.selectors.list.iter().map(|selector| selector_of(selector)).collect(),
        pod_terms: writer
            .terms
            .list
            .iter()
            .map(|(scope, selector)| image::PodTerm { scope: *scope, selector: *selector })
            .collect(),
        scopes: writer.scopes_list(),
    }
}

/// The addresses that a rule names; `None` if all its peers are pods.
fn addresses_of(rule: &Rule) -> Option<Addresses> {
    let names_addresses = rule.peers.iter().any(|peer| !matches!(peer, Peer::Pods(_)));
    names_addresses.then(|| Addresses::of(&rule.peers))
}

/// Converts an index to the image's type. A program with more than `u32::MAX` elements does not fit in memory.
fn number(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn numbers(places: &[usize]) -> Vec<u32> {
    places.iter().copied().map(number).collect()
}

fn address_sets(sets: &AddressSets<'_>) -> image::AddressSets {
    let [v4, v6] = [Family::V4, Family::V6].map(|family| Classes::new(sets, family));
    // Classes of the two families that are in the same sets share one class of the image.
    let mut classes: Numbered<Vec<u32>> = Numbered::default();
    let mut of = |family: &Classes| -> Vec<u32> {
        family.all().iter().map(|sets| classes.place(numbers(sets))).collect()
    };
    let (of_v4, of_v6) = (of(&v4), of(&v6));
    let class = |of: &[u32], class: usize| of.get(class).copied().unwrap_or(0);
    image::AddressSets {
        count: number(sets.list.len()),
        v4: v4
            .list()
            .iter()
            // IPv4 addresses have 32 bits, so the conversion never fails.
            .filter_map(|(first, own)| Some((u32::try_from(*first).ok()?, class(&of_v4, *own))))
            .collect(),
        v6: v6.list().iter().map(|(first, own)| (*first, class(&of_v6, *own))).collect(),
        classes: classes.list,
        of_unknown: numbers(&sets.of_unknown()),
    }
}

/// An interner: distinct values, numbered in the order of their first insertion.
struct Numbered<T> {
    list: Vec<T>,
    places: FxHashMap<T, u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { list: Vec::new(), places: FxHashMap::default() }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn place(&mut self, thing: T) -> u32 {
        if let Some(place) = self.places.get(&thing) {
            return *place;
        }
        let place = number(self.list.len());
        self.list.push(thing.clone());
        self.places.insert(thing, place);
        place
    }
}

/// The ports of a rule: for each protocol, disjoint ranges of numbers in ascending order; and the named ports.
type PortSet = ([Vec<(u16, u16)>; 3], Vec<(Protocol, Arc<str>)>);

struct Writer<'p> {
    sources: &'p SourceMap,
    files: Numbered<FileId>,
    selectors: Numbered<&'p Selector>,
    scopes: Numbered<&'p Scope>,
    terms: Numbered<(u32, u32)>,
    port_sets: Numbered<PortSet>,
}

impl<'p> Writer<'p> {
    fn policy(&mut self, policy: &'p Policy, named: &mut impl Iterator<Item = Option<u32>>) -> image::Policy {
        image::Policy {
            name: Arc::clone(&policy.name),
            place: self.line(policy.location),
            tier: policy.tier,
            priority: policy.priority,
            audit: policy.audit.is_some(),
            isolates: [Direction::Egress, Direction::Ingress]
                .map(|direction| policy.isolate.of(direction).is_some()),
            subjects: policy.subjects.iter().map(|term| self.term(term)).collect(),
            rules: policy.rules.iter().map(|rule| self.rule(rule, named.next().flatten())).collect(),
        }
    }

    fn rule(&mut self, rule: &'p Rule, addresses: Option<u32>) -> image::Rule {
        let pods = rule.peers.iter().filter_map(|peer| match peer {
            Peer::Pods(term) => Some(self.term(term)),
            Peer::Anywhere { .. } | Peer::Block(_) => None,
        });
        image::Rule {
            pods: pods.collect(),
            place: self.line(rule.location),
            direction: rule.direction,
            action: rule.action,
            log: rule.log.is_some(),
            addresses,
            ports: (!rule.ports.is_empty()).then(|| self.port_sets.place(port_set(&rule.ports))),
        }
    }

    fn line(&mut self, location: Location) -> image::Place {
        let location = self.sources.absolute(location);
        let line = self.sources.file(location.file).line_number(location.span.start);
        image::Place { file: self.files.place(location.file), line }
    }

    fn term(&mut self, term: &'p PodTerm) -> u32 {
        // Intern the scope's selectors, to which `scopes_list` refers.
        let base = match &term.scope.base {
            ScopeBase::Labels(selector) => Some(selector),
            ScopeBase::All | ScopeBase::Names(_) | ScopeBase::Same | ScopeBase::Sharing(_) => None,
        };
        for selector in base.into_iter().chain(&term.scope.except_labels) {
            self.selectors.place(selector);
        }
        let scope = self.scopes.place(&term.scope);
        let selector = self.selectors.place(&term.selector);
        self.terms.place((scope, selector))
    }

    fn scopes_list(&mut self) -> Vec<image::Scope> {
        let globs =
            |names: &[Arc<str>]| names.iter().map(|name| image::Glob::new(Arc::clone(name))).collect();
        let Self { scopes, selectors, .. } = self;
        let mut scope = |scope: &'p Scope| image::Scope {
            base: match &scope.base {
                ScopeBase::All => image::ScopeBase::All,
                ScopeBase::Names(names) => image::ScopeBase::Names(globs(names)),
                ScopeBase::Labels(selector) => image::ScopeBase::Labels(selectors.place(selector)),
                ScopeBase::Same => image::ScopeBase::Same,
                ScopeBase::Sharing(keys) => image::ScopeBase::Sharing(keys.clone()),
            },
            except_names: globs(&scope.except_names),
            except_selectors: scope.except_labels.iter().map(|labels| selectors.place(labels)).collect(),
        };
        scopes.list.iter().map(|own| scope(own)).collect()
    }

    /// The port sets, with the classes of port numbers.
    fn ports(&self) -> image::PortSets {
        let mut classes: Numbered<Vec<u32>> = Numbered::default();
        let mut ranges: [Vec<(u16, u32)>; 3] = Default::default();
        for (protocol, list) in Protocol::ALL.into_iter().zip(&mut ranges) {
            let sets = self.port_sets.list.iter().enumerate();
            let all = sets.flat_map(|(set, (of, _))| {
                let own = of.get(protocol as usize).into_iter().flatten();
                own.map(move |(first, last)| (set, u128::from(*first), u128::from(*last)))
            });
            let own = Classes::of_ranges(all, u128::from(u16::MAX));
            let class: Vec<u32> = own.all().iter().map(|sets| classes.place(numbers(sets))).collect();
            list.extend(
                own.list()
                    .iter()
                    .filter_map(|(first, own)| Some((u16::try_from(*first).ok()?, *class.get(*own)?))),
            );
        }
        let named = self.port_sets.list.iter().map(|(_, named)| {
            let port = |(protocol, name): &(Protocol, Arc<str>)| image::PortName {
                protocol: *protocol,
                name: Arc::clone(name),
            };
            named.iter().map(port).collect()
        });
        image::PortSets { named: named.collect(), ranges, classes: classes.list }
    }
}

fn selector_of(selector: &Selector) -> image::Selector {
    let requirements = selector.requirements.iter().map(|requirement| image::Requirement {
        key: Arc::clone(&requirement.key),
        operator: requirement.operator,
        values: requirement.values.clone(),
    });
    requirements.collect()
}

fn port_set(ports: &[PortTerm]) -> PortSet {
    let mut numbers: [Vec<(u16, u16)>; 3] = Default::default();
    let mut named = Vec::new();
    for PortTerm { port, .. } in ports {
        let Some(own) = numbers.get_mut(port.protocol as usize) else { continue };
        match &port.which {
            Which::All => own.push((0, u16::MAX)),
            Which::Range(first, last) => own.push((*first, *last)),
            Which::Named(name) => named.push((port.protocol, Arc::clone(name))),
        }
    }
    for ranges in &mut numbers {
        let kept = merge(ranges);
        ranges.truncate(kept);
    }
    named.sort();
    named.dedup();
    (numbers, named)
}
