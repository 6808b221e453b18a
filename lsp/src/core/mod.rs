//! The language server's analysis, independent of the protocol.

pub mod complete;
pub mod describe;
pub mod disk;
pub mod document;
pub mod name_index;
pub mod program;
pub mod program_id;
pub mod refactor;
pub mod selected;
pub mod symbol;
pub mod text;
pub mod workspace;
