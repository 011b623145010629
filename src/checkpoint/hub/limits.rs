//! How long a download waits for a server, and how often it asks again.

use std::time::{Duration, Instant};

use super::failure::{Failure, Then};
use super::watch::{Event, Watch};
use crate::error::Result;

/// How often a waiting download looks whether it should stop.
pub const POLL: Duration = Duration::from_millis(50);

/// How often a request is repeated before a download gives up.
const MAX_RETRIES: u32 = 3;

/// Longest wait that a server may ask for.
const MAX_SERVER_WAIT: Duration = Duration::from_secs(20);

/// How long a download waits.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For a connection, with its name and TLS.
    pub connect: Duration,
    /// For all headers of one reply, connection included.
    pub headers: Duration,
    /// For a reply about a repository, as a whole.
    pub metadata: Duration,
    /// For the next byte of a file.
    pub stall: Duration,
    /// For the next [`Limits::slow_bytes`] of a file.
    pub slow: Duration,
    /// The least bytes that must arrive in [`Limits::slow`].
    pub slow_bytes: u64,
    /// For progress, over all attempts; after it, no request is repeated.
    pub patience: Duration,
    /// Before the first repetition. Each later one waits twice as long.
    pub first_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(10),
            headers: Duration::from_secs(30),
            metadata: Duration::from_secs(30),
            stall: Duration::from_secs(15),
            slow: Duration::from_secs(30),
            slow_bytes: 32 << 10,
            patience: Duration::from_secs(20),
            first_wait: Duration::from_millis(500),
        }
    }
}

/// Counts repeated requests.
pub struct Patience<'a> {
    limits: &'a Limits,
    retries: u32,
    since: Instant,
}

impl<'a> Patience<'a> {
    /// Full patience.
    pub fn new(limits: &'a Limits) -> Self {
        Patience { limits, retries: 0, since: Instant::now() }
    }

    /// Waits before the request is repeated.
    ///
    /// # Errors
    /// The failure, if the request should not be repeated; interruption.
    pub fn wait(&mut self, failure: Failure, watch: Watch<'_>) -> Result<()> {
        let Failure { error, then: Then::Retry(asked) } = failure else {
            return Err(failure.error);
        };
        let is_spent = self.retries >= MAX_RETRIES || self.since.elapsed() >= self.limits.patience;
        if is_spent || asked.is_some_and(|asked| asked > MAX_SERVER_WAIT) {
            return Err(error);
        }
        let growing = self.limits.first_wait * (1 << self.retries);
        let wait = asked.unwrap_or_default().max(growing);
        self.retries += 1;
        let seconds = wait.as_secs_f64();
        let line = format!("{}; asking again in {seconds:.1} s", error.cause());
        watch(Event::Message(&line))?;
        let end = Instant::now() + wait;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            watch(Event::Waiting)?;
            std::thread::sleep(left.min(POLL));
        }
        // Waiting because the server asked for it is no lack of progress.
        self.since += asked.unwrap_or_default();
        Ok(())
    }
}

/// Repeats a request until it succeeds or should not be repeated.
///
/// # Errors
/// The last failure; interruption.
pub fn persist<T>(
    limits: &Limits,
    watch: Watch<'_>,
    mut request: impl FnMut(Watch<'_>) -> Result<T, Failure>,
) -> Result<T> {
    let mut patience = Patience::new(limits);
    loop {
        match request(watch) {
            Ok(done) => return Ok(done),
            Err(failure) => patience.wait(failure, watch)?,
        }
    }
}
