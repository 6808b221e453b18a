//! What the environment decides about the tests: skips, how much they try, random seeds, and whether expected
//! outputs are rewritten.

use std::fmt::Debug;
use std::io::Write as _;
use std::str::FromStr;

/// Reports that a test, or a part of one, does not run, and why.
///
/// The line goes straight to standard error, because the test harness captures what a passing test prints. If
/// `NPC_TEST_SKIPS` names a file, the line is appended there: `tests/all` fails for each skip that
/// `tests/allowed_skips` does not list.
///
/// # Panics
///
/// If the file cannot be written.
#[allow(clippy::expect_used, reason = "a test helper: a skip that is not counted is worse than a failure")]
pub fn skip(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}\n");
    // A closed standard error must not fail the test; the file is what counts.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("NPC_TEST_SKIPS") {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .expect("NPC_TEST_SKIPS names a file that can be written");
        file.write_all(line.as_bytes()).expect("the skip is recorded");
    }
}

/// How much a test tries: `usual` under `cargo test`, `thorough` under `tests/all` (`NPC_TEST_THOROUGH`), or the
/// number that the environment variable `name` gives.
///
/// # Panics
///
/// If the variable is not a number.
#[must_use]
#[allow(clippy::expect_used, reason = "a test helper: a mistyped number must not run the default")]
pub fn amount<T: FromStr<Err: Debug>>(name: &str, usual: T, thorough: T) -> T {
    match std::env::var(name) {
        Ok(number) => number.parse().expect("the variable is a number"),
        Err(_) if std::env::var_os("NPC_TEST_THOROUGH").is_some() => thorough,
        Err(_) => usual,
    }
}

/// The seed of random cases: `NPC_TEST_SEED`, or a constant, so that results change only with the code.
#[must_use]
pub fn seed() -> u64 {
    amount("NPC_TEST_SEED", 1_123, 1_123)
}

/// The seed of random cases: `NPC_TEST_SEED`, or one that differs in each run. Callers print it.
#[must_use]
pub fn fresh_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let fresh = now.map_or(1, |now| now.as_secs() % 1_000_000);
    amount("NPC_TEST_SEED", fresh, fresh)
}

/// Whether expected outputs are rewritten (`INSTA_UPDATE=always`) instead of compared. One variable for the
/// snapshots of insta and for the files that tests compare themselves.
#[must_use]
pub fn update() -> bool {
    std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always")
}
