//! How long things may take, and the flag that ends them early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connecting, and receiving the runner's welcome.
    pub handshake: Duration,
    /// The longest time without a byte from the runner.
    pub silence: Duration,
    /// A request that is neither a job nor a transfer.
    pub request: Duration,
    /// A job.
    pub job: Duration,
    /// Trying to reconnect after a connection was lost.
    pub reconnect: Duration,
    /// How many connections one request may lose.
    pub losses: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            handshake: Duration::from_secs(10),
            silence: Duration::from_secs(10),
            request: Duration::from_secs(120),
            job: Duration::from_secs(3600),
            reconnect: Duration::from_secs(30),
            losses: 5,
        }
    }
}

/// Set to end all waiting; checked several times a second.
pub type Stop = Arc<AtomicBool>;

/// Whether the flag is set.
pub(super) fn is_stopped(stop: &AtomicBool) -> bool {
    stop.load(Ordering::SeqCst)
}

/// Interval between checks of the stop flag.
pub(super) const POLL: Duration = Duration::from_millis(100);
