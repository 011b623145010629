//! What comes from a runner: a thread that reads frames, and an answer that is put together of them.

use std::io::{self, BufReader, Read};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use super::outcome::{Lost, Refused, Why};
use super::session::{Logits, Progress, Reply};
use crate::device::protocol::frame::{Frame, MAX_FRAME_BYTES, read_frame};
use crate::device::protocol::message;
use crate::device::protocol::message::Answer;
use crate::device::transport::{Socket, is_timeout};

const READ_BYTES: usize = 256 << 10;

/// What the reading thread passes on.
#[derive(Debug)]
pub(super) enum Heard {
    /// Anything but `alive`.
    Frame(Frame),
    /// Nothing comes any more.
    End(Lost),
}

/// A stream that ended.
pub(super) fn ended() -> Lost {
    Lost::new(Why::Closed, "the runner closed the connection")
}

/// A runner that says what it must not.
pub(super) fn garbled(what: String) -> Lost {
    Lost::new(Why::Garbled, format!("the runner does not keep to the protocol: {what}"))
}

/// What has come of an answer.
pub(super) struct Got<'a> {
    id: u64,
    logits_at: &'a [u32],
    logits: Vec<Logits>,
}

impl<'a> Got<'a> {
    pub(super) fn new(id: u64, logits_at: &'a [u32]) -> Self {
        Got { id, logits_at, logits: Vec::new() }
    }

    /// The reply, if it is complete now.
    pub(super) fn take(
        &mut self,
        heard: Heard,
        hear: &mut dyn FnMut(Progress),
    ) -> Result<Option<Reply>, Lost> {
        let frame = match heard {
            Heard::End(lost) => return Err(lost),
            Heard::Frame(frame) => frame,
        };
        if let Frame::Logits { position, values } = frame {
            if self.logits_at.get(self.logits.len()) != Some(&position) {
                return Err(garbled(format!("logits of position {position} that nobody wanted")));
            }
            self.logits.push(Logits { position, values });
            return Ok(None);
        }
        match message(&frame).map_err(|error| garbled(error.cause()))? {
            Answer::Alive => Ok(None),
            Answer::Failed { id: 0, message, .. } => Err(garbled(message)),
            Answer::Progress { id, done, of, unit } if id == self.id => {
                hear(Progress { done, of, unit });
                Ok(None)
            }
            Answer::Done { id, result, replayed, attempt } if id == self.id => {
                let found = self.logits.len();
                if found != self.logits_at.len() {
                    let wanted = self.logits_at.len();
                    return Err(garbled(format!("{found} frames of logits instead of {wanted}")));
                }
                let logits = std::mem::take(&mut self.logits);
                Ok(Some(Reply::Done { result, logits, attempt, replayed }))
            }
            Answer::Failed { id, code, message, replayed, attempt } if id == self.id => {
                Ok(Some(Reply::Failed(Refused { code, message, attempt, replayed })))
            }
            Answer::Progress { id, .. } | Answer::Done { id, .. } | Answer::Failed { id, .. } => {
                Err(garbled(format!("an answer to request {id} instead of {}", self.id)))
            }
        }
    }
}

/// Reads until the stream or the interest in it ends.
pub(super) fn listen(read: Socket, silence: Duration, say: &SyncSender<Heard>) {
    let mut read = BufReader::with_capacity(READ_BYTES, Noting { socket: read, is_silent: false });
    loop {
        let heard = match read_frame(&mut read, MAX_FRAME_BYTES) {
            Ok(Some(frame)) if is_alive(&frame) => continue,
            Ok(Some(frame)) => Heard::Frame(frame),
            Ok(None) => Heard::End(ended()),
            Err(_) if read.get_ref().is_silent => {
                Heard::End(Lost::new(Why::Silent, format!("nothing came for {silence:?}")))
            }
            Err(error) if error.exit() == crate::error::Exit::Input => {
                Heard::End(garbled(error.cause()))
            }
            Err(error) => Heard::End(Lost::new(Why::Closed, error.cause())),
        };
        let is_end = matches!(heard, Heard::End(_));
        if say.send(heard).is_err() || is_end {
            return;
        }
    }
}

fn is_alive(frame: &Frame) -> bool {
    let Frame::Control(json) = frame else { return false };
    json.len() < 64 && matches!(message(frame), Ok(Answer::Alive))
}

/// Notes whether it was silence that ended a read.
struct Noting {
    socket: Socket,
    is_silent: bool,
}

impl Read for Noting {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(out);
        self.is_silent |= matches!(&read, Err(error) if is_timeout(error));
        read
    }
}
