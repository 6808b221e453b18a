//! Answers requests, and describes the kernel's reports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;

use npc_cluster::{Cluster, Namespace};
use npc_node::{DropCounters, Event, Loaded};

use super::pods::{Key, Known, Pods};
use super::{Enforcer, GenerationReasons, RECENT};
use crate::control::{Answer, Asked, PodStatus, SourceStatus, Status};
use crate::flow;
use crate::metrics::{Counted, Numbers};
use crate::query;

impl Enforcer {
    pub(super) fn report(&mut self, events: &[Event]) {
        for event in events {
            let pods = self.pods.as_ref();
            let pod = |address: &IpAddr| pods?.with_address(address).map(Key::to_string);
            let is = |known: &Known| known.placed.as_ref().is_some_and(|(_, own)| *own == event.endpoint);
            let own = pods.and_then(|pods| pods.placed().find(|(_, known)| is(known)));
            let own = own.map(|(key, _)| key.to_string());
            let generations =
                self.generations.iter().find(|generations| generations.generation == event.generation);
            let flow = flow::tell(event, generations, own, pod);
            self.numbers.flows += 1;
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(flow.clone());
            // Sending fails if there are no receivers.
            let _ = self.flows.send(flow);
        }
    }

    pub(super) fn ask(&mut self, asked: &[Asked]) -> Vec<Answer> {
        let cluster = self.cluster();
        let numbers = |namespace: &str, name: &str| {
            let known = self.pods.as_ref()?.get(&Key::new(namespace, name))?;
            known.placed.as_ref().map(|(interface, _)| interface.index)
        };
        let (Some(image), Some(loaded)) = (&self.image, self.node.loaded()) else {
            let answer = |_: &Asked| Answer::error("no image is in force yet");
            return asked.iter().map(answer).collect();
        };
        query::answer(asked, &cluster, image, loaded, numbers)
    }

    /// The cluster as the enforcer knows it.
    pub(super) fn cluster(&self) -> Cluster {
        let namespaces: Vec<Namespace> =
            self.namespaces.iter().flatten().map(|(_, own)| own.clone()).collect();
        let mut cluster = Cluster { namespaces, ..Cluster::default() };
        for (key, known) in self.pods.iter().flat_map(Pods::iter) {
            let Some(place) = cluster.namespace(&key.namespace) else { continue };
            let mut pod = known.pod.clone();
            pod.namespace = place;
            pod.addresses = known.addresses().to_vec();
            if known.placed.is_some() {
                // The pod is on this node, which has these addresses.
                pod.node_addresses.clone_from(&self.own_addresses);
            }
            cluster.pods.push(pod);
        }
        cluster
    }

    pub(super) fn status(&mut self) -> Status {
        let pods = self.pods.iter().flat_map(Pods::iter).filter_map(|(key, known)| {
            let here = known.placed.is_some()
                || self
                    .config
                    .node
                    .as_ref()
                    .is_some_and(|node| **node == *known.pod.node && !known.pod.host_network);
            let isolation = self.resolver.as_ref().map(|resolver| resolver.isolation(known.number));
            here.then(|| PodStatus {
                pod: key.to_string(),
                addresses: known.addresses().to_vec(),
                interface: known.placed.as_ref().map(|(interface, _)| interface.name.clone()),
                not_enforced: known.unplaced.as_ref().map(ToString::to_string),
                egress: isolation.map_or(0, |[egress, _]| egress).into(),
                ingress: isolation.map_or(0, |[_, ingress]| ingress).into(),
            })
        });
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: self.resolver.is_some(),
            generation: self.node.generation(),
            image: self.image_status.clone(),
            source: SourceStatus { error: self.unreadable.values().next().cloned() },
            pods_known: self.pods.as_ref().map_or(0, Pods::len),
            namespaces_known: self.namespaces.as_ref().map_or(0, BTreeMap::len),
            pods: pods.collect(),
            policies: self.image.as_ref().map_or(0, |image| image.policies.len()),
            memory: 0,
            dropped: self.troubles().into(),
            displaced: self.displaced(),
            displacements: self.numbers.displaced,
        };
        status.memory = self.node.loaded().map_or(0, |loaded| loaded.memory());
        status
    }

    pub(super) fn troubles(&mut self) -> DropCounters {
        let troubles = self.node.loaded().and_then(|loaded| loaded.troubles().ok()).unwrap_or_default();
        let lost_events = troubles.lost_events + self.lost.load(Ordering::Relaxed);
        DropCounters { lost_events, ..troubles }
    }

    /// Adds the counters of a generation that was replaced.
    pub(super) fn add_counters(&mut self, loaded: &Loaded) {
        let Some(generations) = self.generations.front() else { return };
        add(&mut self.numbers.counted, generations, &loaded.counters());
    }

    pub(super) fn count(&mut self) -> Numbers {
        let mut numbers = self.numbers.clone();
        let counters = self.node.loaded().map(|loaded| loaded.counters());
        if let (Some(generations), Some(counters)) = (self.generations.front(), counters) {
            add(&mut numbers.counted, generations, &counters);
        }
        numbers.status = self.status();
        numbers
    }
}

fn add(counted: &mut Counted, generations: &GenerationReasons, counters: &[[u64; 2]]) {
    for (number, [packets, bytes]) in (0..).zip(counters) {
        if *packets > 0 {
            let own = counted.entry(flow::reason(generations, number)).or_default();
            own.0 += packets;
            own.1 += bytes;
        }
    }
}
