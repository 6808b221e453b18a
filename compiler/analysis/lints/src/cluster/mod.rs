//! Lints that need a cluster.

pub(crate) mod dns_in_cluster;
pub(crate) mod np0801_selects_nothing;
pub(crate) mod np0802_uncovered_namespace;
pub(crate) mod np0809_outside_pod_cidrs;

use npc_cluster::{Cluster, Namespace};
use npc_program::{Scope, ScopeBase};
use npc_vocabulary::Operator;
use rustc_hash::FxHashMap;

/// The namespaces of a cluster, indexed by name and by label.
pub(crate) struct Index<'a> {
    pub(crate) all: Vec<&'a Namespace>,
    by_name: FxHashMap<&'a str, &'a Namespace>,
    by_label: FxHashMap<(&'a str, &'a str), Vec<&'a Namespace>>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(cluster: &'a Cluster) -> Self {
        let mut by_label: FxHashMap<_, Vec<_>> = FxHashMap::default();
        for namespace in &cluster.namespaces {
            for (key, value) in &namespace.labels {
                by_label.entry((key.as_str(), value.as_str())).or_default().push(namespace);
            }
        }
        Self {
            all: cluster.namespaces.iter().collect(),
            by_name: cluster.namespaces.iter().map(|one| (one.name.as_str(), one)).collect(),
            by_label,
        }
    }

    /// The namespaces in a scope. A scope that depends on the subject's namespace (`same`, `sharing`) yields
    /// all namespaces that it may contain.
    pub(crate) fn held<'s>(&'s self, scope: &'s Scope) -> impl Iterator<Item = &'a Namespace> + 's {
        let all = || -> Box<dyn Iterator<Item = &'a Namespace> + 's> { Box::new(self.all.iter().copied()) };
        let candidates = match &scope.base {
            ScopeBase::Names(names) if !names.iter().any(|name| name.contains(['*', '?'])) => {
                Box::new(names.iter().filter_map(|name| self.by_name.get(&**name).copied()))
            }
            ScopeBase::Labels(selector) => {
                match selector.requirements.iter().find(|one| one.operator == Operator::In) {
                    Some(listed) => Box::new(
                        listed
                            .values
                            .iter()
                            .filter_map(|value| self.by_label.get(&(&*listed.key, &**value)))
                            .flatten()
                            .copied(),
                    ),
                    None => all(),
                }
            }
            _ => all(),
        };
        candidates.filter(|namespace| {
            scope.holds(&namespace.name, |key| namespace.labels.get(key).map(String::as_str))
        })
    }
}
