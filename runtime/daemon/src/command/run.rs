//! `npc-node run`

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use ipnet::IpNet;
use npc_node::Settings;
use rtnetlink::MulticastGroup;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, broadcast, mpsc};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::arguments::{LogFormat, Run};
use crate::client::Error;
use crate::control::{self, Shared};
use crate::enforcer::{Config, Enforcer, Inbox, Message};
use crate::interfaces::Interfaces;
use crate::{source, watched_file};

/// The capacity of the enforcer's message channel.
const WAITING: usize = 4096;

/// The capacity of the report channel, in batches of up to 256 reports.
const REPORTS: usize = 16;

/// Modules that are not logged unless NPC_LOG names them. The enforcer logs failures of the API client
/// itself, once.
const QUIET: &str = "kube_client=off,kube_runtime=off";

pub(crate) fn run(options: &Run) -> Result<ExitCode, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|why| Error::Other(format!("cannot start the async runtime: {why}")))?;
    log(options.log_format);
    let services = options
        .services
        .iter()
        .map(|text| block(text).map_err(|why| Error::Other(format!("--services {text}: {why}"))))
        .collect::<Result<Vec<IpNet>, Error>>()?;
    // The kernel program requires Linux 6.6. Missing requirements are reported before anything is changed.
    let missing = super::check::missing(&options.place.pins);
    if let [first, ..] = missing.as_slice() {
        return Err(Error::Other(format!("{}: {}; see `npc-node check`", first.what, first.repair)));
    }
    let state = options.place.socket.parent().unwrap_or(Path::new(".")).join("pods.json");
    let cgroup = options.cgroup.clone().or_else(cgroup_root);
    if cgroup.is_none() {
        if !services.is_empty() {
            return Err(Error::Other(
                "--services requires cgroup2: run `mount -t cgroup2 none DIR`, and pass `--cgroup DIR`"
                    .to_owned(),
            ));
        }
        warn!("no cgroup2 is mounted: egress policies are evaluated at the sending pod, before translation");
    }
    let config = Config {
        image: options.image.clone(),
        pins: options.place.pins.clone(),
        kept: state,
        node: node(options)?,
        services,
        cgroup,
        settings: Settings { foreign_sources: options.allow_foreign_sources, ..Settings::default() },
    };
    let done = runtime.block_on(serve(options, config));
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

/// The mount point of the cgroup2 hierarchy.
fn cgroup_root() -> Option<PathBuf> {
    super::check::mounts().into_iter().find(|(_, kind)| kind == "cgroup2").map(|(place, _)| place)
}

/// Parses a CIDR or a single address.
fn block(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let net: IpNet =
        text.parse().map_err(|_| "neither a CIDR, such as `10.96.0.0/12`, nor an address".to_owned())?;
    match net.trunc() == net {
        true => Ok(net),
        false => Err(format!("host bits are set: did you mean `{}`?", net.trunc())),
    }
}

/// The name of this node, or `None` if pods are found by their interfaces.
fn node(options: &Run) -> Result<Option<String>, Error> {
    if options.node.as_ref().is_some_and(|node| !node.is_empty()) {
        return Ok(options.node.clone());
    }
    if !options.pods.kubernetes {
        return Ok(None);
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = name.map_err(|why| {
        Error::Other(format!("cannot read the name of this node: {why}; pass it with --node"))
    })?;
    Ok(Some(name.trim().to_owned()))
}

fn log(format: LogFormat) {
    let level = std::env::var("NPC_LOG").ok().filter(|level| !level.is_empty());
    let filter = EnvFilter::new(format!("{QUIET},{}", level.as_deref().unwrap_or("info")));
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logger.init(),
        LogFormat::Json => logger.json().init(),
    }
}

async fn serve(options: &Run, config: Config) -> Result<(), Error> {
    let cannot = |what: &str, why: &dyn std::fmt::Display| Error::Other(format!("{what}: {why}"));
    let socket = &options.place.socket;
    let listener = control::bind(socket).map_err(|why| cannot(&socket.display().to_string(), &why))?;
    let port = match options.metrics {
        None => None,
        Some(address) => {
            let bound = TcpListener::bind(address).await;
            Some(bound.map_err(|why| cannot(&format!("--metrics {address}"), &why))?)
        }
    };
    let (to, messages) = mpsc::channel(WAITING);
    let (reports, reported) = mpsc::channel(REPORTS);
    let inbox = Inbox { messages, links: Arc::default(), reports: reported };
    let (flows, _) = broadcast::channel(1024);
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    let netlink = rtnetlink::new_multicast_connection(&groups);
    let (connection, _, changed) = netlink.map_err(|why| cannot("netlink", &why))?;
    tokio::spawn(connection);
    // Requests use a socket of their own, so that a flood of notifications cannot displace the responses.
    let (connection, handle, _) = rtnetlink::new_connection().map_err(|why| cannot("netlink", &why))?;
    tokio::spawn(connection);
    tokio::spawn(links(changed, Arc::clone(&inbox.links)));
    let client = if options.pods.kubernetes {
        let client = kube::Client::try_default().await;
        Some(client.map_err(|why| cannot("cannot configure access to the cluster", &why))?)
    } else {
        None
    };
    let runtime = tokio::runtime::Handle::current();
    let enforcer = Enforcer::open(config, Interfaces::new(handle), runtime, reports, flows.clone())
        .map_err(|why| cannot("cannot enforce", &why))?;
    let enforcing = tokio::task::spawn_blocking(move || enforcer.run(inbox));
    if let Some(path) = options.pods.pods.clone() {
        let to = to.clone();
        tokio::spawn(async move { source::file::follow(&path, to).await });
    }
    if let Some(client) = client {
        tokio::spawn(source::kubernetes::follow(client, to.clone()));
    }
    let (path, images) = (options.image.clone(), to.clone());
    tokio::spawn(async move { watched_file::follow(&path, images, |read| vec![Message::Image(read)]).await });
    let shared = Shared { enforcer: to.clone(), flows };
    let app = control::on_socket(shared.clone());
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, app).with_graceful_shutdown(async {
        let _ = end.await;
    });
    let serving = tokio::spawn(serving.into_future());
    if let Some(port) = port {
        tokio::spawn(async move { axum::serve(port, control::on_port(shared)).await });
    }
    info!(version = env!("CARGO_PKG_VERSION"), socket = %socket.display(), "started");
    let stop = stopped(to);
    tokio::select! {
        done = enforcing => done.map_err(|why| cannot("the enforcer failed", &why))?,
        () = stop => {}
    }
    // Pending requests, such as `detach`, are answered; clients that follow flows are cut off.
    let _ = ended.send(());
    let _ = tokio::time::timeout(std::time::Duration::from_millis(500), serving).await;
    // The next daemon must not find a stale socket.
    let _ = std::fs::remove_file(socket);
    Ok(())
}

/// Waits for a signal to stop, and forwards it to the enforcer.
async fn stopped(to: mpsc::Sender<Message>) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        warn!("cannot catch signals");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    info!("stopping; policies stay enforced");
    let _ = to.send(Message::Stop).await;
}

/// Notifies of changes to interfaces, addresses or routes. Changes within 20 ms are combined.
async fn links<T>(mut changed: impl futures_util::Stream<Item = T> + Unpin, to: Arc<Notify>) {
    use futures_util::StreamExt as _;
    const TOGETHER: tokio::time::Duration = tokio::time::Duration::from_millis(20);
    while changed.next().await.is_some() {
        let end = tokio::time::Instant::now() + TOGETHER;
        while tokio::time::timeout_at(end, changed.next()).await.is_ok_and(|more| more.is_some()) {}
        to.notify_one();
    }
}
