//! The names and labels that a program and the cluster have: what may be meant by the next one.

use std::collections::{BTreeMap, BTreeSet};

use npc_syntax::{Object, Role, words};

use super::program::Program;

/// Names and labels, each once.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Namespaces, and patterns of their names.
    pub namespaces: BTreeSet<String>,
    /// Labels of pods, each with its values.
    pub pod_labels: BTreeMap<String, BTreeSet<String>>,
    /// Labels of namespaces, each with its values.
    pub namespace_labels: BTreeMap<String, BTreeSet<String>>,
    /// Ports, as the language writes them: by number or by name.
    pub ports: BTreeSet<String>,
}

impl Seen {
    /// The labels of an object.
    #[must_use]
    pub const fn labels(&self, of: Object) -> &BTreeMap<String, BTreeSet<String>> {
        match of {
            Object::Pod => &self.pod_labels,
            Object::Namespace => &self.namespace_labels,
        }
    }

    const fn labels_mut(&mut self, of: Object) -> &mut BTreeMap<String, BTreeSet<String>> {
        match of {
            Object::Pod => &mut self.pod_labels,
            Object::Namespace => &mut self.namespace_labels,
        }
    }

    pub(super) fn of(program: &Program) -> Self {
        let mut seen = Self::default();
        for (index, file) in program.files().iter().enumerate() {
            for item in &file.parsed.tree.items {
                words(item, &mut |role, word| {
                    let text = program.says(index, word);
                    match role {
                        Role::LabelKey(of) => {
                            seen.labels_mut(of).entry(text).or_default();
                        }
                        Role::LabelValue { of, key } => {
                            let key = program.says(index, key);
                            seen.labels_mut(of).entry(key).or_default().insert(text);
                        }
                        Role::Namespace | Role::TestNamespace => {
                            seen.namespaces.insert(text);
                        }
                        Role::Port | Role::PodPort | Role::Member
                            if text.contains('/') && npc_program::values::port::looks_like_port(&text) =>
                        {
                            seen.ports.insert(text);
                        }
                        _ => {}
                    }
                });
            }
        }
        if let Some(cluster) = &program.cluster {
            for namespace in &cluster.namespaces {
                seen.namespaces.insert(namespace.name.clone());
                for (key, value) in &namespace.labels {
                    seen.namespace_labels.entry(key.clone()).or_default().insert(value.clone());
                }
            }
            for pod in &cluster.pods {
                for (key, value) in &pod.labels {
                    seen.pod_labels.entry(key.clone()).or_default().insert(value.clone());
                }
                for port in &pod.ports {
                    seen.ports.insert(format!("{}/{}", port.protocol.as_str(), port.name));
                }
            }
        }
        seen
    }
}
