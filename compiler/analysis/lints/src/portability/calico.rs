//! Differences of Calico, as observed in the policy engine of version 3.28.

use npc_diagnostics::Diagnostic;
use npc_program::Program;
use npc_vocabulary::{Action, Direction, Protocol, Which};

use super::{Cni, PORTABILITY, always, cni_difference, rules};

/// The UDP port of VXLAN.
const VXLAN: u16 = 4789;

pub(super) fn run(program: &Program, cni: &Cni) -> Vec<Diagnostic> {
    if cni.has("ebpf") { sctp_names(program, cni) } else { vxlan(program, cni) }
}

fn sctp_names(program: &Program, cni: &Cni) -> Vec<Diagnostic> {
    let named = rules(program)
        .flat_map(|(_, rule)| &rule.ports)
        .filter(|term| term.port.protocol == Protocol::Sctp && matches!(term.port.which, Which::Named(_)));
    named
        .map(|term| {
            cni_difference(
                cni,
                "sctp-named-port",
                term.location,
                "with eBPF does not match named SCTP ports",
                "never matches",
            )
            .help("write the port number")
        })
        .collect()
}

/// Reports traffic that Calico drops before it evaluates policies.
fn vxlan(program: &Program, cni: &Cni) -> Vec<Diagnostic> {
    if cni.has("allow-vxlan") {
        return Vec::new();
    }
    let what = "drops packets from pods to UDP port 4789 (VXLAN), whatever policies allow";
    let help = "set `allowVXLANPacketsFromWorkloads` in the FelixConfiguration, and the option `allow-vxlan` in `cni`";
    let sent = rules(program)
        .filter(|(_, rule)| rule.action == Action::Allow && rule.direction == Direction::Egress);
    let named = sent.flat_map(|(_, rule)| &rule.ports).find(|term| {
        term.port.protocol == Protocol::Udp
            && matches!(term.port.which, Which::Range(first, last) if first != 1 && (first..=last).contains(&VXLAN))
    });
    vec![match named {
        Some(term) => cni_difference(cni, "vxlan", term.location, what, "dropped").help(help),
        None => always(
            Diagnostic::without_place(&PORTABILITY, format!("{cni} {what}")).note("cause: vxlan").help(help),
        ),
    }]
}
