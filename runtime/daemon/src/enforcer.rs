//! Keeps the kernel in line with the image and the pods. One thread owns all state and handles messages one
//! after the other.

mod in_force;
mod interfaces;
mod lists;
mod order;
mod pods;
mod records;
mod requests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use npc_cluster::{Namespace, Pod};
use npc_image::Image;
use npc_node::{Event, Interface, LoadError, Node, Settings};
use npc_resolver::{Reasons, Resolver};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Notify, broadcast, oneshot};
use tracing::{error, info, warn};

use self::pods::{Key, Known, Pods};
use crate::control::{Answer, Asked, Flow, ImageStatus, Status};
use crate::interfaces::Interfaces;
use crate::metrics::Numbers;
use crate::pod_state::PodState;

/// A message to the enforcer.
#[derive(Debug)]
pub(crate) enum Message {
    /// The image file was read, because it is new or has changed.
    Image(io::Result<Vec<u8>>),
    /// The complete list of namespaces.
    Namespaces(Vec<Namespace>),
    /// The complete list of pods, with the names of their namespaces.
    Pods(Vec<(String, Pod)>),
    SetNamespace(Namespace),
    RemoveNamespace(String),
    /// A pod was added or has changed. The flag is set if it is being deleted.
    SetPod(String, Box<Pod>, bool),
    RemovePod(String, String),
    /// A source of pods or namespaces became readable or unreadable.
    Source(&'static str, Result<(), String>),
    /// A pod is about to start and must be enforced before its first packet.
    Add(Added, oneshot::Sender<Result<(), String>>),
    Ask(Vec<Asked>, oneshot::Sender<Vec<Answer>>),
    Recent(oneshot::Sender<Vec<Flow>>),
    /// Queries whether an image is in force.
    Ready(oneshot::Sender<bool>),
    Status(oneshot::Sender<Status>),
    Numbers(oneshot::Sender<Numbers>),
    /// Detach everything, delete pinned state and stop.
    Detach(oneshot::Sender<Result<(), String>>),
    /// Stop, and leave the generation in force.
    Stop,
}

/// A pod whose interface was just created.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Its UID, if the container runtime passes it. It distinguishes the pod from others of the same name.
    pub(crate) uid: Option<String>,
    /// The interfaces that were created for it on the node.
    pub(crate) interfaces: Vec<String>,
    /// Its addresses, which the API server does not know yet.
    pub(crate) addresses: Vec<IpAddr>,
}

/// The configuration of the enforcer.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) image: PathBuf,
    pub(crate) pins: PathBuf,
    /// The file that stores the ids and interfaces of this node's pods.
    pub(crate) kept: PathBuf,
    /// The node's name, or `None` if pods are found by their interfaces.
    pub(crate) node: Option<String>,
    pub(crate) services: Vec<IpNet>,
    /// The root of the cgroup2 hierarchy, where packets to sockets of the node are evaluated, if it is
    /// mounted.
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) settings: Settings,
}

/// An error with a message for the user.
type Answered<T> = Result<T, String>;

/// The inputs of the enforcer, by priority. Reports of the kernel come last, so that they do not delay
/// messages.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) messages: Receiver<Message>,
    /// Interfaces, routes or addresses of this machine changed.
    pub(crate) links: Arc<Notify>,
    /// Packets that the kernel reports. If the channel is full, reports are dropped.
    pub(crate) reports: Receiver<Vec<Event>>,
}

/// The next input.
enum Incoming {
    Message(Message),
    Links,
    Reports(Vec<Event>),
    /// No input within [`ORDER_INTERVAL`].
    Nothing,
}

impl Inbox {
    async fn next(&mut self) -> Incoming {
        tokio::select! {
            biased;
            message = self.messages.recv() => Incoming::Message(message.unwrap_or(Message::Stop)),
            () = self.links.notified() => Incoming::Links,
            Some(reports) = self.reports.recv() => Incoming::Reports(reports),
            () = tokio::time::sleep(ORDER_INTERVAL) => Incoming::Nothing,
        }
    }
}

/// The image and the reasons of a generation, to describe its reports.
#[derive(Debug)]
pub(crate) struct GenerationReasons {
    pub(crate) generation: u32,
    pub(crate) image: Arc<Image>,
    pub(crate) reasons: Reasons,
}

pub(crate) struct Enforcer {
    config: Config,
    node: Node,
    interfaces: Interfaces,
    runtime: Handle,
    kept: PodState,
    image: Option<Arc<Image>>,
    image_status: ImageStatus,
    namespaces: Option<BTreeMap<String, Namespace>>,
    pods: Option<Pods>,
    /// The sources that cannot be read, and the errors.
    unreadable: BTreeMap<&'static str, String>,
    own_addresses: Vec<IpAddr>,
    resolver: Option<Resolver>,
    /// The interfaces with the kernel program, by ifindex: their names, and whether this process attached it.
    attached: HashMap<u32, (String, bool)>,
    /// The other interfaces, by which packets of pods may leave.
    leaving: HashSet<Interface>,
    /// The bridges whose ports are interfaces of pods.
    bridges: BTreeSet<u32>,
    /// The ids of the pods whose conntrack records are kept.
    alive: Arc<Mutex<HashSet<u32>>>,
    /// The sides of interfaces (ifindex, is egress) on which another program was before the kernel program at
    /// the last check.
    displaced: BTreeSet<(u32, bool)>,
    generations: VecDeque<GenerationReasons>,
    recent: VecDeque<Flow>,
    flows: broadcast::Sender<Flow>,
    reports: Sender<Vec<Event>>,
    /// The number of reports that were dropped because the channel was full.
    lost: Arc<AtomicU64>,
    numbers: Numbers,
    /// Whether the tables are out of date, because building or writing them failed. Nothing is written to
    /// them until they have been rebuilt.
    stale: bool,
    /// Whether listing the interfaces or addresses failed after a change. It is then retried.
    unlisted: bool,
    /// When building the tables last failed.
    tried: Option<Instant>,
    /// A valid image that could not be put in force, and when that was tried.
    waiting: Option<(Vec<u8>, Instant)>,
    /// When changes were last written. Numbers that they freed are reused only after [`UNDER_WAY`].
    written: Option<Instant>,
    last_relocation: Option<Instant>,
    /// Whether pods were removed whose ids are still stored.
    has_removed_pods: bool,
}

/// How many reports are kept for later requests.
const RECENT: usize = 1000;

/// For how many generations reports can be described.
const KEPT_GENERATIONS: usize = 4;

/// How long a packet may still be in flight after the tables that evaluated it were replaced.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// When a failed attempt to put an image in force, or to rebuild the tables, is repeated.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The interval of periodic work.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// How often the order of programs on the interfaces is checked.
const ORDER_INTERVAL: Duration = Duration::from_millis(400);

/// How often the interfaces of pods that seem to be on other nodes are searched again, if the node's name is
/// not known.
const RELOCATE_INTERVAL: Duration = Duration::from_secs(5);

impl Enforcer {
    pub(crate) fn open(
        config: Config,
        interfaces: Interfaces,
        runtime: Handle,
        reports: Sender<Vec<Event>>,
        flows: broadcast::Sender<Flow>,
    ) -> Result<Self, LoadError> {
        let mut node = Node::open(&config.pins)?.with(config.settings);
        node.set_sockets(config.cgroup.clone());
        let attached = node.attached()?;
        let attached = attached.into_iter().map(|own| (own.index, (own.name, false))).collect();
        let kept = PodState::open(&config.kept);
        let image_status = ImageStatus { path: config.image.display().to_string(), ..ImageStatus::default() };
        Ok(Self {
            config,
            node,
            interfaces,
            runtime,
            kept,
            image: None,
            image_status,
            namespaces: None,
            pods: None,
            unreadable: BTreeMap::new(),
            own_addresses: Vec::new(),
            resolver: None,
            attached,
            leaving: HashSet::new(),
            bridges: BTreeSet::new(),
            alive: Arc::default(),
            displaced: BTreeSet::new(),
            generations: VecDeque::new(),
            recent: VecDeque::new(),
            flows,
            reports,
            lost: Arc::default(),
            numbers: Numbers::default(),
            stale: false,
            unlisted: false,
            tried: None,
            waiting: None,
            written: None,
            last_relocation: None,
            has_removed_pods: false,
        })
    }

    /// Handles messages until one stops the enforcer.
    pub(crate) fn run(mut self, mut inbox: Inbox) {
        let runtime = self.runtime.clone();
        let (mut ticked, mut looked) = (Instant::now(), Instant::now());
        loop {
            match runtime.block_on(inbox.next()) {
                Incoming::Nothing => {}
                Incoming::Message(Message::Stop) => return,
                Incoming::Message(Message::Detach(answer)) => {
                    let _ = answer.send(self.node.detach_all().map_err(|why| why.to_string()));
                    return;
                }
                Incoming::Message(message) => self.handle(message),
                Incoming::Links => self.links(),
                Incoming::Reports(events) => self.report(&events),
            }
            self.recycle();
            if looked.elapsed() > ORDER_INTERVAL {
                self.keep_order();
                looked = Instant::now();
            }
            if ticked.elapsed() > TICK_INTERVAL {
                self.tick();
                ticked = Instant::now();
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Image(Ok(bytes)) => self.new_image(&bytes),
            Message::Image(Err(why)) => self.refuse_image(&why.to_string()),
            Message::Namespaces(all) => self.all_namespaces(all),
            Message::Pods(all) => self.all_pods(all),
            Message::SetNamespace(namespace) => {
                if let Some(resolver) = &mut self.resolver {
                    resolver.set_namespace(&namespace.name, namespace.labels.clone());
                }
                let name = namespace.name.clone();
                let is_new = self
                    .namespaces
                    .as_mut()
                    .is_some_and(|namespaces| namespaces.insert(name.clone(), namespace).is_none());
                if is_new {
                    self.resolve_namespace(&name);
                }
                self.flush();
            }
            Message::RemoveNamespace(name) => {
                if let Some(resolver) = &mut self.resolver {
                    resolver.remove_namespace(&name);
                }
                if let Some(namespaces) = &mut self.namespaces {
                    namespaces.remove(&name);
                }
                self.flush();
            }
            Message::SetPod(namespace, pod, is_ending) => {
                let key = Key::new(&namespace, &pod.name);
                // A pod that is being deleted must not get another interface.
                let before = self.pods.as_ref().and_then(|pods| pods.get(&key));
                let had_place = is_ending && before.is_some_and(|before| before.had_place);
                self.set_pod(&key, *pod);
                if let Some(pods) = self.pods.as_mut().filter(|_| had_place) {
                    pods.lose_place(&key);
                }
                self.flush();
                self.place(&key);
            }
            Message::RemovePod(namespace, name) => {
                self.remove_pod(&Key::new(&namespace, &name));
                self.flush();
                self.has_removed_pods = true;
            }
            Message::Source(which, state) => self.source_is(which, state),
            Message::Add(added, answer) => {
                let _ = answer.send(self.add(&added));
            }
            Message::Ask(asked, answer) => {
                let _ = answer.send(self.ask(&asked));
            }
            Message::Recent(answer) => {
                let _ = answer.send(self.recent.iter().cloned().collect());
            }
            Message::Ready(answer) => {
                let _ = answer.send(self.resolver.is_some());
            }
            Message::Status(answer) => {
                let _ = answer.send(self.status());
            }
            Message::Numbers(answer) => {
                let _ = answer.send(self.count());
            }
            Message::Stop | Message::Detach(_) => {}
        }
    }

    /// Does the periodic work.
    fn tick(&mut self) {
        if std::mem::take(&mut self.has_removed_pods) {
            self.forget();
        }
        let again = |since: &Instant| since.elapsed() > RETRY_AFTER;
        if let Some((bytes, _)) = self.waiting.take_if(|(_, since)| again(since)) {
            self.new_image(&bytes);
        } else if self.stale && self.tried.as_ref().is_none_or(again) {
            self.try_enforce();
        }
        let placed = self.pods.iter().flat_map(Pods::placed);
        let alive = placed.filter_map(|(_, known)| known.placed.as_ref().map(|(_, id)| *id)).collect();
        *self.alive.lock().unwrap_or_else(PoisonError::into_inner) = alive;
        if std::mem::take(&mut self.unlisted) {
            self.links();
        }
        if self.resolver.is_some() && self.attached.values().all(|(_, by_this_process)| *by_this_process) {
            self.node.retire_previous();
        }
        let unplaced = self.pods.iter().flat_map(Pods::iter).any(|(_, known)| {
            known.unplaced.as_ref().is_some_and(|why| self.config.node.is_some() || !why.is_elsewhere())
        });
        let elsewhere = self.config.node.is_none()
            && self.last_relocation.is_none_or(|last| last.elapsed() > RELOCATE_INTERVAL);
        if unplaced || elsewhere {
            self.place_all();
        }
    }

    fn recycle(&mut self) {
        if self.written.is_some_and(|when| when.elapsed() > UNDER_WAY) {
            self.written = None;
            if let Some(resolver) = &mut self.resolver {
                resolver.recycle();
            }
        }
    }

    fn source_is(&mut self, which: &'static str, state: Answered<()>) {
        match state {
            Ok(()) => {
                if self.unreadable.remove(which).is_some() {
                    info!("the {which} can be read again");
                }
            }
            Err(why) => {
                if !self.unreadable.contains_key(which) {
                    warn!(%why, "the {which} cannot be read: the last known ones stay enforced");
                }
                self.unreadable.insert(which, why);
            }
        }
    }

    fn refuse_image(&mut self, why: &str) {
        self.numbers.images_refused += 1;
        let running = self.image.is_some();
        error!(image = %self.image_status.path, %why, running, "the image is refused; the one in force stays");
        self.image_status.error = Some(why.to_owned());
    }

    fn new_image(&mut self, bytes: &[u8]) {
        let image = match npc_image::read(bytes) {
            Ok(image) => image,
            Err(why) => return self.refuse_image(&why.to_string()),
        };
        let before = self.image.replace(Arc::new(image));
        self.waiting = None;
        match self.enforce() {
            Ok(()) => {
                self.image_status.error = None;
                self.image_status.digest = Some(npc_image::digest_text(bytes));
            }
            Err(why) => {
                // The image is valid, and a later attempt may succeed.
                self.waiting = Some((bytes.to_vec(), Instant::now()));
                self.image = before;
                self.refuse_image(&why);
            }
        }
    }

    /// Enforces for the first time, as soon as the image, the namespaces and the pods are known.
    fn begin(&mut self) {
        if self.namespaces.is_none() || self.pods.is_none() {
            return;
        }
        // Stored interfaces that no longer exist are forgotten first.
        self.links();
        self.place_all();
        if self.image.is_some() {
            self.try_enforce();
        }
    }

    fn set_pod(&mut self, key: &Key, pod: Pod) {
        let Some(pods) = &mut self.pods else { return };
        if pods.get(key).is_some_and(|known| known.pod.uid != pod.uid) {
            // A new pod of the same name inherits nothing from the previous one.
            self.remove_pod(key);
        }
        if let Some(pods) = &mut self.pods {
            pods.set(key, pod);
        }
        self.resolve(key);
    }

    /// Updates the pods of a namespace that became known.
    fn resolve_namespace(&mut self, name: &str) {
        let own = self.pods.iter().flat_map(|pods| pods.of_namespace(name));
        for key in own.cloned().collect::<Vec<Key>>() {
            self.resolve(&key);
        }
    }

    /// Updates a pod in the resolver.
    fn resolve(&mut self, key: &Key) {
        let Some(known) = self.pods.as_ref().and_then(|pods| pods.get(key)) else { return };
        let (number, pod) = (known.number, self.as_resolved(key, known));
        if let Some(resolver) = &mut self.resolver {
            resolver.set_pod(number, pod);
        }
    }

    /// Converts a pod to the resolver's representation.
    fn as_resolved(&self, key: &Key, known: &Known) -> npc_resolver::Pod {
        let pod = npc_resolver::Pod::new(Arc::clone(&key.namespace), &known.pod, self.is_local(key, known));
        npc_resolver::Pod { addresses: known.addresses().to_vec(), ..pod }
    }

    fn remove_pod(&mut self, key: &Key) {
        let Some(known) = self.pods.as_mut().and_then(|pods| pods.remove(key)) else { return };
        if let Some(resolver) = &mut self.resolver {
            resolver.remove_pod(known.number);
        }
        if known.placed.is_some()
            && let Err(why) = self.node.remove_endpoint(known.number)
        {
            error!(%why, "cannot remove a pod from the tables");
        }
    }

    /// Releases the ids of pods that no longer exist.
    fn forget(&mut self) {
        let Some(pods) = &self.pods else { return };
        let there: HashSet<String> = pods.iter().map(|(key, known)| key.identity(&known.pod)).collect();
        let retained = self.kept.retain(|pod| there.contains(pod));
        self.log_state_error(retained);
    }
}
