//! Pods and namespaces of the cluster, watched.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use npc_cluster::{NAMESPACE_NAME, Namespace, Pod};
use serde::Serialize;
use tokio::sync::mpsc::Sender;
use tracing::warn;

use crate::enforcer::Message;

/// How the API server is asked again that did not answer: as clients do, but not later than in some seconds,
/// since pods that start meanwhile wait for it.
#[derive(Default)]
struct Patience(DefaultBackoff);

/// How late at most.
const LATEST: Duration = Duration::from_secs(5);

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|wait| wait.min(LATEST))
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// Watches until the enforcer is gone. Where the API server does not answer, it is asked again, ever
/// more slowly, and what is known stays.
pub(crate) async fn follow(client: Client, to: Sender<Message>) {
    tokio::join!(namespaces(client.clone(), to.clone()), pods(client, to));
}

async fn namespaces(client: Client, to: Sender<Message>) {
    let stream =
        watcher(Api::<v1::Namespace>::all(client), watcher::Config::default()).backoff(Patience::default());
    let mut stream = pin!(stream);
    let mut all = Vec::new();
    loop {
        let message = match stream.try_next().await {
            Ok(None) => return,
            Err(why) => Message::Source(Err(format!("namespaces: {why}"))),
            Ok(Some(Event::Init)) => {
                all.clear();
                continue;
            }
            Ok(Some(Event::InitApply(namespace))) => {
                all.push(own(&namespace));
                continue;
            }
            Ok(Some(Event::InitDone)) => Message::Namespaces(std::mem::take(&mut all)),
            Ok(Some(Event::Apply(namespace))) => Message::SetNamespace(own(&namespace)),
            Ok(Some(Event::Delete(namespace))) => Message::RemoveNamespace(namespace.name_any()),
        };
        if to.send(message).await.is_err() {
            return;
        }
    }
}

fn own(namespace: &v1::Namespace) -> Namespace {
    let name = namespace.name_any();
    let mut labels: BTreeMap<String, String> = namespace.labels().clone();
    labels.entry(NAMESPACE_NAME.to_owned()).or_insert_with(|| name.clone());
    Namespace { name, labels }
}

async fn pods(client: Client, to: Sender<Message>) {
    let stream =
        watcher(Api::<v1::Pod>::all(client), watcher::Config::default()).backoff(Patience::default());
    let mut stream = pin!(stream);
    let mut all = Vec::new();
    loop {
        let message = match stream.try_next().await {
            Ok(None) => return,
            Err(why) => Message::Source(Err(format!("pods: {why}"))),
            Ok(Some(Event::Init)) => {
                all.clear();
                continue;
            }
            Ok(Some(Event::InitApply(pod))) => {
                all.extend(read(&pod).map(|read| (pod.namespace().unwrap_or_default(), read)));
                continue;
            }
            Ok(Some(Event::InitDone)) => {
                if to.send(Message::Pods(std::mem::take(&mut all))).await.is_err() {
                    return;
                }
                Message::Source(Ok(()))
            }
            Ok(Some(Event::Apply(pod))) => {
                let namespace = pod.namespace().unwrap_or_default();
                match read(&pod) {
                    Some(read) => Message::SetPod(namespace, Box::new(read)),
                    // It has ended: another may have its address.
                    None => Message::RemovePod(namespace, pod.name_any()),
                }
            }
            Ok(Some(Event::Delete(pod))) => {
                Message::RemovePod(pod.namespace().unwrap_or_default(), pod.name_any())
            }
        };
        if to.send(message).await.is_err() {
            return;
        }
    }
}

/// A pod as every other part reads it; nothing where it has ended.
fn read<P: Serialize + kube::Resource>(pod: &P) -> Option<Pod> {
    let value = serde_json::to_value(pod).ok()?;
    Pod::from_api(value).unwrap_or_else(|why| {
        warn!(%why, "a pod cannot be read");
        None
    })
}
