//! What a cluster's pods have in common is kept once: at a hundred thousand pods, it would be most of the memory.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use npc_cluster::Pod;

/// What pods have in common, each kept once: pods of one workload have the same labels, and a node has many pods.
#[derive(Default)]
pub(super) struct Common {
    labels: Kept<BTreeMap<String, String>>,
    nodes: Kept<str>,
}

impl Common {
    /// The pod, with what it has in common with others in place of its own.
    pub(super) fn share(&mut self, pod: Pod) -> Pod {
        Pod { labels: self.labels.share(pod.labels), node: self.nodes.share(pod.node), ..pod }
    }
}

struct Kept<T: ?Sized> {
    all: HashSet<Arc<T>>,
    /// With how many those that no pod has any more are let go.
    most: usize,
}

impl<T: ?Sized> Default for Kept<T> {
    fn default() -> Self {
        Self { all: HashSet::new(), most: 1000 }
    }
}

impl<T: ?Sized + Eq + Hash> Kept<T> {
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
        let mut kept = Kept::<str>::default();
        let first = kept.share("node-1".into());
        assert!(Arc::ptr_eq(&first, &kept.share("node-1".into())));
        for number in 0..10_000 {
            kept.share(format!("{number}").into());
        }
        assert!(kept.all.len() <= 1001, "{} are kept, and only one is in use", kept.all.len());
        assert!(Arc::ptr_eq(&first, &kept.share("node-1".into())));
    }
}
