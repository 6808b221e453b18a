//! Writes files atomically.

use std::fs::{File, Permissions};
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Writes a file atomically: readers see either the previous or the new content.
pub(crate) fn put(path: &Path, mut bytes: impl Read, mode: u32) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut beside = tempfile::Builder::new().prefix(".npc").tempfile_in(folder)?;
    io::copy(&mut bytes, beside.as_file_mut())?;
    beside.as_file().set_permissions(Permissions::from_mode(mode))?;
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Whether two files have the same content. They are not read into memory as a whole.
pub(crate) fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut one, mut other) = (BufReader::new(one), BufReader::new(other));
    loop {
        let (a, b) = (one.fill_buf()?, other.fill_buf()?);
        let count = a.len().min(b.len());
        match (a.get(..count), b.get(..count)) {
            (Some(a), Some(b)) if a == b && count > 0 => {}
            // Both files end here, because their lengths are equal.
            (Some(a), Some(b)) => return Ok(a == b),
            _ => return Ok(false),
        }
        one.consume(count);
        other.consume(count);
    }
}
