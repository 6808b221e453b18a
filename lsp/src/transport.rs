//! Filters the editor's input: an invalid message gets an error response, and the server continues.

use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tower_lsp::jsonrpc::{Error, Request, Response};
use tower_service::Service;

/// The method of the request that replaces a message that is not JSON.
const MALFORMED: &str = "npc/malformed";
/// The method of the request that replaces JSON that is not a JSON-RPC message.
const INVALID: &str = "npc/invalid";

/// The maximum size of a message in bytes: the largest source file with every character escaped.
const MAX_MESSAGE: usize = 512 << 20;

/// Forwards valid messages, and replaces each invalid message by a request that [`Guard`] answers with an
/// error. Returns whether the editor sent `shutdown` before `exit`.
pub(crate) async fn filter(
    mut from: impl AsyncBufRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> std::io::Result<bool> {
    let mut is_shut_down = false;
    while let Some(body) = read(&mut from).await? {
        let (message, replacement) = match message(&body) {
            Ok(message) => (Some(message), None),
            Err(wrong) => (None, Some(wrong.replacement())),
        };
        let body = replacement.unwrap_or(body);
        to.write_all(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes()).await?;
        to.write_all(&body).await?;
        to.flush().await?;
        let method = message.as_ref().and_then(|message| message.get("method")?.as_str());
        is_shut_down |= method == Some("shutdown");
        // Nothing follows `exit`, even if the editor keeps its end of the pipe open.
        if method == Some("exit") {
            return Ok(is_shut_down);
        }
    }
    // The editor has closed the input without `exit`: nobody reads the exit status.
    Ok(true)
}

/// Reads the next message body; `None` at the end of the input. Skips bytes before a header.
async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = None;
    loop {
        let mut line = Vec::new();
        if from.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line).trim().to_ascii_lowercase();
        if let Some(own) = line.strip_prefix("content-length:") {
            length = own.trim().parse::<usize>().ok();
        } else if line.is_empty()
            && let Some(length) = length.take()
        {
            let mut body = Vec::new();
            let taken = from.take(length.min(MAX_MESSAGE) as u64).read_to_end(&mut body).await?;
            // A body over the limit is truncated, so it is invalid. Skip its rest.
            let rest = length.saturating_sub(taken) as u64;
            tokio::io::copy(&mut from.take(rest), &mut tokio::io::sink()).await?;
            return Ok(Some(body));
        }
    }
}

/// Why a body is not a message.
#[derive(Debug, PartialEq)]
enum InvalidMessage {
    /// Not JSON.
    Malformed,
    /// Not a JSON-RPC 2.0 message. Holds the id of the request, or null.
    Invalid(Value),
}

impl InvalidMessage {
    /// The request that replaces the message and is answered with the error.
    fn replacement(self) -> Vec<u8> {
        let (method, id) = match self {
            Self::Malformed => (MALFORMED, Value::Null),
            Self::Invalid(id) => (INVALID, id),
        };
        json!({"jsonrpc": "2.0", "id": id, "method": method}).to_string().into_bytes()
    }
}

/// Parses a body as a JSON-RPC 2.0 request, notification or response.
fn message(body: &[u8]) -> Result<Map<String, Value>, InvalidMessage> {
    let json = serde_json::from_slice::<Value>(body).map_err(|_| InvalidMessage::Malformed)?;
    let Value::Object(message) = json else { return Err(InvalidMessage::Invalid(Value::Null)) };
    let is_id = |id: &Value| id.is_string() || id.is_i64() || id.is_null();
    let id = message.get("id");
    let is_one = match message.get("method") {
        Some(method) => method.is_string() && message.get("params").is_none_or(is_parameters),
        None => message.contains_key("id") && is_result(&message),
    };
    if is_one && id.is_none_or(is_id) && message.get("jsonrpc").and_then(Value::as_str) == Some("2.0") {
        return Ok(message);
    }
    // A response has an id that the server chose, so the error must not use it.
    let own = id.filter(|id| is_id(id) && message.contains_key("method"));
    Err(InvalidMessage::Invalid(own.cloned().unwrap_or_default()))
}

fn is_parameters(parameters: &Value) -> bool {
    // Some editors send `null` instead of omitting the parameters.
    parameters.is_object() || parameters.is_array() || parameters.is_null()
}

/// Answers the replacements of invalid messages with their error, in every state of the server, and passes
/// other requests on.
pub(crate) struct Guard<S>(pub(crate) S);

impl<S> Service<Request> for Guard<S>
where
    S: Service<Request, Response = Option<Response>>,
{
    type Response = Option<Response>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Self::Response, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let error = match request.method() {
            MALFORMED => Error::parse_error(),
            INVALID => Error::invalid_request(),
            // The framework drops a notification that has an id; whoever sent it waits for a response.
            method if method.starts_with("$/") && request.id().is_some() => Error::method_not_found(),
            _ => return Either::Right(self.0.call(request)),
        };
        let id = request.id().cloned().unwrap_or_default();
        Either::Left(ready(Ok(Some(Response::from_error(id, error)))))
    }
}

fn is_result(message: &Map<String, Value>) -> bool {
    match (message.get("result"), message.get("error")) {
        (Some(_), None) => true,
        (None, Some(error)) => {
            let of = |key: &str| error.get(key);
            of("code").is_some_and(Value::is_i64) && of("message").is_some_and(Value::is_string)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn classifies_messages() {
        let invalid = |id: Value| Some(InvalidMessage::Invalid(id));
        for (body, wrong) in [
            (r#"{"jsonrpc":"2.0","method":"a"}"#, None),
            (r#"{"jsonrpc":"2.0","method":"a","id":"x","params":{}}"#, None),
            (r#"{"jsonrpc":"2.0","method":"a","id":1,"params":null}"#, None),
            (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, None),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#, None),
            (r#"{"jsonrpc":"2.0","id":1,"error":{}}"#, invalid(Value::Null)),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#, invalid(Value::Null)),
            (r#"{"jsonrpc":"1.0","id":3,"method":"a"}"#, invalid(json!(3))),
            (r#"{"jsonrpc":"2.0","id":3,"method":5}"#, invalid(json!(3))),
            (r#"{"jsonrpc":"2.0","method":"a","params":5}"#, invalid(Value::Null)),
            (r#"{"jsonrpc":"2.0","id":7,"method":"a","params":5}"#, invalid(json!(7))),
            (r#"{"jsonrpc":"2.0","id":"x","method":"a","params":"y"}"#, invalid(json!("x"))),
            (r#"{"jsonrpc":"2.0","id":0,"method":"a","params":true}"#, invalid(json!(0))),
            ("[]", invalid(Value::Null)),
            ("{", Some(InvalidMessage::Malformed)),
        ] {
            assert_eq!(message(body.as_bytes()).err(), wrong, "{body}");
        }
        assert_eq!(message(b"\xff").err(), Some(InvalidMessage::Malformed));
    }

    #[tokio::test]
    async fn replaces_invalid_messages() {
        let input = b"garbage\r\nContent-Length: 1\r\n\r\n{Content-Length: x\r\n\r\ncontent-length: 30\r\nX: y\r\n\r\n{\"jsonrpc\":\"2.0\",\"method\":\"a\"}";
        let mut out = Vec::new();
        filter(&input[..], &mut out).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        let bodies: Vec<&str> = text.split("\r\n\r\n").skip(1).collect();
        assert_eq!(bodies.len(), 2, "{text}");
        assert!(bodies.first().unwrap().contains(MALFORMED), "{text}");
        assert!(bodies.last().unwrap().ends_with(r#""method":"a"}"#), "{text}");
    }
}
