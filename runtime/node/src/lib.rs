//! Enforces a map image in the kernel of a node.
//!
//! [`Loader`] builds the kernel tables of a [`Resolver`](npc_resolver::Resolver) and loads the kernel program
//! that reads them. [`Loaded`] updates the tables as the resolver changes, and runs the loaded program on
//! test packets. Requires Linux 6.6 or later, and the capabilities BPF, NET_ADMIN and PERFMON.

#[cfg(target_os = "linux")]
mod connections;
#[cfg(target_os = "linux")]
mod error;
#[cfg(target_os = "linux")]
mod events;
#[cfg(target_os = "linux")]
mod loader;
#[cfg(target_os = "linux")]
mod maps;
#[cfg(target_os = "linux")]
mod node;
#[cfg(target_os = "linux")]
mod order;
#[cfg(target_os = "linux")]
mod sweep;
#[cfg(target_os = "linux")]
mod table;

pub mod packet;

pub use npc_resolver::layout::Endpoint;

#[cfg(target_os = "linux")]
pub use connections::OpenConnection;
#[cfg(target_os = "linux")]
pub use error::LoadError;
#[cfg(target_os = "linux")]
pub use events::{Cause, Event, Events};
#[cfg(target_os = "linux")]
pub use loader::{DropCounters, Loaded, Loader, Settings, Timed, Verdict, probe};
#[cfg(target_os = "linux")]
pub use node::{Displaced, Interface, Node};
#[cfg(target_os = "linux")]
pub use sweep::sweep;
