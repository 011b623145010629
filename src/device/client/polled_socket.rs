//! A socket that never blocks for long: it reads and writes in short turns, and between two turns
//! checks the stop flag and a time limit.

use std::io::{self, Read, Write};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::limits::is_stopped;
use super::outcome::LossReason;
use crate::device::transport::{Socket, is_timeout};

/// How slowly the other side may take what is written, in bytes per second, once the patience is over.
const MIN_RATE: f64 = 4096.0;

/// A socket whose timeouts have been set to a short turn.
pub(super) struct PolledSocket<'a> {
    socket: &'a mut Socket,
    /// For reading, the total time; for writing, the longest time without progress.
    patience: Duration,
    since: Instant,
    begun: Instant,
    written_bytes: u64,
    stop: &'a AtomicBool,
    /// Why the last read or write was given up, if the stop flag or the time limit was the cause.
    pub(super) given_up: Option<LossReason>,
}

impl<'a> PolledSocket<'a> {
    /// Starts the clock.
    pub(super) fn new(socket: &'a mut Socket, patience: Duration, stop: &'a AtomicBool) -> Self {
        let now = Instant::now();
        let (since, begun) = (now, now);
        PolledSocket { socket, patience, since, begun, written_bytes: 0, stop, given_up: None }
    }

    /// Whether the other side takes what is written so slowly that it would never end.
    fn is_too_slow(&self) -> bool {
        let late = self.begun.elapsed().saturating_sub(self.patience).as_secs_f64();
        late * MIN_RATE > self.written_bytes as f64
    }

    /// After a turn without a byte: fails if it is time to give up.
    fn check(&mut self) -> io::Result<()> {
        let (reason, what) = if is_stopped(self.stop) {
            (LossReason::Stopped, "interrupted")
        } else if self.since.elapsed() >= self.patience {
            (LossReason::Silent, "no data could be sent or received for too long")
        } else {
            return Ok(());
        };
        self.given_up = Some(reason);
        Err(io::Error::other(what))
    }
}

impl Write for PolledSocket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.write(bytes) {
                Err(error) if is_timeout(&error) => self.check()?,
                Ok(count) => {
                    self.written_bytes += count as u64;
                    if self.is_too_slow() {
                        self.given_up = Some(LossReason::Silent);
                        return Err(io::Error::other("the data was taken too slowly"));
                    }
                    self.since = Instant::now();
                    return Ok(count);
                }
                failed => return failed,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for PolledSocket<'_> {
    /// The time limit covers everything that is read, so a greeting that trickles in is late as well.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.read(out) {
                Err(error) if is_timeout(&error) => self.check()?,
                Ok(count) => {
                    if self.since.elapsed() >= self.patience {
                        self.check()?;
                    }
                    return Ok(count);
                }
                failed => return failed,
            }
        }
    }
}
