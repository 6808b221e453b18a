//! Keeps the kernel program first on the interfaces of pods: a program before it may accept packets that it
//! then never sees.

use std::collections::BTreeSet;

use npc_node::{Displaced, Interface};
use npc_vocabulary::Direction;
use tracing::{error, info, warn};

use super::Enforcer;

impl Enforcer {
    /// Checks all interfaces of pods, logs where another program is first, and moves the kernel program to
    /// the front again.
    pub(super) fn keep_order(&mut self) {
        let own: Vec<Interface> = self
            .attached
            .iter()
            .filter(|(_, (_, by_this_process))| *by_this_process)
            .map(|(index, (name, _))| Interface { index: *index, name: name.clone() })
            .collect();
        let mut now = BTreeSet::new();
        for interface in own {
            // An interface that no longer exists is handled elsewhere.
            for displaced in self.node.displaced(interface.index).unwrap_or_default() {
                let key = (interface.index, displaced.direction == Direction::Egress);
                let is_new = !self.displaced.contains(&key);
                if is_new {
                    self.numbers.displaced += 1;
                }
                if self.restore(&interface, displaced, is_new) {
                    continue;
                }
                now.insert(key);
            }
        }
        self.displaced = now;
    }

    fn restore(&mut self, interface: &Interface, displaced: Displaced, is_new: bool) -> bool {
        let Displaced { direction, is_attached } = displaced;
        let what = if is_attached { "another program is in front" } else { "the program was detached" };
        if is_new {
            warn!(interface = %interface.name, ?direction, "{what}: packets may bypass npc-node");
        }
        let restored = self.node.restore(interface, direction);
        let in_order = self
            .node
            .displaced(interface.index)
            .is_ok_and(|displaced| displaced.iter().all(|own| own.direction != direction));
        match restored {
            Ok(()) if in_order => {
                info!(interface = %interface.name, ?direction, "the program is in front again");
                true
            }
            Ok(()) => false,
            Err(why) => {
                if is_new {
                    error!(interface = %interface.name, ?direction, %why, "the program cannot be put in front");
                }
                false
            }
        }
    }

    /// The names of the interfaces on which another program is first.
    pub(super) fn displaced(&self) -> Vec<String> {
        let indices: BTreeSet<u32> = self.displaced.iter().map(|(index, _)| *index).collect();
        indices.iter().filter_map(|index| Some(self.attached.get(index)?.0.clone())).collect()
    }
}
