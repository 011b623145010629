//! Atomic writes of files and folders: a reader sees the old content or the new one, never a part.
//!
//! Both are written under a temporary name in the folder of their target, made durable, and then
//! renamed to their target. What a killed process left under such a name is removed by the next one.
//! Beside that, this room knows what differs between systems and disks: how bytes become durable,
//! whether there are locks, where users keep caches, what the Finder adds to folders. It knows nothing
//! of what it writes.

mod atomic_dir;
mod atomic_file;
mod durable;
mod finder;
mod lock;
mod pointer;
mod regular;
mod target;
mod temporary;
mod user_folder;

pub use atomic_dir::{AtomicDir, Existing};
pub use atomic_file::{
    remove_partial_files, write_atomic, write_atomic_private, write_atomic_with, write_together,
};
pub use durable::{sync_data, sync_file, sync_folder};
pub use finder::is_finders;
pub use lock::try_lock;
pub use pointer::refuse_pointer;
pub use regular::{copy_regular, open_regular, read_regular, read_regular_text};
pub use target::check_output;
pub use temporary::{Leftovers, sweep};
pub use user_folder::{cache_folder, settings_folder};

/// Whether the system reported one of `errnos`.
fn is_one_of(error: &std::io::Error, errnos: &[rustix::io::Errno]) -> bool {
    rustix::io::Errno::from_io_error(error).is_some_and(|errno| errnos.contains(&errno))
}
