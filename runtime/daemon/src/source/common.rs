//! Shares equal values among pods. At 100,000 pods they would take most of the memory.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use npc_cluster::Pod;

/// Interned labels and node names: pods of one workload have the same labels, and a node has many pods.
#[derive(Default)]
pub(super) struct Common {
    labels: PodState<BTreeMap<String, String>>,
    nodes: PodState<str>,
}

impl Common {
    /// Returns the pod with its labels and node name interned.
    pub(super) fn share(&mut self, pod: Pod) -> Pod {
        Pod { labels: self.labels.share(pod.labels), node: self.nodes.share(pod.node), ..pod }
    }
}

struct PodState<T: ?Sized> {
    all: HashSet<Arc<T>>,
    /// The size at which values that no pod uses any more are removed.
    most: usize,
}

impl<T: ?Sized> Default for PodState<T> {
    fn default() -> Self {
        Self { all: HashSet::new(), most: 1000 }
    }
}

impl<T: ?Sized + Eq + Hash> PodState<T> {
    fn share(&mut self, new: Arc<T>) -> Arc<T> {
        if let Some(known) = self.all.get(&new) {
            return Arc::clone(known);
        }
        if self.all.len() >= self.most {
            self.all.retain(|kept| Arc::strong_count(kept) > 1);
            self.most = 2 * self.all.len() + 1000;
        }
        self.all.insert(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pods_share_is_kept_once_and_only_while_one_has_it() {
        let mut kept = PodState::<str>::default();
        let first = kept.share("node-1".into());
        assert!(Arc::ptr_eq(&first, &kept.share("node-1".into())));
        for number in 0..10_000 {
            kept.share(format!("{number}").into());
        }
        assert!(kept.all.len() <= 1001, "{} are kept, and only one is in use", kept.all.len());
        assert!(Arc::ptr_eq(&first, &kept.share("node-1".into())));
    }
}
