//! How a runner is reached, again and again: a child is started, a phone connected to.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::outcome::{Lost, Why};
use super::session::{Limits, Session, Stop};
use super::target::Target;
use super::tokens::Tokens;
use crate::device::devicectl::{BUNDLE_ID, Tool};
use crate::device::protocol::message::TOKEN_VARIABLE;
use crate::device::protocol::token::Token;
use crate::device::transport::Socket;
use crate::device::transport::child::{Process, Program};
use crate::device::transport::usbmux::{Address, Event, Fault, Mux, Number, is_same};
use crate::error::{Error, Result};

/// The port that the app on a phone listens on.
pub const APP_PORT: u16 = 47193;
/// How long a child may take to end once its stream has.
const CHILD_PATIENCE: Duration = Duration::from_secs(2);
/// Between looks at the stop flag while waiting for a phone.
const TURN: Duration = Duration::from_millis(200);

/// What is needed to reach runners, beside the target.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The runner's token; a child gets a fresh one, a phone has one that was kept.
    pub token: Option<Token>,
    /// Where a child keeps packages and journal [default: this user's cache].
    pub store: Option<PathBuf>,
    /// Where usbmuxd listens [default: as the environment says].
    pub mux: Option<Address>,
    /// What is started for `host` [default: this program, as a runner].
    pub program: Option<Program>,
    /// Kept tokens [default: this user's].
    pub tokens: Option<Tokens>,
    /// What launches the app on a phone [default: devicectl, on a Mac].
    pub tool: Option<Tool>,
    /// The app's bundle identifier [default: the project's].
    pub bundle_id: Option<String>,
    /// How long things may take.
    pub limits: Limits,
    /// Ends everything when set.
    pub stop: Stop,
}

#[derive(Debug)]
enum Way {
    Child { program: Program, process: Option<Process> },
    Usb { mux: Address, udid: String, relaunch: Option<(Tool, String)> },
    Tcp { host: String, port: u16 },
}

/// A way to a runner.
#[derive(Debug)]
pub struct Link {
    way: Way,
    token: Token,
}

impl Link {
    /// The way to one target; a phone must be attached.
    ///
    /// # Errors
    /// Input errors: `all`, a token that is missing. Surroundings: no such phone.
    pub fn new(target: &Target, options: &Options) -> Result<Link> {
        match target {
            Target::All => Err(Error::input("expected one device, found all")),
            Target::Host => {
                let token = Token::random();
                let mut program = match &options.program {
                    Some(program) => program.clone(),
                    None => own_program(options)?,
                };
                let variable = (TOKEN_VARIABLE.to_owned(), token.as_str().to_owned());
                program.variables.push(variable);
                Ok(Link { way: Way::Child { program, process: None }, token })
            }
            Target::Tcp { host, port } => {
                let token = options.token.clone().ok_or_else(|| no_token(target))?;
                Ok(Link { way: Way::Tcp { host: host.clone(), port: *port }, token })
            }
            Target::Usb(_) => Self::to_phone(target, options),
        }
    }

    fn to_phone(target: &Target, options: &Options) -> Result<Link> {
        let mux = match &options.mux {
            Some(mux) => mux.clone(),
            None => Address::from_environment()?,
        };
        let attached = Mux::open(&mux).and_then(|mut mux| mux.list()).map_err(Fault::into_error)?;
        let mut udids: Vec<String> = attached.into_iter().map(|phone| phone.udid).collect();
        udids.dedup();
        let Some(Target::Usb(Some(udid))) = target.expand(&udids)?.into_iter().next() else {
            return Err(Error::bug("usb means a phone"));
        };
        let kept = || match options.tokens.clone().or_else(Tokens::of_user) {
            Some(tokens) => tokens.get(&udid),
            None => Ok(None),
        };
        let token = match &options.token {
            Some(token) => token.clone(),
            None => kept()?.ok_or_else(|| no_token(target))?,
        };
        let tool = options.tool.clone().or_else(Tool::of_system);
        let bundle_id = options.bundle_id.clone().unwrap_or_else(|| BUNDLE_ID.to_owned());
        let relaunch = tool.map(|tool| (tool, bundle_id));
        Ok(Link { way: Way::Usb { mux, udid, relaunch }, token })
    }

    /// Opens a session. A child that ran is ended and another started.
    ///
    /// # Errors
    /// Why there is none.
    pub fn open(&mut self, limits: &Limits, stop: &Stop) -> Result<Session, Lost> {
        if stop.load(Ordering::SeqCst) {
            return Err(Lost::stopped());
        }
        let socket = match &mut self.way {
            Way::Child { program, process } => {
                *process = None;
                let (started, socket) = program.start().map_err(|error| {
                    let path = program.path.display();
                    Lost::new(Why::NotListening, format!("cannot start {path}: {error}"))
                })?;
                *process = Some(started);
                socket
            }
            Way::Usb { mux, udid, .. } => connect(mux, udid).map_err(|fault| unreached(&fault))?,
            Way::Tcp { host, port } => {
                Socket::tcp(host, *port, limits.handshake).map_err(|error| {
                    Lost::new(Why::NotListening, format!("nothing listens there: {error}"))
                })?
            }
        };
        let session = Session::open(socket, &self.token, limits, stop);
        session.map_err(|lost| match (lost.why, self.end()) {
            (Why::Closed, Some(end)) => Lost::new(Why::Closed, end),
            _ => lost,
        })
    }

    /// Ends the child, where there is one; says how it ended.
    pub fn end(&mut self) -> Option<String> {
        match &mut self.way {
            Way::Child { process, .. } => process.take().map(|process| process.end(CHILD_PATIENCE)),
            _ => None,
        }
    }

    /// Ends the child at once, where there is one that does not answer.
    pub fn abandon(&mut self) -> Option<String> {
        match &mut self.way {
            Way::Child { process, .. } => process.take().map(|process| process.end(Duration::ZERO)),
            _ => None,
        }
    }

    /// Whether the runner is a child of this process.
    pub fn is_child(&self) -> bool {
        matches!(self.way, Way::Child { .. })
    }

    /// The child's process number, where there is one.
    pub fn process_id(&self) -> Option<u32> {
        match &self.way {
            Way::Child { process, .. } => process.as_ref().map(Process::id),
            _ => None,
        }
    }

    /// Whether the app on the phone can be started from here.
    pub fn can_relaunch(&self) -> bool {
        matches!(&self.way, Way::Usb { relaunch: Some(_), .. })
    }

    /// Starts the app on the phone afresh.
    ///
    /// # Errors
    /// Those of devicectl; surroundings where there is none.
    pub fn relaunch(&self) -> Result<()> {
        match &self.way {
            Way::Usb { udid, relaunch: Some((tool, bundle_id)), .. } => {
                tool.launch(udid, bundle_id, &self.token).map(|_| ())
            }
            Way::Usb { .. } => {
                let what = "starting the app on the phone afresh needs a Mac with Xcode";
                Err(Error::surroundings(what).hint("close the app on the phone and open it again"))
            }
            _ => Err(Error::surroundings("this runner cannot be started from here")
                .hint("start it again where it runs")),
        }
    }

    /// Waits before the next try: so long, or until the phone is attached again.
    pub fn wait(&self, lost: &Lost, pause: Duration, left: Duration, stop: &AtomicBool) {
        match &self.way {
            Way::Usb { mux, udid, .. } if lost.why == Why::Detached => {
                if wait_for(mux, udid, left, stop).is_err() {
                    sleep(pause, stop);
                }
            }
            _ => sleep(pause, stop),
        }
    }
}

/// This program as a runner.
fn own_program(options: &Options) -> Result<Program> {
    let path = std::env::current_exe()
        .map_err(|error| Error::surroundings("cannot find this program").because(error))?;
    let store = match &options.store {
        Some(store) => store.clone(),
        None => default_store().ok_or_else(|| {
            Error::surroundings("no folder for the runner's packages: HOME is not set")
        })?,
    };
    let words = ["runner".into(), "--stdio".into(), "--store".into(), store.into()];
    Ok(Program { path, arguments: words.into(), variables: Vec::new() })
}

fn default_store() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let home = || variable("HOME").map(PathBuf::from);
    let base = match variable("XDG_CACHE_HOME") {
        Some(folder) => PathBuf::from(folder),
        None if cfg!(target_os = "macos") => home()?.join("Library/Caches"),
        None => home()?.join(".cache"),
    };
    Some(base.join("evalkit/runner"))
}

fn no_token(target: &Target) -> Error {
    Error::input(format!("{target}: the runner's token is not known")).hint(format!(
        "give it with --token or {TOKEN_VARIABLE}; evalkit devices install keeps one per phone"
    ))
}

fn connect(address: &Address, udid: &str) -> Result<Socket, Fault> {
    let mut mux = Mux::open(address)?;
    let mut found: Vec<_> = mux.list()?;
    found.retain(|phone| is_same(&phone.udid, udid));
    let phone = found.iter().find(|phone| phone.is_usb).or(found.first());
    let phone = phone.ok_or(Fault::Refused(Number::BadDevice))?;
    mux.connect(phone.id, APP_PORT)
}

fn unreached(fault: &Fault) -> Lost {
    let why = match fault {
        Fault::Refused(Number::ConnectionRefused) => Why::NotListening,
        Fault::Absent(..) | Fault::Refused(_) | Fault::Broken(_) => Why::Detached,
        Fault::Silent(_) => Why::Silent,
        Fault::Garbled(_) => Why::Garbled,
    };
    let what = match fault {
        Fault::Refused(Number::BadDevice) => "the phone is not attached".to_owned(),
        Fault::Refused(Number::ConnectionRefused) => {
            "the phone is attached, but the runner does not listen on it".to_owned()
        }
        _ => fault.to_string(),
    };
    Lost::new(why, what)
}

/// Until usbmuxd says that the phone is there, the time is over, or the stop flag is set.
fn wait_for(address: &Address, udid: &str, left: Duration, stop: &AtomicBool) -> Result<(), Fault> {
    let until = Instant::now() + left;
    let mut listener = Mux::open(address)?.listen()?;
    while Instant::now() < until && !stop.load(Ordering::SeqCst) {
        match listener.next(TURN)? {
            Some(Event::Attached(phone)) if is_same(&phone.udid, udid) => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

fn sleep(time: Duration, stop: &AtomicBool) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        std::thread::sleep(left.min(TURN));
    }
}

impl Options {
    /// The same options, sharing the stop flag, with other limits.
    pub fn with_limits(&self, limits: Limits) -> Options {
        Options { limits, stop: Arc::clone(&self.stop), ..self.clone() }
    }
}
