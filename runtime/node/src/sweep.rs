//! Removes conntrack records that are no longer needed.

use std::collections::HashSet;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapError};

use crate::connections::{KEY, RECORD};
use crate::error::LoadError;
use crate::node::VERSION;

/// `SHARE` of `runtime/kernel/tables.h`.
const SHARE: u32 = 8192;

const SECOND: u64 = 1_000_000_000;

/// How long an expired record is kept, so that a connection that has just continued does not lose it.
const GRACE: u64 = 60 * SECOND;

/// How long a record lives after its last packet, in nanoseconds (`life` in `runtime/kernel/connections.h`).
const fn life(protocol: u8, state: u8) -> u64 {
    const TCP: u8 = 6;
    // Values of `enum state`.
    const OPENING: u8 = 0;
    const OPEN: u8 = 1;
    const DENIED: u8 = 3;
    match (protocol, state) {
        (TCP, OPEN | DENIED) => 3 * 3600 * SECOND,
        (TCP, OPENING) => 60 * SECOND,
        (TCP, _) => 10 * SECOND,
        (_, OPENING) => 30 * SECOND,
        _ => 180 * SECOND,
    }
}

/// Whether a record belongs to a pod that is gone, or has expired. `now` is in nanoseconds since boot.
fn is_over(key: &[u8; KEY], record: &[u8; RECORD], alive: &HashSet<u32>, now: u64) -> bool {
    let (Some(endpoint), Some(protocol)) = (key.get(32..36), key.get(40)) else { return false };
    let (Some(seen), Some(state)) = (record.get(..8), record.get(17)) else { return false };
    let endpoint = endpoint.try_into().map_or(0, u32::from_ne_bytes);
    let seen = seen.try_into().map_or(now, u64::from_ne_bytes);
    !alive.contains(&endpoint) || now.saturating_sub(seen) > life(*protocol, *state) + GRACE
}

fn map<const N: usize, const M: usize>(
    pins: &Path,
    name: &str,
) -> Result<HashMap<MapData, [u8; N], [u8; M]>, MapError> {
    HashMap::try_from(Map::HashMap(MapData::from_pin(pins.join(VERSION).join(name))?))
}

/// Removes expired conntrack records, and everything that is stored for pods that are not in `alive`, which
/// are identified by [`Endpoint::id`](crate::Endpoint::id). Returns the number of records, and how many of
/// them were removed. `now` is in nanoseconds since boot.
///
/// # Errors
///
/// Fails if a map cannot be opened.
pub fn sweep(pins: &Path, alive: &HashSet<u32>, now: u64) -> Result<[usize; 2], LoadError> {
    let failed = |why: MapError| LoadError::Kernel(Box::new(why));
    let mut records = map::<KEY, RECORD>(pins, "records").map_err(failed)?;
    let (mut count, mut over) = (0, Vec::new());
    for (key, record) in records.iter().flatten() {
        count += 1;
        if is_over(&key, &record, alive, now) {
            over.push(key);
        }
    }
    let mut ended = 0;
    for key in &over {
        // The connection may have been opened again since.
        if records.get(key, 0).is_ok_and(|record| is_over(key, &record, alive, now)) {
            ended += usize::from(records.remove(key).is_ok());
        }
    }
    let mut next = map::<4, 4>(pins, "next_places").map_err(failed)?;
    let mut shares = map::<8, KEY>(pins, "shares").map_err(failed)?;
    let pods: Vec<[u8; 4]> = next.keys().flatten().collect();
    for pod in pods.iter().filter(|pod| !alive.contains(&u32::from_ne_bytes(**pod))) {
        for number in 0..SHARE {
            let mut place = [0; 8];
            for (byte, value) in place.iter_mut().zip(pod.iter().copied().chain(number.to_ne_bytes())) {
                *byte = value;
            }
            // Most pods have not used their whole share, so that a missing entry is no error.
            let _ = shares.remove(&place);
        }
        let _ = next.remove(pod);
    }
    Ok([count, ended])
}
