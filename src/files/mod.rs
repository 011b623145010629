//! Atomic writes of files and folders: a reader sees the old content or the new one, never a part.
//!
//! Both are written under a temporary name in the folder of their target, made durable, and then
//! renamed to their target. This room knows nothing of what it writes.

mod atomic_dir;
mod atomic_file;

use std::fs::File;
use std::path::{Path, PathBuf};

pub use atomic_dir::{AtomicDir, Existing};
pub use atomic_file::{
    remove_partial_files, write_atomic, write_atomic_private, write_atomic_with, write_together,
};

use crate::error::{Error, Result};

/// The suffix of the temporary name of a file or folder that is being written.
const PARTIAL: &str = ".part";

/// A temporary name in the folder of `target` that no other process uses.
fn sibling(target: &Path, suffix: &str) -> Result<PathBuf> {
    let name = target.file_name().ok_or_else(|| {
        Error::input("expected a path that ends with a file name").at(target.display())
    })?;
    let name = name.to_string_lossy();
    Ok(target.with_file_name(format!(".{name}.{}{suffix}", std::process::id())))
}

/// Makes the names in the folder of `path` durable: a file that was created, renamed or removed.
fn sync_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
        _ => sync(Path::new(".")),
    }
}

/// Makes a file's bytes or a folder's names durable.
fn sync(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(|e| Error::io("sync", path, e))
}
