//! The two ends of a connection to a client: a writer that several threads share, and a reader that
//! notices when the client is gone.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::locks::lock;
use crate::device::protocol::code::Code;
use crate::device::protocol::control;
use crate::device::protocol::frame::{Frame, MAX_FRAME_BYTES, write_frame};
use crate::device::protocol::message::Answer;

/// The longest silence of either side while the other waits for it.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// How slowly the bytes that a client owes may come, in bytes per second, from [`SILENCE`] after the first
/// of them.
const MIN_RATE: f64 = 4096.0;
/// Interval between a reader's checks of whether the connection was given up.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// For how long, and how many bytes, the connection is drained after a refusal.
const DRAIN: Duration = Duration::from_secs(1);
const DRAIN_BYTES: usize = 16 << 20;

/// The end that is written to.
pub(super) struct ClientWriter {
    out: Mutex<BufWriter<File>>,
    /// `None` if the connection is standard input and output.
    socket: Option<TcpStream>,
    gone: AtomicBool,
    /// Whether the client has ended its side.
    left: AtomicBool,
    /// Whether the client owes bytes.
    owed: AtomicBool,
}

impl ClientWriter {
    /// Writes to `out`, which belongs to `socket` if there is one.
    pub fn new(out: File, socket: Option<TcpStream>) -> Arc<ClientWriter> {
        let out = Mutex::new(BufWriter::with_capacity(64 << 10, out));
        let [gone, left, owed] = [(); 3].map(|()| AtomicBool::new(false));
        Arc::new(ClientWriter { out, socket, gone, left, owed })
    }

    /// Sends a frame. Returns whether the client is still there.
    pub fn send(&self, frame: &Frame) -> bool {
        let mut out = lock(&self.out);
        if self.is_gone() {
            return false;
        }
        let sent = write_frame(&mut *out, frame).is_ok() && out.flush().is_ok();
        if !sent {
            self.give_up();
        }
        sent
    }

    /// Sends an answer; a failure in its place if it is too long for a frame. Returns whether the
    /// client is still there.
    pub fn answer(&self, answer: &Answer) -> bool {
        let Ok(frame) = control(answer) else { return false };
        match (&frame, answer) {
            (Frame::Control(json), Answer::Done { id, replayed, attempt, .. })
                if json.len() >= MAX_FRAME_BYTES =>
            {
                let (id, replayed, attempt) = (*id, *replayed, *attempt);
                let found = json.len();
                let message =
                    format!("expected a result below {MAX_FRAME_BYTES} bytes, found {found}");
                let code = Code::TooLarge;
                self.answer(&Answer::Failed { id, code, message, replayed, attempt })
            }
            _ => self.send(&frame),
        }
    }

    /// Whether nobody reads what is sent.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// Notes that nothing more will come from the client.
    pub fn set_left(&self) {
        self.left.store(true, Relaxed);
    }

    /// Whether the client has ended its side, or is gone.
    pub fn is_left(&self) -> bool {
        self.left.load(Relaxed) || self.is_gone()
    }

    /// Gives the connection up: threads that read from it or write to it stop.
    pub fn give_up(&self) {
        self.gone.store(true, Relaxed);
        if let Some(socket) = &self.socket {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Notes whether the client owes bytes: only then does its silence mean that it is gone.
    pub fn set_owed(&self, owed: bool) {
        self.owed.store(owed, Relaxed);
    }

    /// Ends the writing, and reads what is still on its way: closing a socket with unread bytes would
    /// keep the client from receiving the last answer.
    pub fn drain(&self) {
        let Some(mut socket) = self.socket.as_ref() else { return };
        let _ = socket.shutdown(Shutdown::Write);
        let _ = socket.set_read_timeout(Some(DRAIN / 4));
        let (start, mut bytes, mut rest) = (Instant::now(), 0, vec![0; 64 << 10]);
        while start.elapsed() < DRAIN && bytes < DRAIN_BYTES {
            match socket.read(&mut rest) {
                Ok(0) => break,
                Ok(count) => bytes += count,
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock) => {}
                Err(_) => break,
            }
        }
    }
}

/// The end that is read. A read fails if the client owes bytes and sends none for [`SILENCE`], or sends
/// them more slowly than [`MIN_RATE`], or if the connection was given up.
pub(super) struct ClientReader {
    file: File,
    writer: Arc<ClientWriter>,
    /// When everything must have come, if there is such a limit.
    pub until: Option<Instant>,
    /// Whether part of a frame has come.
    pub within_frame: bool,
    /// Since when the client owes bytes, and how many have come since; `None` if it owes none.
    debt: Option<(Instant, u64)>,
}

impl ClientReader {
    /// Reads from `file`, the other end of `writer`'s connection.
    pub fn new(file: File, writer: Arc<ClientWriter>) -> ClientReader {
        ClientReader { file, writer, until: None, within_frame: false, debt: None }
    }
}

impl ClientReader {
    /// Counts bytes that have come. Fails if they come too slowly.
    fn came(&mut self, bytes: u64) -> io::Result<()> {
        let (since, before) = self.debt.unwrap_or_else(|| (Instant::now(), 0));
        let total = before + bytes;
        self.debt = Some((since, total));
        let late = since.elapsed().saturating_sub(SILENCE).as_secs_f64();
        if late * MIN_RATE > total as f64 { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl Read for ClientReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        if !self.within_frame && !self.writer.owed.load(Relaxed) {
            self.debt = None;
        }
        loop {
            let is_ready = match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&LOOK)) {
                Ok(count) => count > 0,
                Err(rustix::io::Errno::INTR) => false,
                Err(error) => return Err(error.into()),
            };
            if self.writer.is_gone() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if self.until.is_some_and(|until| Instant::now() > until) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if is_ready {
                match self.file.read(out) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    Ok(count) => {
                        self.within_frame = true;
                        self.came(count as u64)?;
                        return Ok(count);
                    }
                    failed => return failed,
                }
            }
            let owed = self.within_frame || self.writer.owed.load(Relaxed);
            if owed && start.elapsed() > SILENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}
