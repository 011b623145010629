//! The handshake, and waiting in short turns.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::hearing::garbled;
use super::outcome::{Lost, Why};
use super::session::{Limits, TURN};
use crate::device::protocol::frame::{MAX_GREETING_BYTES, read_frame, write_frame};
use crate::device::protocol::message::{Code, Greeting, Hello, PROTOCOL};
use crate::device::protocol::token::Token;
use crate::device::protocol::{control, message};
use crate::device::transport::{Socket, is_timeout};
use crate::error::{Error, Exit};

/// Reads and writes in short turns, with the stop flag between them and a limit without progress.
pub(super) struct Turns<'a> {
    socket: &'a mut Socket,
    patience: Duration,
    since: Instant,
    stop: &'a AtomicBool,
    pub(super) why: Option<Why>,
}

impl<'a> Turns<'a> {
    pub(super) fn new(socket: &'a mut Socket, patience: Duration, stop: &'a AtomicBool) -> Self {
        Turns { socket, patience, since: Instant::now(), stop, why: None }
    }

    /// One turn that passed without a byte.
    fn turn(&mut self) -> io::Result<()> {
        let why = if self.stop.load(Ordering::SeqCst) {
            Why::Stopped
        } else if self.since.elapsed() >= self.patience {
            Why::Silent
        } else {
            return Ok(());
        };
        self.why = Some(why);
        let what = if why == Why::Stopped { "interrupted" } else { "nothing moved for too long" };
        Err(io::Error::other(what))
    }
}

impl Write for Turns<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.socket.write(bytes) {
                Err(error) if is_timeout(&error) => self.turn()?,
                Ok(count) => {
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

impl Read for Turns<'_> {
    /// The patience is for all that is read: a greeting that trickles is late as well.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.socket.read(out) {
                Err(error) if is_timeout(&error) => self.turn()?,
                Ok(count) => {
                    if self.since.elapsed() >= self.patience {
                        self.turn()?;
                    }
                    return Ok(count);
                }
                failed => return failed,
            }
        }
    }
}

/// The handshake; the runner's name.
pub(super) fn greet(
    socket: &Socket,
    token: &Token,
    limits: &Limits,
    stop: &AtomicBool,
) -> Result<String, Lost> {
    let closed = |error: io::Error| Lost::new(Why::Closed, error.to_string());
    let mut socket = socket.try_clone().map_err(closed)?;
    socket.set_read_timeout(TURN).and_then(|()| socket.set_write_timeout(TURN)).map_err(closed)?;
    let mut turns = Turns::new(&mut socket, limits.handshake, stop);
    let hello = Hello {
        protocol: PROTOCOL,
        token: token.as_str().to_owned(),
        client: concat!("evalkit ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let mut frame = Vec::new();
    // A runner that refuses may close before it has read: what it said counts, not this write.
    let written = control(&hello)
        .and_then(|hello| write_frame(&mut frame, &hello))
        .and_then(|()| turns.write_all(&frame).map_err(|error| Error::bug("hello").because(error)));
    let greeting = read_frame(&mut turns, MAX_GREETING_BYTES);
    let frame = match (greeting, turns.why) {
        (Ok(Some(frame)), _) => frame,
        (_, Some(Why::Stopped)) => return Err(Lost::stopped()),
        (_, Some(why)) => {
            let time = limits.handshake;
            return Err(Lost::new(why, format!("no greeting came within {time:?}")));
        }
        (Ok(None), None) => {
            let what = "the runner closed the connection without a greeting";
            return Err(Lost::new(Why::Closed, what));
        }
        (Err(error), None) if error.exit() == Exit::Input => {
            return Err(garbled(error.cause()));
        }
        (Err(error), None) => {
            let cause = written.err().unwrap_or(error).cause();
            return Err(Lost::new(Why::Closed, cause));
        }
    };
    match message(&frame).map_err(|error| garbled(error.cause()))? {
        Greeting::Welcome { protocol: PROTOCOL, runner } => Ok(runner),
        Greeting::Welcome { protocol, .. } => Err(version(protocol)),
        Greeting::Refused { protocol, code: Code::Version, .. } => Err(version(protocol)),
        Greeting::Refused { code, message, .. } => {
            Err(Lost::new(Why::Refused(code), format!("the runner refuses: {message}")))
        }
    }
}

fn version(found: u32) -> Lost {
    let what = format!("the runner speaks version {found} of the protocol, evalkit {PROTOCOL}");
    Lost::new(Why::Refused(Code::Version), what)
}
