//! Connections: the handshake, and one session at a time.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::client_stream::{ClientReader, ClientWriter, SILENCE};
use super::greeting_queue::{GreetingPlace, GreetingQueue};
use super::locks::lock;
use super::machine::NAME;
use super::session;
use super::shared::Host;
use crate::device::protocol::code::{Code, Refusal};
use crate::device::protocol::frame::{Frame, MAX_GREETING_BYTES, read_frame};
use crate::device::protocol::message::{Greeting, Hello, PROTOCOL};
use crate::device::protocol::{control, message};
use crate::error::{Error, Exit, Result};

/// How long a client may take to greet.
const GREETING: Duration = Duration::from_secs(3);
/// How long a new client waits for a session to end whose client has just left.
const LEAVING: Duration = Duration::from_secs(1);
/// Pause after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves one session on standard input and output, until input ends. What this process prints
/// otherwise goes to standard error from here on.
///
/// # Errors
/// Surroundings if standard input or output cannot be used.
pub fn serve_stdio(host: &Arc<Host>) -> Result<()> {
    let failed = |e| Error::surroundings("cannot use standard input and output").because(e);
    let own = |fd: std::io::Result<OwnedFd>| fd.map(File::from).map_err(failed);
    let input = own(std::io::stdin().as_fd().try_clone_to_owned())?;
    let output = own(std::io::stdout().as_fd().try_clone_to_owned())?;
    rustix::stdio::dup2_stdout(std::io::stderr()).map_err(|e| failed(e.into()))?;
    connection(host, input, output, None, None);
    Ok(())
}

/// Serves clients that connect, one session at a time, until a client asks the runner to exit.
///
/// # Errors
/// Surroundings if no thread can be started.
pub fn serve_listener(host: &Arc<Host>, listener: TcpListener) -> Result<()> {
    let accepting = Arc::clone(host);
    let accept = move || {
        let greeting = Arc::new(GreetingQueue::default());
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
    host.wait_for_exit();
    Ok(())
}

/// Gives a connection a thread, and a place among those that have not greeted.
fn greet(host: &Arc<Host>, stream: TcpStream, greeting: &Arc<GreetingQueue>) {
    let Ok(place) = greeting.enter(&stream) else { return };
    let host = Arc::clone(host);
    let serve = move || {
        let _ = stream.set_nodelay(true);
        // A client that does not read for this long is gone.
        let _ = stream.set_write_timeout(Some(SILENCE));
        let ends = (stream.try_clone(), stream.try_clone());
        if let (Ok(input), Ok(output)) = ends {
            let file = |stream: TcpStream| File::from(OwnedFd::from(stream));
            connection(&host, file(input), file(output), Some(stream), Some(place));
        }
    };
    // Without a thread, the connection is closed.
    let _ = std::thread::Builder::new().name("session".into()).spawn(serve);
}

/// The handshake and, if it succeeds, the session. `place` is left as soon as the client has greeted.
fn connection(
    host: &Arc<Host>,
    input: File,
    output: File,
    socket: Option<TcpStream>,
    place: Option<GreetingPlace>,
) {
    let writer = ClientWriter::new(output, socket);
    let mut input = ClientReader::new(input, Arc::clone(&writer));
    input.until = Some(Instant::now() + GREETING);
    let checked = match read_frame(&mut input, MAX_GREETING_BYTES) {
        Ok(Some(frame)) => check(host, &frame),
        Err(error) if error.exit() == Exit::Input => {
            Err(Refusal::new(Code::BadFrame, error.cause()))
        }
        Ok(None) | Err(_) => return writer.give_up(),
    };
    if checked.is_ok() {
        drop(place);
    }
    let seat = checked.and_then(|()| host.take_seat());
    let greeting = match &seat {
        Ok(_) => Greeting::Welcome { protocol: PROTOCOL, runner: NAME.to_owned() },
        Err(Refusal { code, message }) => {
            Greeting::Refused { protocol: PROTOCOL, code: *code, message: message.clone() }
        }
    };
    let is_sent = control(&greeting).is_ok_and(|frame| writer.send(&frame));
    match seat {
        Ok(seat) if is_sent => {
            input.until = None;
            session::serve(host, &writer, input);
            drop(seat);
        }
        Ok(_) => {}
        Err(_) => writer.drain(),
    }
    writer.give_up();
}

/// Checks the first frame of a connection.
fn check(host: &Host, frame: &Frame) -> Result<(), Refusal> {
    let fields: Map<String, Value> =
        message(frame).map_err(|error| Refusal::new(Code::BadFrame, error.cause()))?;
    let protocol = fields.get("protocol").and_then(Value::as_u64);
    if fields.get("type").and_then(Value::as_str) == Some("hello")
        && let Some(found) = protocol.filter(|found| *found != u64::from(PROTOCOL))
    {
        let what =
            format!("this runner speaks version {PROTOCOL} of the protocol, the client {found}");
        return Err(Refusal::new(Code::Version, what));
    }
    let hello: Hello = serde_json::from_value(Value::Object(fields))
        .map_err(|e| Refusal::new(Code::BadRequest, format!("expected a hello: {e}")))?;
    if !host.token.is(&hello.token) {
        let what = "this is not the token that the runner was started with";
        return Err(Refusal::new(Code::Token, what));
    }
    Ok(())
}

/// The place of the one session; it is free again when dropped.
struct Seat(Arc<Host>);

impl Drop for Seat {
    fn drop(&mut self) {
        *lock(&self.0.session) = false;
        self.0.session_ended.notify_all();
    }
}

impl Host {
    /// Takes the place of the session, and waits a moment if its last client has just left.
    fn take_seat(self: &Arc<Self>) -> Result<Seat, Refusal> {
        let taken = lock(&self.session);
        let waited = self.session_ended.wait_timeout_while(taken, LEAVING, |taken| *taken);
        let (mut taken, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        if *taken {
            return Err(Refusal::new(Code::Busy, "another client is connected"));
        }
        *taken = true;
        Ok(Seat(Arc::clone(self)))
    }

    /// Makes [`serve_listener`] return.
    pub(super) fn exit(&self) {
        *lock(&self.exiting) = true;
        self.exit_asked.notify_all();
    }

    fn wait_for_exit(&self) {
        let asked = self.exit_asked.wait_while(lock(&self.exiting), |exiting| !*exiting);
        drop(asked.unwrap_or_else(std::sync::PoisonError::into_inner));
    }
}
