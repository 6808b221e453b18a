//! The HTTP interface of the daemon, on a Unix socket and optionally a TCP port.

use std::net::IpAddr;
use std::path::Path;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use npc_node::DropCounters;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use crate::enforcer::{Added, Message};
use crate::metrics;

/// The image in force and the pods of this node.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) version: String,
    /// Whether an image is in force.
    pub(crate) ready: bool,
    pub(crate) generation: u32,
    pub(crate) image: ImageStatus,
    pub(crate) policies: usize,
    pub(crate) source: SourceStatus,
    pub(crate) namespaces_known: usize,
    pub(crate) pods_known: usize,
    /// The pods of this node.
    pub(crate) pods: Vec<PodStatus>,
    /// The size of the kernel tables, in bytes.
    pub(crate) memory: usize,
    pub(crate) dropped: Dropped,
    /// The interfaces on which another program is before the kernel program.
    #[serde(default)]
    pub(crate) displaced: Vec<String>,
    /// How often another program took the first position.
    #[serde(default)]
    pub(crate) displacements: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ImageStatus {
    pub(crate) path: String,
    /// The digest of the image in force.
    pub(crate) digest: Option<String>,
    /// Why the current content of the file is not in force.
    pub(crate) error: Option<String>,
}

/// The state of the source of pods and namespaces.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SourceStatus {
    /// Why it cannot be read at present.
    pub(crate) error: Option<String>,
}

/// A pod of this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodStatus {
    pub(crate) pod: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) interface: Option<String>,
    /// Why its packets are not evaluated.
    pub(crate) not_enforced: Option<String>,
    pub(crate) egress: Isolation,
    pub(crate) ingress: Isolation,
}

/// Whether policies select a pod for one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Isolation {
    /// No policy does.
    Open,
    /// Only audit policies do. They decide nothing.
    Audited,
    /// Other policies do.
    Enforced,
}

impl From<u32> for Isolation {
    fn from(number: u32) -> Self {
        match number {
            0 => Self::Open,
            1 => Self::Audited,
            _ => Self::Enforced,
        }
    }
}

/// Counts of packets that were dropped regardless of policies, and of lost reports.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Dropped {
    pub(crate) unreadable: u64,
    pub(crate) fragments: u64,
    pub(crate) unknown_interface: u64,
    pub(crate) foreign_source: u64,
    pub(crate) foreign_destination: u64,
    pub(crate) tunnelled: u64,
    pub(crate) between_generations: u64,
    pub(crate) lost_reports: u64,
}

impl From<DropCounters> for Dropped {
    fn from(troubles: DropCounters) -> Self {
        Self {
            unreadable: troubles.unreadable,
            fragments: troubles.fragments,
            unknown_interface: troubles.unknown_interface,
            foreign_source: troubles.foreign_source,
            foreign_destination: troubles.foreign_destination,
            tunnelled: troubles.tunnelled,
            between_generations: troubles.between_generations,
            lost_reports: troubles.lost_events,
        }
    }
}

/// A reported packet.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Flow {
    /// The time in UTC (RFC 3339).
    pub(crate) time: Option<String>,
    pub(crate) dropped: bool,
    /// `egress` if the pod sent the packet, `ingress` if the pod received it.
    pub(crate) direction: String,
    /// The pod whose policies were evaluated.
    pub(crate) pod: Option<String>,
    pub(crate) source: End,
    pub(crate) destination: End,
    pub(crate) protocol: String,
    pub(crate) bytes: u32,
    pub(crate) by: DecidedBy,
    /// What would decide if audit policies were in force, if the verdict would differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audit: Option<DecidedBy>,
}

/// The source or the destination of a packet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct End {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<String>,
    pub(crate) address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
}

/// The rule or the default that decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct DecidedBy {
    /// `admin`, `policy` or `baseline`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    /// The file and the line of the rule or the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
    pub(crate) reason: String,
}

impl DecidedBy {
    pub(crate) fn because(reason: &str) -> Self {
        Self { reason: reason.to_owned(), ..Self::default() }
    }
}

/// A connection to evaluate, in the format of `npc query --connections`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) src: String,
    #[serde(rename = "srcIP", default, skip_serializing_if = "Option::is_none")]
    pub(crate) src_ip: Option<IpAddr>,
    pub(crate) dst: String,
    #[serde(rename = "dstIP", default, skip_serializing_if = "Option::is_none")]
    pub(crate) dst_ip: Option<IpAddr>,
    pub(crate) proto: String,
    #[serde(default)]
    pub(crate) port: serde_json::Value,
}

/// The verdicts of the kernel and of the interpreter for a connection.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    /// Why the connection cannot be evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) traffic: String,
    /// The verdict of the interpreter.
    pub(crate) allowed: bool,
    /// The decisions for the two directions. The kernel evaluates only pods of this node.
    pub(crate) egress: Side,
    pub(crate) ingress: Side,
    /// Whether the kernel and the interpreter agree in each direction that the kernel evaluates.
    pub(crate) agree: bool,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Side {
    /// Whether the interpreter allows it.
    pub(crate) interpreter: bool,
    /// Whether the kernel allows it; `None` if the pod is not on this node.
    pub(crate) kernel: Option<bool>,
}

impl Answer {
    pub(crate) fn error(why: &str) -> Self {
        Self { error: Some(why.to_owned()), ..Self::default() }
    }
}

/// A pod for which the CNI plugins created an interface.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Add {
    pub(crate) namespace: String,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<String>,
    /// The interfaces on the node that previous plugins created.
    pub(crate) interfaces: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// The state that the handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) enforcer: Sender<Message>,
    pub(crate) flows: broadcast::Sender<Flow>,
}

impl Shared {
    /// Sends a message to the enforcer and awaits the answer.
    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, StatusCode> {
        let (to, answer) = oneshot::channel();
        self.enforcer.send(message(to)).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        answer.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
    }
}

/// The routes on the Unix socket.
pub(crate) fn on_socket(shared: Shared) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/flows", get(recent))
        .route("/flows/follow", get(follow))
        .route("/query", post(query))
        .route("/cni/add", post(add))
        .route("/detach", post(detach))
        .with_state(shared.clone())
        .merge(on_port(shared))
}

/// The routes on the TCP port. They are read-only.
pub(crate) fn on_port(shared: Shared) -> Router {
    Router::new()
        .route("/metrics", get(numbers))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .with_state(shared)
}

async fn status(State(shared): State<Shared>) -> Result<Json<Status>, StatusCode> {
    Ok(Json(shared.ask(Message::Status).await?))
}

async fn healthy(State(shared): State<Shared>) -> Result<&'static str, StatusCode> {
    shared.ask(Message::Ready).await?;
    Ok("ok\n")
}

async fn ready(State(shared): State<Shared>) -> Result<&'static str, (StatusCode, &'static str)> {
    match shared.ask(Message::Ready).await {
        Ok(true) => Ok("ok\n"),
        Ok(false) => Err((StatusCode::SERVICE_UNAVAILABLE, "no image is in force yet\n")),
        Err(code) => Err((code, "stopping\n")),
    }
}

async fn numbers(State(shared): State<Shared>) -> Result<Response, StatusCode> {
    let numbers = shared.ask(Message::Numbers).await?;
    let text = metrics::encode(&numbers).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

fn line(flow: &Flow) -> Bytes {
    let mut line = serde_json::to_vec(flow).unwrap_or_default();
    line.push(b'\n');
    Bytes::from(line)
}

async fn recent(State(shared): State<Shared>) -> Result<Response, StatusCode> {
    let flows = shared.ask(Message::Recent).await?;
    let lines: Vec<u8> = flows.iter().flat_map(line).collect();
    Ok(lines.into_response())
}

async fn follow(State(shared): State<Shared>) -> Response {
    let receiver = shared.flows.subscribe();
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(flow) => return Some((Ok::<Bytes, std::io::Error>(line(&flow)), receiver)),
                // A slow client misses some flows.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Body::from_stream(stream).into_response()
}

async fn query(
    State(shared): State<Shared>,
    Json(asked): Json<Vec<Asked>>,
) -> Result<Json<Vec<Answer>>, StatusCode> {
    Ok(Json(shared.ask(|answer| Message::Ask(asked, answer)).await?))
}

async fn add(State(shared): State<Shared>, Json(add): Json<Add>) -> Result<(), (StatusCode, String)> {
    let Add { namespace, name, uid, interfaces, addresses } = add;
    let added = Added { namespace, name, uid, interfaces, addresses };
    let stopping = |code| (code, "the daemon is stopping".to_owned());
    let answer = shared.ask(|answer| Message::Add(added, answer)).await.map_err(stopping)?;
    answer.map_err(|why| (StatusCode::SERVICE_UNAVAILABLE, why))
}

async fn detach(State(shared): State<Shared>) -> Result<(), (StatusCode, String)> {
    let stopping = |code| (code, "the daemon is stopping".to_owned());
    let answer = shared.ask(Message::Detach).await.map_err(stopping)?;
    answer.map_err(|why| (StatusCode::INTERNAL_SERVER_ERROR, why))
}

/// Binds the Unix socket, with permissions for its owner only.
pub(crate) fn bind(path: &Path) -> std::io::Result<tokio::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // A socket that answers belongs to a running daemon; any other is left over from a killed one.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::Error::other("another npc-node listens on this socket"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
