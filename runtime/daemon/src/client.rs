//! The HTTP client of the daemon's socket.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// No daemon listens on the socket.
    NoDaemon(PathBuf, io::Error),
    /// The daemon answered with an error.
    Refused(String),
    /// Any other error.
    Other(String),
    /// Standard output cannot be written.
    Output(io::Error),
}

impl Error {
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDaemon(path, why) => {
                write!(
                    f,
                    "cannot connect to npc-node at {}: {why}; is it running, and do you have access to the socket?",
                    path.display()
                )
            }
            Self::Refused(why) | Self::Other(why) => f.write_str(why),
            Self::Output(why) => write!(f, "cannot write the output: {why}"),
        }
    }
}

/// Prints to standard output.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)
}

pub(crate) struct Client {
    socket: PathBuf,
}

fn other(why: impl fmt::Display) -> Error {
    Error::Other(format!("the daemon does not answer: {why}"))
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, Error> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|why| Error::NoDaemon(self.socket.clone(), why))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "npc-node")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(other)?;
        let response = sender.send_request(request).await.map_err(other)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.into_body().collect().await.map_err(other)?.to_bytes();
        let why = String::from_utf8_lossy(&body);
        Err(Error::Refused(if why.is_empty() {
            format!("the daemon answered {status}")
        } else {
            why.into_owned()
        }))
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let response = self.send(Method::GET, path, Vec::new()).await?;
        let body = response.into_body().collect().await.map_err(other)?.to_bytes();
        serde_json::from_slice(&body).map_err(other)
    }

    /// Sends a JSON body and returns the body of the response.
    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Bytes, Error> {
        let body = serde_json::to_vec(body).map_err(other)?;
        let response = self.send(Method::POST, path, body).await?;
        Ok(response.into_body().collect().await.map_err(other)?.to_bytes())
    }

    /// Calls `each` with every line of the response, as it arrives.
    pub(crate) async fn lines(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut body = self.send(Method::GET, path, Vec::new()).await?.into_body();
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(other)?.into_data() else { continue };
            rest.extend_from_slice(&data);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                each(&line)?;
            }
        }
        Ok(())
    }
}
