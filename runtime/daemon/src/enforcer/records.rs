//! The records of connections: those of the version before, and those that are over.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tracing::{debug, warn};

use super::{Enforcer, places};

/// How often the records of connections are looked through.
const SWEEP: Duration = Duration::from_secs(60);

impl Enforcer {
    /// Takes over the records of connections of the version before.
    pub(super) fn take_over_records(&mut self) {
        if let Err(why) = self.node.take_over_records() {
            warn!(%why, "the records of the version before cannot be read: they are made again");
        }
    }

    /// Ends records of connections that are over, from time to time, in a thread of its own.
    pub(super) fn sweep(&self) {
        let (pins, alive) = (self.config.pins.clone(), Arc::clone(&self.alive));
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(SWEEP);
                let alive = alive.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match npc_node::sweep(&pins, &alive, places::now()) {
                    Ok([records, ended]) => debug!(records, ended, "records of connections"),
                    Err(why) => debug!(%why, "the records of connections cannot be read"),
                }
            }
        });
    }
}
