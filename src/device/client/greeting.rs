//! The handshake.

use std::io::{self, Write};
use std::sync::atomic::AtomicBool;

use super::limits::{Limits, POLL};
use super::outcome::{ConnectionLost, LossReason};
use super::polled_socket::PolledSocket;
use crate::device::protocol::code::Code;
use crate::device::protocol::frame::{MAX_GREETING_BYTES, read_frame, write_frame};
use crate::device::protocol::message::{Greeting, Hello, PROTOCOL};
use crate::device::protocol::token::Token;
use crate::device::protocol::{control, message};
use crate::device::transport::Socket;
use crate::error::{Error, Exit};

/// Greets a runner.
///
/// # Errors
/// The runner refused, or no valid greeting came in time.
pub(super) fn greet(
    socket: &Socket,
    token: &Token,
    limits: &Limits,
    stop: &AtomicBool,
) -> Result<(), ConnectionLost> {
    let closed = |error: io::Error| ConnectionLost::new(LossReason::Closed, error.to_string());
    let mut socket = socket.try_clone().map_err(closed)?;
    socket.set_read_timeout(POLL).and_then(|()| socket.set_write_timeout(POLL)).map_err(closed)?;
    let mut polled = PolledSocket::new(&mut socket, limits.handshake, stop);
    let hello = Hello {
        protocol: PROTOCOL,
        token: token.as_str().to_owned(),
        client: concat!("evalkit ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let mut frame = Vec::new();
    // A runner that refuses may close before it has read the hello. Its answer then counts, not
    // the failure of this write.
    let written =
        control(&hello).and_then(|hello| write_frame(&mut frame, &hello)).and_then(|()| {
            polled.write_all(&frame).map_err(|error| Error::bug("hello").because(error))
        });
    let greeting = read_frame(&mut polled, MAX_GREETING_BYTES);
    let frame = match (greeting, polled.given_up) {
        (Ok(Some(frame)), _) => frame,
        (_, Some(LossReason::Stopped)) => return Err(ConnectionLost::stopped()),
        (_, Some(reason)) => {
            let time = limits.handshake;
            return Err(ConnectionLost::new(reason, format!("no greeting came within {time:?}")));
        }
        (Ok(None), None) => {
            let what = "the runner closed the connection without a greeting";
            return Err(ConnectionLost::new(LossReason::Closed, what));
        }
        (Err(error), None) if error.exit() == Exit::Input => {
            return Err(ConnectionLost::violation(error.cause()));
        }
        (Err(error), None) => {
            let cause = written.err().unwrap_or(error).cause();
            return Err(ConnectionLost::new(LossReason::Closed, cause));
        }
    };
    match message(&frame).map_err(|error| ConnectionLost::violation(error.cause()))? {
        Greeting::Welcome { protocol: PROTOCOL, .. } => Ok(()),
        Greeting::Welcome { protocol, .. } => Err(other_version(protocol)),
        Greeting::Refused { protocol, code: Code::Version, .. } => Err(other_version(protocol)),
        Greeting::Refused { code, message, .. } => {
            let what = format!("the runner refuses: {message}");
            Err(ConnectionLost::new(LossReason::Refused(code), what))
        }
    }
}

fn other_version(found: u32) -> ConnectionLost {
    let what = format!("the runner speaks version {found} of the protocol, evalkit {PROTOCOL}");
    ConnectionLost::new(LossReason::Refused(Code::Version), what)
}
