//! One connection to a runner: the handshake, then one request at a time.
//!
//! A thread reads frames and passes on all but `alive`. So silence is noticed even while a file is
//! sent, and so is an answer that comes early. The wait for an answer checks the stop flag in
//! between.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Duration;

use super::answer::Reply;
use super::greeting::greet;
use super::incoming::{Incoming, PendingReply, read_incoming};
use super::limits::{Limits, POLL, Stop, TimeLimit, is_stopped};
use super::outcome::{ConnectionLost, LossReason};
use super::polled_socket::PolledSocket;
use crate::device::protocol::code::Code;
use crate::device::protocol::control;
use crate::device::protocol::frame::{Frame, MAX_FRAME_BYTES, write_chunk, write_frame};
use crate::device::protocol::message::{Ask, Request};
use crate::device::protocol::token::Token;
use crate::device::transport::Socket;
use crate::error::Error;

/// How many frames may wait between the reading thread and the session.
const WAITING_FRAMES: usize = 4;

/// An open session.
#[derive(Debug)]
pub(super) struct Session {
    socket: Socket,
    incoming: Receiver<Incoming>,
    next_id: u64,
    limits: Limits,
    stop: Stop,
    /// Set once the stream cannot carry another request.
    is_spent: bool,
}

impl Session {
    /// Greets a runner and starts the reading thread.
    ///
    /// # Errors
    /// The runner refused ([`LossReason::Refused`]), or the stream failed.
    pub fn open(
        socket: Socket,
        token: &Token,
        limits: &Limits,
        stop: &Stop,
    ) -> Result<Session, ConnectionLost> {
        greet(&socket, token, limits, stop)?;
        let read = || -> io::Result<Socket> {
            let read = socket.try_clone()?;
            read.set_read_timeout(limits.silence)?;
            socket.set_write_timeout(POLL)?;
            Ok(read)
        };
        let read =
            read().map_err(|error| ConnectionLost::new(LossReason::Closed, error.to_string()))?;
        let (pass_on, incoming) = sync_channel(WAITING_FRAMES);
        let silence = limits.silence;
        std::thread::spawn(move || read_incoming(read, silence, &pass_on));
        let (limits, stop) = (limits.clone(), Arc::clone(stop));
        Ok(Session { socket, incoming, next_id: 1, limits, stop, is_spent: false })
    }

    /// Whether another request can be sent.
    pub fn is_usable(&self) -> bool {
        !self.is_spent
    }

    /// The time limit of a request that is not a job.
    pub fn request_limit(&self) -> Duration {
        self.limits.request
    }

    /// Sends a request, and waits for the reply until `limit` is over.
    ///
    /// # Errors
    /// The session ended; it is spent then.
    pub fn ask(&mut self, ask: &Ask, limit: TimeLimit) -> Result<Reply, ConnectionLost> {
        let id = self.request(ask)?;
        self.wait_for_reply(id, ask, limit)
    }

    /// Sends a `put` and the chunks that `next` gives, and calls `on_sent` with the bytes of each.
    /// A refusal may come before the last chunk, and ends the transfer.
    ///
    /// # Errors
    /// The inner error is the end of the session, the outer one that of `next`; the session is spent
    /// after either.
    pub fn put(
        &mut self,
        ask: &Ask,
        next: &mut dyn FnMut() -> Result<Option<Vec<u8>>, Error>,
        on_sent: &mut dyn FnMut(u64),
    ) -> Result<Result<Reply, ConnectionLost>, Error> {
        let id = match self.request(ask) {
            Ok(id) => id,
            Err(lost) => return Ok(Err(lost)),
        };
        loop {
            let chunk = next().inspect_err(|_| self.is_spent = true)?;
            let Some(chunk) = chunk else {
                let limit = TimeLimit::from_now(self.limits.of(ask));
                return Ok(self.wait_for_reply(id, ask, limit));
            };
            if let Some(early) = self.early_reply(id) {
                return Ok(early);
            }
            if let Err(lost) = self.write(|out| write_chunk(out, &chunk)) {
                return Ok(self.last_words(id, lost));
            }
            on_sent(chunk.len() as u64);
        }
    }

    /// What came before the last chunk was sent, if anything: a refusal, after which the runner drops
    /// the chunks that are still on their way, or the end of the session.
    fn early_reply(&mut self, id: u64) -> Option<Result<Reply, ConnectionLost>> {
        let incoming = match self.incoming.try_recv() {
            Ok(incoming) => incoming,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Incoming::End(ConnectionLost::closed()),
        };
        let lost = match PendingReply::new(id, &[]).add(incoming) {
            Ok(None) => return None,
            Ok(Some(refused @ Reply::Failed(_))) => return Some(Ok(refused)),
            Ok(Some(_)) => ConnectionLost::violation("a put was done before its last chunk"),
            Err(lost) => lost,
        };
        self.is_spent = true;
        Some(Err(lost))
    }

    /// Sends a request, and returns its id.
    fn request(&mut self, ask: &Ask) -> Result<u64, ConnectionLost> {
        let id = self.next_id;
        self.next_id += 1;
        let frame =
            control(&Request { id, ask: ask.clone() }).map_err(ConnectionLost::violation)?;
        if let Frame::Control(json) = &frame
            && json.len() + 1 > MAX_FRAME_BYTES
        {
            let found = json.len();
            let what = format!("expected a request below {MAX_FRAME_BYTES} bytes, found {found}");
            return Err(ConnectionLost::new(LossReason::Refused(Code::TooLarge), what));
        }
        match self.write(|out| write_frame(out, &frame)) {
            Ok(()) => Ok(id),
            Err(lost) => {
                Err(self.last_words(id, lost).err().unwrap_or_else(ConnectionLost::closed))
            }
        }
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut PolledSocket<'_>) -> crate::error::Result<()>,
    ) -> Result<(), ConnectionLost> {
        if self.is_spent {
            return Err(ConnectionLost::closed());
        }
        let mut polled = PolledSocket::new(&mut self.socket, self.limits.silence, &self.stop);
        match write(&mut polled) {
            Ok(()) => Ok(()),
            Err(error) => {
                let reason = polled.given_up.unwrap_or(LossReason::Closed);
                self.is_spent = true;
                Err(ConnectionLost::new(reason, error.cause()))
            }
        }
    }

    /// After a write failed with `lost`: what the runner sent before it closed, or `lost`.
    fn last_words(&mut self, id: u64, lost: ConnectionLost) -> Result<Reply, ConnectionLost> {
        self.is_spent = true;
        if lost.reason != LossReason::Closed {
            return Err(lost);
        }
        let mut pending = PendingReply::new(id, &[]);
        while let Ok(incoming) = self.incoming.recv_timeout(POLL) {
            if let Some(reply) = pending.add(incoming)? {
                return Ok(reply);
            }
        }
        Err(lost)
    }

    fn wait_for_reply(
        &mut self,
        id: u64,
        ask: &Ask,
        limit: TimeLimit,
    ) -> Result<Reply, ConnectionLost> {
        let mut pending = PendingReply::new(id, wanted_logits(ask));
        let lost = loop {
            if is_stopped(&self.stop) {
                break ConnectionLost::stopped();
            }
            if limit.is_over() {
                break ConnectionLost::overdue(ask, limit.total);
            }
            let incoming = match self.incoming.recv_timeout(POLL) {
                Ok(incoming) => incoming,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => Incoming::End(ConnectionLost::closed()),
            };
            match pending.add(incoming) {
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
