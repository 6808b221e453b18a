//! Whether two things say the same, wherever they stand and whatever is written above them.

use std::sync::Arc;

use npc_diagnostics::Location;

use crate::ir::{
    Assertion, CidrTerm, Expectation, Peer, PodTerm, Policy, PortTerm, Program, Rule, Settings, Test,
    TestNamespace, TestPod,
};

/// What says something at a place.
pub trait Same {
    /// Whether it says what another says. Places and documentation do not count.
    fn same(&self, other: &Self) -> bool;
}

impl<T: Same> Same for [T] {
    fn same(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().zip(other).all(|(one, other)| one.same(other))
    }
}

impl<T: Same + ?Sized> Same for Arc<T> {
    fn same(&self, other: &Self) -> bool {
        Self::ptr_eq(self, other) || (**self).same(other)
    }
}

impl Same for Program {
    fn same(&self, other: &Self) -> bool {
        self.policies.same(&other.policies)
            && self.tests.same(&other.tests)
            && self.asserts.same(&other.asserts)
            && self.settings.same(&other.settings)
    }
}

impl Same for Policy {
    fn same(&self, other: &Self) -> bool {
        let said = |policy: &Self| {
            let isolated = (policy.isolate.ingress.is_some(), policy.isolate.egress.is_some());
            (policy.tier, policy.priority, policy.audit.is_some(), isolated)
        };
        self.name == other.name
            && said(self) == said(other)
            && self.subjects.same(&other.subjects)
            && self.rules.same(&other.rules)
            && self.settings.same(&other.settings)
    }
}

impl Same for Settings {
    fn same(&self, other: &Self) -> bool {
        fn value<T: Copy>(setting: Option<(T, Location)>) -> Option<T> {
            setting.map(|(value, _)| value)
        }
        value(self.synchronize) == value(other.synchronize)
            && value(self.generate_existing) == value(other.generate_existing)
            && value(self.webhook_timeout) == value(other.webhook_timeout)
            && value(self.failure_policy) == value(other.failure_policy)
            && value(self.orphan_on_delete) == value(other.orphan_on_delete)
    }
}

impl Same for Rule {
    fn same(&self, other: &Self) -> bool {
        (self.action, self.direction, self.log.is_some())
            == (other.action, other.direction, other.log.is_some())
            && self.peers.same(&other.peers)
            && self.ports.same(&other.ports)
    }
}

impl Same for Peer {
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Anywhere { except: one, .. }, Self::Anywhere { except: other, .. }) => one == other,
            (Self::Pods(one), Self::Pods(other)) => one.same(other),
            (Self::Block(one), Self::Block(other)) => one.same(other),
            (Self::Anywhere { .. } | Self::Pods(_) | Self::Block(_), _) => false,
        }
    }
}

impl Same for PodTerm {
    fn same(&self, other: &Self) -> bool {
        self.selector == other.selector && self.scope == other.scope
    }
}

impl Same for CidrTerm {
    fn same(&self, other: &Self) -> bool {
        self.block == other.block
    }
}

impl Same for PortTerm {
    fn same(&self, other: &Self) -> bool {
        self.port == other.port
    }
}

impl Same for Assertion {
    fn same(&self, other: &Self) -> bool {
        self.allowed == other.allowed
            && self.sources.same(&other.sources)
            && self.destinations.same(&other.destinations)
            && self.ports.same(&other.ports)
    }
}

impl Same for Test {
    fn same(&self, other: &Self) -> bool {
        let clusters = |test: &Self| test.clusters.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>();
        self.name == other.name
            && clusters(self) == clusters(other)
            && self.namespaces.same(&other.namespaces)
            && self.pods.same(&other.pods)
            && self.expectations.same(&other.expectations)
    }
}

impl Same for TestNamespace {
    fn same(&self, other: &Self) -> bool {
        self.name == other.name && self.labels == other.labels
    }
}

impl Same for TestPod {
    fn same(&self, other: &Self) -> bool {
        (&self.name, &self.namespace, &self.labels) == (&other.name, &other.namespace, &other.labels)
            && self.addresses == other.addresses
            && self.ports == other.ports
    }
}

impl Same for Expectation {
    fn same(&self, other: &Self) -> bool {
        self.allowed == other.allowed
            && (&self.source, &self.destination) == (&other.source, &other.destination)
            && self.ports.same(&other.ports)
    }
}
