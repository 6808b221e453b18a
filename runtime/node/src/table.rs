//! A table in memory that is shared with the kernel program.

// Map memory is written by the kernel and by this process: there is no safe interface to it.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use aya::maps::MapData;
use memmap2::{MmapOptions, MmapRaw};
use npc_resolver::layout::{Memory, Shape};

/// The memory of a map, which the kernel program reads while it is written. Each cell is written with one
/// store.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    memory: Arc<MmapRaw>,
    /// The range of the table in this memory.
    bytes: Range<usize>,
}

impl Table {
    /// Maps a map that was created with `BPF_F_MMAPABLE` and has a value of `bytes` bytes.
    pub(crate) fn new(map: &MapData, bytes: usize) -> io::Result<Self> {
        let memory = MmapOptions::new().len(bytes).map_raw(map.fd().as_fd().as_raw_fd())?;
        Ok(Self { memory: Arc::new(memory), bytes: 0..bytes })
    }

    /// Returns one table in this memory.
    pub(crate) fn part(&self, shape: &Shape) -> Self {
        Self { memory: Arc::clone(&self.memory), bytes: shape.at..shape.at + shape.bytes() }
    }

    /// Returns a pointer to a cell, or `None` if the cell is out of bounds.
    fn cell<T>(&self, index: usize) -> Option<*mut T> {
        let size = size_of::<T>();
        let begin = index.checked_mul(size)?.checked_add(self.bytes.start)?;
        let fits = begin.checked_add(size)? <= self.bytes.end.min(self.memory.len());
        // SAFETY: the cell ends within the memory, which begins at a page; parts begin at multiples of eight.
        fits.then(|| unsafe { self.memory.as_mut_ptr().add(begin).cast::<T>() })
    }
}

impl Table {
    /// Reads 64 bits, or returns `None` if they are out of bounds.
    pub(crate) fn u64(&self, index: usize) -> Option<u64> {
        // SAFETY: as below.
        self.cell(index).map(|cell| unsafe { AtomicU64::from_ptr(cell) }.load(Ordering::Relaxed))
    }
}

impl Memory for Table {
    fn set_u32(&self, index: usize, value: u32) -> bool {
        // SAFETY: the memory is mapped as long as `self` is; the kernel reads it whole cells at a time.
        self.cell(index)
            .map(|cell| unsafe { AtomicU32::from_ptr(cell) }.store(value, Ordering::Release))
            .is_some()
    }

    fn set_u64(&self, index: usize, value: u64) -> bool {
        // SAFETY: as above.
        self.cell(index)
            .map(|cell| unsafe { AtomicU64::from_ptr(cell) }.store(value, Ordering::Release))
            .is_some()
    }

    fn set_u16(&self, index: usize, value: u16) -> bool {
        // SAFETY: as above.
        self.cell(index)
            .map(|cell| unsafe { AtomicU16::from_ptr(cell) }.store(value, Ordering::Release))
            .is_some()
    }
}
