//! The terms that the compiler and the node share: tiers, actions, protocols, connections and verdicts.
//!
//! This crate has data types only. What a program decides for a connection is defined in `npc-model`, and what a
//! map image decides is defined in `npc-image`.
//!
//! ```
//! use npc_vocabulary::{Connection, Endpoint, Protocol, Traffic};
//!
//! let address = |text: &str| Endpoint::Outside(text.parse().unwrap());
//! let https = Traffic::Port(Protocol::Tcp, 443);
//! let connection = Connection::direct(address("192.0.2.1"), address("192.0.2.2"), https);
//! assert_eq!(connection.traffic.to_string(), "tcp/443");
//! ```

mod connection;
mod pod;
mod policy;
mod port;
mod verdict;

pub use connection::{Connection, Endpoint, Route, Traffic};
pub use pod::{NAMESPACE_NAME, NamedPort, Namespace, Pod};
pub use policy::{Action, Direction, Operator, Tier};
pub use port::{Port, Protocol, Which, check_port_name};
pub use verdict::{Decision, Verdict};
