//! Ends checks early.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Stops running checks. Clones stop the same checks.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Stops the checks that were started with this value.
    pub fn stop(&self) {
        self.0.store(true, Relaxed);
    }
}

/// Whether a running check should end early.
pub trait Interrupt: Sync {
    /// The error of a check that ends early.
    type Error;

    /// Returns the error if the check should end. From then on, every call returns it: a stage that ends early leaves
    /// incomplete results, which the next call must reject.
    ///
    /// # Errors
    ///
    /// If the check should end.
    fn check(&self) -> Result<(), Self::Error>;
}

impl Interrupt for Stop {
    type Error = Stopped;

    fn check(&self) -> Result<(), Stopped> {
        if self.0.load(Relaxed) { Err(Stopped) } else { Ok(()) }
    }
}

/// Never ends a check early.
#[derive(Clone, Copy, Debug)]
pub struct Uninterrupted;

impl Interrupt for Uninterrupted {
    type Error = Infallible;

    fn check(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The check was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the check was stopped")
    }
}

impl std::error::Error for Stopped {}
