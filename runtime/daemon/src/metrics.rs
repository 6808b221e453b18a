//! The metrics, in the OpenMetrics text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::text::encode as encode_text;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Registry, Unit};

use crate::control::{DecidedBy, Isolation, Status};

/// The media type of the response.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Packets and bytes by what decided.
pub(crate) type Counted = BTreeMap<DecidedBy, (u64, u64)>;

/// The values of all metrics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) counted: Counted,
    pub(crate) flows: u64,
    pub(crate) changes: u64,
    pub(crate) generations: u64,
    pub(crate) failures: u64,
    pub(crate) images_refused: u64,
    pub(crate) displaced: u64,
    pub(crate) last_enforced: Duration,
    pub(crate) status: Status,
}

/// Encodes the metrics.
pub(crate) fn encode(numbers: &Numbers) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("npc_node");
    let status = &numbers.status;
    let packets = Family::<Vec<(&'static str, String)>, Counter>::default();
    let bytes = Family::<Vec<(&'static str, String)>, Counter>::default();
    for (rule, (own_packets, own_bytes)) in &numbers.counted {
        let labels = vec![
            ("tier", rule.tier.clone().unwrap_or_default()),
            ("policy", rule.policy.clone().unwrap_or_default()),
            ("place", rule.place.clone().unwrap_or_default()),
            ("reason", rule.reason.clone()),
        ];
        packets.get_or_create(&labels).inc_by(*own_packets);
        bytes.get_or_create(&labels).inc_by(*own_bytes);
    }
    registry.register("packets", "Packets by the rule that decided", packets);
    registry.register_with_unit("judged", "Bytes by the rule that decided", Unit::Bytes, bytes);
    let dropped = Family::<Vec<(&'static str, &'static str)>, Counter>::default();
    for (why, count) in [
        ("unreadable", status.dropped.unreadable),
        ("fragment", status.dropped.fragments),
        ("unknown-interface", status.dropped.unknown_interface),
        ("foreign-source", status.dropped.foreign_source),
        ("foreign-destination", status.dropped.foreign_destination),
        ("tunnelled", status.dropped.tunnelled),
        ("between-generations", status.dropped.between_generations),
    ] {
        dropped.get_or_create(&vec![("why", why)]).inc_by(count);
    }
    registry.register("dropped", "Packets dropped regardless of policies", dropped);
    let counter = |value: u64| ConstCounter::new(value);
    registry.register("reports", "Packets reported", counter(numbers.flows));
    registry.register("reports_lost", "Reports lost", counter(status.dropped.lost_reports));
    registry.register("changes", "Changes written to the tables", counter(numbers.changes));
    registry.register("generations", "Times that tables were put in force", counter(numbers.generations));
    registry.register("failures", "Times that tables could not be put in force", counter(numbers.failures));
    registry.register(
        "displacements",
        "Times that another program moved in front on a pod's interface",
        counter(numbers.displaced),
    );
    registry.register("images_refused", "Images refused", counter(numbers.images_refused));
    let gauge = |value: usize| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register("ready", "Whether an image is in force", gauge(usize::from(status.ready)));
    let current = usize::from(status.ready && status.image.error.is_none());
    registry.register("image_current", "Whether the image in force is the one in the file", gauge(current));
    let readable = usize::from(status.source.error.is_none());
    registry.register("pods_readable", "Whether the pods and namespaces can be read", gauge(readable));
    registry.register(
        "displaced_interfaces",
        "Interfaces of pods on which another program is in front",
        gauge(status.displaced.len()),
    );
    registry.register("pods", "Pods known", gauge(status.pods_known));
    registry.register("namespaces", "Namespaces known", gauge(status.namespaces_known));
    registry.register("policies", "Policies in force", gauge(status.policies));
    let own = Family::<Vec<(&'static str, &'static str)>, Gauge>::default();
    for pod in &status.pods {
        let state = if pod.interface.is_none() {
            "not-judged"
        } else if [pod.egress, pod.ingress].contains(&Isolation::Enforced) {
            "enforced"
        } else if [pod.egress, pod.ingress].contains(&Isolation::Audited) {
            "audited"
        } else {
            "open"
        };
        own.get_or_create(&vec![("state", state)]).inc();
    }
    registry.register("local_pods", "Pods of this node", own);
    registry.register_with_unit("tables", "Memory of the tables", Unit::Bytes, gauge(status.memory));
    let seconds = ConstGauge::new(numbers.last_enforced.as_secs_f64());
    registry.register_with_unit(
        "last_generation",
        "How long it took to put the last tables in force",
        Unit::Seconds,
        seconds,
    );
    let mut text = String::new();
    encode_text(&mut text, &registry)?;
    Ok(text)
}
