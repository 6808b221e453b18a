//! Pods and namespaces of the cluster, watched.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1;
use kube::api::ListParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use npc_cluster::{NAMESPACE_NAME, Namespace, Pod};
use serde::Serialize;
use serde::de::DeserializeOwned;
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
    let mut all = Vec::new();
    each(&Api::<v1::Namespace>::all(client), "namespaces", &to, |event| match event {
        Event::Init => {
            all.clear();
            None
        }
        Event::InitApply(namespace) => {
            all.push(own(&namespace));
            None
        }
        Event::InitDone => Some(Message::Namespaces(std::mem::take(&mut all))),
        Event::Apply(namespace) => Some(Message::SetNamespace(own(&namespace))),
        Event::Delete(namespace) => Some(Message::RemoveNamespace(namespace.name_any())),
    })
    .await;
}

fn own(namespace: &v1::Namespace) -> Namespace {
    let name = namespace.name_any();
    let mut labels: BTreeMap<String, String> = namespace.labels().clone();
    labels.entry(NAMESPACE_NAME.to_owned()).or_insert_with(|| name.clone());
    Namespace { name, labels }
}

async fn pods(client: Client, to: Sender<Message>) {
    let mut all = Vec::new();
    each(&Api::<v1::Pod>::all(client), "pods", &to, |event| match event {
        Event::Init => {
            all.clear();
            None
        }
        Event::InitApply(pod) => {
            all.extend(read(&pod).map(|read| (pod.namespace().unwrap_or_default(), read)));
            None
        }
        Event::InitDone => Some(Message::Pods(std::mem::take(&mut all))),
        Event::Apply(pod) => {
            let namespace = pod.namespace().unwrap_or_default();
            Some(match read(&pod) {
                Some(read) => {
                    let is_ending = pod.metadata.deletion_timestamp.is_some();
                    Message::SetPod(namespace, Box::new(read), is_ending)
                }
                // It has ended: another may have its address.
                None => Message::RemovePod(namespace, pod.name_any()),
            })
        }
        Event::Delete(pod) => Some(Message::RemovePod(pod.namespace().unwrap_or_default(), pod.name_any())),
    })
    .await;
}

/// Watches what there is of a kind, and tells the enforcer what each event means, and when it cannot be
/// read.
async fn each<K>(
    api: &Api<K>,
    which: &'static str,
    to: &Sender<Message>,
    mut meaning: impl FnMut(Event<K>) -> Option<Message>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let stream = watcher(api.clone(), watcher::Config::default()).backoff(Patience::default());
    let mut stream = pin!(stream);
    // Whether it failed, and whether that was in a watch that had begun.
    let (mut failed, mut is_watched, mut was_watched) = (false, false, false);
    loop {
        // A watch that goes on where it was cut tells nothing until something changes.
        let goes_on = async {
            match failed && was_watched {
                true => goes_on(api).await,
                false => std::future::pending().await,
            }
        };
        let messages = tokio::select! {
            event = stream.try_next() => match event {
                Ok(None) => return,
                Err(why) => {
                    (failed, was_watched) = (true, is_watched);
                    [Some(Message::Source(which, Err(format!("{which}: {why}")))), None]
                }
                Ok(Some(event)) => {
                    // A list has begun before anything of it came.
                    is_watched = !matches!(event, Event::Init | Event::InitApply(_));
                    let is_read = is_watched && std::mem::take(&mut failed);
                    [meaning(event), is_read.then_some(Message::Source(which, Ok(())))]
                }
            },
            () = goes_on => {
                failed = false;
                [Some(Message::Source(which, Ok(()))), None]
            }
        };
        for message in messages.into_iter().flatten() {
            if to.send(message).await.is_err() {
                return;
            }
        }
    }
}

/// Waits until the API server answers, and then as long as it takes to try the watch once more: if that
/// failed, it would be known by then.
async fn goes_on<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug>(api: &Api<K>) {
    let one = ListParams::default().limit(1);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if api.list_metadata(&one).await.is_ok() {
            return tokio::time::sleep(LATEST + Duration::from_secs(1)).await;
        }
    }
}

/// A pod as every other part reads it; nothing where it has ended.
fn read<P: Serialize>(pod: &P) -> Option<Pod> {
    let value = serde_json::to_value(pod).ok()?;
    Pod::from_api(value).unwrap_or_else(|why| {
        warn!(%why, "a pod cannot be read");
        None
    })
}
