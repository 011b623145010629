//! How a runner is reached: a child is started, a phone or an address is connected to. A link can be
//! opened again after its connection was lost.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::limits::{Limits, Stop, is_stopped};
use super::outcome::{ConnectionLost, LossReason};
use super::session::Session;
use super::target::Target;
use super::token_store::TokenStore;
use crate::device::devicectl::{BUNDLE_ID, Tool};
use crate::device::protocol::message::TOKEN_VARIABLE;
use crate::device::protocol::token::Token;
use crate::device::transport::Socket;
use crate::device::transport::child::{Process, Program};
use crate::device::transport::usbmux::{Address, Mux, MuxError, PhoneEvent, ResultCode, is_same};
use crate::error::{Error, Result};

/// The port on which the app on a phone listens.
pub const APP_PORT: u16 = 47193;
/// How long a child may take to end after its stream has ended.
const CHILD_PATIENCE: Duration = Duration::from_secs(2);
/// Interval between checks of the stop flag while waiting for a phone.
const POLL: Duration = Duration::from_millis(200);

/// What is needed to reach a runner, besides the target.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The runner's token [default: a random one for a child, the stored one for a phone].
    pub token: Option<Token>,
    /// The token of a runner of which none is given or stored.
    pub fallback_token: Option<Token>,
    /// Where usbmuxd listens [default: the address that the environment names].
    pub mux: Option<Address>,
    /// What is started for `host` [default: this program, as a runner].
    pub program: Option<Program>,
    /// The stored tokens of phones [default: this user's].
    pub tokens: Option<TokenStore>,
    /// How long things may take.
    pub limits: Limits,
    /// Set to end all waiting.
    pub stop: Stop,
}

#[derive(Debug)]
enum Route {
    Child { program: Program, process: Option<Process> },
    Usb { mux: Address, udid: String, relaunch: Option<App> },
    Tcp { host: String, port: u16 },
}

/// The app on a phone, and the tool that launches it.
#[derive(Debug)]
struct App {
    tool: Tool,
    bundle_id: String,
}

/// How one runner is reached.
#[derive(Debug)]
pub(super) struct Link {
    route: Route,
    token: Token,
}

impl Link {
    /// The link to a single target. A phone must be attached.
    ///
    /// # Errors
    /// Input if the target is `all`; surroundings if its token is not known or the phone is not
    /// attached.
    pub fn new(target: &Target, options: &Options) -> Result<Link> {
        match target {
            Target::All => Err(Error::input("expected one device, found all")),
            Target::Host => {
                let token = Token::random();
                let mut program = match &options.program {
                    Some(program) => program.clone(),
                    None => own_program()?,
                };
                let variable = (TOKEN_VARIABLE.to_owned(), token.as_str().to_owned());
                program.variables.push(variable);
                Ok(Link { route: Route::Child { program, process: None }, token })
            }
            Target::Tcp { host, port } => {
                let token = options.token.as_ref().or(options.fallback_token.as_ref());
                let token = token.cloned().ok_or_else(no_token)?;
                Ok(Link { route: Route::Tcp { host: host.clone(), port: *port }, token })
            }
            Target::Usb(_) => Self::to_phone(target, options),
        }
    }

    fn to_phone(target: &Target, options: &Options) -> Result<Link> {
        let mux = match &options.mux {
            Some(mux) => mux.clone(),
            None => Address::from_environment()?,
        };
        let attached =
            Mux::open(&mux).and_then(|mut mux| mux.list()).map_err(MuxError::into_error)?;
        let mut udids: Vec<String> = attached.into_iter().map(|phone| phone.udid).collect();
        udids.dedup();
        let Some(Target::Usb(Some(udid))) = target.expand(&udids)?.into_iter().next() else {
            return Err(Error::bug("usb means a phone"));
        };
        let store = options.tokens.clone().or_else(TokenStore::of_user);
        let token = match (&options.token, &store) {
            (Some(token), _) => Some(token.clone()),
            // The phone's own token: the other may be meant for another runner.
            (None, Some(store)) => store.get(&udid)?.or_else(|| options.fallback_token.clone()),
            (None, None) => options.fallback_token.clone(),
        };
        let token = token.ok_or_else(no_token_of_phone)?;
        let relaunch = match Tool::of_system() {
            Some(tool) => {
                let stored = store.map(|store| store.bundle_id(&udid)).transpose()?.flatten();
                Some(App { tool, bundle_id: stored.unwrap_or_else(|| BUNDLE_ID.to_owned()) })
            }
            None => None,
        };
        Ok(Link { route: Route::Usb { mux, udid, relaunch }, token })
    }

    /// Opens a session. If the runner is a child, a running one is ended and a new one started.
    ///
    /// # Errors
    /// Why there is no session.
    pub fn open(&mut self, limits: &Limits, stop: &Stop) -> Result<Session, ConnectionLost> {
        if is_stopped(stop) {
            return Err(ConnectionLost::stopped());
        }
        let socket = match &mut self.route {
            Route::Child { program, process } => {
                *process = None;
                let (started, socket) = program.start().map_err(|error| {
                    let path = program.path.display();
                    let what = format!("cannot start {path}: {error}");
                    ConnectionLost::new(LossReason::NotListening, what)
                })?;
                *process = Some(started);
                socket
            }
            Route::Usb { mux, udid, .. } => {
                connect(mux, udid).map_err(|error| unreached(&error))?
            }
            Route::Tcp { host, port } => {
                Socket::tcp(host, *port, limits.handshake).map_err(|error| {
                    let what = format!("nothing listens there: {error}");
                    ConnectionLost::new(LossReason::NotListening, what)
                })?
            }
        };
        let session = Session::open(socket, &self.token, limits, stop);
        session.map_err(|lost| match (lost.reason, self.end()) {
            (LossReason::Closed, Some(end)) => ConnectionLost::new(LossReason::Closed, end),
            _ => lost,
        })
    }

    /// Waits for the child to end, or kills it. Returns how it ended; `None` if there is no child.
    pub fn end(&mut self) -> Option<String> {
        self.end_within(CHILD_PATIENCE)
    }

    /// Ends a child that does not answer at once. Returns how it ended; `None` if there is no child.
    pub fn abandon(&mut self) -> Option<String> {
        self.end_within(Duration::ZERO)
    }

    fn end_within(&mut self, patience: Duration) -> Option<String> {
        match &mut self.route {
            Route::Child { process, .. } => process.take().map(|process| process.end(patience)),
            _ => None,
        }
    }

    /// Whether the runner is a child of this process.
    pub fn is_child(&self) -> bool {
        matches!(self.route, Route::Child { .. })
    }

    /// Whether the app on the phone can be launched from here.
    pub fn can_relaunch(&self) -> bool {
        matches!(&self.route, Route::Usb { relaunch: Some(_), .. })
    }

    /// Launches the app on the phone in a new process.
    ///
    /// # Errors
    /// Errors of devicectl; surroundings if the runner cannot be launched from here.
    pub fn relaunch(&self) -> Result<()> {
        match &self.route {
            Route::Usb { udid, relaunch: Some(app), .. } => {
                app.tool.launch(udid, &app.bundle_id, &self.token)
            }
            Route::Usb { .. } => {
                let what = "launching the app on the phone needs a Mac with Xcode";
                Err(Error::surroundings(what).hint("close the app on the phone and open it again"))
            }
            _ => Err(Error::surroundings("this runner cannot be started from this machine")
                .hint("start it again on its own machine")),
        }
    }

    /// Waits before the next attempt to connect: for `pause`, or, if the phone was detached, for up
    /// to `left` until it is attached again.
    pub fn wait(&self, lost: &ConnectionLost, pause: Duration, left: Duration, stop: &AtomicBool) {
        match &self.route {
            Route::Usb { mux, udid, .. } if lost.reason == LossReason::Detached => {
                if wait_for_phone(mux, udid, left, stop).is_err() {
                    sleep(pause, stop);
                }
            }
            _ => sleep(pause, stop),
        }
    }
}

/// This program as a runner, on the store that it uses by default.
fn own_program() -> Result<Program> {
    let path = std::env::current_exe().map_err(|error| {
        Error::surroundings("cannot find the file of this program").because(error)
    })?;
    let words = ["runner".into(), "--stdio".into()];
    Ok(Program { path, arguments: words.into(), variables: Vec::new() })
}

fn no_token() -> Error {
    Error::surroundings("the runner's token is not known")
        .hint(format!("give it with --token or {TOKEN_VARIABLE}"))
}

fn no_token_of_phone() -> Error {
    Error::surroundings("the runner's token is not known").hint(format!(
        "run evalkit devices install on a Mac; if the runner was installed from another machine, give its \
         token with --token or {TOKEN_VARIABLE}"
    ))
}

fn connect(address: &Address, udid: &str) -> Result<Socket, MuxError> {
    let mut mux = Mux::open(address)?;
    let mut found: Vec<_> = mux.list()?;
    found.retain(|phone| is_same(&phone.udid, udid));
    let phone = found.iter().find(|phone| phone.is_usb).or(found.first());
    let phone = phone.ok_or(MuxError::Refused(ResultCode::BadDevice))?;
    mux.connect(phone.id, APP_PORT)
}

fn unreached(error: &MuxError) -> ConnectionLost {
    let reason = match error {
        MuxError::Refused(ResultCode::ConnectionRefused) => LossReason::NotListening,
        MuxError::Absent(..) | MuxError::Refused(_) | MuxError::Broken(_) => LossReason::Detached,
        MuxError::Silent(_) => LossReason::Silent,
        MuxError::ProtocolViolation(_) => LossReason::ProtocolViolation,
    };
    let what = match error {
        MuxError::Refused(ResultCode::BadDevice) => "the phone is not attached".to_owned(),
        MuxError::Refused(ResultCode::ConnectionRefused) => {
            "the phone is attached, but no runner listens on it".to_owned()
        }
        _ => error.to_string(),
    };
    ConnectionLost::new(reason, what)
}

/// Waits until usbmuxd reports the phone, `left` is over, or the stop flag is set.
fn wait_for_phone(
    address: &Address,
    udid: &str,
    left: Duration,
    stop: &AtomicBool,
) -> Result<(), MuxError> {
    let until = Instant::now() + left;
    let mut listener = Mux::open(address)?.listen()?;
    while Instant::now() < until && !is_stopped(stop) {
        match listener.next(POLL)? {
            Some(PhoneEvent::Attached(phone)) if is_same(&phone.udid, udid) => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

/// Sleeps for `time`, or until the stop flag is set.
fn sleep(time: Duration, stop: &AtomicBool) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if is_stopped(stop) {
            return;
        }
        std::thread::sleep(left.min(POLL));
    }
}
