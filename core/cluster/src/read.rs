//! Reads a [`Cluster`] from text.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use npc_vocabulary::Protocol;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};

use crate::{Cluster, Error, NAMESPACE_NAME, NamedPort, Namespace, Node, Pod, Service, ServiceEndpoint};

mod services;

/// A part of an object that is decoded later, once the kind of the object is known.
pub(crate) trait Part: DeserializeOwned {
    fn read<T: DeserializeOwned>(self) -> Result<T, String>;
}

impl Part for Box<serde_json::value::RawValue> {
    fn read<T: DeserializeOwned>(self) -> Result<T, String> {
        serde_json::from_str(self.get()).map_err(|error| error.to_string())
    }
}

impl Part for serde_json::Value {
    fn read<T: DeserializeOwned>(self) -> Result<T, String> {
        serde_json::from_value(self).map_err(|error| error.to_string())
    }
}

impl Part for serde_yaml::Value {
    fn read<T: DeserializeOwned>(self) -> Result<T, String> {
        serde_yaml::from_value(self).map_err(|error| error.to_string())
    }
}

/// An object of any kind, or a list of objects, with only the fields that are used.
#[derive(Deserialize)]
#[serde(bound = "P: Part")]
struct Object<P> {
    kind: Option<Text>,
    metadata: Option<Metadata>,
    items: Option<Vec<Object<P>>>,
    spec: Option<P>,
    status: Option<P>,
    /// This field and the next belong to an EndpointSlice.
    endpoints: Option<P>,
    ports: Option<P>,
    /// This field belongs to Endpoints.
    subsets: Option<P>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<Text>,
    namespace: Option<Text>,
    labels: Option<BTreeMap<Text, Text>>,
    uid: Option<Text>,
    annotations: Option<Annotations>,
    resource_version: Option<Text>,
    deletion_timestamp: Option<Text>,
}

/// The annotation of a mirror pod. The kubelet runs a static pod from a file of its own; the API server's
/// object only mirrors it and has a different UID.
#[derive(Default, Deserialize)]
struct Annotations {
    #[serde(rename = "kubernetes.io/config.mirror")]
    mirror: Option<Text>,
}

/// The fields of a pod's `spec` that are used.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    host_network: Option<bool>,
    node_name: Option<String>,
    containers: Option<Vec<Container>>,
    init_containers: Option<Vec<Container>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    ports: Option<Vec<ContainerPort>>,
    restart_policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerPort {
    name: Option<String>,
    container_port: u16,
    protocol: Option<String>,
}

/// The fields of a pod's `status` that are used.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<Ip>>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
    #[serde(rename = "hostIPs")]
    host_ips: Option<Vec<Ip>>,
}

#[derive(Deserialize)]
struct Ip {
    ip: Option<String>,
}

/// A string, or `None` for a value of another type. Without quotes, `12` and `true` are not strings in YAML,
/// and the API server would reject them where it expects one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Text(Option<String>);

impl Text {
    /// The string, or an error that names the value.
    fn string(self, what: impl FnOnce() -> String) -> Result<String, Error> {
        self.0.ok_or_else(|| Error(format!("{} is not a string: put it in quotes", what())))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;
        impl<'de> Visitor<'de> for Strings {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Some(text.to_owned())))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<Text, E> {
                Ok(Text(Some(text)))
            }
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Text, E> {
                Ok(Text(None))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Text, A::Error> {
                while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
                while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
                Ok(Text(None))
            }
        }
        deserializer.deserialize_any(Strings)
    }
}

/// Pods by namespace and name.
type Found = BTreeMap<(String, String), Pod>;

impl Cluster {
    /// Reads a cluster file.
    ///
    /// # Errors
    ///
    /// If the text is not YAML or JSON, or contains a value that is not an object, no Namespace, or a Pod
    /// without its Namespace.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut objects = Objects::default();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim_start().starts_with('{') {
            // kubectl prints JSON as one object. It is a hundred times as fast to read as YAML.
            let object: Object<Box<serde_json::value::RawValue>> =
                serde_json::from_str(text).map_err(|error| Error(error.to_string()))?;
            objects.collect(object, None)?;
        } else {
            for document in serde_yaml::Deserializer::from_str(text) {
                let object = Option::<Object<serde_yaml::Value>>::deserialize(document)
                    .map_err(|error| Error(error.to_string()))?;
                if let Some(object) = object {
                    objects.collect(object, None)?;
                }
            }
        }
        objects.cluster()
    }
}

/// A Pod as the API server sends it. Only the fields that are used are decoded: a Pod has several kilobytes,
/// and a cluster may have a hundred thousand Pods.
#[derive(Deserialize)]
pub struct ApiPod {
    metadata: Metadata,
    spec: Option<PodSpec>,
    status: Option<PodStatus>,
}

impl ApiPod {
    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        text(&self.metadata.namespace).unwrap_or("default")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        text(&self.metadata.name).unwrap_or_default()
    }

    /// Its `resourceVersion`.
    #[must_use]
    pub fn resource_version(&self) -> Option<&str> {
        text(&self.metadata.resource_version)
    }

    /// Whether it is being deleted.
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// The pod. `None` if it has ended.
    ///
    /// # Errors
    ///
    /// If a field has a value that the API server would reject.
    pub fn pod(self) -> Result<Option<Pod>, Error> {
        let (namespace, pod) = self.metadata.pod()?;
        read_pod(&namespace, pod, self.spec.unwrap_or_default(), self.status.unwrap_or_default())
    }
}

fn text(text: &Option<Text>) -> Option<&str> {
    text.as_ref().and_then(|Text(text)| text.as_deref())
}

impl Metadata {
    /// The name and the labels of an object. `kind` is used in messages.
    fn name_and_labels(&mut self, kind: &str) -> Result<(String, BTreeMap<String, String>), Error> {
        let Some(name) = self.name.take() else {
            return Err(Error(format!("a {kind} without `metadata.name`")));
        };
        let name = name.string(|| format!("the name of a {kind}"))?;
        let mut all = BTreeMap::new();
        for (key, value) in self.labels.take().into_iter().flatten() {
            let what = || format!("a label of the {kind} `{name}`");
            all.insert(key.string(what)?, value.string(what)?);
        }
        Ok((name, all))
    }

    fn namespace(&mut self, kind: &str, name: &str) -> Result<String, Error> {
        match self.namespace.take() {
            None => Ok("default".to_owned()),
            Some(namespace) => namespace.string(|| format!("the namespace of the {kind} `{name}`")),
        }
    }

    /// The pod's namespace, and the pod with the fields that its metadata gives.
    fn pod(mut self) -> Result<(String, Pod), Error> {
        let (name, labels) = self.name_and_labels("Pod")?;
        let namespace = self.namespace("Pod", &name)?;
        let uid = self.annotations.and_then(|own| own.mirror).or(self.uid).and_then(|Text(uid)| uid);
        let pod = Pod { name, labels: Arc::new(labels), uid: uid.unwrap_or_default(), ..Pod::default() };
        Ok((namespace, pod))
    }
}

/// Completes a pod with its `spec` and `status`. `None` if the pod has ended.
fn read_pod(namespace: &str, pod: Pod, spec: PodSpec, status: PodStatus) -> Result<Option<Pod>, Error> {
    let wrong = |why: String| Error(format!("the pod `{namespace}/{}`: {why}", pod.name));
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return Ok(None);
    }
    let mut ports = Vec::new();
    // A sidecar, which is an init container with `restartPolicy: Always`, has ports like other containers.
    let beside = |container: &Container| container.restart_policy.as_deref() == Some("Always");
    let containers = spec.init_containers.into_iter().flatten().filter(beside);
    for port in spec.containers.into_iter().flatten().chain(containers).flat_map(|c| c.ports).flatten() {
        let Some(name) = port.name.filter(|name| !name.is_empty()) else { continue };
        let protocol = protocol(port.protocol.as_deref()).map_err(wrong)?;
        ports.push(NamedPort { name, protocol, port: port.container_port });
    }
    // Saves memory: a cluster may have a hundred thousand pods.
    ports.shrink_to_fit();
    let addresses = |one: Option<String>, all: Option<Vec<Ip>>| {
        let all = all.into_iter().flatten().filter_map(|ip| ip.ip);
        addresses(one.into_iter().chain(all)).map_err(wrong)
    };
    Ok(Some(Pod {
        addresses: addresses(status.pod_ip, status.pod_ips)?,
        ports,
        host_network: spec.host_network == Some(true),
        node: spec.node_name.unwrap_or_default().into(),
        node_addresses: addresses(status.host_ip, status.host_ips)?,
        ..pod
    }))
}

#[derive(Default)]
struct Objects {
    namespaces: BTreeMap<String, Namespace>,
    pods: Found,
    nodes: BTreeMap<String, Node>,
    /// By namespace and name.
    services: BTreeMap<(String, String), Service>,
    /// The endpoints of each Service: here those from EndpointSlices, below those from Endpoints.
    slices: BTreeMap<(String, String), Vec<ServiceEndpoint>>,
    endpoints: BTreeMap<(String, String), Vec<ServiceEndpoint>>,
}

impl Objects {
    fn cluster(mut self) -> Result<Cluster, Error> {
        if self.namespaces.is_empty() {
            return Err(Error("it contains no Namespace".to_owned()));
        }
        let namespaces: Vec<Namespace> = self.namespaces.into_values().collect();
        let mut cluster =
            Cluster { namespaces, pods: Vec::with_capacity(self.pods.len()), ..Cluster::default() };
        for (key, service) in &mut self.services {
            // kube-proxy uses EndpointSlices, so they take precedence over Endpoints.
            service.endpoints = self.slices.remove(key).or_else(|| self.endpoints.remove(key));
        }
        cluster.services = self.services.into_values().collect();
        for ((namespace, name), mut pod) in self.pods {
            let Some(place) = cluster.namespace(&namespace) else {
                return Err(Error(format!(
                    "it does not contain the namespace `{namespace}` of the pod `{name}`: include both with `kubectl get namespaces,pods -A -o yaml`"
                )));
            };
            pod.namespace = place;
            if let Some(node) = self.nodes.get(&*pod.node) {
                let more = node.addresses.iter().filter(|own| !pod.node_addresses.contains(own)).copied();
                pod.node_addresses.extend(more.collect::<Vec<_>>());
            }
            if pod.host_network && pod.addresses.is_empty() {
                pod.addresses.clone_from(&pod.node_addresses);
            }
            cluster.pods.push(pod);
        }
        cluster.nodes = self.nodes.into_values().collect();
        Ok(cluster)
    }

    /// Adds an object. In a list of one kind (`NamespaceList`) the items may omit their kind.
    fn collect<P: Part>(&mut self, object: Object<P>, list: Option<&str>) -> Result<(), Error> {
        let kind = object.kind.and_then(|Text(kind)| kind);
        if let Some(items) = object.items {
            let of =
                kind.as_deref().and_then(|kind| kind.strip_suffix("List")).filter(|kind| !kind.is_empty());
            for item in items {
                if item.items.is_some() {
                    return Err(Error("a list inside a list".to_owned()));
                }
                self.collect(item, of)?;
            }
            return Ok(());
        }
        let kind = match kind.as_deref().or(list) {
            Some(kind @ ("Namespace" | "Pod" | "Node" | "Service" | "EndpointSlice" | "Endpoints")) => kind,
            Some(_) => return Ok(()),
            None => return Err(Error("a document without `kind`".to_owned())),
        };
        let mut metadata = object.metadata.unwrap_or_default();
        if kind == "Pod" {
            let (namespace, pod) = metadata.pod()?;
            return self.pod(namespace, pod, object.spec, object.status);
        }
        let (name, mut all) = metadata.name_and_labels(kind)?;
        match kind {
            "Node" => return self.node(name, object.status),
            "Namespace" => {}
            _ => {
                let namespace = metadata.namespace(kind, &name)?;
                return match kind {
                    "Service" => self.service(namespace, name, object.spec, object.status),
                    "EndpointSlice" => {
                        self.endpoint_slice(namespace, &name, &all, object.endpoints, object.ports)
                    }
                    _ => self.endpoints(namespace, name, object.subsets),
                };
            }
        }
        all.entry(NAMESPACE_NAME.to_owned()).or_insert_with(|| name.clone());
        if self.namespaces.contains_key(&name) {
            return Err(Error(format!("the namespace `{name}` occurs twice")));
        }
        self.namespaces.insert(name.clone(), Namespace { name, labels: all });
        Ok(())
    }

    fn pod<P: Part>(
        &mut self,
        namespace: String,
        pod: Pod,
        spec: Option<P>,
        status: Option<P>,
    ) -> Result<(), Error> {
        let name = pod.name.clone();
        let wrong = |why: String| Error(format!("the pod `{namespace}/{name}`: {why}"));
        let spec: PodSpec = spec.map(Part::read).transpose().map_err(wrong)?.unwrap_or_default();
        let status: PodStatus = status.map(Part::read).transpose().map_err(wrong)?.unwrap_or_default();
        let Some(pod) = read_pod(&namespace, pod, spec, status)? else { return Ok(()) };
        let key = (namespace, name);
        if self.pods.contains_key(&key) {
            return Err(Error(format!("the pod `{}/{}` occurs twice", key.0, key.1)));
        }
        self.pods.insert(key, pod);
        Ok(())
    }
}

/// Parses addresses. Skips empty texts and duplicates.
fn addresses(texts: impl Iterator<Item = String>) -> Result<Vec<IpAddr>, String> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for text in texts.filter(|text| !text.is_empty()) {
        let address = text.parse().map_err(|_| format!("`{text}` is not an IP address"))?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses.shrink_to_fit();
    Ok(addresses)
}

/// Parses a protocol as the API writes it. The default is TCP.
fn protocol(name: Option<&str>) -> Result<Protocol, String> {
    let name = name.unwrap_or("TCP");
    let known = Protocol::ALL.into_iter().find(|known| known.api_name() == name);
    known.ok_or_else(|| format!("`{name}` is not a protocol: use TCP, UDP or SCTP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_has_the_identifier_of_its_pod() {
        let pod = |annotations: &str| {
            let text = format!(
                r#"{{"kind": "Pod", "metadata": {{"name": "a", "uid": "u", "annotations": {annotations}}}}}"#
            );
            serde_json::from_str::<ApiPod>(&text).unwrap().pod().unwrap().unwrap().uid
        };
        assert_eq!(pod(r#"{"kubernetes.io/config.mirror": "h", "other": 1}"#), "h");
        assert_eq!(pod(r#"{"kubernetes.io/config.hash": "h"}"#), "u");
    }

    #[test]
    fn lists_streams_and_json() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- kind: Namespace\n  metadata: {name: b, labels: {x: ''}}\n- kind: Pod\n  metadata: {name: p, namespace: a}\n- kind: Namespace\n  metadata: {name: a}\n";
        let cluster = Cluster::parse(list).unwrap();
        let names: Vec<&str> = cluster.namespaces.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(cluster.namespaces[1].labels["x"], "");
        assert_eq!(cluster.namespaces[1].labels[NAMESPACE_NAME], "b");

        let stream =
            "---\nkind: Namespace\nmetadata: {name: a}\n---\nkind: Namespace\nmetadata: {name: 'no'}\n---\n";
        assert_eq!(Cluster::parse(stream).unwrap().namespaces.len(), 2);
        let list = "\u{feff}apiVersion: v1\nkind: NamespaceList\nitems:\n- metadata: {name: a}\n---\nkind: Lease\nmetadata: {name: 12}\n";
        assert_eq!(Cluster::parse(list).unwrap().namespaces.len(), 1);
        let json = r#"{"kind":"List","items":[{"kind":"Namespace","metadata":{"name":"a"}}]}"#;
        assert_eq!(Cluster::parse(json).unwrap().namespaces.len(), 1);
    }

    #[test]
    fn pods() {
        let text = r#"{"kind":"List","items":[{"kind":"ConfigMap","metadata":{"name":"s"},"spec":7},
            {"kind":"Namespace","metadata":{"name":"a"}},
            {"kind":"Pod","metadata":{"name":"old","namespace":"a"},"status":{"phase":"Failed"}},
            {"kind":"Pod","metadata":{"name":"p","namespace":"a","labels":{"app":"web"}},
             "spec":{"hostNetwork":false,"containers":[{"ports":[{"containerPort":80,"name":"http"},{"containerPort":81}]},{}],
              "initContainers":[{"restartPolicy":"Always","ports":[{"name":"m","containerPort":9,"protocol":"UDP"}]},{"ports":[{"name":"n","containerPort":1}]}]},
             "status":{"phase":"Running","podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}],"hostIP":"192.0.2.1"}}]}"#;
        let cluster = Cluster::parse(text).unwrap();
        assert_eq!(cluster.pods.len(), 1);
        let pod = &cluster.pods[cluster.pod("a", "p").unwrap()];
        assert_eq!(pod.labels["app"], "web");
        assert_eq!(pod.addresses.len(), 2);
        assert_eq!(pod.node_addresses.len(), 1);
        let names: Vec<(&str, u16)> = pod.ports.iter().map(|port| (port.name.as_str(), port.port)).collect();
        assert_eq!(names, [("http", 80), ("m", 9)]);
        let yaml = serde_yaml::to_string(&serde_json::from_str::<serde_json::Value>(text).unwrap()).unwrap();
        assert_eq!(Cluster::parse(&yaml), Ok(cluster));
    }

    #[test]
    fn what_is_no_cluster_file() {
        for bad in [
            "",
            "hello",
            "- a\n- b",
            "kind: Pod\nmetadata: {name: x}",
            "kind: Namespace\nmetadata: {name: a}\n---\nkind: Pod\nmetadata: {name: x, namespace: b}",
            "kind: Namespace\nmetadata: {name: a}\n---\nkind: Pod\nmetadata: {name: x, namespace: a}\nstatus: {podIP: 1.2.3}",
            "kind: Namespace\nmetadata: {}",
            "kind: Namespace\nmetadata: {name: 12}",
            "kind: Namespace\nmetadata: {name: a, labels: {x: true}}",
            "kind: Namespace\nmetadata: {name: a}\n---\nkind: Namespace\nmetadata: {name: a}",
            "{\"kind\": ",
            "metadata: {name: a}",
        ] {
            assert!(Cluster::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn exponential_aliases_are_not_expanded() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..20 {
            let before = level - 1;
            text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(", ")));
        }
        text.push_str("kind: Namespace\nmetadata: {name: a}\n");
        // Fields that are not read are not expanded: otherwise this would not end.
        assert_eq!(Cluster::parse(&text).unwrap().namespaces.len(), 1);
        let used = text.replace("{name: a}", "{name: a, labels: *a19}");
        assert!(Cluster::parse(&used).is_err());
    }
}
