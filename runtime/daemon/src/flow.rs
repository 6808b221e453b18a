//! Receives and describes the kernel's reports.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use npc_node::{Cause, Event, Events};
use npc_resolver::{Decision, Reason};
use npc_vocabulary::Direction;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc::Sender;
use tracing::error;

use crate::control::{DecidedBy, End, Flow};
use crate::enforcer::GenerationReasons;

/// Converts nanoseconds since boot, the clock of the kernel's reports, to wall-clock time.
fn at(since_start: u64) -> Option<Timestamp> {
    let uptime = clock_gettime(ClockId::Boottime);
    let uptime = i128::from(uptime.tv_sec) * 1_000_000_000 + i128::from(uptime.tv_nsec);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_nanos();
    let ago = uptime - i128::from(since_start);
    Timestamp::from_nanosecond(i128::try_from(now).ok()? - ago.max(0)).ok()
}

/// How long to wait for a report before checking whether the receiver still exists.
const WAIT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// Forwards the kernel's reports as long as the receiver exists. Reports for which the channel has no room
/// are counted in `lost`, so that the kernel's ring buffer is always drained.
pub(crate) fn listen(mut events: Events, to: &Sender<Vec<Event>>, lost: &AtomicU64) {
    while !to.is_closed() {
        let batch: Vec<Event> = events.by_ref().take(256).collect();
        if !batch.is_empty() {
            let count = batch.len() as u64;
            if to.try_send(batch).is_err() {
                lost.fetch_add(count, Ordering::Relaxed);
            }
            continue;
        }
        match poll(&mut [PollFd::new(&events, PollFlags::IN)], Some(&WAIT)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(why) => return error!(%why, "cannot receive reports of packets any more"),
        }
    }
}

/// Describes the reason with this number.
pub(crate) fn reason(generations: &GenerationReasons, number: u32) -> DecidedBy {
    let of = |place: u32| generations.image.policies.get(place as usize);
    match generations.reasons.reason(number) {
        Reason::Default => DecidedBy::because("no policy selects the pod"),
        Reason::Node => DecidedBy::because("a node may reach its pods"),
        Reason::Isolated { policy } => match of(policy) {
            None => DecidedBy::default(),
            Some(policy) => DecidedBy {
                tier: Some(policy.tier.as_str().to_owned()),
                policy: Some(policy.name.to_string()),
                place: Some(generations.image.place(policy.place)),
                reason: "no rule allows it".to_owned(),
            },
        },
        Reason::Rule { policy, rule } => {
            match of(policy).map(|policy| (policy, policy.rules.get(rule as usize))) {
                Some((policy, Some(rule))) => DecidedBy {
                    tier: Some(policy.tier.as_str().to_owned()),
                    policy: Some(policy.name.to_string()),
                    place: Some(generations.image.place(rule.place)),
                    reason: match rule.action {
                        npc_vocabulary::Action::Allow => "a rule allows it",
                        npc_vocabulary::Action::Deny => "a rule denies it",
                        npc_vocabulary::Action::Pass => "a rule passes it on",
                    }
                    .to_owned(),
                },
                _ => DecidedBy::default(),
            }
        }
    }
}

/// Describes a report.
pub(crate) fn tell(
    event: &Event,
    generations: Option<&GenerationReasons>,
    own: Option<String>,
    pod: impl Fn(&IpAddr) -> Option<String>,
) -> Flow {
    let protocol = match event.protocol {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        132 => "sctp".to_owned(),
        other => format!("protocol {other}"),
    };
    let has_ports = matches!(event.protocol, 6 | 17 | 132);
    let unreadable = event.cause == Cause::Unreadable;
    let decision = event.decision;
    let decided_by = |half: u32| {
        generations.map(|generations| reason(generations, half & Decision::REASON)).unwrap_or_default()
    };
    let [source, destination] =
        [event.source, event.destination].map(|address| End { pod: pod(&address), address, port: None });
    let mut flow = Flow {
        time: at(event.time).map(|time| format!("{time:.3}")),
        dropped: !decision.allows(),
        direction: if event.direction == Direction::Egress { "egress" } else { "ingress" }.to_owned(),
        pod: own,
        source,
        destination,
        protocol,
        bytes: event.length,
        by: match event.cause {
            Cause::Unreadable => DecidedBy::because("it cannot be parsed"),
            Cause::ForeignSource => DecidedBy::because("its source address is not the pod's"),
            Cause::ForeignDestination => DecidedBy::because("its destination address is not the pod's"),
            Cause::Tunnelled => DecidedBy::because("it is encapsulated for a tunnel of the node"),
            Cause::Policy => decided_by(decision.enforced()),
        },
        audit: None,
    };
    if unreadable {
        flow.protocol = "unreadable".to_owned();
    } else if has_ports {
        (flow.source.port, flow.destination.port) = (Some(event.ports.0), Some(event.ports.1));
    }
    if decision.enforced() & Decision::AUDIT != 0 && event.cause == Cause::Policy {
        flow.audit = Some(decided_by(decision.audited()));
    }
    flow
}
