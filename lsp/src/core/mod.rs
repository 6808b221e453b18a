//! What the server knows and finds out, without a word of the protocol: files in, answers out.

pub mod complete;
pub mod describe;
pub mod disk;
pub mod document;
pub mod home;
pub mod program;
pub mod refactor;
pub mod seen;
pub mod selected;
pub mod symbol;
pub mod text;
pub mod workspace;
