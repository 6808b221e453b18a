//! `npc-node query`

use std::fmt::Write as _;
use std::process::ExitCode;

use super::runtime;
use crate::arguments::{Format, Query};
use crate::client::{Client, Error, print};
use crate::control::{Answer, Asked, Side};

/// How many connections are sent in one request.
const BATCH: usize = 10_000;

pub(crate) fn run(options: &Query) -> Result<ExitCode, Error> {
    let client = Client::new(&options.place.socket);
    let runtime = runtime()?;
    let ask = |asked: &[Asked]| {
        let answers = runtime.block_on(client.post("/query", &asked))?;
        serde_json::from_slice::<Vec<Answer>>(&answers).map_err(|why| Error::Other(why.to_string()))
    };
    let mut well = true;
    if let Some(path) = &options.connections {
        let text = std::fs::read_to_string(path)
            .map_err(|why| Error::Other(format!("cannot read {}: {why}", path.display())))?;
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        for batch in lines.chunks(BATCH) {
            // A malformed line gets an error as its answer; the others are still evaluated.
            let read: Vec<Result<Asked, String>> =
                batch.iter().map(|line| serde_json::from_str(line).map_err(|why| why.to_string())).collect();
            let asked: Vec<Asked> = read.iter().filter_map(|read| read.as_ref().ok()).cloned().collect();
            let mut answers = ask(&asked)?.into_iter();
            let mut out = String::new();
            for read in &read {
                let answer = match read {
                    Ok(_) => answers.next().unwrap_or_default(),
                    Err(why) => Answer::error(why),
                };
                well &= answer.error.is_none() && answer.agree;
                let _ = writeln!(out, "{}", json(&answer)?);
            }
            print(&out)?;
        }
        return Ok(ExitCode::from(u8::from(!well)));
    }
    let [source, destination, port] = options.words.as_slice() else {
        return Err(Error::Other("expected a source, a destination and a port".to_owned()));
    };
    let (proto, port) = port.split_once('/').unwrap_or((port, ""));
    let asked = Asked {
        src: source.clone(),
        src_ip: None,
        dst: destination.clone(),
        dst_ip: None,
        proto: proto.to_owned(),
        port: serde_json::Value::String(port.to_owned()),
    };
    let answer = ask(&[asked])?.into_iter().next().unwrap_or_default();
    if let Some(why) = answer.error {
        return Err(Error::Other(why));
    }
    match options.format {
        Format::Json => print(&format!("{}\n", json(&answer)?))?,
        Format::Human => print(&text(&answer))?,
    }
    Ok(ExitCode::from(u8::from(!answer.allowed || !answer.agree)))
}

fn json(answer: &Answer) -> Result<String, Error> {
    serde_json::to_string(answer).map_err(|why| Error::Other(why.to_string()))
}

fn text(answer: &Answer) -> String {
    let word = |allowed: bool| if allowed { "allows" } else { "denies" };
    let verdict = if answer.allowed { "allowed" } else { "denied" };
    let mut out = format!("{verdict}: {} -> {} {}\n", answer.source, answer.destination, answer.traffic);
    for (name, Side { interpreter, kernel }) in [("egress", answer.egress), ("ingress", answer.ingress)] {
        let kernel = kernel.map_or("was not queried: the pod is not on this node", word);
        let _ = writeln!(out, "  {name:8} the kernel {kernel}; the interpreter {}", word(interpreter));
    }
    if !answer.agree {
        out += "  THEY DIFFER: this is a bug in npc-node, please report it\n";
    }
    out
}
