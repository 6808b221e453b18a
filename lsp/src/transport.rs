//! What an editor sends, before it is believed: messages that are none are answered as such, and the server
//! goes on.

use serde_json::{Map, Value};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The method that stands for a message that is none.
pub(crate) const MALFORMED: &str = "npc/malformed";

/// The largest message, in bytes: one with the largest source, each character of which is escaped.
const LARGEST: usize = 512 << 20;

/// Passes on what is a message, and in the place of what is none a request that is answered with an error. Says
/// whether the editor ended as it should: by a word before it.
pub(crate) async fn filter(
    mut from: impl AsyncBufRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> std::io::Result<bool> {
    let mut is_over = false;
    while let Some(body) = read(&mut from).await? {
        let stand_in = format!(r#"{{"jsonrpc":"2.0","id":null,"method":"{MALFORMED}"}}"#);
        let message = message(&body);
        let body = if message.is_some() { body } else { stand_in.into_bytes() };
        to.write_all(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes()).await?;
        to.write_all(&body).await?;
        to.flush().await?;
        let method = message.as_ref().and_then(|message| message.get("method")?.as_str());
        is_over |= method == Some("shutdown");
        // Nothing follows it, also where the editor keeps its end open.
        if method == Some("exit") {
            return Ok(is_over);
        }
    }
    // Where the editor is gone, nobody asks how it ended.
    Ok(true)
}

/// The next body; nothing where the input ends. What stands in front of a header is passed over.
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
            let taken = from.take(length.min(LARGEST) as u64).read_to_end(&mut body).await?;
            // What is larger is none, and the rest of it is passed over.
            let rest = length.saturating_sub(taken) as u64;
            tokio::io::copy(&mut from.take(rest), &mut tokio::io::sink()).await?;
            return Ok(Some(body));
        }
    }
}

/// A body that is a request, a notification or a response of JSON-RPC 2.0.
fn message(body: &[u8]) -> Option<Map<String, Value>> {
    let Ok(Value::Object(message)) = serde_json::from_slice::<Value>(body) else { return None };
    let is_id = |id: &Value| id.is_string() || id.is_i64() || id.is_null();
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") || !message.get("id").is_none_or(is_id) {
        return None;
    }
    let is_one = match message.get("method") {
        Some(method) => method.is_string() && message.get("params").is_none_or(is_parameters),
        None => message.contains_key("id") && is_result(&message),
    };
    is_one.then_some(message)
}

fn is_parameters(parameters: &Value) -> bool {
    // Some editors send `null` where there are none.
    parameters.is_object() || parameters.is_array() || parameters.is_null()
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
    fn what_is_a_message() {
        for (body, is) in [
            (r#"{"jsonrpc":"2.0","method":"a"}"#, true),
            (r#"{"jsonrpc":"2.0","method":"a","id":"x","params":{}}"#, true),
            (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, true),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#, true),
            (r#"{"jsonrpc":"2.0","id":1,"error":{}}"#, false),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#, false),
            (r#"{"jsonrpc":"1.0","method":"a"}"#, false),
            (r#"{"jsonrpc":"2.0","method":"a","params":5}"#, false),
            ("[]", false),
            ("{", false),
        ] {
            assert_eq!(message(body.as_bytes()).is_some(), is, "{body}");
        }
        assert!(message(b"\xff").is_none());
    }

    #[tokio::test]
    async fn messages_between_what_is_none() {
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
