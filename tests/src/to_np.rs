//! Translates a NetworkPolicy manifest to a program with the same meaning, as far as the language can express
//! it.
//!
//! Only the vector tests use this. It translates invalid manifests too, so that the compiler's checks can be
//! compared with the API server's.

use serde_json::Value;

/// The program.
///
/// # Errors
///
/// What the language cannot express.
pub fn program(manifest: &Value) -> Result<String, &'static str> {
    let metadata = &manifest["metadata"];
    for other in ["labels", "annotations"] {
        if metadata.get(other).is_some() {
            return Err("metadata of the object");
        }
    }
    known(manifest, &["apiVersion", "kind", "metadata", "spec"])?;
    let name = metadata["name"].as_str().filter(|name| is_word(name)).ok_or("a name that is no word")?;
    let namespace = metadata["namespace"].as_str().filter(|name| is_word(name)).ok_or("no namespace")?;
    let Some(spec) = manifest.get("spec").and_then(Value::as_object) else { return Err("no spec") };
    for key in spec.keys() {
        if !["podSelector", "policyTypes", "ingress", "egress"].contains(&key.as_str()) {
            return Err("an unknown field");
        }
    }
    let spec = Value::Object(spec.clone());
    let types = types(&spec)?;
    let pods = pods(&spec["podSelector"])?;
    let mut out = format!("policy {name} for {pods} in namespace {namespace} {{\n");
    for (kind, direction, peers, word) in
        [("Ingress", "ingress", "from", "from"), ("Egress", "egress", "to", "to")]
    {
        let rules = &spec[direction];
        if !types.contains(&kind) {
            if !rules.is_null() {
                return Err("rules of a direction that the types leave out");
            }
            continue;
        }
        out.push_str(&format!("  isolate {direction}\n"));
        for rule in list(rules, "rules that are no list")? {
            known(rule, &[peers, "ports"])?;
            let who = match list(&rule[peers], "peers that are no list")?.as_slice() {
                [] => "anywhere".to_owned(),
                some => some.iter().map(peer).collect::<Result<Vec<_>, _>>()?.join(", "),
            };
            let ports = list(&rule["ports"], "ports that are no list")?;
            let ports = ports.iter().map(port).collect::<Result<Vec<_>, _>>()?.join(", ");
            let on = if ports.is_empty() { String::new() } else { format!(" on {ports}") };
            out.push_str(&format!("  allow {direction} {word} {who}{on}\n"));
        }
    }
    out.push_str("}\n");
    Ok(out)
}

fn is_word(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || "_.:*?-/".contains(c);
    !text.is_empty()
        && text.chars().all(inner)
        && !text.contains("//")
        && !text.starts_with(['-', '/'])
        && !text.ends_with(['-', '/'])
}

fn known(value: &Value, fields: &[&str]) -> Result<(), &'static str> {
    match value.as_object() {
        Some(object) if object.keys().all(|key| fields.contains(&key.as_str())) => Ok(()),
        Some(_) => Err("an unknown field"),
        None => Err("a value of another type"),
    }
}

fn list<'a>(value: &'a Value, why: &'static str) -> Result<Vec<&'a Value>, &'static str> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => Ok(items.iter().collect()),
        _ => Err(why),
    }
}

fn types(spec: &Value) -> Result<Vec<&'static str>, &'static str> {
    let written = list(&spec["policyTypes"], "types that are no list")?;
    if written.is_empty() {
        let egress = list(&spec["egress"], "rules that are no list")?;
        return Ok(if egress.is_empty() { vec!["Ingress"] } else { vec!["Ingress", "Egress"] });
    }
    if written.len() > 2 {
        return Err("more types than there are");
    }
    let mut types = Vec::new();
    for one in written {
        match one.as_str() {
            Some("Ingress") => types.push("Ingress"),
            Some("Egress") => types.push("Egress"),
            _ => return Err("an unknown type"),
        }
    }
    Ok(types)
}

fn pods(selector: &Value) -> Result<String, &'static str> {
    Ok(format!("pods {}", labels(selector)?))
}

fn text(value: &Value) -> Result<String, &'static str> {
    let text = value.as_str().ok_or("a value that is no string")?;
    Ok(format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
}

fn labels(selector: &Value) -> Result<String, &'static str> {
    if selector.is_null() {
        return Ok("{ }".to_owned());
    }
    known(selector, &["matchLabels", "matchExpressions"])?;
    let mut parts = Vec::new();
    if let Some(labels) = selector["matchLabels"].as_object() {
        for (key, value) in labels {
            parts.push(format!("{} = {}", text(&Value::String(key.clone()))?, text(value)?));
        }
    }
    for one in list(&selector["matchExpressions"], "expressions that are no list")? {
        known(one, &["key", "operator", "values"])?;
        let key = text(&one["key"])?;
        let values = list(&one["values"], "values that are no list")?;
        let values = values.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
        parts.push(match (one["operator"].as_str(), values.is_empty()) {
            (Some("In"), false) => format!("{key} in ({})", values.join(", ")),
            (Some("NotIn"), false) => format!("{key} notin ({})", values.join(", ")),
            (Some("Exists"), true) => key,
            (Some("DoesNotExist"), true) => format!("!{key}"),
            _ => return Err("an operator that the language has no form for"),
        });
    }
    Ok(format!("{{ {} }}", parts.join(", ")))
}

fn peer(peer: &&Value) -> Result<String, &'static str> {
    known(peer, &["podSelector", "namespaceSelector", "ipBlock"])?;
    let (pod, namespace, block) = (&peer["podSelector"], &peer["namespaceSelector"], &peer["ipBlock"]);
    match (block.is_null(), namespace.is_null(), pod.is_null()) {
        (false, true, true) => address(block),
        (true, false, _) => Ok(format!("{} in namespaces {}", pods(pod)?, labels(namespace)?)),
        (true, true, false) => pods(pod),
        _ => Err("a peer that the language has no form for"),
    }
}

fn address(block: &Value) -> Result<String, &'static str> {
    known(block, &["cidr", "except"])?;
    let cidr = block["cidr"].as_str().filter(|cidr| is_word(cidr)).ok_or("a block that is no word")?;
    // The language accepts a bare address and reads it as a /32; the API rejects it.
    let except = list(&block["except"], "exceptions that are no list")?
        .into_iter()
        .map(|one| one.as_str().filter(|one| is_word(one)).ok_or("a block that is no word"))
        .collect::<Result<Vec<_>, _>>()?;
    if !cidr.contains('/') || except.iter().any(|one| !one.contains('/')) {
        return Err("a bare address");
    }
    Ok(if except.is_empty() { cidr.to_owned() } else { format!("{cidr} except ({})", except.join(", ")) })
}

fn port(port: &&Value) -> Result<String, &'static str> {
    known(port, &["protocol", "port", "endPort"])?;
    let protocol = match port.get("protocol") {
        None | Some(Value::Null) => "tcp",
        Some(Value::String(name)) => match name.as_str() {
            "TCP" => "tcp",
            "UDP" => "udp",
            "SCTP" => "sctp",
            _ => return Err("a protocol that the language has no word for"),
        },
        Some(_) => return Err("a protocol that is no string"),
    };
    match (&port["port"], &port["endPort"]) {
        (Value::Null, Value::Null) => Ok(protocol.to_owned()),
        (Value::Number(number), Value::Null) if number.is_u64() => Ok(format!("{protocol}/{number}")),
        (Value::Number(number), Value::Number(end)) if number.is_u64() && end.is_u64() => {
            Ok(format!("{protocol}/{number}-{end}"))
        }
        // A number in quotes is an invalid port name in the API; in the language it is a number.
        (Value::String(name), Value::Null) if is_word(name) && !name.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(format!("{protocol}/{name}"))
        }
        _ => Err("a port that the language has no form for"),
    }
}
