//! Applies complete lists of namespaces and pods, and decides which pods are on this node.

use std::collections::{BTreeMap, HashSet};

use npc_cluster::{Namespace, Pod};

use super::Enforcer;
use super::pods::{Key, Known};

impl Enforcer {
    pub(super) fn all_namespaces(&mut self, all: Vec<Namespace>) {
        let first = self.namespaces.is_none();
        let before = self.namespaces.take().unwrap_or_default();
        let now: BTreeMap<String, Namespace> =
            all.into_iter().map(|namespace| (namespace.name.clone(), namespace)).collect();
        if let Some(resolver) = &mut self.resolver {
            for (name, namespace) in &now {
                if before.get(name) != Some(namespace) {
                    resolver.set_namespace(name, namespace.labels.clone());
                }
            }
            for name in before.keys().filter(|name| !now.contains_key(*name)) {
                resolver.remove_namespace(name);
            }
        }
        let new: Vec<String> = now.keys().filter(|name| !before.contains_key(*name)).cloned().collect();
        self.namespaces = Some(now);
        if first {
            return self.begin();
        }
        new.iter().for_each(|name| self.resolve_namespace(name));
        self.flush();
    }

    pub(super) fn all_pods(&mut self, all: Vec<(String, Pod)>) {
        let first = self.pods.is_none();
        let pods = self.pods.get_or_insert_default();
        let there: HashSet<(&str, &str)> =
            all.iter().map(|(namespace, pod)| (namespace.as_str(), pod.name.as_str())).collect();
        let is_gone = |key: &&Key| !there.contains(&(&*key.namespace, &*key.name));
        let gone: Vec<Key> = pods.iter().map(|(key, _)| key).filter(is_gone).cloned().collect();
        for key in &gone {
            self.remove_pod(key);
        }
        for (namespace, pod) in all {
            let key = Key::new(&namespace, &pod.name);
            let same =
                self.pods.as_ref().and_then(|pods| pods.get(&key)).is_some_and(|known| known.pod == pod);
            if !same {
                self.set_pod(&key, pod);
            }
        }
        if first {
            self.begin();
        } else {
            self.flush();
            self.place_all();
        }
        self.forget();
    }

    /// Whether a pod is on this node.
    ///
    /// A pod does not count as local until its namespace is known, because policies may select it by the
    /// namespace's labels.
    pub(super) fn is_local(&self, key: &Key, known: &Known) -> bool {
        if self.namespaces.as_ref().is_none_or(|namespaces| !namespaces.contains_key(&*key.namespace)) {
            return false;
        }
        match &self.config.node {
            Some(node) => **node == *known.pod.node,
            None => known.placed.is_some(),
        }
    }
}
