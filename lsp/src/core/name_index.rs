//! The names and labels that a program and its cluster use, for completion.

use std::collections::{BTreeMap, BTreeSet};

use npc_syntax::{Object, Role, visit_words};

use super::program::Program;

/// Names and labels, without duplicates.
#[derive(Clone, Debug, Default)]
pub struct NameIndex {
    /// Namespaces and patterns of namespace names.
    pub namespaces: BTreeSet<String>,
    /// Pod labels with their values.
    pub pod_labels: BTreeMap<String, BTreeSet<String>>,
    /// Namespace labels with their values.
    pub namespace_labels: BTreeMap<String, BTreeSet<String>>,
    /// Ports in the syntax of the language, by number or by name.
    pub ports: BTreeSet<String>,
}

impl NameIndex {
    /// The labels of a kind of object.
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
        let mut name_index = Self::default();
        for (index, file) in program.files().iter().enumerate() {
            let source = program.source(index);
            for item in &file.parsed.tree.items {
                visit_words(item, &mut |role, word| {
                    // Most names occur often: allocate only for new ones.
                    match role {
                        Role::LabelKey(of) => {
                            let key = word.text(source);
                            let labels = name_index.labels_mut(of);
                            if !labels.contains_key(&*key) {
                                labels.insert(key.into_owned(), BTreeSet::new());
                            }
                        }
                        Role::LabelValue { of, key } => {
                            if let Some(values) = name_index.labels_mut(of).get_mut(&*key.text(source)) {
                                add(values, &word.text(source));
                            }
                        }
                        Role::Namespace | Role::TestNamespace => {
                            add(&mut name_index.namespaces, &word.text(source));
                        }
                        Role::Port | Role::PodPort | Role::Member => {
                            let text = word.text(source);
                            if text.contains('/') && npc_program::values::port::looks_like_port(&text) {
                                add(&mut name_index.ports, &text);
                            }
                        }
                        _ => {}
                    }
                });
            }
        }
        if let Some(cluster) = &program.cluster {
            for namespace in &cluster.namespaces {
                name_index.namespaces.insert(namespace.name.clone());
                for (key, value) in &namespace.labels {
                    name_index.namespace_labels.entry(key.clone()).or_default().insert(value.clone());
                }
            }
            for pod in &cluster.pods {
                for (key, value) in pod.labels.iter() {
                    name_index.pod_labels.entry(key.clone()).or_default().insert(value.clone());
                }
                for port in &pod.ports {
                    name_index.ports.insert(format!("{}/{}", port.protocol.as_str(), port.name));
                }
            }
        }
        name_index
    }
}

fn add(set: &mut BTreeSet<String>, text: &str) {
    if !set.contains(text) {
        set.insert(text.to_owned());
    }
}
