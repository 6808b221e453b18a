//! Whether the program is the first of those that an interface has.

// `BPF_PROG_QUERY` says it, which aya wraps in a way that takes the right to open programs of others.
#![allow(unsafe_code)]

use std::io;

/// A side of an interface, as the kernel numbers it (`enum bpf_attach_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ingress = 46,
    Egress = 47,
}

/// How many programs are looked at: no interface has as many.
const MOST: usize = 64;

/// The part of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct Query {
    interface: u32,
    side: u32,
    flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    zero: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

/// The programs at one side of an interface, by their numbers, the first one first.
pub(crate) fn programs(interface: u32, side: Side) -> io::Result<Vec<u32>> {
    const PROG_QUERY: libc::c_int = 16;
    let mut numbers = [0u32; MOST];
    let mut query = Query {
        interface,
        side: side as u32,
        programs: numbers.as_mut_ptr() as u64,
        count: u32::try_from(MOST).unwrap_or(0),
        ..Query::default()
    };
    // SAFETY: the kernel writes into `query`, and at most `count` numbers into `numbers`; both outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    let count = usize::try_from(query.count).unwrap_or(0);
    Ok(numbers.get(..count.min(MOST)).unwrap_or_default().to_vec())
}
