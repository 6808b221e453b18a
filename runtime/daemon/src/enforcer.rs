//! Keeps what the kernel enforces true to the image and to the pods there are. One thread owns all of it
//! and does one thing after the other, as messages ask.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use npc_cluster::{Cluster, Namespace, Pod};
use npc_image::{Image, Named, Protocol};
use npc_node::{Endpoint, Event, LoadError, Loaded, Node, Settings, Troubles};
use npc_resolver::{Reasons, Resolver};
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{broadcast, oneshot};
use tracing::{debug, error, info, warn};

use crate::control::{Answer, Asked, Flow, ImageStatus, PodStatus, SourceStatus, Status};
use crate::flow;
use crate::identities::Identities;
use crate::interfaces::{Interface, Interfaces, Link, NotFound};
use crate::metrics::{Counted, Numbers};
use crate::open;
use crate::question;

/// What the enforcer is told or asked.
#[derive(Debug)]
pub(crate) enum Message {
    /// The image's file was read, new or changed.
    Image(io::Result<Vec<u8>>),
    /// All namespaces there are.
    Namespaces(Vec<Namespace>),
    /// All pods there are, with their namespaces' names.
    Pods(Vec<(String, Pod)>),
    SetNamespace(Namespace),
    RemoveNamespace(String),
    SetPod(String, Box<Pod>),
    RemovePod(String, String),
    /// Where pods come from can be read, or not.
    Source(Result<(), String>),
    /// Interfaces, routes or addresses of this machine changed.
    Links,
    /// The kernel reports packets.
    Events(Vec<Event>),
    /// A pod is about to start: to be enforced before its first packet.
    Add(Added, oneshot::Sender<Result<(), String>>),
    Ask(Vec<Asked>, oneshot::Sender<Vec<Answer>>),
    Recent(oneshot::Sender<Vec<Flow>>),
    Status(oneshot::Sender<Status>),
    Numbers(oneshot::Sender<Numbers>),
    /// Undo everything and stop.
    Detach(oneshot::Sender<Result<(), String>>),
    /// Stop, and leave all in force.
    Stop,
}

/// A pod whose interface was just made.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// The interfaces of the node that were made for it.
    pub(crate) interfaces: Vec<String>,
    /// Its addresses, which the API server does not know yet.
    pub(crate) addresses: Vec<IpAddr>,
}

/// How to enforce.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) image: PathBuf,
    pub(crate) pins: PathBuf,
    pub(crate) identities: PathBuf,
    /// The node's name, where pods say theirs.
    pub(crate) node: Option<String>,
    pub(crate) services: Vec<IpNet>,
    /// The root of control groups, where there are services.
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) settings: Settings,
}

/// Why a message is answered with an error: in words.
type Answered<T> = Result<T, String>;

/// A pod that is known.
#[derive(Debug)]
struct Known {
    number: u32,
    pod: Pod,
    /// Where its packets are judged.
    placed: Option<(Interface, u32)>,
    /// Why they are not, though it is on this node.
    unplaced: Option<NotFound>,
}

type Key = (String, String);

/// What one generation said, for events that are of it.
#[derive(Debug)]
pub(crate) struct Spoken {
    pub(crate) generation: u32,
    pub(crate) image: Arc<Image>,
    pub(crate) reasons: Reasons,
}

pub(crate) struct Enforcer {
    config: Config,
    node: Node,
    interfaces: Interfaces,
    runtime: Handle,
    identities: Identities,
    image: Option<Arc<Image>>,
    image_status: ImageStatus,
    namespaces: Option<BTreeMap<String, Namespace>>,
    pods: Option<BTreeMap<Key, Known>>,
    next_number: u32,
    /// Pods that start, and of which nothing else is known yet.
    starting: HashMap<Key, (Interface, Vec<IpAddr>)>,
    source: SourceStatus,
    own_addresses: Vec<IpAddr>,
    resolver: Option<Resolver>,
    /// The interfaces that are judged, by name.
    attached: HashSet<String>,
    /// The interfaces that are no pod's and by which packets to services may leave, by name.
    leaving: HashSet<String>,
    spoken: VecDeque<Spoken>,
    recent: VecDeque<Flow>,
    flows: broadcast::Sender<Flow>,
    events: Sender<Message>,
    numbers: Numbers,
    /// When something was written that leaves numbers to be used again.
    written: Option<Instant>,
    stale_elsewhere: Option<Instant>,
}

/// How many reports are kept for whoever asks later.
const RECENT: usize = 1000;

/// How many generations' reports can still be told.
const SPOKEN: usize = 4;

/// How long a packet may be under way that was judged by what was just replaced.
const UNDER_WAY: Duration = Duration::from_millis(100);

/// How often pods that seem to be elsewhere are looked for again, where pods do not say their node.
const ELSEWHERE: Duration = Duration::from_secs(5);

impl Enforcer {
    pub(crate) fn open(
        config: Config,
        interfaces: Interfaces,
        runtime: Handle,
        events: Sender<Message>,
        flows: broadcast::Sender<Flow>,
    ) -> Result<Self, LoadError> {
        let node = Node::open(&config.pins)?.with(config.settings);
        let attached = node.attached()?.into_iter().collect();
        if config.services.is_empty() {
            node.detach_leaving()?;
        }
        let identities = Identities::open(&config.identities);
        let image_status = ImageStatus { path: config.image.display().to_string(), ..ImageStatus::default() };
        Ok(Self {
            config,
            node,
            interfaces,
            runtime,
            identities,
            image: None,
            image_status,
            namespaces: None,
            pods: None,
            next_number: 0,
            starting: HashMap::new(),
            source: SourceStatus::default(),
            own_addresses: Vec::new(),
            resolver: None,
            attached,
            leaving: HashSet::new(),
            spoken: VecDeque::new(),
            recent: VecDeque::new(),
            flows,
            events,
            numbers: Numbers::default(),
            written: None,
            stale_elsewhere: None,
        })
    }

    /// Does what messages ask until one says to stop.
    pub(crate) fn run(mut self, mut messages: Receiver<Message>) {
        let runtime = self.runtime.clone();
        loop {
            let wait = Duration::from_secs(1);
            match runtime.block_on(async { tokio::time::timeout(wait, messages.recv()).await }) {
                Err(_) => self.tick(),
                Ok(None | Some(Message::Stop)) => return,
                Ok(Some(Message::Detach(answer))) => {
                    let _ = answer.send(self.node.detach_all().map_err(|why| why.to_string()));
                    return;
                }
                Ok(Some(message)) => {
                    self.handle(message);
                    self.recycle();
                }
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
                if let Some(namespaces) = &mut self.namespaces {
                    namespaces.insert(namespace.name.clone(), namespace);
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
            Message::SetPod(namespace, pod) => {
                let key = (namespace, pod.name.clone());
                self.set_pod(key.clone(), *pod);
                self.flush();
                self.place(&key);
            }
            Message::RemovePod(namespace, name) => {
                self.remove_pod(&(namespace, name));
                self.flush();
                self.forget();
            }
            Message::Source(state) => self.source_is(state),
            Message::Links => self.links(),
            Message::Events(events) => self.report(&events),
            Message::Add(added, answer) => {
                let _ = answer.send(self.add(&added));
            }
            Message::Ask(asked, answer) => {
                let _ = answer.send(self.ask(&asked));
            }
            Message::Recent(answer) => {
                let _ = answer.send(self.recent.iter().cloned().collect());
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

    /// What is to be done from time to time.
    fn tick(&mut self) {
        self.recycle();
        let unplaced = self.pods.iter().flatten().any(|(_, known)| {
            known.unplaced.as_ref().is_some_and(|why| self.config.node.is_some() || !why.is_elsewhere())
        });
        let elsewhere =
            self.config.node.is_none() && self.stale_elsewhere.is_none_or(|last| last.elapsed() > ELSEWHERE);
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

    fn source_is(&mut self, state: Answered<()>) {
        match &state {
            Ok(()) if self.source.error.is_some() => info!("the pods can be read again"),
            Err(why) if self.source.error.is_none() => {
                warn!(%why, "the pods cannot be read: what is known of them goes on being enforced");
            }
            _ => {}
        }
        self.source.error = state.err();
    }

    fn refuse_image(&mut self, why: &str) {
        self.numbers.images_refused += 1;
        let running = self.image.is_some();
        error!(image = %self.image_status.path, %why, running, "the image is refused; what is in force stays");
        self.image_status.error = Some(why.to_owned());
    }

    fn new_image(&mut self, bytes: &[u8]) {
        let image = match npc_image::read(bytes) {
            Ok(image) => image,
            Err(why) => return self.refuse_image(&why.to_string()),
        };
        let before = self.image.replace(Arc::new(image));
        match self.enforce() {
            Ok(()) => {
                let digest = npc_image::digest(bytes).iter().fold(String::new(), |mut out, byte| {
                    use std::fmt::Write as _;
                    let _ = write!(out, "{byte:02x}");
                    out
                });
                self.image_status.error = None;
                self.image_status.digest = Some(format!("sha256:{digest}"));
            }
            Err(why) => {
                self.image = before;
                self.refuse_image(&why);
            }
        }
    }

    fn all_namespaces(&mut self, all: Vec<Namespace>) {
        let first = self.namespaces.is_none();
        let before = self.namespaces.take().unwrap_or_default();
        let now: BTreeMap<String, Namespace> =
            all.into_iter().map(|namespace| (namespace.name.clone(), namespace)).collect();
        if let Some(resolver) = &mut self.resolver {
            for (name, namespace) in &now {
                if before.get(name) != Some(namespace) {
                    resolver.set_namespace(name, namespace.labels.clone());
                }
            }
            for name in before.keys().filter(|name| !now.contains_key(*name)) {
                resolver.remove_namespace(name);
            }
        }
        self.namespaces = Some(now);
        if first { self.begin() } else { self.flush() }
    }

    fn all_pods(&mut self, all: Vec<(String, Pod)>) {
        let first = self.pods.is_none();
        let pods = self.pods.get_or_insert_default();
        let there: HashSet<(&str, &str)> =
            all.iter().map(|(namespace, pod)| (namespace.as_str(), pod.name.as_str())).collect();
        let is_gone = |(namespace, name): &&Key| !there.contains(&(namespace.as_str(), name.as_str()));
        let gone: Vec<Key> = pods.keys().filter(is_gone).cloned().collect();
        for key in &gone {
            self.remove_pod(key);
        }
        for (namespace, pod) in all {
            let key = (namespace, pod.name.clone());
            let same =
                self.pods.as_ref().and_then(|pods| pods.get(&key)).is_some_and(|known| known.pod == pod);
            if !same {
                self.set_pod(key, pod);
            }
        }
        if first {
            self.begin();
        } else {
            self.flush();
            self.place_all();
        }
        self.forget();
    }

    /// Enforces for the first time, once all is there that it takes.
    fn begin(&mut self) {
        if self.namespaces.is_none() || self.pods.is_none() {
            return;
        }
        self.place_all();
        if self.image.is_some()
            && let Err(why) = self.enforce()
        {
            self.image = None;
            self.refuse_image(&why);
        }
    }

    /// Whether a pod is on this node.
    fn is_local(&self, known: &Known) -> bool {
        match &self.config.node {
            Some(node) => *node == known.pod.node,
            None => known.placed.is_some(),
        }
    }

    fn set_pod(&mut self, key: Key, mut pod: Pod) {
        let Some(pods) = &mut self.pods else { return };
        let known = match pods.entry(key.clone()) {
            std::collections::btree_map::Entry::Occupied(entry) => {
                let known = entry.into_mut();
                if known.pod.uid != pod.uid {
                    // Another pod of the same name: it has nothing of the first one's.
                    self.remove_pod(&key);
                    return self.set_pod(key, pod);
                }
                if pod.addresses.is_empty() {
                    // Those that are known from the node itself.
                    pod.addresses = std::mem::take(&mut known.pod.addresses);
                }
                known.pod = pod;
                known
            }
            std::collections::btree_map::Entry::Vacant(entry) => {
                let number = self.next_number;
                self.next_number = self.next_number.wrapping_add(1);
                entry.insert(Known { number, pod, placed: None, unplaced: None })
            }
        };
        let number = known.number;
        self.resolve(&key, number);
    }

    /// Tells the resolver what a pod is now.
    fn resolve(&mut self, key: &Key, number: u32) {
        let Some(known) = self.pods.as_ref().and_then(|pods| pods.get(key)) else { return };
        let pod = resolved(&key.0, &known.pod, self.is_local(known));
        if let Some(resolver) = &mut self.resolver {
            resolver.set_pod(number, pod);
        }
    }

    fn remove_pod(&mut self, key: &Key) {
        let Some(known) = self.pods.as_mut().and_then(|pods| pods.remove(key)) else { return };
        if let Some(resolver) = &mut self.resolver {
            resolver.remove_pod(known.number);
        }
        if known.placed.is_some()
            && let Err(why) = self.node.remove_endpoint(known.number)
        {
            error!(%why, "a pod cannot be removed from the tables");
        }
    }

    /// The pods that are gone give back their numbers.
    fn forget(&mut self) {
        let Some(pods) = &self.pods else { return };
        let there: HashSet<String> = pods.iter().map(|(key, known)| identity(key, &known.pod)).collect();
        if let Err(why) = self.identities.retain(|pod| there.contains(pod)) {
            warn!(%why, file = %self.config.identities.display(), "the pods' numbers cannot be kept");
        }
    }

    /// Writes what changed to the kernel's tables; makes them anew where they have no room for it.
    fn flush(&mut self) {
        let Some(resolver) = &mut self.resolver else { return };
        let changes = resolver.take_changes();
        if changes.is_empty() {
            return;
        }
        self.written = Some(Instant::now());
        self.numbers.changes += changes.len() as u64;
        match self.node.apply(resolver, &changes) {
            Ok(()) => {}
            Err(LoadError::Full(what)) => {
                debug!(what, "the tables are made anew, larger");
                self.enforce_or_say();
            }
            Err(why) => error!(%why, "what changed cannot be written"),
        }
    }

    fn enforce_or_say(&mut self) {
        if let Err(why) = self.enforce() {
            self.numbers.failures += 1;
            error!(%why, "the tables cannot be made anew; what is in force stays, and is out of date");
        }
    }

    /// Makes tables of all there is, and puts them in force.
    fn enforce(&mut self) -> Answered<()> {
        let (Some(image), Some(namespaces), Some(pods)) = (&self.image, &self.namespaces, &self.pods) else {
            return Ok(());
        };
        let image = Arc::clone(image);
        let began = Instant::now();
        let addresses = self.runtime.block_on(self.interfaces.own_addresses());
        let addresses = addresses.map_err(|why| why.to_string())?;
        let mut resolver =
            Resolver::new(Arc::clone(&image), addresses.clone()).with_services(&self.config.services);
        for namespace in namespaces.values() {
            resolver.set_namespace(&namespace.name, namespace.labels.clone());
        }
        let mut endpoints = Vec::new();
        for (key, known) in pods {
            resolver.set_pod(known.number, resolved(&key.0, &known.pod, self.is_local(known)));
            if let Some((interface, id)) = &known.placed {
                endpoints.push(Endpoint { pod: known.number, interface: interface.index, id: *id });
            }
        }
        resolver.take_changes();
        let keys: Vec<Key> = pods.keys().cloned().collect();
        let before = self.node.enforce(&resolver, &endpoints).map_err(|why| why.to_string())?;
        if let Some(before) = before {
            self.add_counters(&before);
        } else {
            self.listen();
        }
        self.own_addresses = addresses;
        self.spoken.push_front(Spoken {
            generation: self.node.generation(),
            image: Arc::clone(&image),
            reasons: Reasons::new(&image),
        });
        self.spoken.truncate(SPOKEN);
        self.resolver = Some(resolver);
        self.written = None;
        self.numbers.generations += 1;
        info!(
            generation = self.node.generation(),
            policies = image.policies.len(),
            pods = keys.len(),
            here = endpoints.len(),
            milliseconds = began.elapsed().as_millis() as u64,
            "in force"
        );
        self.numbers.last_enforced = began.elapsed();
        for key in &keys {
            self.attach(key);
        }
        self.guard_ways_out();
        Ok(())
    }

    /// Judges what pods send to services wherever it may leave.
    fn guard_ways_out(&mut self) {
        let Some(root) = self.config.cgroup.clone() else { return };
        if let Err(why) = self.node.attach_arriving(&root) {
            error!(%why, root = %root.display(), "what pods send to services of this node is not judged");
        }
        match self.runtime.block_on(self.interfaces.all()) {
            Ok(links) => self.guard(&links),
            Err(why) => error!(%why, "the interfaces cannot be listed"),
        }
    }

    fn guard(&mut self, links: &HashMap<u32, Link>) {
        if self.config.cgroup.is_none() || self.node.loaded().is_none() {
            return;
        }
        self.leaving.retain(|name| links.values().any(|link| link.name == *name));
        for link in links.values().filter(|link| link.is_end) {
            if self.attached.contains(&link.name) || self.leaving.contains(&link.name) {
                continue;
            }
            match self.node.attach_leaving(&link.name) {
                Ok(()) => {
                    self.leaving.insert(link.name.clone());
                }
                Err(why) => {
                    error!(interface = %link.name, %why, "what pods send to services by it is not judged");
                }
            }
        }
    }

    /// Takes up the kernel's reports.
    fn listen(&mut self) {
        let Some(loaded) = self.node.loaded() else { return };
        match loaded.take_events() {
            Ok(events) => {
                let to = self.events.clone();
                std::thread::spawn(move || flow::listen(events, &to));
            }
            Err(why) => error!(%why, "no packets can be reported"),
        }
    }

    /// Judges the packets of a pod that has its place.
    fn attach(&mut self, key: &Key) {
        let Some(known) = self.pods.as_mut().and_then(|pods| pods.get_mut(key)) else { return };
        let Some((interface, id)) = &known.placed else { return };
        let Some(loaded) = self.node.loaded() else { return };
        let name = interface.name.clone();
        let is_new = !self.attached.contains(&name);
        if is_new {
            // What is open goes on, where it is allowed.
            let open = open::of(&known.pod.addresses, &self.config.services);
            debug!(pod = %format!("{}/{}", key.0, key.1), connections = open.len(), "were open before");
            let now = clock_gettime(ClockId::Boottime);
            let now = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
            if let Err(why) = loaded.remember(*id, &open, now) {
                warn!(%why, "connections that were open before are not known");
            }
        }
        match self.node.attach(&name) {
            Ok(()) => {
                if is_new {
                    info!(pod = %format!("{}/{}", key.0, key.1), interface = %name, "judged from now on");
                }
                self.attached.insert(name);
            }
            Err(why) => {
                error!(pod = %format!("{}/{}", key.0, key.1), interface = %name, %why, "not judged");
                known.unplaced = Some(NotFound::Kernel(why.to_string()));
                known.placed = None;
            }
        }
    }

    /// Finds the interfaces of all pods that have none and may be here.
    fn place_all(&mut self) {
        let Some(pods) = &self.pods else { return };
        if self.config.node.is_none() {
            self.stale_elsewhere = Some(Instant::now());
        }
        let keys: Vec<Key> =
            pods.iter().filter(|(_, known)| known.placed.is_none()).map(|(key, _)| key.clone()).collect();
        for key in keys {
            self.place(&key);
        }
    }

    /// Finds the interface of a pod, where it has none and may be here, and judges its packets.
    fn place(&mut self, key: &Key) {
        let Some(known) = self.pods.as_ref().and_then(|pods| pods.get(key)) else { return };
        let may_be_here = self.config.node.as_ref().is_none_or(|node| *node == known.pod.node);
        if known.placed.is_some() || known.pod.host_network || !may_be_here {
            return;
        }
        if let Some((interface, addresses)) = self.starting.remove(key) {
            self.started(key, interface, addresses);
            return;
        }
        let found = self.runtime.block_on(self.interfaces.find(&known.pod.addresses));
        match found {
            Ok(interface) => self.placed(key, interface),
            Err(why) => {
                if let Some(known) = self.pods.as_mut().and_then(|pods| pods.get_mut(key)) {
                    if known.unplaced.as_ref() != Some(&why) && !why.is_elsewhere() {
                        warn!(pod = %format!("{}/{}", key.0, key.1), %why, "its interface is not found");
                    }
                    known.unplaced = Some(why);
                }
                Ok(())
            }
        }
        .unwrap_or_else(|why: String| error!(pod = %format!("{}/{}", key.0, key.1), %why, "not judged"));
    }

    /// A pod's interface is known.
    fn placed(&mut self, key: &Key, interface: Interface) -> Answered<()> {
        let Some(known) = self.pods.as_mut().and_then(|pods| pods.get_mut(key)) else { return Ok(()) };
        let id = self.identities.of(&identity(key, &known.pod)).map_err(|why| {
            format!("{}: the number of the pod cannot be kept: {why}", self.config.identities.display())
        })?;
        let number = known.number;
        let endpoint = Endpoint { pod: number, interface: interface.index, id };
        known.placed = Some((interface, id));
        known.unplaced = None;
        if self.config.node.is_none() {
            // Now it is known to be here.
            self.resolve(key, number);
            self.flush();
        }
        if let Some(resolver) = &self.resolver {
            match self.node.set_endpoint(resolver, endpoint) {
                Ok(()) => self.attach(key),
                Err(LoadError::Full(_)) => self.enforce_or_say(),
                Err(why) => return Err(why.to_string()),
            }
        }
        Ok(())
    }

    /// Something of the machine's interfaces, routes or addresses changed.
    fn links(&mut self) {
        let links = match self.runtime.block_on(self.interfaces.all()) {
            Ok(links) => links,
            Err(why) => return warn!(%why, "the interfaces cannot be listed"),
        };
        let is_there = |interface: &Interface| {
            links.get(&interface.index).is_some_and(|link| link.name == interface.name)
        };
        let mut lost = Vec::new();
        for (key, known) in self.pods.iter_mut().flatten() {
            let Some((interface, _)) = &known.placed else { continue };
            if !is_there(interface) {
                lost.push((key.clone(), known.number));
                known.placed = None;
            }
        }
        for (key, number) in &lost {
            debug!(pod = %format!("{}/{}", key.0, key.1), "its interface is gone");
            if let Err(why) = self.node.remove_endpoint(*number) {
                error!(%why, "a pod cannot be removed from the tables");
            }
            if self.config.node.is_none() {
                self.resolve(key, *number);
            }
        }
        let names: HashSet<&String> = links.values().map(|link| &link.name).collect();
        self.starting.retain(|_, (interface, _)| is_there(interface));
        let gone: Vec<String> = self.attached.iter().filter(|name| !names.contains(name)).cloned().collect();
        for name in gone {
            if let Err(why) = self.node.detach(&name) {
                warn!(%why, interface = %name, "its pins cannot be removed");
            }
            self.attached.remove(&name);
        }
        self.guard(&links);
        self.flush();
        let addresses = self.runtime.block_on(self.interfaces.own_addresses());
        if self.resolver.is_some() && addresses.is_ok_and(|addresses| addresses != self.own_addresses) {
            self.enforce_or_say();
        }
        if self.config.node.is_some() {
            self.place_all();
        } else {
            let keys: Vec<Key> = lost.into_iter().map(|(key, _)| key).collect();
            for key in &keys {
                self.place(key);
            }
            self.stale_elsewhere = None;
        }
    }

    fn report(&mut self, events: &[Event]) {
        for event in events {
            let pod = |address: &IpAddr| {
                // Few are asked for, at a limited rate.
                let owns = |known: &&Known| !known.pod.host_network && known.pod.addresses.contains(address);
                let found = self.pods.iter().flatten().find(|(_, known)| owns(known));
                found.map(|((namespace, name), _)| format!("{namespace}/{name}"))
            };
            let of = |id: u32| {
                let mut pods = self.pods.iter().flatten();
                let is = |known: &Known| known.placed.as_ref().is_some_and(|(_, own)| *own == id);
                let found = pods.find(|(_, known)| is(known));
                found.map(|((namespace, name), _)| format!("{namespace}/{name}"))
            };
            let spoken = self.spoken.iter().find(|spoken| spoken.generation == event.generation);
            let flow = flow::tell(event, spoken, of(event.endpoint), pod);
            self.numbers.flows += 1;
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(flow.clone());
            // Nobody may be listening.
            let _ = self.flows.send(flow);
        }
    }

    /// A pod is about to start. Its packets are judged before it has sent one: by its policies where it
    /// is known by then; where not, all are dropped until it is.
    fn add(&mut self, added: &Added) -> Answered<()> {
        let key = (added.namespace.clone(), added.name.clone());
        if self.node.loaded().is_none() {
            return Err("no image is in force yet".to_owned());
        }
        let links = self.runtime.block_on(self.interfaces.all()).map_err(|why| why.to_string())?;
        let named = |link: &&Link| link.is_pods && added.interfaces.contains(&link.name);
        let mut own = links.iter().filter(|(_, link)| named(link));
        let interface = match (own.next(), own.next()) {
            (Some((index, link)), None) => Interface { index: *index, name: link.name.clone() },
            // The plugins before do not say which it is.
            _ => {
                let found = self.runtime.block_on(self.interfaces.find(&added.addresses));
                found.map_err(|why| format!("the interface of the pod is not found: {why}"))?
            }
        };
        // From here on nothing passes that is nobody's.
        self.node.attach(&interface.name).map_err(|why| why.to_string())?;
        self.attached.insert(interface.name.clone());
        info!(pod = %format!("{}/{}", key.0, key.1), interface = %interface.name, "judged before its first packet");
        if self.pods.as_ref().is_some_and(|pods| pods.contains_key(&key)) {
            self.started(&key, interface, added.addresses.clone());
        } else {
            self.starting.insert(key, (interface, added.addresses.clone()));
        }
        Ok(())
    }

    /// A pod that starts is known, and where it is.
    fn started(&mut self, key: &Key, interface: Interface, addresses: Vec<IpAddr>) {
        let Some(known) = self.pods.as_mut().and_then(|pods| pods.get_mut(key)) else { return };
        if known.pod.addresses.is_empty() {
            known.pod.addresses = addresses;
        }
        let number = known.number;
        self.resolve(key, number);
        self.flush();
        if let Err(why) = self.placed(key, interface) {
            error!(pod = %format!("{}/{}", key.0, key.1), %why, "nothing of it passes");
        }
    }

    fn ask(&mut self, asked: &[Asked]) -> Vec<Answer> {
        let cluster = self.cluster();
        let numbers = |namespace: &str, name: &str| {
            let known = self.pods.as_ref()?.get(&(namespace.to_owned(), name.to_owned()))?;
            known.placed.as_ref().map(|(interface, _)| interface.index)
        };
        let (Some(image), Some(loaded)) = (&self.image, self.node.loaded()) else {
            let answer = |_: &Asked| Answer::error("no image is in force yet");
            return asked.iter().map(answer).collect();
        };
        question::answer(asked, &cluster, image, loaded, numbers)
    }

    /// The cluster, as far as it is known.
    fn cluster(&self) -> Cluster {
        let namespaces: Vec<Namespace> =
            self.namespaces.iter().flatten().map(|(_, own)| own.clone()).collect();
        let mut cluster = Cluster { namespaces, pods: Vec::new() };
        for ((namespace, _), known) in self.pods.iter().flatten() {
            let Some(place) = cluster.namespace(namespace) else { continue };
            let mut pod = known.pod.clone();
            pod.namespace = place;
            if known.placed.is_some() {
                // All addresses of this node are its.
                pod.node_addresses.clone_from(&self.own_addresses);
            }
            cluster.pods.push(pod);
        }
        cluster
    }

    fn status(&mut self) -> Status {
        let pods = self.pods.iter().flatten().filter_map(|((namespace, name), known)| {
            let here = known.placed.is_some()
                || self
                    .config
                    .node
                    .as_ref()
                    .is_some_and(|node| *node == known.pod.node && !known.pod.host_network);
            let isolation = self.resolver.as_ref().map(|resolver| resolver.isolation(known.number));
            here.then(|| PodStatus {
                pod: format!("{namespace}/{name}"),
                addresses: known.pod.addresses.clone(),
                interface: known.placed.as_ref().map(|(interface, _)| interface.name.clone()),
                not_enforced: known.unplaced.as_ref().map(ToString::to_string),
                egress: isolation.map_or(0, |[egress, _]| egress).into(),
                ingress: isolation.map_or(0, |[_, ingress]| ingress).into(),
            })
        });
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: self.resolver.is_some(),
            generation: self.node.generation(),
            image: self.image_status.clone(),
            source: self.source.clone(),
            pods_known: self.pods.as_ref().map_or(0, BTreeMap::len),
            namespaces_known: self.namespaces.as_ref().map_or(0, BTreeMap::len),
            pods: pods.collect(),
            policies: self.image.as_ref().map_or(0, |image| image.policies.len()),
            memory: 0,
            dropped: self.troubles().into(),
        };
        status.memory = self.node.loaded().map_or(0, |loaded| loaded.memory());
        status
    }

    fn troubles(&mut self) -> Troubles {
        self.node.loaded().and_then(|loaded| loaded.troubles().ok()).unwrap_or_default()
    }

    /// Keeps what a generation counted that is no longer in force.
    fn add_counters(&mut self, loaded: &Loaded) {
        let Some(spoken) = self.spoken.front() else { return };
        match loaded.counters() {
            Ok(counters) => add(&mut self.numbers.counted, spoken, &counters),
            Err(why) => warn!(%why, "what was counted until now is lost"),
        }
    }

    fn count(&mut self) -> Numbers {
        let mut numbers = self.numbers.clone();
        let counters = self.node.loaded().and_then(|loaded| loaded.counters().ok());
        if let (Some(spoken), Some(counters)) = (self.spoken.front(), counters) {
            add(&mut numbers.counted, spoken, &counters);
        }
        numbers.status = self.status();
        numbers
    }
}

fn add(counted: &mut Counted, spoken: &Spoken, counters: &[[u64; 2]]) {
    for (number, [packets, bytes]) in (0..).zip(counters) {
        if *packets > 0 {
            let own = counted.entry(flow::reason(spoken, number)).or_default();
            own.0 += packets;
            own.1 += bytes;
        }
    }
}

/// What a pod's number is kept under.
fn identity((namespace, name): &Key, pod: &Pod) -> String {
    format!("{namespace}/{name}/{}", pod.uid)
}

/// A pod, as the resolver takes it.
fn resolved(namespace: &str, pod: &Pod, local: bool) -> npc_resolver::Pod {
    npc_resolver::Pod {
        namespace: Arc::from(namespace),
        labels: pod.labels.clone(),
        addresses: pod.addresses.clone(),
        ports: pod
            .ports
            .iter()
            .map(|port| Named {
                name: port.name.clone(),
                protocol: Protocol::ALL.get(port.protocol as usize).copied().unwrap_or(Protocol::Tcp),
                port: port.port,
            })
            .collect(),
        host_network: pod.host_network,
        local,
    }
}
