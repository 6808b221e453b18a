//! A file that is reloaded when it changes.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::Sender;

use crate::enforcer::Message;

/// The polling interval. A mounted ConfigMap changes by a symbolic link to another directory, which a watch
/// on the file does not notice.
const EVERY: Duration = Duration::from_secs(1);

/// Identifies one version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    length: u64,
    changed: Option<SystemTime>,
    inode: u64,
}

fn mark(path: &Path) -> io::Result<Mark> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(path)?;
    Ok(Mark { length: metadata.len(), changed: metadata.modified().ok(), inode: metadata.ino() })
}

/// Reads a file now and after every change, and sends the resulting messages to the enforcer.
pub(crate) async fn follow(
    path: &Path,
    to: Sender<Message>,
    messages: impl Fn(io::Result<Vec<u8>>) -> Vec<Message>,
) {
    let mut last = None;
    let mut failed = false;
    loop {
        let read = match mark(path) {
            Ok(now) if last == Some(now) => None,
            Ok(now) => {
                let read = fs::read(path);
                // A file that changed while it was read is read again.
                (mark(path).ok() == Some(now)).then(|| {
                    (last, failed) = (Some(now), read.is_err());
                    read
                })
            }
            // The error is reported once, not every second.
            Err(error) if !failed => {
                (last, failed) = (None, true);
                Some(Err(error))
            }
            Err(_) => None,
        };
        for message in read.into_iter().flat_map(&messages) {
            if to.send(message).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}
