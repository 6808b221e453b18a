//! `npc image`

mod tables;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use npc_image::{Image, PodTerm, PortName, Rule, Scope, ScopeBase, digest_text, read};
use npc_vocabulary::{Action, Direction, Operator};
use serde_json::{Value, json};

use crate::Outcome;
use crate::arguments::{DumpFormat, ImageCommand};
use crate::files::{Error, print, read_file, read_stdin};
use crate::report::error_line;

pub(crate) fn run(command: &ImageCommand) -> Result<Outcome, Error> {
    let file = match command {
        ImageCommand::Inspect(file) | ImageCommand::Verify(file) => file,
        ImageCommand::Dump(dump) => &dump.image,
    };
    let path = &file.file;
    let bytes = if path.as_os_str() == "-" { read_stdin()? } else { read_file(path)? };
    let image = match read(&bytes) {
        Ok(image) => image,
        Err(why) => {
            error_line(&format!("{}: {why}", path.display()));
            return Ok(Outcome::Found);
        }
    };
    match command {
        ImageCommand::Verify(_) => print(format!("{}: intact and valid\n", path.display()))?,
        ImageCommand::Inspect(_) => print(inspect(path, &bytes, &image))?,
        ImageCommand::Dump(options) => match (options.format, &options.cluster) {
            (DumpFormat::Bpftool, Some(cluster)) => {
                tables::print_tables(Arc::new(image), cluster, options.node.as_deref())?;
            }
            _ => print(format!("{:#}\n", dump(&image)))?,
        },
    }
    Ok(Outcome::Fine)
}

/// `1 rule`, `2 rules`.
fn count(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn inspect(path: &Path, bytes: &[u8], image: &Image) -> String {
    let Image { selectors, scopes, pod_terms, addresses, ports, policies, .. } = image;
    let rules = policies.iter().map(|policy| policy.rules.len()).sum();
    let rows = [
        ("digest", digest_text(bytes)),
        ("policies", format!("{}, with {}", policies.len(), count(rules, "rule", "rules"))),
        (
            "pods",
            format!(
                "{} of {} and {}",
                count(pod_terms.len(), "term", "terms"),
                count(selectors.len(), "selector", "selectors"),
                count(scopes.len(), "scope", "scopes")
            ),
        ),
        (
            "addresses",
            format!(
                "{} in {}, {} of IPv4, {} of IPv6",
                count(addresses.count as usize, "set", "sets"),
                count(addresses.classes.len(), "class", "classes"),
                count(addresses.v4.len(), "range", "ranges"),
                count(addresses.v6.len(), "range", "ranges")
            ),
        ),
        (
            "ports",
            format!(
                "{} in {}",
                count(ports.named.len(), "set", "sets"),
                count(ports.classes.len(), "class", "classes")
            ),
        ),
    ];
    let mut out =
        format!("{}: map image, version {}, {} bytes\n", path.display(), npc_image::VERSION, bytes.len());
    for (name, value) in rows {
        let _ = writeln!(out, "{name:13} {value}");
    }
    for policy in policies {
        let audit = if policy.audit { "audit " } else { "" };
        let _ = writeln!(
            out,
            "  {audit}{} {} priority {}, {}, {}",
            policy.tier.as_str(),
            policy.name,
            policy.priority,
            count(policy.rules.len(), "rule", "rules"),
            image.place(policy.place)
        );
    }
    out
}

fn dump(image: &Image) -> Value {
    let ranges = |list: Vec<(String, u32)>| {
        list.into_iter().map(|(first, class)| json!({"first": first, "class": class})).collect::<Vec<_>>()
    };
    let v4 = image.addresses.v4.iter();
    let v6 = image.addresses.v6.iter();
    json!({
        "version": npc_image::VERSION,
        "selectors": image.selectors.iter().map(|selector| selector.iter().map(|requirement| json!({
            "key": requirement.key,
            "operator": match requirement.operator {
                Operator::In => "In",
                Operator::NotIn => "NotIn",
                Operator::Exists => "Exists",
                Operator::DoesNotExist => "DoesNotExist",
            },
            "values": requirement.values,
        })).collect::<Vec<_>>()).collect::<Vec<_>>(),
        "scopes": image.scopes.iter().map(scope).collect::<Vec<_>>(),
        "podTerms": image.pod_terms.iter().map(|PodTerm { scope, selector }| {
            json!({"scope": scope, "selector": selector})
        }).collect::<Vec<_>>(),
        "addresses": {
            "sets": image.addresses.count,
            "classes": image.addresses.classes,
            "ipv4": ranges(v4.map(|(first, class)| (std::net::Ipv4Addr::from(*first).to_string(), *class)).collect()),
            "ipv6": ranges(v6.map(|(first, class)| (std::net::Ipv6Addr::from(*first).to_string(), *class)).collect()),
            "ofUnknown": image.addresses.of_unknown,
        },
        "ports": {
            "named": image.ports.named.iter().map(|set| set.iter().map(|PortName { protocol, name }| {
                format!("{}/{name}", protocol.as_str())
            }).collect::<Vec<_>>()).collect::<Vec<_>>(),
            "classes": image.ports.classes,
            "tcp": ranges(of_protocol(image, 0)),
            "udp": ranges(of_protocol(image, 1)),
            "sctp": ranges(of_protocol(image, 2)),
        },
        "policies": image.policies.iter().map(|policy| json!({
            "name": policy.name,
            "place": image.place(policy.place),
            "tier": policy.tier.as_str(),
            "priority": policy.priority,
            "audit": policy.audit,
            "isolates": {
                "egress": policy.isolates.first(),
                "ingress": policy.isolates.last(),
            },
            "subjects": policy.subjects,
            "rules": policy.rules.iter().map(|own| rule(image, own)).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

fn of_protocol(image: &Image, protocol: usize) -> Vec<(String, u32)> {
    let list = image.ports.ranges.get(protocol).into_iter().flatten();
    list.map(|(first, class)| (first.to_string(), *class)).collect()
}

fn scope(scope: &Scope) -> Value {
    let globs =
        |globs: &[npc_image::Glob]| globs.iter().map(|glob| glob.text().to_string()).collect::<Vec<_>>();
    let mut value = match &scope.base {
        ScopeBase::All => json!({"base": "all"}),
        ScopeBase::Names(names) => json!({"base": "names", "names": globs(names)}),
        ScopeBase::Labels(selector) => json!({"base": "labels", "selector": selector}),
        ScopeBase::Same => json!({"base": "same"}),
        ScopeBase::Sharing(keys) => json!({"base": "sharing", "labels": keys}),
    };
    if let Some(object) = value.as_object_mut() {
        object.insert("exceptNames".to_owned(), json!(globs(&scope.except_names)));
        object.insert("exceptSelectors".to_owned(), json!(scope.except_selectors));
    }
    value
}

fn rule(image: &Image, rule: &Rule) -> Value {
    json!({
        "place": image.place(rule.place),
        "direction": match rule.direction {
            Direction::Egress => "egress",
            Direction::Ingress => "ingress",
        },
        "action": match rule.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
            Action::Pass => "pass",
        },
        "log": rule.log,
        "pods": rule.pods,
        "addresses": rule.addresses,
        "ports": rule.ports,
    })
}
