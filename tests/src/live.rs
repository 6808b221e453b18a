//! A running cluster, accessed with kubectl, and a watch of its NetworkPolicies.

use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use npc_cluster::Cluster;
use serde_json::Value;

/// The namespace and name of a NetworkPolicy.
pub type Key = (String, String);

/// Runs kubectl with the given standard input.
///
/// # Panics
///
/// If it fails.
pub fn kubectl(arguments: &[&str], input: &str) -> String {
    try_kubectl(arguments, input).unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
}

/// Runs kubectl and returns its standard output.
///
/// # Errors
///
/// The standard error, if kubectl fails.
///
/// # Panics
///
/// If kubectl cannot be started.
pub fn try_kubectl(arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new("kubectl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kubectl is on the path");
    let mut stdin = child.stdin.take().expect("it has an input");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // kubectl may exit before it has read everything.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the input is written");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Reads the namespaces of the running cluster.
///
/// # Panics
///
/// If they cannot be read.
#[must_use]
pub fn namespaces() -> Cluster {
    Cluster::parse(&kubectl(&["get", "namespaces", "-o", "json"], "")).expect("kubectl prints a cluster file")
}

/// The state of the NetworkPolicies according to the watch.
#[derive(Default)]
struct Seen {
    state: BTreeMap<Key, Value>,
    /// For each namespace and policy of the program, the number of its objects.
    counts: BTreeMap<Key, usize>,
    /// Policies that lost their last object since [`Watch::gaps`] was last called.
    gaps: Vec<Key>,
}

/// A watch of all NetworkPolicies.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    child: Child,
}

impl Watch {
    /// Starts the watch.
    ///
    /// # Panics
    ///
    /// If kubectl cannot be started.
    #[must_use]
    pub fn start() -> Self {
        let mut child = Command::new("kubectl")
            .args(["get", "networkpolicies", "-A", "--watch", "--output-watch-events", "-o", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("kubectl is on the path");
        let output = child.stdout.take().expect("it has an output");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            let events = serde_json::Deserializer::from_reader(BufReader::new(output)).into_iter::<Value>();
            for event in events.map_while(Result::ok) {
                shared.lock().expect("no thread panics with the lock").take(&event);
            }
        });
        Self { seen, child }
    }

    /// The current objects, normalised.
    #[must_use]
    pub fn state(&self) -> BTreeMap<Key, Value> {
        self.seen.lock().expect("no thread panics with the lock").state.clone()
    }

    /// The policies that had an object in a namespace and lost the last one, even for a moment, since the
    /// previous call.
    #[must_use]
    pub fn gaps(&self) -> Vec<Key> {
        std::mem::take(&mut self.seen.lock().expect("no thread panics with the lock").gaps)
    }

    /// Waits until the objects equal `expected` and stay equal for 1.5 seconds.
    ///
    /// # Errors
    ///
    /// The difference, if they are not equal after `seconds`.
    pub fn until(&self, expected: &BTreeMap<Key, Value>, seconds: u64) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut since = None;
        loop {
            let state = self.state();
            if state == *expected {
                // Late or reverted changes arrive within a moment.
                let since = *since.get_or_insert_with(Instant::now);
                if since.elapsed() > Duration::from_millis(1500) {
                    return Ok(());
                }
            } else {
                since = None;
                if Instant::now() > end {
                    return Err(difference(expected, &state));
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // kubectl may have exited by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Seen {
    fn take(&mut self, event: &Value) {
        let object = &event["object"];
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let namespace = text("/metadata/namespace");
        let key = (namespace.clone(), text("/metadata/name"));
        let policy = (namespace, text("/metadata/annotations/npc~1policy"));
        let count = self.counts.entry(policy.clone()).or_default();
        if event["type"] == "DELETED" {
            if self.state.remove(&key).is_some() {
                *count -= 1;
                if *count == 0 {
                    self.gaps.push(policy);
                }
            }
        } else if self.state.insert(key, normal(object)).is_none() {
            *count += 1;
        }
    }
}

/// An object without the fields that the API server and Kyverno add.
#[must_use]
pub fn normal(object: &Value) -> Value {
    let metadata = &object["metadata"];
    serde_json::json!({
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "annotations": metadata["annotations"],
        "spec": object["spec"],
    })
}

/// Describes the differences.
#[must_use]
pub fn difference(expected: &BTreeMap<Key, Value>, found: &BTreeMap<Key, Value>) -> String {
    let mut lines = Vec::new();
    for (key, value) in expected {
        match found.get(key) {
            None => lines.push(format!("{}/{} is missing", key.0, key.1)),
            Some(other) if other != value => {
                lines.push(format!("{}/{} is\n  {other}\n  and should be\n  {value}", key.0, key.1));
            }
            Some(_) => {}
        }
    }
    lines.extend(
        found
            .keys()
            .filter(|key| !expected.contains_key(*key))
            .map(|key| format!("{}/{} is too many", key.0, key.1)),
    );
    lines.truncate(8);
    lines.join("\n")
}
