//! Computes the objects that Kyverno will generate: evaluates its policies for the namespaces of a cluster.
//!
//! The input is the text of the policies and not the program that they are compiled from, so that the
//! policies are evaluated which will be applied. If a policy contains anything that is not evaluated here,
//! the result is an error that names it, never a guess.
//!
//! The rules are those of Kyverno 1.19.1, taken from its source. They are compared with Kyverno's own command
//! line for every example and for random programs (see `tests/suites/kyverno_cli.rs`).

mod cluster_policy;
mod generating_policy;
mod object;

use std::fmt;

use npc_cluster::{Cluster, Namespace};
use serde::Deserialize;
use serde_json::Value;

pub use cluster_policy::jmespath::{EvaluationError, evaluate as evaluate_jmespath};
pub use generating_policy::placeholder;
pub use object::{Generated, Object};

/// The reason that policies cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The policy's name, if it is known.
    pub policy: Option<String>,
    /// The message.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.policy {
            Some(policy) => write!(f, "{policy}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Error {}

/// A policy that is prepared for evaluation.
trait Policy {
    /// The objects that the policy generates for a namespace.
    fn generate(&self, namespace: &Namespace) -> Result<Vec<Object>, String>;
}

/// Evaluates all policies of a stream of YAML documents for every namespace.
///
/// The objects are sorted by namespace and name. If two policies generate the same object, both are in the
/// result: which of them Kyverno keeps depends on timing.
///
/// # Errors
///
/// If a document is not a policy that can be evaluated here, or if Kyverno would fail to generate.
pub fn expand(policies: &str, cluster: &Cluster) -> Result<Generated, Error> {
    let mut objects = Vec::new();
    for document in serde_yaml::Deserializer::from_str(policies) {
        let document = Option::<Value>::deserialize(document)
            .map_err(|error| Error { policy: None, message: error.to_string() })?;
        let Some(document) = document else { continue };
        let name = document.pointer("/metadata/name").and_then(Value::as_str).map(str::to_owned);
        let error = |message: String| Error { policy: name.clone(), message };
        let policy = parse(document).map_err(error)?;
        for namespace in &cluster.namespaces {
            objects.extend(policy.generate(namespace).map_err(error)?);
        }
    }
    objects.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(Generated { objects })
}

/// A policy that generates nothing.
struct NoGeneration;

impl Policy for NoGeneration {
    fn generate(&self, _: &Namespace) -> Result<Vec<Object>, String> {
        Ok(Vec::new())
    }
}

fn parse(document: Value) -> Result<Box<dyn Policy>, String> {
    let text = |key: &str| document.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    match (text("apiVersion").as_str(), text("kind").as_str()) {
        ("kyverno.io/v1", "ClusterPolicy") => Ok(Box::new(cluster_policy::ClusterPolicy::parse(document)?)),
        ("policies.kyverno.io/v1" | "policies.kyverno.io/v1beta1", "GeneratingPolicy") => {
            Ok(Box::new(generating_policy::GeneratingPolicy::parse(document)?))
        }
        // A ValidatingPolicy generates nothing.
        ("policies.kyverno.io/v1", "ValidatingPolicy") => Ok(Box::new(NoGeneration)),
        (version, kind) => Err(format!("npc does not evaluate {version} {kind}")),
    }
}
