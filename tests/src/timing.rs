//! Time measurement for benchmarks.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// The shortest of several runs, without the time to drop the results.
///
/// # Panics
///
/// If `runs` is 0.
#[allow(clippy::expect_used, reason = "a benchmark's helper")]
pub fn best<T>(runs: usize, mut run: impl FnMut() -> T) -> Duration {
    let once = |run: &mut dyn FnMut() -> T| {
        let start = Instant::now();
        let result = black_box(run());
        let taken = start.elapsed();
        drop(result);
        taken
    };
    (0..runs).map(|_| once(&mut run)).min().expect("a run")
}

/// A time in milliseconds.
#[must_use]
pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
