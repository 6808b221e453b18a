//! Protocols and ports.

use npc_diagnostics::{Applicability, Diagnostic, Location};
use npc_suggest::nearest;
use npc_vocabulary::check_port_name;
pub use npc_vocabulary::{Port, Protocol, Which};

npc_diagnostics::codes! {
    /// # Not a port
    ///
    /// A port is written with its protocol: `tcp/80`, `udp/8000-8100`, `tcp/http` for a named port of
    /// the pod, or `tcp` for every port of the protocol. The protocols are `tcp`, `udp` and `sctp`. The
    /// name of a port is an IANA service name (RFC 6335): at most 15 lower-case letters, digits and
    /// single hyphens, with at least one letter.
    ///
    /// ```np fails
    /// policy p for all pods in namespace shop { allow ingress from anywhere on http/80 }
    /// ```
    ///
    /// ```np
    /// policy p for all pods in namespace shop { allow ingress from anywhere on tcp/80 }
    /// ```
    NOT_A_PORT = "NP0304" "not-a-port" Error;

    /// # A port is out of range
    ///
    /// Ports are numbers from 1 to 65535. A range starts with the lower number.
    ///
    /// ```np fails
    /// policy p for all pods in namespace shop { allow ingress from anywhere on tcp/8100-8000 }
    /// ```
    ///
    /// ```np
    /// policy p for all pods in namespace shop { allow ingress from anywhere on tcp/8000-8100 }
    /// ```
    PORT_RANGE = "NP0305" "port-range" Error;
}

/// Sorts port ranges and merges those that overlap or are adjacent. The merged ranges are at the front of the slice;
/// returns their number.
#[must_use]
pub fn merge(ranges: &mut [(u16, u16)]) -> usize {
    ranges.sort_unstable();
    let mut kept = 0;
    for at in 0..ranges.len() {
        let Some((first, last)) = ranges.get(at).copied() else { break };
        match ranges.get_mut(..kept).and_then(<[_]>::last_mut) {
            Some(before) if u32::from(first) <= u32::from(before.1) + 1 => before.1 = before.1.max(last),
            _ => {
                if let Some(place) = ranges.get_mut(kept) {
                    *place = (first, last);
                }
                kept += 1;
            }
        }
    }
    kept
}

/// Whether a word has the form of a port: a protocol, a number or range, or a word that contains `/` and does not look
/// like an address. The word need not be a valid port.
#[must_use]
pub fn looks_like_port(word: &str) -> bool {
    Protocol::parse(word).is_some()
        || word.contains('/') && !super::address::looks_like_address(word)
        || word.bytes().all(|b| b.is_ascii_digit() || b == b'-')
}

/// Parses a port term.
///
/// # Errors
///
/// A diagnostic at `location`, if the word is not valid.
pub fn parse(word: &str, location: Location) -> Result<Port, Box<Diagnostic>> {
    let wrong = |why: &str| Diagnostic::new(&NOT_A_PORT, format!("`{word}` is not a port"), location, why);
    if word.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        let diagnostic = wrong("the protocol is missing");
        return Err(Box::new(Protocol::ALL.into_iter().take(2).fold(diagnostic, |diagnostic, protocol| {
            let fixed = format!("{}/{word}", protocol.as_str());
            diagnostic.fix(Applicability::Maybe, format!("write `{fixed}`"), location, fixed)
        })));
    }
    let (name, which) = word.split_once('/').map_or((word, None), |(p, w)| (p, Some(w)));
    let Some(protocol) = Protocol::parse(name) else {
        return Err(Box::new(not_a_protocol(word, name, which, location)));
    };
    let Some(which) = which else { return Ok(Port { protocol, which: Which::All }) };
    let out_of_range = |why: &str| {
        Box::new(Diagnostic::new(&PORT_RANGE, format!("`{word}` is out of range"), location, why))
    };
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let which = if digits(which) {
        let port = number(which).ok_or_else(|| out_of_range("ports go from 1 to 65535"))?;
        Which::Range(port, port)
    } else if let Some((first, last)) = which.split_once('-')
        && digits(first)
        && digits(last)
    {
        let ports = number(first).zip(number(last));
        let (first, last) = ports.ok_or_else(|| out_of_range("ports go from 1 to 65535"))?;
        if first > last {
            let fixed = format!("{}/{last}-{first}", protocol.as_str());
            return Err(Box::new(out_of_range("the range is reversed").fix(
                Applicability::Automatic,
                format!("write `{fixed}`"),
                location,
                fixed,
            )));
        }
        Which::Range(first, last)
    } else {
        check_port_name(which).map_err(|why| {
            let range = which.replace("..", "-").replace(':', "-");
            let numbers = range.bytes().all(|b| b.is_ascii_digit() || b == b'-') && range != which;
            Box::new(match (which, numbers) {
                ("*", _) => wrong("for every port of a protocol, write only the protocol").fix(
                    Applicability::Automatic,
                    format!("write `{}`", protocol.as_str()),
                    location,
                    protocol.as_str(),
                ),
                (_, true) => {
                    let fixed = format!("{}/{range}", protocol.as_str());
                    wrong("a range is written with a hyphen").fix(
                        Applicability::Automatic,
                        format!("write `{fixed}`"),
                        location,
                        fixed,
                    )
                }
                _ => wrong(why),
            })
        })?;
        Which::Named(which.into())
    };
    Ok(Port { protocol, which })
}

/// The diagnostic for a port with an unknown protocol.
fn not_a_protocol(word: &str, name: &str, which: Option<&str>, location: Location) -> Diagnostic {
    let reported =
        |label: &str| Diagnostic::new(&NOT_A_PORT, format!("`{word}` is not a port"), location, label);
    let lower = name.to_ascii_lowercase();
    if lower.starts_with("icmp") {
        let mut diagnostic = reported("ICMP has no ports");
        diagnostic.message = format!("`{word}`: the language has no construct for ICMP");
        return diagnostic.help("a rule without `on` covers every protocol, including ICMP: `allow ingress from anywhere`; a rule with `on` covers only its ports, and no rule can cover only ICMP");
    }
    // `80/tcp`, as in the output of `kubectl get services`.
    if let Some(protocol) = which.and_then(|which| Protocol::parse(&which.to_ascii_lowercase())) {
        let fixed = format!("{}/{name}", protocol.as_str());
        return reported("the protocol comes first").fix(
            Applicability::Automatic,
            format!("write `{fixed}`"),
            location,
            fixed,
        );
    }
    let written =
        |protocol: &str| which.map_or_else(|| protocol.to_owned(), |which| format!("{protocol}/{which}"));
    let diagnostic = reported("protocols are `tcp`, `udp` and `sctp`");
    // A protocol in another case is certain. Other corrections are guesses, and must not be applied automatically,
    // because they could choose the wrong protocol.
    let (meant, sure) = match Protocol::parse(&lower) {
        Some(protocol) => (protocol.as_str(), Applicability::Automatic),
        None => {
            let near = nearest(&lower, Protocol::ALL.map(Protocol::as_str));
            (near.unwrap_or("tcp"), Applicability::Maybe)
        }
    };
    if which.is_none() && sure == Applicability::Maybe && nearest(&lower, [meant]).is_none() {
        return diagnostic;
    }
    let fixed = written(meant);
    diagnostic.fix(sure, format!("write `{fixed}`"), location, fixed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use npc_diagnostics::{FileId, Span};

    #[test]
    fn ports() {
        let here = Location::new(FileId(0), Span::default());
        for good in ["tcp", "tcp/1", "udp/65535", "sctp/8000-8100", "tcp/http", "tcp/a-1", "udp/8000-8000"] {
            let port = parse(good, here).unwrap();
            assert_eq!(port.to_string(), good.strip_suffix("-8000").unwrap_or(good));
        }
        for bad in [
            "tcp/0",
            "tcp/65536",
            "tcp/2-1",
            "tcp/0-4",
            "icmp",
            "80",
            "80-90",
            "http/80",
            "tcp/1-2-3",
            "tcp/HTTP",
            "tcp/a--b",
            "tcp/1234567890abcdef",
            "TCP/80",
            "tcp/99999999999999999999",
        ] {
            assert!(parse(bad, here).is_err(), "{bad}");
        }
    }
}
