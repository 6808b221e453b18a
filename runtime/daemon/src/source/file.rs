//! Pods from a file, as kubectl prints them.

use std::io;
use std::path::Path;

use npc_cluster::Cluster;
use tokio::sync::mpsc::{Sender, channel};

use crate::enforcer::Message;
use crate::image_file;

/// Reads the file, and again whenever it changes. What cannot be read leaves what was read last.
pub(crate) async fn follow(path: &Path, to: Sender<Message>) {
    let (raw, mut read) = channel(1);
    let named = path.display().to_string();
    let reader = image_file::follow(path, raw, Message::Image);
    let pass_on = async {
        while let Some(message) = read.recv().await {
            let Message::Image(read) = message else { continue };
            let result = match parse(read) {
                Err(why) => to.send(Message::Source(Err(format!("{named}: {why}")))).await,
                Ok(cluster) => send(cluster, &to).await,
            };
            if result.is_err() {
                return;
            }
        }
    };
    tokio::join!(reader, pass_on);
}

fn parse(read: io::Result<Vec<u8>>) -> Result<Cluster, String> {
    let text = String::from_utf8(read.map_err(|why| why.to_string())?).map_err(|why| why.to_string())?;
    Cluster::parse(&text).map_err(|why| why.to_string())
}

async fn send(
    cluster: Cluster,
    to: &Sender<Message>,
) -> Result<(), tokio::sync::mpsc::error::SendError<Message>> {
    let namespaces = cluster.namespaces;
    let of = |place: usize| namespaces.get(place).map(|namespace| namespace.name.clone());
    let pods = cluster.pods.into_iter().filter_map(|pod| Some((of(pod.namespace)?, pod))).collect();
    to.send(Message::Namespaces(namespaces.clone())).await?;
    to.send(Message::Pods(pods)).await?;
    to.send(Message::Source(Ok(()))).await
}
