//! What comes from a runner: a thread that reads frames, and the reply that is put together from
//! them.

use std::io::{self, BufReader, Read};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::answer::{Logits, Reply};
use super::outcome::{ConnectionLost, LossReason, RefusedRequest};
use crate::device::protocol::frame::{Frame, MAX_FRAME_BYTES, read_frame};
use crate::device::protocol::message;
use crate::device::protocol::message::Answer;
use crate::device::transport::{Socket, is_timeout};
use crate::error::Exit;

const READ_BYTES: usize = 256 << 10;
/// An `alive` message is shorter than this; longer frames are not parsed in search of one.
const MAX_ALIVE_BYTES: usize = 64;

/// What the reading thread passes on.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A frame other than `alive`.
    Frame(Frame),
    /// The end of the stream, and its reason.
    End(ConnectionLost),
}

/// The parts of a reply that have come so far.
pub(super) struct PendingReply<'a> {
    id: u64,
    logits_at: &'a [u32],
    logits: Vec<Logits>,
}

impl<'a> PendingReply<'a> {
    /// The reply to the request `id`, which asked for logits at `logits_at`.
    pub(super) fn new(id: u64, logits_at: &'a [u32]) -> Self {
        PendingReply { id, logits_at, logits: Vec::new() }
    }

    /// Adds what came, and returns the reply if it is complete.
    ///
    /// # Errors
    /// The stream ended, or what came violates the protocol.
    pub(super) fn add(&mut self, incoming: Incoming) -> Result<Option<Reply>, ConnectionLost> {
        let frame = match incoming {
            Incoming::End(lost) => return Err(lost),
            Incoming::Frame(frame) => frame,
        };
        if let Frame::Logits { position, values } = frame {
            if self.logits_at.get(self.logits.len()) != Some(&position) {
                let what = format!("logits at position {position}, which were not asked for");
                return Err(ConnectionLost::violation(what));
            }
            self.logits.push(Logits { position, values });
            return Ok(None);
        }
        match message(&frame).map_err(|error| ConnectionLost::violation(error.cause()))? {
            Answer::Alive => Ok(None),
            Answer::Failed { id: 0, message, .. } => Err(ConnectionLost::violation(message)),
            Answer::Progress { id, .. } if id == self.id => Ok(None),
            Answer::Done { id, result, replayed, attempt } if id == self.id => {
                let (found, expected) = (self.logits.len(), self.logits_at.len());
                if found != expected {
                    let what = format!("expected {expected} frames of logits, found {found}");
                    return Err(ConnectionLost::violation(what));
                }
                let logits = std::mem::take(&mut self.logits);
                Ok(Some(Reply::Done { result, logits, attempt, replayed }))
            }
            Answer::Failed { id, code, message, replayed, attempt } if id == self.id => {
                Ok(Some(Reply::Failed(RefusedRequest { code, message, attempt, replayed })))
            }
            Answer::Progress { id, .. } | Answer::Done { id, .. } | Answer::Failed { id, .. } => {
                let what = format!("expected an answer to request {}, found one to {id}", self.id);
                Err(ConnectionLost::violation(what))
            }
        }
    }
}

/// Reads frames and passes them on until the stream ends or nobody receives them any more.
pub(super) fn read_incoming(read: Socket, silence: Duration, pass_on: &SyncSender<Incoming>) {
    let watched = WatchedRead { socket: read, timed_out: false };
    let mut read = BufReader::with_capacity(READ_BYTES, watched);
    loop {
        let incoming = match read_frame(&mut read, MAX_FRAME_BYTES) {
            Ok(Some(frame)) if is_alive(&frame) => continue,
            Ok(Some(frame)) => Incoming::Frame(frame),
            Ok(None) => Incoming::End(ConnectionLost::closed()),
            Err(_) if read.get_ref().timed_out => {
                let what = format!("the runner sent nothing for {silence:?}");
                Incoming::End(ConnectionLost::new(LossReason::Silent, what))
            }
            Err(error) if error.exit() == Exit::Input => {
                Incoming::End(ConnectionLost::violation(error.cause()))
            }
            Err(error) => Incoming::End(ConnectionLost::new(LossReason::Closed, error.cause())),
        };
        let is_end = matches!(incoming, Incoming::End(_));
        if pass_on.send(incoming).is_err() || is_end {
            return;
        }
    }
}

fn is_alive(frame: &Frame) -> bool {
    let Frame::Control(json) = frame else { return false };
    json.len() < MAX_ALIVE_BYTES && matches!(message(frame), Ok(Answer::Alive))
}

/// A socket that remembers whether a read timed out.
struct WatchedRead {
    socket: Socket,
    timed_out: bool,
}

impl Read for WatchedRead {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(out);
        self.timed_out |= matches!(&read, Err(error) if is_timeout(error));
        read
    }
}
