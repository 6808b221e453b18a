//! `npc-node detach`

use std::process::ExitCode;

use npc_node::Node;

use super::runtime;
use crate::arguments::Where;
use crate::client::{Client, Error, print};

pub(crate) fn run(place: &Where) -> Result<ExitCode, Error> {
    match runtime()?.block_on(Client::new(&place.socket).post("/detach", &())) {
        Ok(_) => print("npc-node has stopped, and policies are no longer enforced\n")?,
        Err(Error::NoDaemon(..)) if place.pins.exists() => {
            let node = Node::open(&place.pins).map_err(|why| Error::Other(why.to_string()))?;
            node.detach_all().map_err(|why| Error::Other(why.to_string()))?;
            print("policies are no longer enforced\n")?;
        }
        Err(Error::NoDaemon(..)) => print("no policies were enforced\n")?,
        Err(error) => return Err(error),
    }
    // The state file that the daemon keeps beside its socket.
    let _ = std::fs::remove_file(place.socket.with_file_name("pods.json"));
    Ok(ExitCode::SUCCESS)
}
