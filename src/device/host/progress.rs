//! How far a job has got.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Interval between two reports of progress.
pub(super) const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Written by the job's thread, read by the session that waits for the job.
#[derive(Debug, Default)]
pub(super) struct JobProgress {
    /// Tokens done.
    pub done: AtomicU64,
    /// Tokens in total; 0 for jobs that do not count tokens.
    pub of: AtomicU64,
}
