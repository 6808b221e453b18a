//! Conntrack records: takes over those of the previous version, and deletes expired ones.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::{debug, warn};

use super::{Enforcer, interfaces};

/// How often expired records are deleted.
const SWEEP: Duration = Duration::from_secs(60);

impl Enforcer {
    /// Takes over the conntrack records of the previous version.
    pub(super) fn take_over_records(&mut self) {
        if let Err(why) = self.node.take_over_records() {
            warn!(%why, "cannot read the conntrack records of the previous version: they are created anew");
        }
    }

    /// Starts a thread that periodically deletes expired records.
    pub(super) fn sweep(&self) {
        let (pins, alive) = (self.config.pins.clone(), Arc::clone(&self.alive));
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(SWEEP);
                let alive = alive.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match npc_node::sweep(&pins, &alive, interfaces::now()) {
                    Ok([records, ended]) => debug!(records, ended, "deleted expired conntrack records"),
                    Err(why) => debug!(%why, "cannot read the conntrack records"),
                }
            }
        });
    }
}
