//! Connections: the handshake, and one session at a time.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::wire::{Patient, SILENCE, Wire};
use super::{Host, NAME, lock, session};
use crate::device::protocol::frame::{Frame, MAX_GREETING_BYTES, read_frame};
use crate::device::protocol::message::{Code, Greeting, Hello, PROTOCOL};
use crate::device::protocol::{control, message};
use crate::error::{Error, Exit, Result};

/// Connections that may be in their handshake.
const MAX_GREETING: usize = 16;
/// How long a new client waits for the end of a session whose client has left.
const LEAVING: Duration = Duration::from_secs(1);
/// Pause after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves one session on standard input and output, until input ends. Nothing else that this
/// process prints reaches standard output from here on.
///
/// # Errors
/// Surroundings: input or output cannot be used.
pub fn serve_stdio(host: &Arc<Host>) -> Result<()> {
    let failed = |e| Error::surroundings("cannot use standard input and output").because(e);
    let own = |fd: std::io::Result<OwnedFd>| fd.map(File::from).map_err(failed);
    let input = own(std::io::stdin().as_fd().try_clone_to_owned())?;
    let output = own(std::io::stdout().as_fd().try_clone_to_owned())?;
    rustix::stdio::dup2_stdout(std::io::stderr()).map_err(|e| failed(e.into()))?;
    connection(host, input, output, None);
    Ok(())
}

/// Serves sessions of clients that connect, one at a time, until one asks the runner to exit.
///
/// # Errors
/// Surroundings: no thread can be started.
pub fn serve_listener(host: &Arc<Host>, listener: TcpListener) -> Result<()> {
    let accepting = Arc::clone(host);
    let accept = move || {
        let greeting = Arc::new(AtomicUsize::new(0));
        for stream in listener.incoming() {
            match stream {
                Ok(stream) => greet(&accepting, stream, &greeting),
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    };
    std::thread::Builder::new()
        .name("accept".into())
        .spawn(accept)
        .map_err(|e| Error::surroundings("cannot start a thread").because(e))?;
    host.wait_for_end();
    Ok(())
}

/// Gives a connection a thread, unless too many have not yet said who they are.
fn greet(host: &Arc<Host>, stream: TcpStream, greeting: &Arc<AtomicUsize>) {
    if greeting.fetch_add(1, Relaxed) >= MAX_GREETING {
        greeting.fetch_sub(1, Relaxed);
        return;
    }
    let (host, count) = (Arc::clone(host), Arc::clone(greeting));
    let serve = move || {
        let _ = stream.set_nodelay(true);
        // What cannot be sent within this time was not read: the client is gone.
        let _ = stream.set_write_timeout(Some(SILENCE));
        let ends = (stream.try_clone(), stream.try_clone());
        if let (Ok(input), Ok(output)) = ends {
            let file = |stream: TcpStream| File::from(OwnedFd::from(stream));
            connection(&host, file(input), file(output), Some(stream));
        }
        count.fetch_sub(1, Relaxed);
    };
    if std::thread::Builder::new().name("session".into()).spawn(serve).is_err() {
        greeting.fetch_sub(1, Relaxed);
    }
}

/// The handshake and, when it is good, the session.
fn connection(host: &Arc<Host>, input: File, output: File, socket: Option<TcpStream>) {
    let wire = Wire::new(output, socket);
    let mut input = Patient::new(input, Arc::clone(&wire));
    input.until = Some(Instant::now() + SILENCE);
    let refused = match read_frame(&mut input, MAX_GREETING_BYTES) {
        Ok(Some(frame)) => check(host, &frame),
        Err(error) if error.exit() == Exit::Input => Err((Code::BadFrame, error.cause())),
        Ok(None) | Err(_) => return wire.give_up(),
    };
    let seat = refused.and_then(|()| host.take_seat());
    let greeting = match &seat {
        Ok(_) => Greeting::Welcome { protocol: PROTOCOL, runner: NAME.to_owned() },
        Err((code, message)) => {
            Greeting::Refused { protocol: PROTOCOL, code: *code, message: message.clone() }
        }
    };
    let is_sent = control(&greeting).is_ok_and(|frame| wire.send(&frame));
    match seat {
        Ok(seat) if is_sent => {
            input.until = None;
            session::serve(host, &wire, input);
            drop(seat);
        }
        Ok(_) => {}
        Err(_) => wire.linger(),
    }
    wire.give_up();
}

/// Whether a first frame opens a session.
fn check(host: &Host, frame: &Frame) -> Result<(), (Code, String)> {
    let fields: Map<String, Value> =
        message(frame).map_err(|error| (Code::BadFrame, error.cause()))?;
    let protocol = fields.get("protocol").and_then(Value::as_u64);
    if fields.get("type").and_then(Value::as_str) == Some("hello")
        && let Some(found) = protocol.filter(|found| *found != u64::from(PROTOCOL))
    {
        let what = format!("this runner speaks protocol {PROTOCOL}, the client {found}");
        return Err((Code::Version, what));
    }
    let hello: Hello = serde_json::from_value(Value::Object(fields))
        .map_err(|e| (Code::BadRequest, format!("expected a hello: {e}")))?;
    match host.token.is(&hello.token) {
        true => Ok(()),
        false => Err((Code::Token, "not the token that this runner was started with".into())),
    }
}

/// The one place of a session; free again when dropped.
struct Seat(Arc<Host>);

impl Drop for Seat {
    fn drop(&mut self) {
        *lock(&self.0.session) = false;
        self.0.left.notify_all();
    }
}

impl Host {
    /// Takes the place of the session, waiting a moment for one whose client has just left.
    fn take_seat(self: &Arc<Self>) -> Result<Seat, (Code, String)> {
        let taken = lock(&self.session);
        let waited = self.left.wait_timeout_while(taken, LEAVING, |taken| *taken);
        let (mut taken, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        if *taken {
            return Err((Code::Busy, "another client is connected".into()));
        }
        *taken = true;
        Ok(Seat(Arc::clone(self)))
    }

    /// Ends the process, or what serves in it.
    pub(super) fn end(&self) {
        *lock(&self.over) = true;
        self.told.notify_all();
    }

    fn wait_for_end(&self) {
        let ended = self.told.wait_while(lock(&self.over), |over| !*over);
        drop(ended.unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}
