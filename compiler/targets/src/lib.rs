//! The targets: the output formats of `npc compile`.
//!
//! A target compiles a whole [`Program`](npc_program::Program) to the text of its output, or reports the constructs
//! that it cannot express. The targets that produce NetworkPolicies share the lowering in [`template`]. Each target has
//! a module of its own, and [`compile`] dispatches to them.

mod cluster_network_policy;
mod ebpf;
mod guard;
mod kyverno;
mod kyverno_cel;
mod kyverno_common;
mod limits;
mod manifest;
mod networkpolicy;
mod options;
mod target;
mod template;
pub mod yaml;

use npc_cluster::Cluster;
use npc_diagnostics::{Code, Diagnostic, SourceMap};
use npc_program::Program;

pub use ebpf::image_protocol;
pub use kyverno_common::unreached;
pub use options::{KyvernoVersion, Options, PodCidrs};
pub use target::Target;

/// The output of one target.
#[derive(Clone, Debug)]
pub struct Output {
    /// The target.
    pub target: Target,
    /// YAML documents, each preceded by `---`. Empty if there is nothing to write, and for target `ebpf`.
    pub text: String,
    /// The map image of target `ebpf`; empty for the other targets.
    pub image: Vec<u8>,
    /// The number of objects of the target's kind. For target `ebpf`, the number of policies.
    pub objects: usize,
    /// The number of guards.
    pub guards: usize,
    /// The target's diagnostics. If one of them is an error, the output must not be used.
    pub diagnostics: Vec<Diagnostic>,
}

/// Compiles a program to one target.
///
/// The output is deterministic: the same program gives the same bytes on every machine. Only the targets
/// `networkpolicy` and `clusternetworkpolicy` use `cluster`.
#[must_use]
pub fn compile(
    target: Target,
    program: &Program,
    sources: &SourceMap,
    options: &Options,
    cluster: Option<&Cluster>,
) -> Output {
    let mut image = Vec::new();
    let (mut text, objects, mut diagnostics) = match target {
        Target::Kyverno => kyverno_common::compile(&kyverno::ClusterPolicies, program, sources, options),
        Target::KyvernoCel => {
            kyverno_common::compile(&kyverno_cel::GeneratingPolicies, program, sources, options)
        }
        Target::NetworkPolicy => networkpolicy::compile(program, sources, options, cluster),
        Target::ClusterNetworkPolicy => {
            let (mut text, mut objects, mut diagnostics) =
                cluster_network_policy::compile(program, sources, options, cluster);
            if !options.plain_elsewhere {
                let options = Options { tiers_elsewhere: true, ..options.clone() };
                let plain = networkpolicy::compile(program, sources, &options, cluster);
                text.push_str(&plain.0);
                objects += plain.1;
                diagnostics.extend(plain.2);
            }
            (text, objects, diagnostics)
        }
        Target::Ebpf => {
            image = npc_image::write(&ebpf::compile(program, sources));
            (String::new(), program.policies.len(), Vec::new())
        }
    };
    let mut guards = 0;
    if let (Target::Kyverno | Target::KyvernoCel, Some(failure_policy)) = (target, options.guard) {
        let documents;
        (documents, guards) = guard::compile(program, sources, options, failure_policy, &mut diagnostics);
        text.push_str(&documents);
    }
    Output { target, text, image, objects, guards, diagnostics }
}

/// All diagnostic codes of this crate.
#[must_use]
pub fn codes() -> Vec<&'static Code> {
    let mut codes: Vec<&Code> = [
        target::CODES,
        kyverno_common::CODES,
        kyverno::CODES,
        kyverno_cel::CODES,
        guard::CODES,
        cluster_network_policy::CODES,
        limits::CODES,
    ]
    .into_iter()
    .flatten()
    .copied()
    .collect();
    codes.sort_by_key(|code| code.id);
    codes
}
