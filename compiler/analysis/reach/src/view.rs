//! A selected part of the table.

use std::fmt;

use npc_cluster::Cluster;

use crate::matrix::{Allowed, Reach};

/// Some sources and some destinations.
pub struct View<'r, 'c> {
    /// The whole table.
    pub reach: &'r Reach<'c>,
    /// The groups that are sources, by index, in order.
    pub from: Vec<usize>,
    /// The groups that are destinations.
    pub to: Vec<usize>,
}

/// A word that matches no pod and no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewError(String);

impl fmt::Display for ViewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ViewError {}

impl<'r, 'c> View<'r, 'c> {
    /// Selects the groups with a member that a word matches: `namespace`, `namespace/pod`, `outside` or an
    /// address. No words select all groups.
    ///
    /// # Errors
    ///
    /// If a word matches nothing.
    pub fn new(reach: &'r Reach<'c>, from: &[String], to: &[String]) -> Result<Self, ViewError> {
        Ok(Self { reach, from: named(reach, from)?, to: named(reach, to)? })
    }

    /// The cells that allow something: a source, the destinations with the same result, and what is allowed.
    pub fn cells(&self) -> impl Iterator<Item = (usize, Vec<usize>, Allowed)> + '_ {
        let mut to = vec![false; self.reach.groups.len()];
        for at in &self.to {
            if let Some(is_named) = to.get_mut(*at) {
                *is_named = true;
            }
        }
        let to: std::rc::Rc<[bool]> = to.into();
        self.from.iter().flat_map(move |from| {
            let cells = self.reach.allowed.get(*from).into_iter().flatten();
            let to = std::rc::Rc::clone(&to);
            cells.filter_map(move |(allowed, groups)| {
                // What a single pod may send to itself is not part of the table.
                let is_asked = |group: &usize| {
                    to.get(*group) == Some(&true) && (group != from || !self.reach.is_single(*group))
                };
                let groups: Vec<usize> = groups.iter().filter(is_asked).collect();
                (!groups.is_empty()).then_some((*from, groups, *allowed))
            })
        })
    }
}

fn named(reach: &Reach<'_>, words: &[String]) -> Result<Vec<usize>, ViewError> {
    if words.is_empty() {
        return Ok((0..reach.groups.len()).collect());
    }
    let mut found = Vec::new();
    for word in words {
        let before = found.len();
        let is_named = matcher(reach.cluster, word);
        found.extend((0..).zip(&reach.groups).filter(|(_, group)| is_named(group)).map(|(at, _)| at));
        if found.len() == before {
            return Err(unknown(reach.cluster, word));
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

fn matcher<'w>(cluster: &'w Cluster, word: &'w str) -> Box<dyn Fn(&crate::Group) -> bool + 'w> {
    if word == "outside" {
        return Box::new(|group| !group.addresses.is_empty());
    }
    if let Ok(address) = word.parse::<std::net::IpAddr>() {
        // The address of a pod selects the pod.
        if let Some(pod) = cluster.pods.iter().position(|pod| pod.addresses.contains(&address)) {
            return Box::new(move |group| group.pods.binary_search(&pod).is_ok());
        }
        return Box::new(move |group| {
            let alike = |other: std::net::IpAddr| other.is_ipv4() == address.is_ipv4();
            group.addresses.iter().any(|(first, last)| alike(*first) && (*first..=*last).contains(&address))
        });
    }
    let place = match word.split_once('/') {
        Some((namespace, pod)) => cluster.pod(namespace, pod).map(|pod| (None, Some(pod))),
        None => cluster.namespace(word).map(|namespace| (Some(namespace), None)),
    };
    Box::new(move |group| match place {
        None => false,
        Some((_, Some(pod))) => group.pods.binary_search(&pod).is_ok(),
        Some((namespace, None)) => {
            group.pods.iter().any(|pod| cluster.pods.get(*pod).map(|pod| pod.namespace) == namespace)
        }
    })
}

fn unknown(cluster: &Cluster, word: &str) -> ViewError {
    if word == "outside" || word.parse::<std::net::IpAddr>().is_ok() {
        return ViewError(format!("`{word}` matches nothing: no pod has an address of its family"));
    }
    ViewError(match word.split_once('/') {
        Some((namespace, pod)) => cluster.no_pod(namespace, pod),
        None if cluster.namespace(word).is_some() => format!("the namespace `{word}` has no pods"),
        None => cluster.no_namespace(word),
    })
}
