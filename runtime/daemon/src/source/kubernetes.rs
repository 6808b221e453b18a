//! Watches the pods and namespaces of the cluster.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1;
use kube::api::{ListParams, ObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use npc_cluster::{ApiPod, NAMESPACE_NAME, Namespace, Pod};
use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use tokio::sync::mpsc::Sender;
use tracing::warn;

use super::common::Common;
use crate::enforcer::Message;

/// The back-off of API requests: the default one, but at most [`LATEST`], because pods that start meanwhile
/// wait for it.
#[derive(Default)]
struct CappedBackoff(DefaultBackoff);

/// The longest interval between attempts.
const LATEST: Duration = Duration::from_secs(5);

impl Iterator for CappedBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(|wait| wait.min(LATEST))
    }
}

impl Backoff for CappedBackoff {
    fn reset(&mut self) {
        self.0.reset();
    }
}

/// Watches until the enforcer stops. While the API server does not answer, requests are repeated with
/// back-off, and the known state stays.
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
    let mut common = Common::default();
    each(&Api::<WatchedPod>::all(client), "pods", &to, |event| match event {
        Event::Init => {
            all.clear();
            None
        }
        Event::InitApply(watched) => {
            let namespace = watched.namespace().unwrap_or_default();
            all.extend(watched.pod.map(|pod| (namespace, common.share(*pod))));
            None
        }
        Event::InitDone => Some(Message::Pods(std::mem::take(&mut all))),
        Event::Apply(watched) => {
            let namespace = watched.namespace().unwrap_or_default();
            Some(match watched.pod {
                Some(pod) => Message::SetPod(namespace, Box::new(common.share(*pod)), watched.is_ending),
                // The pod has ended, and another pod may have its address.
                None => Message::RemovePod(namespace, watched.metadata.name.unwrap_or_default()),
            })
        }
        Event::Delete(watched) => {
            let namespace = watched.namespace().unwrap_or_default();
            Some(Message::RemovePod(namespace, watched.name_any()))
        }
    })
    .await;
}

/// A watched Pod. Only the metadata that the watch itself needs is kept.
#[derive(Clone, Debug)]
struct WatchedPod {
    metadata: ObjectMeta,
    is_ending: bool,
    /// The pod in the cluster model; `None` if it has ended or cannot be read.
    pod: Option<Box<Pod>>,
}

impl<'de> Deserialize<'de> for WatchedPod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = ApiPod::deserialize(deserializer)?;
        let metadata = ObjectMeta {
            name: Some(object.name().to_owned()),
            namespace: Some(object.namespace().to_owned()),
            resource_version: object.resource_version().map(str::to_owned),
            ..ObjectMeta::default()
        };
        let is_ending = object.is_ending();
        let pod = object.pod().unwrap_or_else(|why| {
            warn!(%why, "cannot read a pod");
            None
        });
        Ok(Self { metadata, is_ending, pod: pod.map(Box::new) })
    }
}

impl Resource for WatchedPod {
    type DynamicType = ();
    type Scope = <v1::Pod as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        v1::Pod::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        v1::Pod::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        v1::Pod::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        v1::Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Watches the objects of one kind. Sends the meaning of each event, and whether the kind can be read, to the
/// enforcer.
async fn each<K>(
    api: &Api<K>,
    which: &'static str,
    to: &Sender<Message>,
    mut meaning: impl FnMut(Event<K>) -> Option<Message>,
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let stream = watcher(api.clone(), watcher::Config::default()).backoff(CappedBackoff::default());
    let mut stream = pin!(stream);
    // Whether the watch failed, and whether it was past the initial list at that time.
    let (mut failed, mut is_watched, mut was_watched) = (false, false, false);
    loop {
        // A resumed watch emits no event until an object changes, so that its recovery must be detected
        // separately.
        let wait_until_recovered = async {
            match failed && was_watched {
                true => wait_until_recovered(api).await,
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
                    // `Init` and `InitApply` come before the initial list is complete.
                    is_watched = !matches!(event, Event::Init | Event::InitApply(_));
                    let is_read = is_watched && std::mem::take(&mut failed);
                    [meaning(event), is_read.then_some(Message::Source(which, Ok(())))]
                }
            },
            () = wait_until_recovered => {
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

/// Waits until the API server answers, and then for as long as the watch takes to retry: if the retry failed,
/// that would be known by then.
async fn wait_until_recovered<K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug>(
    api: &Api<K>,
) {
    let one = ListParams::default().limit(1);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if api.list_metadata(&one).await.is_ok() {
            return tokio::time::sleep(LATEST + Duration::from_secs(1)).await;
        }
    }
}
