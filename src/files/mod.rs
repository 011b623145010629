//! Atomic writes of files and folders: a reader sees the old content or the new one, never a part.
//!
//! Both are written under a temporary name in the folder of their target, made durable, and then
//! renamed to their target. Beside that, this room knows what differs between systems and disks: how
//! bytes become durable, whether there are locks, where users keep caches, what the Finder adds to
//! folders. It knows nothing of what it writes.

mod atomic_dir;
mod atomic_file;
mod durable;
mod finder;
mod lock;
mod regular;
mod user_folder;

use std::path::{Path, PathBuf};

pub use atomic_dir::{AtomicDir, Existing};
pub use atomic_file::{
    remove_partial_files, write_atomic, write_atomic_private, write_atomic_with, write_together,
};
pub use durable::{sync_data, sync_file, sync_folder};
pub use finder::is_finders;
pub use lock::try_lock;
pub use regular::{open_regular, read_regular, read_regular_text};
pub use user_folder::{cache_folder, settings_folder};

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

/// Whether the system reported one of `errnos`.
fn is_one_of(error: &std::io::Error, errnos: &[rustix::io::Errno]) -> bool {
    rustix::io::Errno::from_io_error(error).is_some_and(|errno| errnos.contains(&errno))
}
