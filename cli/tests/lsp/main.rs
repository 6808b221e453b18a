//! Tests of the language server, through its protocol.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::print_stdout
)]

#[path = "../common/mod.rs"]
mod common;

mod capabilities;
mod editor;
mod protocol;
mod pull;
mod robustness;
