//! Evaluates connections with the loaded kernel program and with the interpreter.

use std::net::IpAddr;

use npc_cluster::{Cluster, Index, Question, Resolution};
use npc_image::{Image, verdict};
use npc_node::Loaded;
use npc_vocabulary::{Connection, Direction, Endpoint, Verdict};

use crate::control::{Answer, Asked, Side};

/// Evaluates each connection. `interface` returns the ifindex of a pod of this node.
pub(crate) fn answer(
    asked: &[Asked],
    cluster: &Cluster,
    image: &Image,
    loaded: &mut Loaded,
    interface: impl Fn(&str, &str) -> Option<u32>,
) -> Vec<Answer> {
    let index = Index::new(cluster);
    asked
        .iter()
        .map(|asked| one(asked, &index, image, loaded, &interface).unwrap_or_else(|why| Answer::error(&why)))
        .collect()
}

fn one(
    asked: &Asked,
    index: &Index<'_>,
    image: &Image,
    loaded: &mut Loaded,
    interface: &impl Fn(&str, &str) -> Option<u32>,
) -> Result<Answer, String> {
    let port = match &asked.port {
        serde_json::Value::String(name) => name.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let question = Question {
        source: &asked.src,
        source_address: asked.src_ip,
        destination: &asked.dst,
        destination_address: asked.dst_ip,
        protocol: &asked.proto,
        port: &port,
    };
    let connection = match question.resolve(Some(index))? {
        Resolution::Connection(connection) => connection,
        Resolution::Service(_) => {
            return Err("npc-node does not know Services: name a pod or its address".to_owned());
        }
    };
    let verdict = verdict(image, &connection);
    let interpreted = match &verdict {
        Verdict::Itself | Verdict::Node => [true, true],
        Verdict::Decided { egress, ingress } => [egress.allowed(), ingress.allowed()],
    };
    let addresses = [connection.source, connection.destination].map(|end| end.address());
    let mut sides = interpreted.map(|interpreter| Side { interpreter, kernel: None });
    if let [Some(source), Some(destination)] = addresses
        && verdict != Verdict::Itself
    {
        let of = [(Direction::Egress, &connection.source), (Direction::Ingress, &connection.destination)];
        for (side, (direction, end)) in sides.iter_mut().zip(of) {
            side.kernel = kernel(loaded, direction, end, [source, destination], &connection, interface)?;
        }
    }
    let agree = sides.iter().all(|side| side.kernel.is_none_or(|kernel| kernel == side.interpreter));
    let [egress, ingress] = sides;
    Ok(Answer {
        error: None,
        source: connection.source.to_string(),
        destination: connection.destination.to_string(),
        traffic: connection.traffic.to_string(),
        allowed: verdict.allowed(),
        egress,
        ingress,
        agree,
    })
}

/// The kernel's decision, or `None` if the pod is not on this node.
fn kernel(
    loaded: &mut Loaded,
    direction: Direction,
    end: &Endpoint<'_>,
    addresses: [IpAddr; 2],
    connection: &Connection<'_>,
    interface: &impl Fn(&str, &str) -> Option<u32>,
) -> Result<Option<bool>, String> {
    let Endpoint::Pod { pod, namespace, .. } = end else { return Ok(None) };
    let Some(interface) = interface(&namespace.name, &pod.name) else { return Ok(None) };
    let traffic = connection.traffic;
    let verdict = loaded.ask(direction, interface, addresses, traffic).map_err(|why| why.to_string())?;
    Ok(verdict.map(|verdict| verdict.passes))
}
