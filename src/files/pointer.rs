//! Files that only point to the file that is meant: what Git LFS and git-annex leave in a clone until
//! the content is fetched.

use crate::error::{Error, Result};

/// Longest file that is taken for a pointer in place of another file.
pub const MAX_POINTER_BYTES: usize = 1 << 10;

/// Fails (input) if `bytes`, a whole file, only point to the file that is meant: a Git LFS or git-annex
/// pointer.
pub fn refuse_pointer(bytes: &[u8]) -> Result<()> {
    if bytes.len() > MAX_POINTER_BYTES {
        return Ok(());
    }
    let is = |start: &[u8]| bytes.starts_with(start);
    if is(b"version https://git-lfs.") || is(b"version https://hawser.") {
        let size = std::str::from_utf8(bytes).ok().and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("size ")?.parse::<u64>().ok())
        });
        let of_size = size.map_or(String::new(), |bytes| format!(" of {bytes} bytes"));
        return Err(Error::input(format!("it is a Git LFS pointer, not the file{of_size} itself"))
            .hint("run git lfs pull in the folder that was cloned, or download the file again"));
    }
    if is(b"/annex/objects/") {
        return Err(Error::input("it is a git-annex pointer, not the file itself")
            .hint("run git annex get on the file"));
    }
    Ok(())
}
