//! Reads Nodes, Services and their endpoints.

use std::collections::BTreeMap;

use npc_vocabulary::Protocol;
use serde::Deserialize;

use super::{Ip, Objects, Part, addresses, protocol};
use crate::{Error, Node, Service, ServiceEndpoint, ServicePort, TargetPort};

/// The label of an EndpointSlice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    addresses: Option<Vec<NodeAddress>>,
}

#[derive(Deserialize)]
struct NodeAddress {
    #[serde(rename = "type")]
    kind: Option<String>,
    address: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(rename = "clusterIP")]
    cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Option<Vec<String>>,
    #[serde(rename = "externalIPs")]
    external_ips: Option<Vec<String>>,
    external_name: Option<String>,
    external_traffic_policy: Option<String>,
    selector: Option<BTreeMap<String, String>>,
    ports: Option<Vec<SpecPort>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecPort {
    name: Option<String>,
    protocol: Option<String>,
    port: u16,
    target_port: Option<NumberOrName>,
    node_port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrName {
    Number(u16),
    Name(String),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceStatus {
    load_balancer: Option<LoadBalancer>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Option<Vec<Ip>>,
}

#[derive(Deserialize)]
struct SliceEndpoint {
    addresses: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct EndpointPort {
    name: Option<String>,
    protocol: Option<String>,
    port: Option<u16>,
}

#[derive(Deserialize)]
struct Subset {
    addresses: Option<Vec<Ip>>,
    ports: Option<Vec<EndpointPort>>,
}

impl Objects {
    pub(super) fn node<P: Part>(&mut self, name: String, status: Option<P>) -> Result<(), Error> {
        let wrong = |why: String| Error(format!("the node `{name}`: {why}"));
        let status: NodeStatus = status.map(Part::read).transpose().map_err(wrong)?.unwrap_or_default();
        // Addresses of other types are host names.
        let is_address = |own: &NodeAddress| matches!(own.kind.as_deref(), Some("InternalIP" | "ExternalIP"));
        let texts = status.addresses.into_iter().flatten().filter(is_address).filter_map(|own| own.address);
        let addresses = addresses(texts).map_err(wrong)?;
        self.nodes.insert(name.clone(), Node { name, addresses });
        Ok(())
    }

    pub(super) fn service<P: Part>(
        &mut self,
        namespace: String,
        name: String,
        spec: Option<P>,
        status: Option<P>,
    ) -> Result<(), Error> {
        let wrong = |why: String| Error(format!("the Service `{namespace}/{name}`: {why}"));
        let spec: ServiceSpec = spec.map(Part::read).transpose().map_err(wrong)?.unwrap_or_default();
        let status: ServiceStatus = status.map(Part::read).transpose().map_err(wrong)?.unwrap_or_default();
        let within = spec.cluster_ip.into_iter().chain(spec.cluster_ips.into_iter().flatten());
        let within = within.filter(|text| text != "None");
        let ingress = status.load_balancer.and_then(|balancer| balancer.ingress).into_iter().flatten();
        let outside = ingress.filter_map(|own| own.ip).chain(spec.external_ips.into_iter().flatten());
        let port = |own: SpecPort| {
            Ok(ServicePort {
                name: own.name.unwrap_or_default(),
                protocol: protocol(own.protocol.as_deref())?,
                port: own.port,
                target: match own.target_port {
                    None | Some(NumberOrName::Number(0)) => TargetPort::Number(own.port),
                    Some(NumberOrName::Number(number)) => TargetPort::Number(number),
                    // kubectl prints a port number without quotes, but people also write it in quotes.
                    Some(NumberOrName::Name(text)) => match text.parse() {
                        Ok(number) => TargetPort::Number(number),
                        Err(_) => TargetPort::Name(text),
                    },
                },
                node_port: own.node_port.filter(|number| *number > 0),
            })
        };
        let is_external_name = spec.kind.as_deref() == Some("ExternalName");
        let service = Service {
            cluster_addresses: addresses(within).map_err(wrong)?,
            external_addresses: addresses(outside).map_err(wrong)?,
            keeps_client_address: spec.external_traffic_policy.as_deref() == Some("Local"),
            external_name: is_external_name.then(|| spec.external_name.unwrap_or_default()),
            selector: spec.selector.unwrap_or_default(),
            ports: spec
                .ports
                .into_iter()
                .flatten()
                .map(port)
                .collect::<Result<_, String>>()
                .map_err(wrong)?,
            endpoints: None,
            namespace: namespace.clone(),
            name: name.clone(),
        };
        self.services.insert((namespace, name), service);
        Ok(())
    }

    pub(super) fn endpoint_slice<P: Part>(
        &mut self,
        namespace: String,
        name: &str,
        labels: &BTreeMap<String, String>,
        endpoints: Option<P>,
        ports: Option<P>,
    ) -> Result<(), Error> {
        let wrong = |why: String| Error(format!("the EndpointSlice `{namespace}/{name}`: {why}"));
        let Some(service) = labels.get(SERVICE_NAME).cloned() else { return Ok(()) };
        let read: Option<Vec<SliceEndpoint>> = endpoints.map(Part::read).transpose().map_err(wrong)?;
        let ports: Option<Vec<EndpointPort>> = ports.map(Part::read).transpose().map_err(wrong)?;
        let ports = endpoint_ports(ports).map_err(wrong)?;
        let texts = read.into_iter().flatten().flat_map(|endpoint| endpoint.addresses).flatten();
        // The addresses of a slice of type FQDN are names.
        let addresses = texts.filter_map(|text| text.parse().ok());
        let all = addresses.map(|address| ServiceEndpoint { address, ports: ports.clone() });
        let all: Vec<ServiceEndpoint> = all.collect();
        self.slices.entry((namespace, service)).or_default().extend(all);
        Ok(())
    }

    pub(super) fn endpoints<P: Part>(
        &mut self,
        namespace: String,
        name: String,
        subsets: Option<P>,
    ) -> Result<(), Error> {
        let wrong = |why: String| Error(format!("the Endpoints `{namespace}/{name}`: {why}"));
        let subsets: Option<Vec<Subset>> = subsets.map(Part::read).transpose().map_err(wrong)?;
        let mut all = Vec::new();
        for subset in subsets.into_iter().flatten() {
            let ports = endpoint_ports(subset.ports).map_err(wrong)?;
            let texts = subset.addresses.into_iter().flatten().filter_map(|own| own.ip);
            let addresses = addresses(texts).map_err(wrong)?;
            all.extend(
                addresses.into_iter().map(|address| ServiceEndpoint { address, ports: ports.clone() }),
            );
        }
        self.endpoints.insert((namespace, name), all);
        Ok(())
    }
}

fn endpoint_ports(ports: Option<Vec<EndpointPort>>) -> Result<Vec<(String, Protocol, u16)>, String> {
    let mut all = Vec::new();
    for port in ports.into_iter().flatten() {
        let Some(number) = port.port else { continue };
        all.push((port.name.unwrap_or_default(), protocol(port.protocol.as_deref())?, number));
    }
    Ok(all)
}
