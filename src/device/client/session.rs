//! One connection to a runner: the handshake, then one request at a time.
//!
//! A thread reads frames and passes on all but `alive`, so that silence is noticed while files are
//! sent, and an answer that comes early is seen. Whoever asks looks at the stop flag in between.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::greeting::{Turns, greet};
use super::hearing::{Got, Heard, ended, garbled, listen};
use super::outcome::{Lost, Refused, Why};
use crate::device::protocol::control;
use crate::device::protocol::frame::{Frame, MAX_FRAME_BYTES, write_chunk, write_frame};
use crate::device::protocol::message::{Ask, Code, Request};
use crate::device::protocol::token::Token;
use crate::device::transport::Socket;
use crate::error::Error;

/// Set by whoever wants everything to end; looked at several times a second.
pub type Stop = Arc<AtomicBool>;

/// Between looks at the stop flag.
pub(super) const TURN: Duration = Duration::from_millis(100);
/// Frames that wait between the reading thread and whoever asked.
const WAITING_FRAMES: usize = 4;

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// To connect, and to be welcomed.
    pub handshake: Duration,
    /// Without a byte from the runner.
    pub silence: Duration,
    /// A request that is no job and no transfer.
    pub request: Duration,
    /// A job.
    pub job: Duration,
    /// Trying to reach a runner again that was lost.
    pub reconnect: Duration,
    /// How often one request may lose its connection.
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

/// How far a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// So many.
    pub done: u64,
    /// Of so many.
    pub of: u64,
    /// Of what.
    pub unit: String,
}

/// Logits after the token at a position.
#[derive(Debug, Clone, PartialEq)]
pub struct Logits {
    /// Index of the token.
    pub position: u32,
    /// `[vocabulary]`.
    pub values: Vec<f32>,
}

/// What a runner answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// A result.
    Done {
        /// As JSON.
        result: Value,
        /// Frames of logits that came before it.
        logits: Vec<Logits>,
        /// The attempt that it is of.
        attempt: u32,
        /// Whether it is from the journal.
        replayed: bool,
    },
    /// A refusal.
    Failed(Refused),
}

/// An open session.
#[derive(Debug)]
pub struct Session {
    socket: Socket,
    heard: Receiver<Heard>,
    next_id: u64,
    limits: Limits,
    stop: Stop,
    /// Set once the stream cannot be used for another request.
    is_spent: bool,
    /// The runner's name and version.
    pub runner: String,
}

impl Session {
    /// Greets a runner.
    ///
    /// # Errors
    /// [`Why::Refused`] with the runner's code, and everything else that can go wrong in a stream.
    pub fn open(
        socket: Socket,
        token: &Token,
        limits: &Limits,
        stop: &Stop,
    ) -> Result<Session, Lost> {
        let runner = greet(&socket, token, limits, stop)?;
        let read = || -> io::Result<Socket> {
            let read = socket.try_clone()?;
            read.set_read_timeout(limits.silence)?;
            socket.set_write_timeout(TURN)?;
            Ok(read)
        };
        let read = read().map_err(|error| Lost::new(Why::Closed, error.to_string()))?;
        let (say, heard) = sync_channel(WAITING_FRAMES);
        let silence = limits.silence;
        std::thread::spawn(move || listen(read, silence, &say));
        let (limits, stop) = (limits.clone(), Arc::clone(stop));
        Ok(Session { socket, heard, next_id: 1, limits, stop, is_spent: false, runner })
    }

    /// Whether another request can be sent.
    pub fn is_usable(&self) -> bool {
        !self.is_spent
    }

    /// How long a request that is no job may take.
    pub fn request_limit(&self) -> Duration {
        self.limits.request
    }

    /// Asks, and waits at most `limit` for the answer.
    ///
    /// # Errors
    /// A session that ended, which is then spent.
    pub fn ask(
        &mut self,
        ask: &Ask,
        limit: Duration,
        hear: &mut dyn FnMut(Progress),
    ) -> Result<Reply, Lost> {
        let id = self.request(ask)?;
        self.answer(id, Instant::now() + limit, wanted_logits(ask), hear)
    }

    /// Sends a `put` and its chunks, in order, as `next` gives them; tells `sent` of the bytes of
    /// each. A refusal may come before the last chunk, and ends it.
    ///
    /// # Errors
    /// A session that ended, or what `next` failed with, after which it is spent.
    pub fn put(
        &mut self,
        ask: &Ask,
        next: &mut dyn FnMut() -> Result<Option<Vec<u8>>, Error>,
        sent: &mut dyn FnMut(u64),
    ) -> Result<Result<Reply, Lost>, Error> {
        let id = match self.request(ask) {
            Ok(id) => id,
            Err(lost) => return Ok(Err(lost)),
        };
        let until = |session: &Session| Instant::now() + session.limits.request;
        loop {
            let chunk = next().inspect_err(|_| self.is_spent = true)?;
            let Some(chunk) = chunk else {
                let until = until(self);
                return Ok(self.answer(id, until, &[], &mut |_| ()));
            };
            if let Some(early) = self.early(id) {
                return Ok(early);
            }
            if let Err(lost) = self.write(|out| write_chunk(out, &chunk)) {
                return Ok(self.last_words(id, lost));
            }
            sent(chunk.len() as u64);
        }
    }

    /// An answer that came before the last chunk: a refusal, after which the runner drops chunks that
    /// are on their way, or the end.
    fn early(&mut self, id: u64) -> Option<Result<Reply, Lost>> {
        let heard = match self.heard.try_recv() {
            Ok(heard) => heard,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Heard::End(ended()),
        };
        let lost = match Got::new(id, &[]).take(heard, &mut |_| ()) {
            Ok(None) => return None,
            Ok(Some(refused @ Reply::Failed(_))) => return Some(Ok(refused)),
            Ok(Some(_)) => garbled("a put that was done before its last chunk".into()),
            Err(lost) => lost,
        };
        self.is_spent = true;
        Some(Err(lost))
    }

    fn request(&mut self, ask: &Ask) -> Result<u64, Lost> {
        let id = self.next_id;
        self.next_id += 1;
        let frame = control(&Request { id, ask: ask.clone() })
            .map_err(|error| garbled(error.to_string()))?;
        if let Frame::Control(json) = &frame
            && json.len() + 1 > MAX_FRAME_BYTES
        {
            let what = format!("a request of {} bytes does not fit into a frame", json.len());
            return Err(Lost::new(Why::Refused(Code::TooLarge), what));
        }
        match self.write(|out| write_frame(out, &frame)) {
            Ok(()) => Ok(id),
            Err(lost) => Err(self.last_words(id, lost).err().unwrap_or_else(ended)),
        }
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut Turns<'_>) -> crate::error::Result<()>,
    ) -> Result<(), Lost> {
        if self.is_spent {
            return Err(ended());
        }
        let mut turns = Turns::new(&mut self.socket, self.limits.silence, &self.stop);
        match write(&mut turns) {
            Ok(()) => Ok(()),
            Err(error) => {
                let why = turns.why.unwrap_or(Why::Closed);
                self.is_spent = true;
                Err(Lost::new(why, error.cause()))
            }
        }
    }

    /// What the runner said before it closed, where a write failed with `lost`.
    fn last_words(&mut self, id: u64, lost: Lost) -> Result<Reply, Lost> {
        self.is_spent = true;
        if lost.why != Why::Closed {
            return Err(lost);
        }
        let mut got = Got::new(id, &[]);
        while let Ok(heard) = self.heard.recv_timeout(TURN) {
            match got.take(heard, &mut |_| ()) {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(said) => return Err(said),
            }
        }
        Err(lost)
    }

    fn answer(
        &mut self,
        id: u64,
        until: Instant,
        logits_at: &[u32],
        hear: &mut dyn FnMut(Progress),
    ) -> Result<Reply, Lost> {
        let mut got = Got::new(id, logits_at);
        let lost = loop {
            if self.stop.load(Ordering::SeqCst) {
                break Lost::stopped();
            }
            if Instant::now() >= until {
                break Lost::new(Why::Overdue, "the runner took longer than it may");
            }
            let heard = match self.heard.recv_timeout(TURN) {
                Ok(heard) => heard,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => Heard::End(ended()),
            };
            match got.take(heard, hear) {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => {}
                Err(lost) => break lost,
            }
        };
        self.is_spent = true;
        Err(lost)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.socket.shut();
    }
}

fn wanted_logits(ask: &Ask) -> &[u32] {
    match ask {
        Ask::Score { logits_at, .. } => logits_at,
        _ => &[],
    }
}
