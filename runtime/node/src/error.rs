//! Errors of loading a program and of writing its tables.

use std::fmt;
use std::io;

use aya::EbpfError;
use aya::programs::ProgramError;
use npc_resolver::layout::LayoutError;

/// Why a program cannot be loaded, or its tables cannot be written.
#[derive(Debug)]
pub enum LoadError {
    /// The kernel rejects the program or a map. Includes the verifier's log.
    Kernel(Box<dyn std::error::Error + Send + Sync>),
    /// The pin directory cannot be used.
    Pins(io::Error),
    /// The program for the node's sockets cannot be attached to the root cgroup.
    Sockets(Box<LoadError>),
    /// No generation has been put in force yet.
    Nothing,
    /// The interface with this name is gone, or another interface has taken the name.
    Gone(String),
    /// The memory of the tables cannot be allocated or mapped.
    Memory(io::Error),
    /// The tables have no room, or there is more of something than they can hold.
    Layout(LayoutError),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel(why) => {
                write!(f, "the kernel rejects the program: {why}")?;
                let mut source = why.source();
                while let Some(why) = source {
                    write!(f, ": {why}")?;
                    source = why.source();
                }
                Ok(())
            }
            Self::Pins(why) => {
                write!(f, "cannot use the pin directory, which must be in a bpffs: {why}")
            }
            Self::Sockets(why) => write!(f, "cannot evaluate packets to sockets of the node: {why}"),
            Self::Nothing => f.write_str("no generation has been put in force"),
            Self::Gone(name) => {
                write!(f, "the interface {name} no longer exists, or another interface has its name")
            }
            Self::Memory(why) => write!(f, "cannot allocate the tables: {why}"),
            Self::Layout(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for LoadError {}

impl From<EbpfError> for LoadError {
    fn from(error: EbpfError) -> Self {
        Self::Kernel(Box::new(error))
    }
}

impl From<ProgramError> for LoadError {
    fn from(error: ProgramError) -> Self {
        Self::Kernel(Box::new(error))
    }
}

impl From<LayoutError> for LoadError {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}
