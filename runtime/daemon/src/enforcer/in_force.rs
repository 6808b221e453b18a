//! Puts generations in force, and writes changes to the kernel tables.

use std::sync::Arc;
use std::time::Instant;

use npc_node::{Endpoint, LoadError};
use npc_resolver::layout::LayoutError;
use npc_resolver::{Reasons, Resolver};
use tracing::{debug, error, info};

use super::{Answered, Enforcer, GenerationReasons, KEPT_GENERATIONS};
use crate::flow;

impl Enforcer {
    /// Writes pending changes to the kernel tables. Rebuilds the tables if there is no room.
    pub(super) fn flush(&mut self) {
        let Some(resolver) = &mut self.resolver else { return };
        let changes = resolver.take_changes();
        // Tables that are out of date will be rebuilt completely.
        if changes.is_empty() || self.stale {
            return;
        }
        self.numbers.changes += changes.len() as u64;
        let applied = self.node.apply(resolver, &changes);
        self.written = Some(Instant::now());
        match applied {
            Ok(()) => {}
            Err(LoadError::Layout(LayoutError::Full(what))) => {
                debug!(what, "the tables are rebuilt with more room");
                self.try_enforce();
            }
            Err(why) => {
                self.stale = true;
                error!(%why, "cannot write changes to the tables");
            }
        }
    }

    pub(super) fn try_enforce(&mut self) {
        if let Err(why) = self.enforce() {
            self.numbers.failures += 1;
            self.tried = Some(Instant::now());
            // The error is logged once; the attempt is repeated.
            if !std::mem::replace(&mut self.stale, true) {
                error!(%why, "cannot rebuild the tables; those in force stay, and are out of date");
            }
        }
    }

    /// Builds the tables and puts them in force.
    pub(super) fn enforce(&mut self) -> Answered<()> {
        let (Some(image), Some(namespaces), Some(pods)) = (&self.image, &self.namespaces, &self.pods) else {
            return Ok(());
        };
        let image = Arc::clone(image);
        let began = Instant::now();
        // Packets from the node itself are recognised by having no incoming interface, not by their
        // addresses.
        let mut resolver = Resolver::with_services(Arc::clone(&image), Vec::new(), &self.config.services);
        for namespace in namespaces.values() {
            resolver.set_namespace(&namespace.name, namespace.labels.clone());
        }
        let (mut endpoints, mut here) = (Vec::new(), Vec::new());
        for (key, known) in pods.iter() {
            resolver.set_pod(known.number, self.as_resolved(key, known));
            if let Some((interface, id)) = &known.placed {
                here.push(key.clone());
                let endpoint = Endpoint::new(known.number, interface.index, *id);
                endpoints.push(endpoint.taken_over(known.taken_over));
            }
        }
        endpoints.extend(self.bridges.iter().map(|bridge| Endpoint::bridge(*bridge)));
        resolver.take_changes();
        let known = pods.len();
        let mut before = self.node.enforce(&resolver, &endpoints);
        if let Err(why @ LoadError::Sockets(_)) = &before {
            error!(%why, "egress policies are evaluated at the sending pod, before translation");
            self.node.set_sockets(None);
            before = self.node.enforce(&resolver, &endpoints);
        }
        let before = before.map_err(|why| why.to_string())?;
        let is_first = before.is_none();
        if let Some(before) = before {
            self.add_counters(&before);
        } else {
            self.take_over_records();
            self.listen();
            self.sweep();
        }
        self.generations.push_front(GenerationReasons {
            generation: self.node.generation(),
            image: Arc::clone(&image),
            reasons: Reasons::new(&image),
        });
        self.generations.truncate(KEPT_GENERATIONS);
        self.resolver = Some(resolver);
        self.stale = false;
        self.written = None;
        self.numbers.generations += 1;
        info!(
            generation = self.node.generation(),
            policies = image.policies.len(),
            pods = known,
            here = here.len(),
            milliseconds = began.elapsed().as_millis() as u64,
            "in force"
        );
        self.numbers.last_enforced = began.elapsed();
        self.attach(&here);
        self.attach_other_interfaces();
        if is_first {
            // Includes connections that were opened in the meantime.
            self.take_over_records();
        }
        Ok(())
    }

    /// Starts a thread that receives the kernel's reports.
    fn listen(&mut self) {
        let Some(loaded) = self.node.loaded() else { return };
        match loaded.take_events() {
            Ok(events) => {
                let (to, lost) = (self.reports.clone(), Arc::clone(&self.lost));
                std::thread::spawn(move || flow::listen(events, &to, &lost));
            }
            Err(why) => error!(%why, "cannot receive reports of packets"),
        }
    }
}
