//! Queries the programs that are attached to an interface, in order.

// aya's wrapper of `BPF_PROG_QUERY` requires the privilege to open other processes' programs.
#![allow(unsafe_code)]

use std::io;

/// A side of an interface, with the kernel's number (`enum bpf_attach_type`: `BPF_TCX_INGRESS`,
/// `BPF_TCX_EGRESS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ingress = 46,
    Egress = 47,
}

/// The maximum number of programs that are returned. The kernel allows no more on one side (`BPF_MPROG_MAX`).
const MOST: usize = 64;

/// The members of `union bpf_attr` for `BPF_PROG_QUERY`.
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

/// Returns the ids of the programs attached to one side of an interface, in order of execution.
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
