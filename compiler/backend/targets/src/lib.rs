//! The targets: the output formats of `npc compile`.
//!
//! A target compiles a whole [`Program`](npc_program::Program) to the text of its output, or reports the constructs
//! that it cannot express. The targets that produce NetworkPolicies share the lowering in [`template`]. Each target has
//! a folder of its own, which implements the trait [`Target`], and [`AnyTarget::ALL`] lists them.

mod cluster_network_policy;
mod ebpf;
mod guard;
mod kyverno;
mod kyverno_cel;
mod kyverno_common;
mod limits;
mod manifest;
mod metadata;
mod networkpolicy;
mod options;
mod registry;
mod target;
mod template;
pub mod yaml;

use npc_cluster::Cluster;
use npc_diagnostics::{Code, Diagnostic, SourceMap};
use npc_program::Program;

pub use kyverno_common::unreached;
pub use options::{KyvernoVersion, Options, PodCidrs};
pub use target::{AnyTarget, Capabilities, Emitted, Input, ReadBack, Target};

/// The output of one target.
#[derive(Clone, Debug)]
pub struct Output {
    /// The target.
    pub target: AnyTarget,
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

impl Output {
    /// The content of the output file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        if self.target.capabilities().text { self.text.as_bytes() } else { &self.image }
    }

    /// Reads the output back.
    ///
    /// # Errors
    ///
    /// Why the output is not valid. The compiler has a bug then.
    pub fn read_back(&self) -> Result<ReadBack, String> {
        self.target.read(self)
    }
}

/// Compiles a program to one target.
///
/// The output is deterministic: the same program gives the same bytes on every machine. Only the targets
/// `networkpolicy` and `clusternetworkpolicy` use `cluster`.
#[must_use]
pub fn compile(
    target: AnyTarget,
    program: &Program,
    sources: &SourceMap,
    options: &Options,
    cluster: Option<&Cluster>,
) -> Output {
    let Emitted { text, image, objects, guards, diagnostics } =
        target.emit(&Input { program, sources, options, cluster });
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
