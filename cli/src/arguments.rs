//! The command line.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use npc_driver::Cni;
use npc_program::FailurePolicy;
use npc_targets::{KyvernoVersion, Target};

/// Network policy for Kubernetes: a small language, compiled to Kyverno policies and
/// NetworkPolicies.
#[derive(Debug, Parser)]
#[command(name = "npc", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Whether to use colours; `auto` asks the terminal and NO_COLOR.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: Colour,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// Whether diagnostics are coloured.
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
    /// Writes what a program becomes: Kyverno policies, NetworkPolicies, or a map image.
    Compile(Compile),
    /// Checks a program and writes nothing but what it finds.
    #[command(visible_alias = "lint")]
    Check(Check),
    /// Writes programs in the one style, and keeps every comment.
    #[command(visible_alias = "format")]
    Fmt(Fmt),
    /// Runs the tests of a program, and proves its assertions.
    Test(Test),
    /// Says which connections change from one set of policies to another, in any cluster.
    Diff(Diff),
    /// Says whether a connection is allowed, and which rule of which policy decides it.
    Query(Query),
    /// Tell who can reach whom: all pods against all, grouped by equivalent pods.
    Reach(Reach),
    /// Writes policies of Kubernetes and Kyverno as a program.
    Import(Import),
    /// Looks into a map image, which `npc compile --target ebpf` writes.
    Image {
        /// What to do with it.
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Serves an editor, on standard input and output.
    Lsp {
        /// What editors add; there is no other way.
        #[arg(long, hide = true)]
        stdio: bool,
    },
    /// Prints the page of a diagnostic's code.
    Explain(Explain),
    /// Prints the completions of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Prints the manual page.
    Man,
}

#[derive(Subcommand, Debug)]
pub(crate) enum ImageCommand {
    /// Prints what is in an image: its policies, and how many of everything there are.
    Inspect(ImageFile),
    /// Says whether an image is whole and sound. The exit code is 1 where it is not.
    Verify(ImageFile),
    /// Prints all that is in an image, as JSON; or the kernel's tables that a node makes of it.
    Dump(ImageDump),
}

/// How an image is printed.
#[derive(Args, Debug)]
pub(crate) struct ImageDump {
    #[command(flatten)]
    pub(crate) image: ImageFile,
    /// `json`: the image; `bpftool`: the kernel's tables of a node, as `bpftool map dump` prints them.
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    pub(crate) format: DumpFormat,
    /// What `kubectl get namespaces,pods -A -o yaml` (or `json`) prints of the cluster, for the tables.
    #[arg(long, value_name = "FILE", required_if_eq("format", "bpftool"))]
    pub(crate) cluster: Option<PathBuf>,
    /// The node whose tables they are. Default: one that runs all pods.
    #[arg(long, value_name = "NAME", requires = "cluster")]
    pub(crate) node: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DumpFormat {
    Json,
    Bpftool,
}

/// Which image.
#[derive(Args, Debug)]
pub(crate) struct ImageFile {
    /// The image (`.npmap`), or `-` for standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// The namespace of manifests that say none.
#[derive(Args, Debug)]
pub(crate) struct AppliedTo {
    /// The namespace that manifests without one are applied to. Default: `default`, which is said.
    #[arg(long, short, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

/// Which program.
#[derive(Args, Debug)]
pub(crate) struct Input {
    /// Source files, folders (every `.np` in them), or `-` for standard input; together they are
    /// one program.
    #[arg(value_name = "FILE", default_value = ".")]
    pub(crate) inputs: Vec<PathBuf>,
    /// What `kubectl get namespaces -o yaml` (or `json`) prints of the cluster.
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster: Option<PathBuf>,
    /// How diagnostics are printed.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Fmt {
    /// Source files, folders (every `.np` in them), or `-`: standard input, to standard output.
    #[arg(value_name = "FILE", default_value = ".")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Write nothing; print the names of the files that would change. The exit code is 1 where there
    /// are some.
    #[arg(long)]
    pub(crate) check: bool,
    /// Write nothing; print what would change. The exit code is 1 where something would.
    #[arg(long)]
    pub(crate) diff: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Compile {
    #[command(flatten)]
    pub(crate) input: Input,
    /// What to compile to, separated by commas. Default: `targets` in npc.toml, or `kyverno`.
    #[arg(long, short, value_name = "TARGETS", value_delimiter = ',', value_parser = target)]
    pub(crate) target: Vec<Target>,
    /// The folder for the output, or `-` for standard output (one target only).
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(crate) output: PathBuf,
    /// Print the NetworkPolicies that Kyverno will make in the cluster given, by evaluating the
    /// policies, and write nothing. Also takes files of Kyverno policies (.yaml) for a program.
    #[arg(long, requires = "cluster")]
    pub(crate) expand: bool,
    /// The version of Kyverno that the output is for. Default: npc.toml, or 1.19.1.
    #[arg(long, value_name = "VERSION")]
    pub(crate) kyverno_version: Option<KyvernoVersion>,
    /// Also write guards: policies that refuse NetworkPolicies which allow what the program denies
    /// with `anywhere except`. While Kyverno is away the API server refuses (`fail`) or admits
    /// (`ignore`) every NetworkPolicy. Default: `guard` in npc.toml, or none.
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "fail")]
    pub(crate) with_guard: Option<Guard>,
    /// Compile again whenever a source changes, until interrupted.
    #[arg(long, conflicts_with = "expand")]
    pub(crate) watch: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Source files, folders (every `.np` in them), or `-` for standard input; together they are one
    /// program. Or manifests (.yaml, .json) of NetworkPolicy, ClusterNetworkPolicy and Kyverno, and
    /// folders of them.
    #[arg(value_name = "FILE", default_value = ".")]
    pub(crate) inputs: Vec<PathBuf>,
    /// What `kubectl get namespaces,pods -A -o yaml` (or `json`) prints of the cluster.
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster: Option<PathBuf>,
    /// How diagnostics are printed.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
    /// The cluster's network: warn of what it will judge otherwise. `cilium@1.20`, `calico@3.28`, or
    /// `aws@1.20`; with what is set there, as in `calico@3.28,ebpf`. Default: `cni` in npc.toml.
    #[arg(long, value_name = "NAME@VERSION")]
    pub(crate) cni: Option<Cni>,
    /// Also check that these targets can express the program. Default: `targets` in npc.toml.
    #[arg(long, short, value_name = "TARGETS", value_delimiter = ',', value_parser = target)]
    pub(crate) target: Vec<Target>,
    /// The version of Kyverno for `--target`. Default: npc.toml, or 1.19.1.
    #[arg(long, value_name = "VERSION")]
    pub(crate) kyverno_version: Option<KyvernoVersion>,
    /// Also check that guards can be written, as with `npc compile --with-guard`.
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_missing_value = "fail")]
    pub(crate) with_guard: Option<Guard>,
    /// Apply the repairs that need no decision.
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
    /// Warnings count as errors.
    Warnings,
}

/// What the API server does with NetworkPolicies while Kyverno does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Guard {
    /// It refuses them.
    Fail,
    /// It admits them.
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
    /// Source files, folders (every `.np` in them), or `-` for standard input; together they are
    /// one program.
    #[arg(value_name = "FILE", default_value = ".")]
    pub(crate) inputs: Vec<PathBuf>,
    /// Only the tests and assertions with this in their names.
    #[arg(long, value_name = "TEXT")]
    pub(crate) filter: Option<String>,
    /// How the results are printed.
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
    /// The policies as they were: a program, a file of manifests, or a folder of either.
    pub(crate) old: PathBuf,
    /// The policies as they are.
    pub(crate) new: PathBuf,
    /// Of programs, also tell what these targets' policies need to be updated: which changes Kyverno
    /// refuses, and what it leaves behind. Default: what npc.toml says. Of Kyverno's own policies it
    /// is always told.
    #[arg(short, long, value_name = "TARGET")]
    pub(crate) target: Option<KyvernoTarget>,
    /// How the changes are printed.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: AnswerFormat,
    #[command(flatten)]
    pub(crate) namespace: AppliedTo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KyvernoTarget {
    Kyverno,
    KyvernoCel,
}

#[derive(Args, Debug)]
pub(crate) struct Query {
    /// The connection: the source and the destination, each a pod (`namespace/name`) or an address,
    /// and the port (`tcp/5432`, `tcp/metrics`, or `other` for a protocol without ports). Then the
    /// policies: programs, manifests of NetworkPolicy, ClusterNetworkPolicy and Kyverno, folders of
    /// either, or `-`. Default: the current folder.
    #[arg(value_name = "SOURCE DESTINATION PORT [FILE]")]
    pub(crate) words: Vec<String>,
    /// What `kubectl get namespaces,pods -A -o yaml` (or `json`) prints of the cluster.
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster: Option<PathBuf>,
    /// Answer the connections of a file, one a line: `{"src": "shop/web", "dst": "data/db", "proto":
    /// "TCP", "port": 5432}`; `srcIP` and `dstIP` choose one of a pod's addresses, or are the address of
    /// `external`. Each answer is a line of JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) connections: Option<PathBuf>,
    /// Of many connections, the verdicts alone, without the rules that decide: in half of the time.
    #[arg(long, requires = "connections")]
    pub(crate) verdicts: bool,
    /// Ask the policies themselves, or what these targets make of them in the cluster.
    #[arg(long, value_name = "WAYS", value_delimiter = ',', default_value = "program")]
    pub(crate) via: Vec<Way>,
    #[command(flatten)]
    pub(crate) namespace: AppliedTo,
    /// How the answer is printed.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: AnswerFormat,
}

#[derive(Args, Debug)]
pub(crate) struct Reach {
    /// Programs, manifests of NetworkPolicy, ClusterNetworkPolicy and Kyverno, folders of either, or
    /// `-` for standard input.
    #[arg(value_name = "FILE", default_value = ".")]
    pub(crate) inputs: Vec<PathBuf>,
    /// What `kubectl get namespaces,pods -A -o yaml` (or `json`) prints of the cluster.
    #[arg(long, value_name = "FILE")]
    pub(crate) cluster: PathBuf,
    /// Only what these may send: a namespace, a pod (`namespace/name`), an address, or `outside`.
    #[arg(long, value_name = "WHO", value_delimiter = ',')]
    pub(crate) from: Vec<String>,
    /// Only what these may be sent.
    #[arg(long, value_name = "WHO", value_delimiter = ',')]
    pub(crate) to: Vec<String>,
    #[command(flatten)]
    pub(crate) namespace: AppliedTo,
    /// How the table is printed: for people, as data, as a graph for Graphviz, as a picture, or as a
    /// page to explore in a browser.
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

/// How a question is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// By the policies themselves.
    Program,
    /// By the NetworkPolicies that they are compiled to.
    Networkpolicy,
    /// By what Kyverno generates from the ClusterPolicies that they are compiled to.
    Kyverno,
    /// By what Kyverno generates from the GeneratingPolicies that they are compiled to.
    KyvernoCel,
    /// By the ClusterNetworkPolicies and NetworkPolicies that they are compiled to.
    Clusternetworkpolicy,
    /// By the map image that they are compiled to.
    Image,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Program => "program",
            Self::Networkpolicy => "networkpolicy",
            Self::Kyverno => "kyverno",
            Self::KyvernoCel => "kyverno-cel",
            Self::Clusternetworkpolicy => "clusternetworkpolicy",
            Self::Image => "image",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnswerFormat {
    Human,
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// Manifests, folders of them, or `-` for standard input; together they are one program.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
    /// The file for the program, or `-` for standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
    /// How diagnostics are printed.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) namespace: AppliedTo,
}

#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// A code such as NP0302, or its name; without one, all codes are listed.
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

fn target(name: &str) -> Result<Target, String> {
    Target::parse(name).ok_or_else(|| {
        let names: Vec<&str> = Target::ALL.into_iter().map(Target::as_str).collect();
        format!("the targets are {}", names.join(", "))
    })
}
