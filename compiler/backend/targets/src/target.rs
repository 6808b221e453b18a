//! The trait of all targets, and the diagnostics that they share. `registry.rs` lists the targets.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use npc_cluster::Cluster;
use npc_diagnostics::{Diagnostic, Level, Location, SourceMap};
use npc_image::Image;
use npc_import::Imported;
use npc_program::Program;

use crate::Output;
use crate::options::Options;

npc_diagnostics::codes! {
    /// # The target cannot express a construct
    ///
    /// The output of every target gives exactly the verdicts of the program; a program for which that
    /// is impossible is rejected. A NetworkPolicy, and so everything that the Kyverno targets generate,
    /// has no `deny`, no tiers, no priorities and no `log`, and selects the namespaces of peers only by
    /// their labels.
    ///
    /// ```np fails target=kyverno
    /// let metadata = 169.254.169.254/32
    /// admin policy no-metadata priority 10 for all pods in all namespaces {
    ///   deny egress to metadata
    /// }
    /// ```
    ///
    /// A plain policy that allows everything else:
    ///
    /// ```np target=kyverno
    /// let metadata = 169.254.169.254/32
    /// policy no-metadata for all pods in all namespaces except (kube-*, kyverno) {
    ///   allow egress to anywhere except metadata
    /// }
    /// ```
    ///
    /// This denial holds only as long as no other policy allows the excluded address: plain policies
    /// are a union. The targets `clusternetworkpolicy` and `ebpf` support tiers, priorities and `deny`;
    /// the note of the diagnostic lists the targets that support the construct.
    CANNOT_EXPRESS = "NP0601" "cannot-express" Error;

    /// # Two generated objects have the same name
    ///
    /// If a policy is compiled to several NetworkPolicies, the compiler derives their names from the
    /// name of the policy. Here a derived name is also the name of another policy's object, so that the
    /// last one applied would silently replace the other. Rename one of the policies.
    NAME_COLLISION = "NP0603" "name-collision" Error;

    /// # The target needs the namespaces of the cluster
    ///
    /// A NetworkPolicy belongs to one namespace. If a policy does not list its namespaces by name, or
    /// compares namespace labels, the compiler needs the namespaces of the cluster. Write them to a
    /// file with `kubectl get namespaces -o yaml` and pass it with `--cluster FILE`:
    ///
    /// ```np fails target=networkpolicy
    /// policy p for all pods in namespaces { env = prod } { isolate ingress }
    /// ```
    ///
    /// A policy that lists its namespaces needs no such file:
    ///
    /// ```np target=networkpolicy
    /// policy p for all pods in namespaces (shop, payments) { isolate ingress }
    /// ```
    NEEDS_CLUSTER = "NP0604" "needs-cluster" Error;

    /// # The target omits an audit policy
    ///
    /// An audit policy decides nothing; a target that supports it reports what the policy would decide.
    /// NetworkPolicy and ClusterNetworkPolicy have no audit mode, so the output omits the policy.
    /// Target `ebpf` supports it.
    ///
    /// ```np fails target=kyverno
    /// audit policy trial for all pods in namespace shop { isolate egress }
    /// ```
    ///
    /// To enforce the policy, remove `audit`:
    ///
    /// ```np target=kyverno
    /// policy trial for all pods in namespace shop { isolate egress }
    /// ```
    AUDIT_OMITTED = "NP0605" "audit-left-out" Note;
}

/// An output format of the compiler: its emitter, and the reader of what the emitter wrote.
///
/// [`AnyTarget::ALL`] is the only list of targets. Commands, the language server, the configuration and the tests
/// iterate over it and check [`Capabilities`].
pub trait Target: Sync {
    /// The name on the command line and in `npc.toml`.
    fn name(&self) -> &'static str;

    /// What one emitted object is called, and several.
    fn nouns(&self) -> [&'static str; 2];

    /// The part of the output file's name after the program's name and a dot.
    fn extension(&self) -> &'static str;

    /// What the target supports, and the properties of its output.
    fn capabilities(&self) -> Capabilities;

    /// Compiles a program. Reports each construct that the target cannot express as an error at its location.
    fn emit(&self, input: &Input<'_>) -> Emitted;

    /// Reads the output back, independently of [`Self::emit`], so that it can be proved equivalent to the program.
    ///
    /// # Errors
    ///
    /// Why the output is not valid. The compiler has a bug then.
    fn read(&self, output: &Output) -> Result<ReadBack, String>;
}

/// What a target supports, and the properties of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// It supports admin and baseline policies.
    pub tiers: bool,
    /// The output is text, as opposed to a binary file for nodes.
    pub text: bool,
    /// Kyverno generates the objects that the cluster enforces. Only these targets support guards.
    pub by_kyverno: bool,
    /// The output depends on the namespaces of one cluster, and is for that cluster only.
    pub per_cluster: bool,
}

/// What a target compiles.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The program, without errors.
    pub program: &'a Program,
    /// The texts of its files.
    pub sources: &'a SourceMap,
    /// The options.
    pub options: &'a Options,
    /// The cluster. Only targets with [`Capabilities::per_cluster`] use it.
    pub cluster: Option<&'a Cluster>,
}

/// What a target wrote: the fields of [`Output`] with the same names.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "the fields of `Output` have the documentation")]
pub struct Emitted {
    pub text: String,
    pub image: Vec<u8>,
    pub objects: usize,
    pub guards: usize,
    pub diagnostics: Vec<Diagnostic>,
}

/// An output that was read back.
#[derive(Debug)]
pub enum ReadBack {
    /// The policies in the emitted objects, or those that Kyverno generates from them.
    Policies(Vec<Imported>),
    /// A map image.
    Image(Box<Image>),
}

/// One of the targets.
#[derive(Clone, Copy)]
pub struct AnyTarget(&'static dyn Target);

impl AnyTarget {
    /// A target. Those that users can choose are in [`AnyTarget::ALL`]; a test may define others.
    #[must_use]
    pub const fn new(target: &'static dyn Target) -> Self {
        Self(target)
    }
}

impl Deref for AnyTarget {
    type Target = dyn Target;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl PartialEq for AnyTarget {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for AnyTarget {}

impl Hash for AnyTarget {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl fmt::Display for AnyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for AnyTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads the policies in emitted YAML: the reader of the targets with text output.
///
/// # Errors
///
/// The first error of the import, with its line.
pub(crate) fn read_policies(output: &Output) -> Result<ReadBack, String> {
    let mut sources = SourceMap::new();
    let file = sources.add(format!("<{}>", output.target).as_str(), output.text.as_str());
    let import = npc_import::import(file, &output.text);
    match import.diagnostics.iter().find(|found| found.level == Level::Error) {
        None => Ok(ReadBack::Policies(import.policies)),
        Some(found) => {
            let line = found.location().map(|location| sources.line_of(location)).unwrap_or_default();
            Err(format!("{line}: {}", found.message))
        }
    }
}

/// The error for a construct that a target cannot express. `why` names the limit of the target's API; `others` are the
/// targets that support the construct, and must not be empty.
pub(crate) fn unsupported(
    target: AnyTarget,
    what: &str,
    place: Location,
    why: &str,
    others: &[AnyTarget],
) -> Diagnostic {
    let names: Vec<String> = others.iter().map(|other| format!("`{other}`")).collect();
    let (last, rest) = names.split_last().map_or(("", &[][..]), |(last, rest)| (last.as_str(), rest));
    let list = if rest.is_empty() { last.to_owned() } else { format!("{} and {last}", rest.join(", ")) };
    let diagnostic =
        Diagnostic::new(&CANNOT_EXPRESS, format!("target `{target}` cannot express {what}"), place, why);
    let can = if names.len() == 1 { "supported by target" } else { "supported by the targets" };
    diagnostic.note(format!("{can} {list}"))
}
