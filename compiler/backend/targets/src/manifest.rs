//! Serialization of NetworkPolicies with the field order of the Kubernetes documentation.
//!
//! The types of `k8s-openapi` serialize fields in alphabetical order, which puts rules before `podSelector` and ports
//! before peers. The wrappers in this module write the same fields in the documented order.

use std::borrow::Borrow;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPort, NetworkPolicySpec,
};
use serde::ser::{Serialize, SerializeStruct as _, Serializer};

/// Serializes the fields that have a value.
macro_rules! fields {
    ($serializer:expr, $($name:literal: $value:expr),* $(,)?) => {{
        // The YAML writer ignores the length.
        let mut fields = $serializer.serialize_struct("", 0)?;
        $(if let Some(value) = $value { fields.serialize_field($name, &value)?; })*
        fields.end()
    }};
}

/// A whole NetworkPolicy.
pub(crate) struct Manifest<T>(pub(crate) T);

impl<T: Borrow<NetworkPolicy>> Serialize for Manifest<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let object = self.0.borrow();
        fields!(serializer,
            "apiVersion": Some("networking.k8s.io/v1"),
            "kind": Some("NetworkPolicy"),
            "metadata": Some(Metadata(&object.metadata)),
            "spec": object.spec.as_ref().map(Spec),
        )
    }
}

struct Metadata<'a>(&'a k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fields!(serializer,
            "name": self.0.name.as_ref(),
            "namespace": self.0.namespace.as_ref(),
            "annotations": self.0.annotations.as_ref(),
        )
    }
}

/// The `spec` of a NetworkPolicy.
pub(crate) struct Spec<T>(pub(crate) T);

impl<T: Borrow<NetworkPolicySpec>> Serialize for Spec<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn all<'a, T, V>(list: &'a Option<Vec<T>>, view: fn(&'a T) -> V) -> Option<Vec<V>> {
            list.as_ref().map(|list| list.iter().map(view).collect())
        }
        let spec = self.0.borrow();
        fields!(serializer,
            "podSelector": spec.pod_selector.as_ref(),
            "policyTypes": spec.policy_types.as_ref(),
            "ingress": all(&spec.ingress, Ingress),
            "egress": all(&spec.egress, Egress),
        )
    }
}

struct Ingress<'a>(&'a NetworkPolicyIngressRule);

impl Serialize for Ingress<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fields!(serializer, "from": self.0.from.as_ref(), "ports": ports(&self.0.ports))
    }
}

struct Egress<'a>(&'a NetworkPolicyEgressRule);

impl Serialize for Egress<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fields!(serializer, "to": self.0.to.as_ref(), "ports": ports(&self.0.ports))
    }
}

fn ports(ports: &Option<Vec<NetworkPolicyPort>>) -> Option<Vec<Port<'_>>> {
    ports.as_ref().map(|ports| ports.iter().map(Port).collect())
}

struct Port<'a>(&'a NetworkPolicyPort);

impl Serialize for Port<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fields!(serializer,
            "protocol": self.0.protocol.as_ref(),
            "port": self.0.port.as_ref(),
            "endPort": self.0.end_port.as_ref(),
        )
    }
}
