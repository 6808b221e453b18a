//! What the daemon tells the other commands, over a socket of this machine.

use std::net::IpAddr;
use std::path::Path;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use npc_node::Troubles;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use crate::enforcer::{Added, Message};
use crate::metrics;

/// What is enforced, and for which pods.
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
    /// What the tables take, in bytes.
    pub(crate) memory: usize,
    pub(crate) dropped: Dropped,
    /// The interfaces on which another program is in front.
    #[serde(default)]
    pub(crate) displaced: Vec<String>,
    /// How often another program took that place.
    #[serde(default)]
    pub(crate) displacements: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ImageStatus {
    pub(crate) path: String,
    /// Of the image in force.
    pub(crate) digest: Option<String>,
    /// Why the file, as it is now, is not in force.
    pub(crate) error: Option<String>,
}

/// Where pods come from.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SourceStatus {
    /// Why it cannot be read now.
    pub(crate) error: Option<String>,
}

/// A pod of this node.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodStatus {
    pub(crate) pod: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) interface: Option<String>,
    /// Why its packets are not judged.
    pub(crate) not_enforced: Option<String>,
    pub(crate) egress: Isolation,
    pub(crate) ingress: Isolation,
}

/// Whether policies are for a pod in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Isolation {
    /// No policy is.
    Open,
    /// Only audit policies, which decide nothing.
    Audited,
    /// Policies decide.
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

/// Packets that were dropped whatever the policies say, and reports that did not come through.
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

impl From<Troubles> for Dropped {
    fn from(troubles: Troubles) -> Self {
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

/// A packet that was reported.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Flow {
    /// When, in UTC (RFC 3339).
    pub(crate) time: Option<String>,
    pub(crate) dropped: bool,
    /// Whether the pod sent it (`egress`) or was sent it.
    pub(crate) direction: String,
    /// The pod for which it was judged.
    pub(crate) pod: Option<String>,
    pub(crate) source: End,
    pub(crate) destination: End,
    pub(crate) protocol: String,
    pub(crate) bytes: u32,
    pub(crate) by: Told,
    /// What would decide otherwise if audit policies were in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audit: Option<Told>,
}

/// One end of a packet's way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct End {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<String>,
    pub(crate) address: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
}

/// What decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Told {
    /// `admin`, `policy` or `baseline`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tier: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy: Option<String>,
    /// The file and the line of the rule, or of the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<String>,
    pub(crate) reason: String,
}

impl Told {
    pub(crate) fn because(reason: &str) -> Self {
        Self { reason: reason.to_owned(), ..Self::default() }
    }
}

/// A connection that is asked of, as `npc query --connections` reads it.
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

/// What the kernel and the interpreter make of a connection.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answer {
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    pub(crate) source: String,
    pub(crate) destination: String,
    pub(crate) traffic: String,
    /// What the image's interpreter says.
    pub(crate) allowed: bool,
    /// What the loaded kernel program says of the side that is on this node.
    pub(crate) egress: Side,
    pub(crate) ingress: Side,
    /// Whether the kernel and the interpreter say one thing, on each side that is here.
    pub(crate) agree: bool,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Side {
    /// What the interpreter says.
    pub(crate) interpreter: bool,
    /// What the kernel says; nothing where the pod is not on this node.
    pub(crate) kernel: Option<bool>,
}

impl Answer {
    pub(crate) fn error(why: &str) -> Self {
        Self { error: Some(why.to_owned()), ..Self::default() }
    }
}

/// A pod that a CNI plugin made an interface for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Add {
    pub(crate) namespace: String,
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uid: Option<String>,
    /// The interfaces of the node that the plugins before made.
    pub(crate) interfaces: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
}

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) enforcer: Sender<Message>,
    pub(crate) flows: broadcast::Sender<Flow>,
}

impl Shared {
    /// Asks the enforcer.
    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, StatusCode> {
        let (to, answer) = oneshot::channel();
        self.enforcer.send(message(to)).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        answer.await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
    }
}

/// What is served on the socket of this machine.
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

/// What is served to others, where that is asked for: nothing that changes anything.
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
                // Who reads too slowly misses some, and goes on.
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

/// Listens at a path of this machine, which only its owner may use.
pub(crate) fn bind(path: &Path) -> std::io::Result<tokio::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    // One that answers is another daemon; one that does not is left from one that was killed.
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(std::io::Error::other("another npc-node listens there"));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
