//! What the server knows and finds out, without a word of the protocol: files in, answers out.

pub mod text;
pub mod workspace;
