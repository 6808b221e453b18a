//! The arguments of the command.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where programs, links and records are pinned.
const PINS: &str = "/sys/fs/bpf/npc";

/// Where the daemon listens for the other commands.
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
    /// Enforces an image for the pods of this node, until it is stopped; what it enforced then stays.
    Run(Box<Run>),
    /// Tells what is enforced, and for which pods.
    Status(Status),
    /// Tells which packets were dropped, are logged, or would be dropped by audit policies.
    Flows(Flows),
    /// Asks the loaded kernel program of a connection, and the image's interpreter beside it.
    Query(Query),
    /// Undoes everything: no packet is judged any more, and nothing is kept.
    Detach(Where),
    /// Tells whether this machine has what it takes, and what is missing.
    Check(Check),
    /// Puts the plugin `npc-cni` into the node's chain, so that a pod is judged before its first packet; or
    /// takes it out again.
    InstallCni(InstallCni),
}

/// Where the daemon is.
#[derive(Args, Clone, Debug)]
pub(crate) struct Where {
    /// Where the daemon listens for the other commands.
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
    /// The folder of a bpffs in which all is pinned that outlives the daemon.
    #[arg(long, value_name = "FOLDER", default_value = PINS)]
    pub(crate) pins: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The image that `npc compile --target ebpf` wrote. It is read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub(crate) image: PathBuf,
    #[command(flatten)]
    pub(crate) pods: PodsFrom,
    /// The name of this node: its pods are those that say so. Default: with `--kubernetes` the
    /// environment's NODE_NAME, or the host's name; with `--pods`, the pods whose interface is here.
    #[arg(long, value_name = "NAME", env = "NODE_NAME")]
    pub(crate) node: Option<String>,
    /// Addresses and CIDRs that the node translates to pods: the range of the cluster's Services. Needed only
    /// to know which of the connections that are older than the daemon go to Services.
    #[arg(long, value_name = "BLOCKS", value_delimiter = ',')]
    pub(crate) services: Vec<String>,
    /// The root of the second version of control groups, where what pods send to sockets of the node is
    /// decided. Default: where it is mounted.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cgroup: Option<PathBuf>,
    /// Let pods send from addresses that are not theirs: routers and machines within pods. Whoever is
    /// judged by the address that a packet comes from can then be deceived.
    #[arg(long)]
    pub(crate) allow_foreign_sources: bool,
    #[command(flatten)]
    pub(crate) place: Where,
    /// Where metrics and health are served, as `127.0.0.1:9465`. Default: nowhere but on the socket.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// How it logs.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct PodsFrom {
    /// What `kubectl get namespaces,pods -A -o yaml` (or `json`) prints. It is read again when it changes.
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
    /// How it is printed.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Flows {
    #[command(flatten)]
    pub(crate) place: Where,
    /// Go on as packets come, until stopped.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only those of this pod, as `namespace/name`.
    #[arg(long, value_name = "POD")]
    pub(crate) pod: Option<String>,
    /// Only what was dropped.
    #[arg(long)]
    pub(crate) dropped: bool,
    /// How they are printed.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Query {
    /// The connection: the source and the destination, each a pod (`namespace/name`) or an address, and
    /// the port (`tcp/5432`, `tcp/metrics`, or `other` for a protocol without ports).
    #[arg(value_name = "SOURCE DESTINATION PORT", num_args = 3, required_unless_present = "connections")]
    pub(crate) words: Vec<String>,
    /// Ask of the connections of a file, as `npc query --connections` reads them. Each answer is a line
    /// of JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "words")]
    pub(crate) connections: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Where,
    /// How the answer is printed.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The folder of a bpffs that is to be used.
    #[arg(long, value_name = "FOLDER", default_value = PINS)]
    pub(crate) pins: PathBuf,
    /// How it is printed.
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub(crate) format: Format,
}

#[derive(Args, Debug)]
pub(crate) struct InstallCni {
    /// Where the node's CNI plugins are.
    #[arg(long, value_name = "FOLDER", default_value = "/opt/cni/bin")]
    pub(crate) bin: PathBuf,
    /// Where the node's CNI configuration is. The first list in it, by name, is the one that is used.
    #[arg(long, value_name = "FOLDER", default_value = "/etc/cni/net.d")]
    pub(crate) conf: PathBuf,
    /// Where the daemon listens, as the node sees it.
    #[arg(long, value_name = "PATH", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
    /// Stay, and put it in its place again where the node's network writes its configuration anew.
    #[arg(long)]
    pub(crate) follow: bool,
    /// Take it out again.
    #[arg(long, conflicts_with = "follow")]
    pub(crate) remove: bool,
}
