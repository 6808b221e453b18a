//! The arguments of `npc-node`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The directory where programs, links and conntrack records are pinned.
const PINS: &str = "/sys/fs/bpf/npc";

/// The socket on which the daemon serves the other commands.
pub(crate) const SOCKET: &str = "/run/npc/node.sock";

#[derive(Parser, Debug)]
#[command(
    name = "npc-node",
    version,
    about = "Enforces a map image in the kernel of this node",
    after_help = "See docs/node.md for how to install and operate it."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Enforces an image for the pods of this node. Enforcement continues after it stops.
    Run(Box<Run>),
    /// Shows the image in force and the pods of this node.
    Status(Status),
    /// Shows packets that were dropped, that are logged, or that audit policies would have decided
    /// differently.
    Flows(Flows),
    /// Evaluates a connection with the loaded kernel program and with the interpreter.
    Query(Query),
    /// Stops the daemon, stops enforcement and deletes all pinned state.
    Detach(Where),
    /// Checks whether this machine meets the requirements.
    Check(Check),
    /// Adds the plugin `npc-cni` to the node's CNI configuration, so that a pod's packets are evaluated from
    /// the first one on, or removes it.
    InstallCni(InstallCni),
}

/// How to reach the daemon and its state.
#[derive(Args, Clone, Debug)]
pub(crate) struct Where {
    /// The socket on which the daemon serves the other commands.
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
    /// The directory in a bpffs where state that outlives the daemon is pinned.
    #[arg(long, value_name = "DIR", default_value = PINS)]
    pub(crate) pins: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The image that `npc compile --target ebpf` wrote. It is reloaded when it changes.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: PathBuf,
    #[command(flatten)]
    pub(crate) pods: PodsFrom,
    /// The name of this node, to find its pods by `spec.nodeName`. Default: with `--kubernetes` the
    /// environment variable NODE_NAME or the hostname; with `--pods` none: the pods of this node are found by
    /// their interfaces.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub(crate) node: Option<String>,
    /// Addresses and CIDRs that the node translates to pods: the cluster's Service range. Used only to
    /// recognise connections to Services that are older than the daemon.
    #[arg(long, value_name = "CIDRS", value_delimiter = ',')]
    pub(crate) services: Vec<String>,
    /// The root of the cgroup2 hierarchy, where packets from pods to sockets of the node are evaluated.
    /// Default: the mounted one.
    #[arg(long, value_name = "DIR")]
    pub(crate) cgroup: Option<PathBuf>,
    /// Let pods send from addresses that are not theirs, for routers and virtual machines in pods. A pod can
    /// then evade policies that match its source address.
    #[arg(long)]
    pub(crate) allow_foreign_sources: bool,
    #[command(flatten)]
    pub(crate) place: Where,
    /// Also serve metrics and health checks at this address, for example `127.0.0.1:9465`. Default: only on
    /// the socket.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// The format of the log.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct PodsFrom {
    /// The output of `kubectl get namespaces,pods -A -o yaml` (or `json`). It is reloaded when it changes.
    #[arg(long, value_name = "FILE")]
    pub(crate) pods: Option<PathBuf>,
    /// Watch the pods and namespaces of the cluster.
    #[arg(long)]
    pub(crate) kubernetes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[value(alias = "text")]
    Human,
    Json,
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) place: Where,
    /// The output format.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Flows {
    #[command(flatten)]
    pub(crate) place: Where,
    /// Keep printing packets as they are reported, until stopped.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only packets of this pod, given as `namespace/name`.
    #[arg(long, value_name = "POD")]
    pub(crate) pod: Option<String>,
    /// Only packets that were dropped.
    #[arg(long)]
    pub(crate) dropped: bool,
    /// The output format.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Query {
    /// The connection: the source and the destination, each a pod (`namespace/name`) or an address, and the
    /// port (`tcp/5432`, `tcp/metrics`, or `other` for a protocol without ports).
    #[arg(value_name = "SOURCE DESTINATION PORT", num_args = 3, required_unless_present = "connections")]
    pub(crate) words: Vec<String>,
    /// Evaluate the connections of a file, in the format of `npc query --connections`. Prints one line of
    /// JSON for each.
    #[arg(long, value_name = "FILE", conflicts_with = "words")]
    pub(crate) connections: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Where,
    /// The output format.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The directory in a bpffs to check.
    #[arg(long, value_name = "DIR", default_value = PINS)]
    pub(crate) pins: PathBuf,
    /// The output format.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct InstallCni {
    /// The directory of the node's CNI plugins.
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    pub(crate) bin: PathBuf,
    /// The directory of the node's CNI configuration. The first file by name is used.
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/net.d")]
    pub(crate) conf: PathBuf,
    /// The path of the daemon's socket on the node.
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
    /// Keep running, and add the plugin again when the network rewrites its configuration.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Remove the plugin.
    #[arg(long, conflicts_with = "follow")]
    pub(crate) remove: bool,
}
