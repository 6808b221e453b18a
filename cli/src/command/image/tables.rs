//! The kernel tables of a node, each in the format in which `bpftool map dump` prints an array. On a
//! node, the tables are concatenated in the single value of the map `tables`.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use npc_cluster::Pod;
use npc_image::Image;
use npc_resolver::Resolver;
use npc_resolver::layout::{Endpoint, Memory, Room, Shape, Tables};

use crate::files::{Error, print};
use crate::project::read_cluster;

/// The bytes of a table as in the kernel, in native byte order.
struct Bytes(Rc<RefCell<Vec<u8>>>);

impl Bytes {
    fn set(&self, index: usize, value: &[u8]) -> bool {
        let mut bytes = self.0.borrow_mut();
        match bytes.get_mut(index * value.len()..(index + 1) * value.len()) {
            Some(cell) => cell.copy_from_slice(value),
            None => return false,
        }
        true
    }
}

impl Memory for Bytes {
    fn set_u16(&self, index: usize, value: u16) -> bool {
        self.set(index, &value.to_ne_bytes())
    }

    fn set_u32(&self, index: usize, value: u32) -> bool {
        self.set(index, &value.to_ne_bytes())
    }

    fn set_u64(&self, index: usize, value: u64) -> bool {
        self.set(index, &value.to_ne_bytes())
    }
}

/// Prints the tables of the named node, or of a node that runs all pods. The interface numbers, which
/// only a real node knows, count from 1 in the order of the pods' namespaces and names.
pub(super) fn print_tables(image: Arc<Image>, cluster: &Path, node: Option<&str>) -> Result<(), Error> {
    let cluster = read_cluster(cluster)?.map_err(|diagnostic| Error::new(diagnostic.message))?;
    let is_local = |pod: &Pod| !pod.host_network && node.is_none_or(|node| *node == *pod.node);
    let addresses = cluster.pods.iter().filter(|pod| node.is_none_or(|node| *node == *pod.node));
    let mut addresses: Vec<_> = addresses.flat_map(|pod| pod.node_addresses.iter().copied()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut resolver = Resolver::new(image, addresses);
    for namespace in &cluster.namespaces {
        resolver.set_namespace(&namespace.name, namespace.labels.clone());
    }
    let mut endpoints = Vec::new();
    for (number, pod) in (0..).zip(&cluster.pods) {
        let local = is_local(pod);
        let namespace = cluster.namespaces.get(pod.namespace).map_or("", |own| own.name.as_str());
        resolver.set_pod(number, npc_resolver::Pod::new(namespace, pod, local));
        if local {
            let next = u32::try_from(endpoints.len() + 1).unwrap_or(u32::MAX);
            endpoints.push(Endpoint::new(number, next, next));
        }
    }
    let room = Room::new(&resolver, &endpoints, 1).map_err(|why| Error::new(why.to_string()))?;
    let mut made: Vec<(Shape, Rc<RefCell<Vec<u8>>>)> = Vec::new();
    let tables: Result<Tables<Bytes>, Infallible> = Tables::new(room, &endpoints, |shape| {
        let bytes = Rc::new(RefCell::new(vec![0; shape.bytes()]));
        made.push((shape, Rc::clone(&bytes)));
        Ok(Bytes(bytes))
    });
    let Ok(tables) = tables;
    tables.write_all(&resolver).map_err(|why| Error::new(why.to_string()))?;
    // The counters do not depend on the image.
    for (shape, bytes) in made.into_iter().filter(|(shape, _)| shape.name != "counters") {
        let place = format!("# `{}`, from byte {} of the map `tables`", shape.name, shape.at);
        print(format!("{place}\n{}", text(&shape, &bytes.borrow())))?;
    }
    Ok(())
}

/// A field of a value, according to the types of the kernel program.
enum Part {
    /// `count` numbers of `bytes` bytes: an array, or a single number if `count` is 1.
    Numbers { count: usize, bytes: usize },
    /// An address with the fields `hi` and `lo`.
    Address,
}

use Part::{Address, Numbers};

const fn number(bytes: usize) -> Part {
    Numbers { count: 1, bytes }
}

/// The fields of a table's elements (`runtime/kernel/tables.h`); empty if the elements are numbers.
fn fields(shape: &Shape) -> Vec<(&'static str, Part)> {
    let all = Numbers { count: shape.together, bytes: shape.cell };
    match shape.name {
        "branches" => vec![("cells", all)],
        "compares" => vec![("mask", Address), ("prefix", Address), ("yes", number(4)), ("no", number(4))],
        "port_columns" => vec![("columns", all)],
        "rows" => vec![("lists", all)],
        "lists" => vec![("decisions", all)],
        "endpoints" => vec![
            ("ifindex", number(4)),
            ("id", number(4)),
            ("rows", Numbers { count: 2, bytes: 4 }),
            ("isolated", Numbers { count: 2, bytes: 4 }),
            ("v4", number(8)),
            ("v6", Address),
            ("wanting", number(8)),
        ],
        _ => Vec::new(),
    }
}

/// The elements of an array as bpftool prints them with BTF: as JSON, with bpftool's own indentation.
fn text(shape: &Shape, bytes: &[u8]) -> String {
    let fields = fields(shape);
    let mut out = "[".to_owned();
    for (key, value) in bytes.chunks(shape.cell * shape.together).enumerate() {
        let comma = if key == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(out, "{comma}{{\n        \"key\": {key},\n        \"value\": ");
        if fields.is_empty() {
            let _ = write!(out, "{}\n    }}", read(value));
            continue;
        }
        let mut rest = value;
        let mut take = |length: usize| {
            let (own, others) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = others;
            read(own)
        };
        let parts: Vec<String> = fields
            .iter()
            .map(|(name, part)| match part {
                Numbers { count: 1, bytes } => format!("            \"{name}\": {}", take(*bytes)),
                Numbers { count, bytes } => {
                    let all: Vec<String> = (0..*count).map(|_| take(*bytes).to_string()).collect();
                    format!("            \"{name}\": [{}\n            ]", all.join(","))
                }
                Address => {
                    let (hi, lo) = (take(8), take(8));
                    format!("            \"{name}\": {{\n                \"hi\": {hi},\n                \"lo\": {lo}\n            }}")
                }
            })
            .collect();
        let _ = write!(out, "{{\n{}\n        }}\n    }}", parts.join(",\n"));
    }
    out += "\n]\n";
    out
}

/// Reads a number in native byte order.
fn read(bytes: &[u8]) -> u64 {
    let mut whole = [0; 8];
    for (place, byte) in whole.iter_mut().zip(bytes) {
        *place = *byte;
    }
    u64::from_le_bytes(if cfg!(target_endian = "little") {
        whole
    } else {
        whole.reverse();
        whole
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output of bpftool 7.1 for such tables.
    #[test]
    fn elements_are_written_as_bpftool_does() {
        let numbers = Shape { name: "senders", at: 0, cell: 4, cells: 2, together: 1 };
        let mut bytes = [0; 8];
        bytes[4..8].copy_from_slice(&7u32.to_ne_bytes());
        let expected = "[{\n        \"key\": 0,\n        \"value\": 0\n    },{\n        \"key\": 1,\n        \"value\": 7\n    }\n]\n";
        assert_eq!(text(&numbers, &bytes), expected);
        let endpoints = Shape { name: "endpoints", at: 0, cell: 56, cells: 1, together: 1 };
        let mut bytes = [0; 56];
        bytes[..4].copy_from_slice(&3u32.to_ne_bytes());
        bytes[32..40].copy_from_slice(&9u64.to_ne_bytes());
        let expected = r#"[{
        "key": 0,
        "value": {
            "ifindex": 3,
            "id": 0,
            "rows": [0,0
            ],
            "isolated": [0,0
            ],
            "v4": 0,
            "v6": {
                "hi": 9,
                "lo": 0
            },
            "wanting": 0
        }
    }
]
"#;
        assert_eq!(text(&endpoints, &bytes), expected);
    }
}
