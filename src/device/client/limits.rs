//! How long things may take, and the flag that ends them early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::device::protocol::message::Ask;

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connecting, and receiving the runner's welcome.
    pub handshake: Duration,
    /// The longest time without a byte from the runner.
    pub silence: Duration,
    /// A request that is neither a job nor part of a transfer.
    pub request: Duration,
    /// The answer to a `put`, after its last byte was sent.
    pub put: Duration,
    /// A `load` or `plan`: a phone may compile a package for many minutes.
    pub load: Duration,
    /// A `generate` or `score`, in addition to the time for its tokens.
    pub job: Duration,
    /// Each token of a `generate` or `score`, those of the prompt included.
    pub token: Duration,
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
            put: Duration::from_secs(60),
            load: Duration::from_secs(30 * 60),
            job: Duration::from_secs(60),
            token: Duration::from_secs(10),
            reconnect: Duration::from_secs(30),
            losses: 5,
        }
    }
}

impl Limits {
    /// How long this request may take, whatever the runner sends in the meantime.
    pub(super) fn of(&self, ask: &Ask) -> Duration {
        let tokens = match ask {
            Ask::Load { .. } | Ask::Plan { .. } => return self.load,
            Ask::Generate { prompt, tokens, .. } => prompt.len().saturating_add(*tokens),
            Ask::Score { ids, .. } => ids.len(),
            Ask::Put { .. } => return self.put,
            _ => return self.request,
        };
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.job.saturating_add(self.token.saturating_mul(tokens))
    }
}

/// When a request must have been answered, connections that were lost included.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimit {
    /// The time from the start of the request on.
    pub(super) total: Duration,
    begun: Instant,
}

impl TimeLimit {
    /// A limit that begins now.
    pub(super) fn from_now(total: Duration) -> TimeLimit {
        TimeLimit { total, begun: Instant::now() }
    }

    /// Whether the time is over.
    pub(super) fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.total
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::protocol::message::{ComputeUnits, Job};

    #[test]
    fn the_limit_of_a_job_grows_with_its_tokens_and_is_finite_for_any_number() {
        let job = || Job { job: "0".repeat(32), attempt: 1 };
        let limits = Limits::default();
        let generate = |tokens| {
            limits.of(&Ask::Generate { job: job(), prompt: vec![1; 4], tokens, sample_ms: 0 })
        };
        assert_eq!(generate(6), Duration::from_secs(60 + 100));
        assert!(generate(usize::MAX) > generate(1 << 20));
        let score = Ask::Score { job: job(), ids: vec![1; 8], logits_at: Vec::new() };
        assert_eq!(limits.of(&score), Duration::from_secs(60 + 80));
        let (package, compute_units) = ("a".repeat(64), ComputeUnits::Cpu);
        let plan = Ask::Plan { job: job(), package, compute_units };
        assert_eq!(limits.of(&plan), Duration::from_secs(1800));
        assert_eq!(limits.of(&Ask::List), Duration::from_secs(120));
    }
}
