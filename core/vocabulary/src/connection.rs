//! Connections and their endpoints.

use std::fmt;
use std::net::IpAddr;

use crate::{Namespace, Pod, Protocol};

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub enum Endpoint<'c> {
    /// A pod.
    Pod {
        /// Its index in the cluster's pods.
        place: usize,
        /// The pod.
        pod: &'c Pod,
        /// Its namespace.
        namespace: &'c Namespace,
        /// The pod's address that the connection uses. `None` if it is not known: such an address is in
        /// `0.0.0.0/0` and `::/0`, and in no longer prefix.
        address: Option<IpAddr>,
    },
    /// A node of the cluster, by one of its addresses. No policy selects it, and no selector matches it:
    /// rules match it by address.
    Node {
        /// The address that the connection uses.
        address: IpAddr,
        /// The node's name, if it is known.
        name: Option<&'c str>,
    },
    /// An address outside the cluster.
    Outside(IpAddr),
}

impl<'c> Endpoint<'c> {
    /// The address that the connection uses.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Pod { address, .. } => *address,
            Self::Node { address, .. } | Self::Outside(address) => Some(*address),
        }
    }

    /// The pod and its namespace, if policies can select the pod and selectors can match it. They cannot if
    /// it is a host-network pod.
    #[must_use]
    pub const fn selectable(&self) -> Option<(&'c Pod, &'c Namespace)> {
        match self {
            Self::Pod { pod, namespace, .. } if !pod.host_network => Some((pod, namespace)),
            Self::Pod { .. } | Self::Node { .. } | Self::Outside(_) => None,
        }
    }

    /// Whether both are the same pod.
    #[must_use]
    pub fn is_same_pod(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Pod { pod: a, .. }, Self::Pod { pod: b, .. }) => {
                (a.namespace, &a.name) == (b.namespace, &b.name)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Endpoint<'_> {
    /// Writes the form that `npc query` accepts: `namespace/pod`, or the address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod { pod, namespace, .. } => write!(f, "{}/{}", namespace.name, pod.name),
            Self::Node { address, .. } | Self::Outside(address) => write!(f, "{address}"),
        }
    }
}

/// The protocol of a connection, and its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Traffic {
    /// TCP, UDP or SCTP, to this port of the destination.
    Port(Protocol, u16),
    /// Any other IP protocol. No port of a rule matches it.
    Other,
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(protocol, port) => write!(f, "{}/{port}", protocol.as_str()),
            Self::Other => f.write_str("other"),
        }
    }
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'c> {
    /// The endpoint that opens the connection.
    pub source: Endpoint<'c>,
    /// The endpoint that it reaches after the translation of Services.
    pub destination: Endpoint<'c>,
    /// Its protocol and port.
    pub traffic: Traffic,
    /// How it reaches the destination.
    pub route: Route<'c>,
}

/// How a connection reaches its destination.
#[derive(Clone, Copy, Debug)]
pub enum Route<'c> {
    /// The source connects to the destination's own address.
    Direct,
    /// The source connects to a Service, which is translated to the destination.
    Service,
    /// The source connects to a Service, and a node replaces the source address with its own (masquerading).
    /// The destination sees this endpoint; the source of the connection does not change.
    Masqueraded(Endpoint<'c>),
}

impl<'c> Connection<'c> {
    /// A connection to the destination's own address.
    #[must_use]
    pub const fn direct(source: Endpoint<'c>, destination: Endpoint<'c>, traffic: Traffic) -> Self {
        Self { source, destination, traffic, route: Route::Direct }
    }

    /// The source, as the destination sees it.
    #[must_use]
    pub const fn seen_source(&self) -> &Endpoint<'c> {
        match &self.route {
            Route::Masqueraded(node) => node,
            Route::Direct | Route::Service => &self.source,
        }
    }
}
