//! Ends the records of connections that nobody asks for any more.

use std::collections::HashSet;
use std::path::Path;

use aya::maps::{HashMap, Map, MapData, MapError};

use crate::connections::{KEY, RECORD};
use crate::error::LoadError;
use crate::node::VERSION;

/// `SHARE` of `runtime/kernel/tables.h`.
const SHARE: u32 = 8192;

const SECOND: u64 = 1_000_000_000;

/// How much longer than its life a record stays, so that none ends whose connection has just gone on.
const GRACE: u64 = 60 * SECOND;

/// How long a record lives after its last packet (`life` in `runtime/kernel/connections.h`).
const fn life(protocol: u8, state: u8) -> u64 {
    const TCP: u8 = 6;
    // Of `enum state`.
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

/// Whether a record is of a pod that is gone, or has not been asked for since its connection ended. `now` is in
/// nanoseconds since the machine started.
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

/// Ends the records of connections that are over, and what is kept for pods that are not `alive`: by
/// [`Endpoint::id`](crate::Endpoint::id). Gives how many records there were, and how many of them ended. `now`
/// is in nanoseconds since the machine started.
///
/// # Errors
///
/// Where the kernel does not give the records.
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
        // It may have been made anew since.
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
            // Few pods have used all.
            let _ = shares.remove(&place);
        }
        let _ = next.remove(pod);
    }
    Ok([count, ended])
}
