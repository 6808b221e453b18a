//! Writes the table as JSON, for other programs.

use serde_json::{Value, json as value};

use crate::view::View;

/// The groups with all of their members, and what is allowed between them.
#[must_use]
pub fn json(view: &View<'_, '_>) -> String {
    let reach = view.reach;
    let groups: Vec<Value> = view
        .shown()
        .iter()
        .filter_map(|at| Some((at, reach.groups.get(*at)?)))
        .map(|(at, group)| {
            let pods = group.pods.iter().filter_map(|place| reach.cluster.pods.get(*place)).map(|pod| {
                let namespace = reach.cluster.namespaces.get(pod.namespace);
                format!("{}/{}", namespace.map_or("", |namespace| namespace.name.as_str()), pod.name)
            });
            let addresses =
                group.addresses.iter().map(|(first, last)| value!({"first": first, "last": last}));
            let mut object = value!({"id": at, "members": group.members.items});
            if let Some(object) = object.as_object_mut() {
                if group.pods.is_empty() {
                    object.insert("outside".to_owned(), addresses.collect());
                } else {
                    object.insert("pods".to_owned(), pods.collect());
                }
            }
            object
        })
        .collect();
    let connections: Vec<Value> = view
        .cells()
        .flat_map(|(from, to, allowed)| {
            reach
                .traffic(allowed)
                .into_iter()
                .filter(|(_, set)| !set.is_empty())
                .map(|(family, set)| {
                    let mut object = value!({"from": from, "to": to, "traffic": set.words()});
                    if let (Some(object), Some(family)) = (object.as_object_mut(), family) {
                        object.insert("family".to_owned(), family.as_str().into());
                    }
                    object
                })
                .collect::<Vec<_>>()
        })
        .collect();
    // Serializing cannot fail, because all keys are strings.
    let object = value!({"groups": groups, "connections": connections});
    serde_json::to_string_pretty(&object).unwrap_or_default() + "\n"
}
