//! Runs the tests and assertions of a program.

mod expect;
mod failure;
mod runner;

pub use failure::{Failure, TestResult, Why, failure_text};
pub use runner::{run, test_text};
