//! Help for undefined names: guesses what the author intended.

use npc_diagnostics::{Applicability, Diagnostic, Location};

use super::UNKNOWN_NAME;
use crate::values::address;
use npc_vocabulary::Protocol;

/// The help for words that stand for every address, such as `internet`.
const EVERY_ADDRESS: &str = "write `0.0.0.0/0, ::/0` for every address, or `anywhere` for every address and every pod; for every address except private ones, write `0.0.0.0/0 except (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16), ::/0 except fc00::/7`";

/// The help for host names.
const ADDRESSES: &str = "write the addresses that the name resolves to, as in `allow egress to 203.0.113.0/24 on tcp/443`, and update them when it resolves to others; no target of npc can match host names (Cilium's `toFQDNs` can)";

/// Adds help to the diagnostic for an undefined name.
pub(super) fn unknown(mut diagnostic: Diagnostic, name: &str, location: Location) -> Diagnostic {
    let write = |diagnostic: Diagnostic, text: String| {
        diagnostic.fix(Applicability::Maybe, format!("write `{text}`"), location, text)
    };
    let lower = name.to_ascii_lowercase();
    if Protocol::parse(&lower).is_some() {
        return write(diagnostic, lower);
    }
    if let Some((first, rest)) = lower.split_once(':')
        && Protocol::parse(first).is_some()
        && !rest.is_empty()
    {
        return write(diagnostic, format!("{first}/{rest}"));
    }
    let mut no_construct = |what: &str, help: &str| {
        diagnostic.message = format!("`{name}`: the language has no construct for {what}");
        diagnostic.labels.iter_mut().take(1).for_each(|label| label.text = "nothing defines this".to_owned());
        diagnostic.clone().help(help)
    };
    match lower.as_str() {
        "any" | "all" | "everyone" | "everything" | "everywhere" | "anyone" | "anybody" | "*" => {
            return write(
                diagnostic.help(
                    "write `anywhere` for every pod and every address; in the subject of a policy, write `all pods in all namespaces`; a rule without `on` covers every port",
                ),
                "anywhere".to_owned(),
            );
        }
        "internet" | "world" | "external" | "public" | "outside" | "wan" => {
            return diagnostic.help(EVERY_ADDRESS);
        }
        "cluster" | "kubernetes" => {
            return diagnostic.help("write `all pods in all namespaces` for every pod of the cluster");
        }
        "icmp" | "icmpv4" | "icmpv6" | "ping" => {
            return no_construct(
                "ICMP",
                "a rule without `on` covers every protocol, including ICMP: `allow ingress from anywhere`; a rule with `on` covers only its ports, and no rule can cover only ICMP",
            );
        }
        "http" | "https" | "ssh" | "smtp" | "mysql" | "postgres" | "grpc" | "metrics" => {
            return diagnostic.help(format!(
                "write `tcp/{name}` for the port with that name of a pod, or define a set: `let {name} = …`"
            ));
        }
        "dns" => return diagnostic.help("define the ports of DNS: `let dns = udp/53, tcp/53`"),
        "node" | "nodes" | "host" | "hosts" | "kubelet" | "remote-node" => {
            return no_construct(
                "nodes",
                "write the addresses of the nodes, as in `allow ingress from 10.0.0.0/24`; `kubectl get nodes -o wide` shows them. A pod's own node may always reach it",
            );
        }
        "apiserver" | "kube-apiserver" | "api-server" => {
            return no_construct(
                "the API server",
                "write its addresses, as in `allow egress to 10.0.0.10 on tcp/6443`; `kubectl get endpointslices -n default` shows them",
            );
        }
        "self" | "service" | "serviceaccount" | "services" | "deployment" | "ingress-controller" => {
            return diagnostic
                .help("peers are pods, selected by their labels, as in `pods { app = web }`, and addresses");
        }
        _ => {}
    }
    if lower == "http:" || lower == "https:" {
        return no_construct("URLs: rules match addresses and ports", ADDRESSES);
    }
    let host = name.split_once(':').map_or(name, |(host, _)| host);
    let labels = host.trim_start_matches("*.").split('.');
    let is_label = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if host.contains('.') && host.bytes().any(|b| b.is_ascii_alphabetic()) && labels.clone().all(is_label) {
        return no_construct("host names: rules match addresses", &host_advice(host));
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) && name.contains(['.', ':']) {
        return diagnostic.help("write single addresses or CIDRs such as `10.0.0.0/24`");
    }
    if crate::values::name::is_subdomain(name) {
        return diagnostic.help(format!(
            "define it: `let {name} = …`; for the pods of a namespace, write `all pods in namespace {name}`"
        ));
    }
    diagnostic
}

/// The help for a host name. For the DNS name of a Service, how to select its pods.
fn host_advice(host: &str) -> String {
    let mut parts = host.split('.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(service), Some(namespace), Some("svc")) => service_advice(service, Some(namespace)),
        _ => ADDRESSES.to_owned(),
    }
}

fn service_advice(service: &str, namespace: Option<&str>) -> String {
    let scope = namespace.map(|name| format!(" in namespace {name}")).unwrap_or_default();
    let flag = namespace.map(|name| format!(" -n {name}")).unwrap_or_default();
    format!(
        "write the labels of the Service's selector, as in `pods {{ app = {service} }}{scope}`; `kubectl get service {service}{flag} -o wide` shows them"
    )
}

/// The diagnostic for words such as `monitoring/prometheus`, `service/db` or `example.com/path` where pods or addresses
/// are expected: two words joined by `/`, the first of which is not a protocol. `None` for other words.
pub(super) fn qualified_name(word: &str, location: Location) -> Option<Diagnostic> {
    let (first, second) = word.split_once('/')?;
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let protocol = |text: &str| Protocol::parse(&text.to_ascii_lowercase()).is_some();
    let is_port = protocol(first)
        || second.split('/').any(protocol)
        || is_number(first)
        || is_number(second)
        || first.to_ascii_lowercase().starts_with("icmp");
    if is_port || address::looks_like_address(word) || first.contains(':') {
        return None;
    }
    let reported = |message: String, label: &str| Diagnostic::new(&UNKNOWN_NAME, message, location, label);
    if first.contains('.') {
        let message =
            format!("`{word}`: the language has no construct for host names: rules match addresses");
        return Some(reported(message, "a host name").help(ADDRESSES));
    }
    let message = format!("`{word}` does not select pods: they are selected by their labels");
    let scope = "in namespace NAMESPACE";
    Some(match first.to_ascii_lowercase().as_str() {
        "service" | "svc" | "services" => reported(message, "a Service").help(service_advice(second, None)),
        "deployment" | "deploy" | "statefulset" | "sts" | "daemonset" | "ds" | "job" => reported(message, "names no labels")
            .help(format!(
                "write the labels of its pods, as in `pods {{ app = {second} }} {scope}`; `kubectl get {first} {second} -o wide` shows them"
            )),
        "pod" | "pods" => reported(message, "names no labels").help(format!(
            "write the pod's labels, as in `pods {{ app = {second} }} {scope}`; `kubectl get pod {second} --show-labels` shows them"
        )),
        "namespace" | "ns" => reported(message, "a namespace")
            .help(format!("write `all pods in namespace {second}`")),
        "entity" | "entities" | "cidr" => reported(message, "not known here"),
        _ if second == "*" => reported(message, "a namespace, and any pod")
            .help(format!("write `all pods in namespace {first}`")),
        _ => reported(message, "a namespace and a name").help(format!(
            "write `pods {{ app = {second} }} in namespace {first}`, with the labels that the pods have: `kubectl get pods -n {first} --show-labels`"
        )),
    })
}
