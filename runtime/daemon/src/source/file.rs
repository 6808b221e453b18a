//! Reads pods from a file in kubectl's output format.

use std::io;
use std::path::Path;

use npc_cluster::Cluster;
use tokio::sync::mpsc::Sender;

use crate::enforcer::Message;
use crate::watched_file;

/// Reads the file now and after every change. If it cannot be read, the last content stays valid.
pub(crate) async fn follow(path: &Path, to: Sender<Message>) {
    let messages = |read| match parse(read) {
        Err(why) => vec![Message::Source("pods", Err(format!("{}: {why}", path.display())))],
        Ok(cluster) => all(cluster),
    };
    watched_file::follow(path, to, messages).await;
}

fn parse(read: io::Result<Vec<u8>>) -> Result<Cluster, String> {
    let text = String::from_utf8(read.map_err(|why| why.to_string())?).map_err(|why| why.to_string())?;
    Cluster::parse(&text).map_err(|why| why.to_string())
}

fn all(cluster: Cluster) -> Vec<Message> {
    let namespaces = cluster.namespaces;
    let of = |place: usize| namespaces.get(place).map(|namespace| namespace.name.clone());
    let pods = cluster.pods.into_iter().filter_map(|pod| Some((of(pod.namespace)?, pod))).collect();
    vec![Message::Namespaces(namespaces.clone()), Message::Pods(pods), Message::Source("pods", Ok(()))]
}
