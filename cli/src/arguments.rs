//! The command line.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use npc_driver::Cni;
use npc_program::FailurePolicy;
use npc_targets::{AnyTarget, Capabilities, KyvernoVersion};

/// Network policy for Kubernetes: a small language, compiled to Kyverno policies and
/// NetworkPolicies.
#[derive(Debug, Parser)]
#[command(name = "npc", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Arguments {
    /// When to use colours; `auto` depends on the terminal and NO_COLOR.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Colour,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Whether to colour diagnostics.
    pub(crate) fn colour(&self) -> bool {
        match self.color {
            Colour::Always => true,
            Colour::Never => false,
            Colour::Auto => {
                let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !no_color && std::io::stderr().is_terminal()
            }
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Compile a program to Kyverno policies, NetworkPolicies or a map image.
    Compile(Compile),
    /// Check programs or manifests, and report problems.
    #[command(visible_alias = "lint")]
    Check(Check),
    /// Format programs in the standard style; comments are kept.
    #[command(visible_alias = "format")]
    Fmt(Fmt),
    /// Run the tests of a program and prove its assertions.
    Test(Test),
    /// Show which connections change between two sets of policies, in any cluster.
    Diff(Diff),
    /// Show whether a connection is allowed, and which rule of which policy decides.
    Query(Query),
    /// Show who can reach whom: all pods to all pods, grouped by equivalent pods.
    Reach(Reach),
    /// Convert Kubernetes and Kyverno policies to a program.
    Import(Import),
    /// Inspect a map image, the output of `npc compile --target ebpf`.
    Image {
        /// The operation.
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Run the language server on standard input and output.
    Lsp {
        /// Accepted because editors pass it; standard input and output is the only transport.
        #[arg(long, hide = true)]
        stdio: bool,
    },
    /// Explain the code of a diagnostic.
    Explain(Explain),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ImageCommand {
    /// Print a summary of an image: its policies, and the number of its elements.
    Inspect(ImageFile),
    /// Check that an image is intact and valid. The exit code is 1 if it is not.
    Verify(ImageFile),
    /// Print the whole image as JSON, or the kernel tables that a node computes from it.
    Dump(ImageDump),
}

/// The options of `npc image dump`.
#[derive(Args, Debug)]
pub(crate) struct ImageDump {
    #[command(flatten)]
    pub(crate) image: ImageFile,
    /// `json`: the image; `bpftool`: the kernel tables of a node, in the format of `bpftool map dump`.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub(crate) format: DumpFormat,
    /// The output of `kubectl get namespaces,pods -A -o yaml` (or `json`), for the tables.
    #[arg(long, value_name = "FILE", required_if_eq("format", "bpftool"))]
    pub(crate) cluster: Option<PathBuf>,
    /// The node whose tables to print. Default: a node that runs all pods.
    #[arg(long, value_name = "NAME", requires = "cluster")]
    pub(crate) node: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DumpFormat {
    Json,
    Bpftool,
}

/// The image to read.
#[derive(Args, Debug)]
pub(crate) struct ImageFile {
    /// The image (`.npmap`), or `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// The namespace of manifests that do not set one.
#[derive(Args, Debug)]
pub(crate) struct AppliedTo {
    /// The namespace of manifests that do not set one. Default: `default`, with a note.
    #[arg(long, short, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

/// The program to read.
#[derive(Args, Debug)]
pub(crate) struct Input {
    /// Source files, folders (every `.np` file in them), or `-` for standard input; together they form
    /// one program.
    #[arg(value_name = "FILE", default_value = ".")]
    pub(crate) inputs: Vec<PathBuf>,
    /// The output of `kubectl get namespaces -o yaml` (or `json`).
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster: Option<PathBuf>,
    /// The output format of diagnostics.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Fmt {
    /// Source files, folders (every `.np` file in them), or `-` to format standard input to standard
    /// output.
    #[arg(value_name = "FILE", default_value = ".")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Write nothing; print the names of the files that would change. The exit code is 1 if there are
    /// any.
    #[arg(long)]
    pub(crate) check: bool,
    /// Write nothing; print the changes as a diff. The exit code is 1 if there are any.
    #[arg(long)]
    pub(crate) diff: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Compile {
    #[command(flatten)]
    pub(crate) input: Input,
    /// The targets, separated by commas. Default: `targets` in npc.toml, or `kyverno`.
    #[arg(long, short, value_name = "TARGETS", value_delimiter = ',', value_parser = targets(|_| true))]
    pub(crate) target: Vec<AnyTarget>,
    /// The output folder, or `-` for standard output (one target only).
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(crate) output: PathBuf,
    /// Evaluate the Kyverno policies for the given cluster, print the NetworkPolicies that Kyverno will
    /// generate, and write nothing. Also accepts files of Kyverno policies (.yaml) instead of a
    /// program.
    #[arg(long, requires = "cluster")]
    pub(crate) expand: bool,
    /// The Kyverno version to compile for. Default: npc.toml, or 1.19.1.
    #[arg(long, value_name = "VERSION")]
    pub(crate) kyverno_version: Option<KyvernoVersion>,
    /// Also write guards: policies that reject NetworkPolicies which allow what the program denies with
    /// `anywhere except`. While Kyverno is unavailable, the API server rejects (`fail`) or admits
    /// (`ignore`) every NetworkPolicy. Default: `guard` in npc.toml, or none.
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "fail")]
    pub(crate) with_guard: Option<Guard>,
    /// Compile again whenever a source changes, until interrupted.
    #[arg(long, conflicts_with = "expand")]
    pub(crate) watch: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Source files, folders (every `.np` file in them), or `-` for standard input; together they form
    /// one program. Or manifests (.yaml, .json) of NetworkPolicy, ClusterNetworkPolicy and Kyverno, and
    /// folders of them.
    #[arg(value_name = "FILE", default_value = ".")]
    pub(crate) inputs: Vec<PathBuf>,
    /// The output of `kubectl get namespaces,pods -A -o yaml` (or `json`).
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster: Option<PathBuf>,
    /// The output format of diagnostics.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
    /// The CNI of the cluster: warn about policies that it enforces differently. `cilium@1.20`,
    /// `calico@3.28` or `aws@1.20`, optionally with its settings, as in `calico@3.28,ebpf`. Default:
    /// `cni` in npc.toml.
    #[arg(long, value_name = "NAME@VERSION")]
    pub(crate) cni: Option<Cni>,
    /// Also check that these targets can express the program. Default: `targets` in npc.toml.
    #[arg(long, short, value_name = "TARGETS", value_delimiter = ',', value_parser = targets(|_| true))]
    pub(crate) target: Vec<AnyTarget>,
    /// The Kyverno version for `--target`. Default: npc.toml, or 1.19.1.
    #[arg(long, value_name = "VERSION")]
    pub(crate) kyverno_version: Option<KyvernoVersion>,
    /// Also check that guards can be written, as with `npc compile --with-guard`.
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "fail")]
    pub(crate) with_guard: Option<Guard>,
    /// Apply the safe fixes.
    #[arg(long)]
    pub(crate) fix: bool,
    /// Show what `--fix` would change, as a diff, and change nothing.
    #[arg(long)]
    pub(crate) diff: bool,
    /// Exit with 1 for these too.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) deny: Option<Deny>,
    #[command(flatten)]
    pub(crate) namespace: AppliedTo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deny {
    /// Treat warnings as errors.
    Warnings,
}

/// The behaviour of the API server for NetworkPolicies while Kyverno does not respond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Guard {
    /// Reject them.
    Fail,
    /// Admit them.
    Ignore,
}

impl From<Guard> for FailurePolicy {
    fn from(guard: Guard) -> Self {
        match guard {
            Guard::Fail => Self::Fail,
            Guard::Ignore => Self::Ignore,
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct Test {
    /// Source files, folders (every `.np` file in them), or `-` for standard input; together they form
    /// one program.
    #[arg(value_name = "FILE", default_value = ".")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Run only the tests and assertions whose names contain this text.
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// The output format of the results.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: TestFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TestFormat {
    Human,
    Json,
    Junit,
}

#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// The old policies: a program, a file of manifests, or a folder of either.
    pub(crate) old: PathBuf,
    /// The new policies, in the same forms.
    pub(crate) new: PathBuf,
    /// For programs, also show the effect of the update on the Kyverno policies of this target: which
    /// changes Kyverno rejects, and which objects it leaves behind. Default: npc.toml. For Kyverno
    /// policies as input this is always shown.
    #[arg(short, long, value_name = "TARGET", value_parser = targets(|target| target.by_kyverno))]
    pub(crate) target: Option<AnyTarget>,
    /// The output format of the changes.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: AnswerFormat,
    #[command(flatten)]
    pub(crate) namespace: AppliedTo,
}

#[derive(Args, Debug)]
pub(crate) struct Query {
    /// The connection: the source and the destination, each a pod (`namespace/name`) or an address, and
    /// the port (`tcp/5432`, `tcp/metrics`, or `other` for a protocol without ports). Then the
    /// policies: programs, manifests of NetworkPolicy, ClusterNetworkPolicy and Kyverno, folders of
    /// either, or `-`. Default: the current folder.
    #[arg(value_name = "SOURCE DESTINATION PORT [FILE]")]
    pub(crate) words: Vec<String>,
    /// The output of `kubectl get namespaces,pods -A -o yaml` (or `json`).
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster: Option<PathBuf>,
    /// Evaluate the connections in a file, one per line: `{"src": "shop/web", "dst": "data/db",
    /// "proto": "TCP", "port": 5432}`. `srcIP` and `dstIP` choose one of a pod's addresses, or set the
    /// address of `external`. Each result is a line of JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) connections: Option<PathBuf>,
    /// With `--connections`, print only the verdicts, without the rules that decide; this takes half
    /// the time.
    #[arg(long, requires = "connections")]
    pub(crate) verdicts: bool,
    /// Evaluate the policies themselves, or the compiled output of these targets in the cluster.
    #[arg(long, value_name = "WAYS", value_delimiter = ',', default_value = "program", value_parser = Way::parser())]
    pub(crate) via: Vec<Way>,
    #[command(flatten)]
    pub(crate) namespace: AppliedTo,
    /// The output format of the answer.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: AnswerFormat,
}

#[derive(Args, Debug)]
pub(crate) struct Reach {
    /// Programs, manifests of NetworkPolicy, ClusterNetworkPolicy and Kyverno, folders of either, or
    /// `-` for standard input.
    #[arg(value_name = "FILE", default_value = ".")]
    pub(crate) inputs: Vec<PathBuf>,
    /// The output of `kubectl get namespaces,pods -A -o yaml` (or `json`).
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster: PathBuf,
    /// Show only these sources: a namespace, a pod (`namespace/name`), an address, or `outside`.
    #[arg(long, value_name = "WHO", value_delimiter = ',')]
    pub(crate) from: Vec<String>,
    /// Show only these destinations.
    #[arg(long, value_name = "WHO", value_delimiter = ',')]
    pub(crate) to: Vec<String>,
    #[command(flatten)]
    pub(crate) namespace: AppliedTo,
    /// The output format: a table for people, data, a graph for Graphviz, a picture, or a page to
    /// explore in a browser.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: ReachFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReachFormat {
    #[value(alias = "text")]
    Human,
    Json,
    Csv,
    Dot,
    Svg,
    Html,
}

/// How a connection is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// With the policies themselves.
    Program,
    /// With the output of a target: for Kyverno's, with the NetworkPolicies that Kyverno generates.
    Target(AnyTarget),
}

impl Way {
    fn all() -> impl Iterator<Item = Self> {
        std::iter::once(Self::Program).chain(AnyTarget::ALL.map(Self::Target))
    }

    /// The name on the command line. The map image has the name of what is evaluated, not of its target.
    fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Target(target) if target.capabilities().text => target.name(),
            Self::Target(_) => "image",
        }
    }

    fn parser() -> impl TypedValueParser<Value = Self> {
        PossibleValuesParser::new(Self::all().map(|way| PossibleValue::new(way.name()))).try_map(|name| {
            Self::all().find(|way| way.name() == name).ok_or_else(|| format!("unknown way {name}"))
        })
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnswerFormat {
    Human,
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// Manifests, folders of them, or `-` for standard input; together they form one program.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
    /// The output file, or `-` for standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
    /// The output format of diagnostics.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) namespace: AppliedTo,
}

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// A code such as NP0302, or its name; without it, all codes are listed.
    pub(crate) code: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    Human,
    Short,
    Json,
    Sarif,
    Github,
}

impl From<Format> for npc_render::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Human => Self::Human,
            Format::Short => Self::Short,
            Format::Json => Self::Json,
            Format::Sarif => Self::Sarif,
            Format::Github => Self::Github,
        }
    }
}

/// Parses the name of a target with some capabilities. Completions and errors list the names.
fn targets(condition: fn(Capabilities) -> bool) -> impl TypedValueParser<Value = AnyTarget> {
    let names = AnyTarget::with(condition).map(|target| PossibleValue::new(target.name()));
    PossibleValuesParser::new(names)
        .try_map(|name| AnyTarget::parse(&name).ok_or_else(|| format!("unknown target {name}")))
}
