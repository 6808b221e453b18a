//! A chained CNI plugin (CNI specification 1.1, "Execution protocol"). It requests that the daemon enforces a
//! pod before its first packet, and returns the result of the previous plugins unchanged.
//!
//! If the daemon does not answer, `ADD` fails and the kubelet retries: a pod never runs without enforcement.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::arguments::SOCKET;
use crate::client::{Client, Error};
use crate::control::Add;

/// The supported versions of the specification.
const VERSIONS: [&str; 5] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0", "0.3.0"];

/// Error codes of the specification.
const BAD_ENVIRONMENT: u32 = 4;
const BAD_CONFIGURATION: u32 = 7;
const TRY_AGAIN: u32 = 11;
const NOT_AVAILABLE: u32 = 50;

/// The plugin's configuration, read from standard input.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    #[serde(default)]
    cni_version: String,
    prev_result: Option<Value>,
    /// The daemon's socket.
    socket: Option<PathBuf>,
}

/// An error code and its message.
struct Failure(u32, String);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(TRY_AGAIN, error.to_string())
    }
}

pub(crate) fn run() -> ExitCode {
    let command = env::var("CNI_COMMAND").unwrap_or_default();
    let mut input = String::new();
    let read = io::stdin().read_to_string(&mut input);
    let configuration = serde_json::from_str::<Configuration>(&input);
    let version = configuration.as_ref().map_or("1.0.0", |own| own.cni_version.as_str()).to_owned();
    let result = match (command.as_str(), read) {
        ("VERSION", _) => Ok(Some(json!({"cniVersion": version, "supportedVersions": VERSIONS}))),
        (_, Err(why)) => Err(Failure(BAD_CONFIGURATION, format!("cannot read the configuration: {why}"))),
        _ => configuration
            .map_err(|why| Failure(BAD_CONFIGURATION, format!("cannot read the configuration: {why}")))
            .and_then(|configuration| answer(&command, configuration)),
    };
    let (answer, code) = match result {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err(Failure(code, why)) => {
            let error = json!({"cniVersion": version, "code": code, "msg": format!("npc-cni: {why}")});
            (Some(error), ExitCode::FAILURE)
        }
    };
    if let Some(answer) = answer {
        let mut out = io::stdout().lock();
        if writeln!(out, "{answer}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    code
}

fn answer(command: &str, configuration: Configuration) -> Result<Option<Value>, Failure> {
    let client = Client::new(configuration.socket.as_deref().unwrap_or(SOCKET.as_ref()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|why| Failure(TRY_AGAIN, format!("cannot start the async runtime: {why}")))?;
    match command {
        "ADD" => {
            let Some(result) = configuration.prev_result else {
                let why =
                    "`prevResult` is missing: npc-cni must come after the plugin that creates the interface";
                return Err(Failure(BAD_CONFIGURATION, why.to_owned()));
            };
            let add = pod(&result, &env::var("CNI_ARGS").unwrap_or_default())?;
            runtime.block_on(client.post("/cni/add", &add))?;
            Ok(Some(result))
        }
        // The daemon notices deleted interfaces by itself.
        "DEL" | "GC" => Ok(None),
        "CHECK" => {
            let status: Value = runtime.block_on(client.get("/status"))?;
            match status.get("ready") {
                Some(Value::Bool(true)) => Ok(None),
                _ => Err(Failure(TRY_AGAIN, "no image is in force".to_owned())),
            }
        }
        "STATUS" => match runtime.block_on(client.get::<Value>("/status")) {
            Ok(_) => Ok(None),
            Err(why) => Err(Failure(NOT_AVAILABLE, why.to_string())),
        },
        other => Err(Failure(BAD_ENVIRONMENT, format!("unknown CNI_COMMAND `{other}`"))),
    }
}

/// Reads the pod from CNI_ARGS, and its interfaces and addresses from the result of the previous plugins.
fn pod(result: &Value, arguments: &str) -> Result<Add, Failure> {
    let arguments: BTreeMap<&str, &str> =
        arguments.split(';').filter_map(|argument| argument.split_once('=')).collect();
    let argument = |name: &str| {
        let value = arguments.get(name).filter(|value| !value.is_empty());
        value.map(|value| (*value).to_owned()).ok_or_else(|| {
            Failure(BAD_ENVIRONMENT, format!("CNI_ARGS has no {name}: npc-cni supports only Kubernetes pods"))
        })
    };
    let list = |name: &str| result.get(name).and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let on_node = |interface: &&Value| text(interface, "sandbox").is_none_or(|sandbox| sandbox.is_empty());
    let addresses = list("ips").filter_map(|ip| {
        let address = text(ip, "address")?;
        address.split('/').next()?.parse::<IpAddr>().ok()
    });
    Ok(Add {
        namespace: argument("K8S_POD_NAMESPACE")?,
        name: argument("K8S_POD_NAME")?,
        uid: argument("K8S_POD_UID").ok(),
        interfaces: list("interfaces").filter(on_node).filter_map(|own| text(own, "name")).collect(),
        addresses: addresses.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_plugins_before_made() {
        let result = json!({
            "cniVersion": "1.0.0",
            "interfaces": [
                {"name": "cni0", "mac": "x"},
                {"name": "veth1", "mac": "x", "sandbox": ""},
                {"name": "eth0", "mac": "x", "sandbox": "/run/netns/x"}
            ],
            "ips": [{"address": "10.244.0.2/24", "interface": 2}, {"address": "fd00::2/64", "interface": 2}]
        });
        let arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u1";
        let add = pod(&result, arguments).ok().unwrap();
        assert_eq!((add.namespace.as_str(), add.name.as_str()), ("shop", "web-0"));
        assert_eq!(add.uid.as_deref(), Some("u1"));
        assert_eq!(add.interfaces, ["cni0", "veth1"]);
        assert_eq!(add.addresses, ["10.244.0.2".parse::<IpAddr>().unwrap(), "fd00::2".parse().unwrap()]);
        let Err(Failure(code, why)) = pod(&result, "K8S_POD_NAMESPACE=shop") else { panic!("no pod") };
        assert_eq!(code, BAD_ENVIRONMENT);
        assert!(why.contains("K8S_POD_NAME"), "{why}");
    }
}
