//! What a download tells its caller, and how the caller stops it.

use crate::error::Result;

/// What happens while files are fetched.
#[derive(Debug)]
pub enum Event<'a> {
    /// Bytes of a file that are on the disk.
    Progress {
        /// The file's name.
        file: &'a str,
        /// Bytes so far.
        done_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// A line for the user.
    Message(&'a str),
    /// Nothing has happened for a moment.
    Waiting,
}

/// Called for every event, and several times a second while nothing happens. Its error ends the
/// download; what has arrived stays, and the next download continues after it.
pub type Watch<'a> = &'a mut dyn FnMut(Event<'_>) -> Result<()>;
