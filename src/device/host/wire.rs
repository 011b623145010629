//! A connection's two ends: reading that knows when the other side is gone, and writing that
//! several threads share.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::lock;
use crate::device::protocol::frame::{Frame, MAX_FRAME_BYTES, write_frame};
use crate::device::protocol::message::{Answer, Code};
use crate::device::protocol::{control, frame};

/// How long neither side stays silent while the other waits.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// How often a reader looks whether the connection was given up meanwhile.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };
/// How long, and how much, is read after a refusal, so that the client reads it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 16 << 20;

/// The end that is written to.
pub(super) struct Wire {
    out: Mutex<BufWriter<File>>,
    /// The socket, where it is one.
    socket: Option<TcpStream>,
    gone: AtomicBool,
    /// Whether nothing more comes from the client.
    left: AtomicBool,
    /// Whether the client owes bytes.
    owed: AtomicBool,
}

impl Wire {
    /// Writes to `out`, which belongs to `socket` where there is one.
    pub fn new(out: File, socket: Option<TcpStream>) -> Arc<Wire> {
        let out = Mutex::new(BufWriter::with_capacity(64 << 10, out));
        let [gone, left, owed] = [(); 3].map(|()| AtomicBool::new(false));
        Arc::new(Wire { out, socket, gone, left, owed })
    }

    /// Sends a frame; whether the client is still there.
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

    /// Sends a message; one that is too long for a frame is a failure in its place.
    pub fn answer(&self, answer: &Answer) -> bool {
        let Ok(frame) = control(answer) else { return false };
        match (&frame, answer) {
            (Frame::Control(json), Answer::Done { id, replayed, attempt, .. })
                if json.len() >= MAX_FRAME_BYTES =>
            {
                let (id, replayed, attempt) = (*id, *replayed, *attempt);
                let most = frame::MAX_FRAME_BYTES;
                let message = format!("a result of {} bytes: a frame has {most}", json.len());
                let code = Code::TooLarge;
                self.answer(&Answer::Failed { id, code, message, replayed, attempt })
            }
            _ => self.send(&frame),
        }
    }

    /// Whether nobody reads any more.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// Keeps that nothing more will come.
    pub fn left(&self) {
        self.left.store(true, Relaxed);
    }

    /// Whether the client has ended its side, or is gone.
    pub fn is_left(&self) -> bool {
        self.left.load(Relaxed) || self.is_gone()
    }

    /// Gives the connection up: whoever reads or writes it stops.
    pub fn give_up(&self) {
        self.gone.store(true, Relaxed);
        if let Some(socket) = &self.socket {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Says whether the client owes bytes: its silence is then its end.
    pub fn owe(&self, owed: bool) {
        self.owed.store(owed, Relaxed);
    }

    /// Ends the writing and reads what is still on its way: closing a socket with unread bytes
    /// would take the last words from the client.
    pub fn linger(&self) {
        let Some(mut socket) = self.socket.as_ref() else { return };
        let _ = socket.shutdown(Shutdown::Write);
        let _ = socket.set_read_timeout(Some(LINGER / 4));
        let (start, mut bytes, mut rest) = (Instant::now(), 0, vec![0; 64 << 10]);
        while start.elapsed() < LINGER && bytes < LINGER_BYTES {
            match socket.read(&mut rest) {
                Ok(0) => break,
                Ok(count) => bytes += count,
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock) => {}
                Err(_) => break,
            }
        }
    }
}

/// The end that is read: a read fails when the client owes bytes and sends none for ten seconds,
/// or when the connection was given up.
pub(super) struct Patient {
    file: File,
    wire: Arc<Wire>,
    /// When everything must have come.
    pub until: Option<Instant>,
    /// Whether a frame has begun.
    pub within: bool,
}

impl Patient {
    pub fn new(file: File, wire: Arc<Wire>) -> Patient {
        Patient { file, wire, until: None, within: false }
    }
}

impl Read for Patient {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        loop {
            let is_ready = match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&LOOK)) {
                Ok(count) => count > 0,
                Err(rustix::io::Errno::INTR) => false,
                Err(error) => return Err(error.into()),
            };
            if self.wire.is_gone() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if self.until.is_some_and(|until| Instant::now() > until) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if is_ready {
                match self.file.read(out) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                    read => {
                        self.within = true;
                        return read;
                    }
                }
            }
            let owed = self.within || self.wire.owed.load(Relaxed);
            if owed && start.elapsed() > SILENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}
