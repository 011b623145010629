//! How a request ended, so that whoever asked can write it down and go on.

use std::fmt;
use std::time::Duration;

use crate::device::protocol::message::Code;
use crate::error::{Error, Exit, Result};

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome<T> {
    /// It was done.
    Finished(Finished<T>),
    /// The runner said no.
    Refused(Refused),
    /// The runner's process ended while the job ran: the system took its memory back, or it
    /// crashed. A request with a higher attempt runs the job again.
    Killed(Killed),
    /// The runner does not answer any more.
    Gone(Gone),
}

/// What a request gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished<T> {
    /// The result.
    pub value: T,
    /// The attempt that it is of; 1 for what is no job.
    pub attempt: u32,
    /// Whether the runner took it from its journal.
    pub replayed: bool,
}

/// Why the runner said no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The protocol's code.
    pub code: Code,
    /// The same in the runner's words.
    pub message: String,
    /// The attempt that it is of.
    pub attempt: u32,
    /// Whether the runner took it from its journal.
    pub replayed: bool,
}

/// A job whose process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Killed {
    /// The attempt that was.
    pub attempt: u32,
    /// What is known of the end.
    pub message: String,
}

/// A runner that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Why, as far as it shows from here.
    pub why: Why,
    /// The same in words.
    pub message: String,
    /// How long it was tried to reach it again.
    pub after: Duration,
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The phone is not attached, or there is no usbmuxd.
    Detached,
    /// Nothing listens: the app is not open, the program cannot be started.
    NotListening,
    /// The connection ended.
    Closed,
    /// Nothing came for as long as the protocol allows.
    Silent,
    /// The other side does not keep to the protocol.
    Garbled,
    /// A request took longer than it may.
    Overdue,
    /// The runner refused the session.
    Refused(Code),
    /// The stop flag was set.
    Stopped,
}

impl Why {
    /// The name in records.
    pub fn name(self) -> &'static str {
        match self {
            Why::Detached => "detached",
            Why::NotListening => "not_listening",
            Why::Closed => "closed",
            Why::Silent => "silent",
            Why::Garbled => "garbled",
            Why::Overdue => "overdue",
            Why::Refused(_) => "refused",
            Why::Stopped => "stopped",
        }
    }

    /// How to mend it, where that is known.
    pub fn hint(self) -> Option<&'static str> {
        match self {
            Why::Detached => Some("attach the phone with a cable and unlock it"),
            Why::NotListening => {
                Some("start the runner: on a phone, unlock it and open the evalkit runner app")
            }
            Why::Closed => Some("start the runner again; on a phone, leave it in the foreground"),
            Why::Silent => Some("start the runner again; on a phone, unlock it first"),
            Why::Garbled => Some("is it an evalkit runner that listens there?"),
            Why::Overdue => Some("give it more time with --timeout, or a smaller task"),
            Why::Refused(Code::Token) => {
                Some("give the runner's token with --token, or run evalkit devices install again")
            }
            Why::Refused(Code::Version) => {
                Some("install the runner that came with this evalkit: evalkit devices install")
            }
            Why::Refused(Code::Busy) => Some("end the other evalkit that uses this runner"),
            Why::Refused(_) | Why::Stopped => None,
        }
    }
}

/// A session that ended, or could not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Why.
    pub why: Why,
    /// The same in words.
    pub message: String,
}

impl Lost {
    /// A reason with its words.
    pub fn new(why: Why, message: impl Into<String>) -> Lost {
        Lost { why, message: message.into() }
    }

    /// The stop flag.
    pub fn stopped() -> Lost {
        Lost::new(Why::Stopped, "interrupted")
    }

    /// Whether another client is connected.
    pub fn is_busy(&self) -> bool {
        self.why == Why::Refused(Code::Busy)
    }

    /// Whether another try may end otherwise.
    pub fn is_passing(&self) -> bool {
        !matches!(self.why, Why::Stopped | Why::Overdue)
            && (!matches!(self.why, Why::Refused(_)) || self.is_busy())
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Lost {
    /// As an error, with a hint where one is known.
    pub fn into_error(self) -> Error {
        let exit = if self.why == Why::Stopped { Exit::Interrupted } else { Exit::Surroundings };
        let error = Error::new(exit, self.message);
        match self.why.hint() {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl<T> Outcome<T> {
    /// What was done, for callers that keep no record of failures.
    ///
    /// # Errors
    /// Everything else: exit code 3 where the surroundings are at fault, 2 where the question is.
    pub fn finished(self) -> Result<Finished<T>> {
        match self {
            Outcome::Finished(finished) => Ok(finished),
            Outcome::Refused(refused) => Err(refused.into_error()),
            Outcome::Killed(Killed { attempt, message }) => Err(Error::surroundings(format!(
                "the runner's process ended during attempt {attempt}: {message}"
            ))
            .hint("the model may need more memory than the device gives: try a smaller one")),
            Outcome::Gone(Gone { why, message, .. }) => Err(Lost { why, message }.into_error()),
        }
    }

    /// The same with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Outcome::Finished(Finished { value, attempt, replayed }) => {
                Outcome::Finished(Finished { value: change(value), attempt, replayed })
            }
            Outcome::Refused(refused) => Outcome::Refused(refused),
            Outcome::Killed(killed) => Outcome::Killed(killed),
            Outcome::Gone(gone) => Outcome::Gone(gone),
        }
    }
}

impl Refused {
    /// As an error, with a hint where one is known.
    pub fn into_error(self) -> Error {
        let Refused { code, message, .. } = self;
        let (exit, hint) = match code {
            Code::NoSpace => (Exit::Surroundings, "free space on the device"),
            Code::OutOfMemory => (Exit::Surroundings, "try a smaller model"),
            Code::Hash => (Exit::Surroundings, "a file changed while it was sent: send it again"),
            Code::Busy => (Exit::Surroundings, "another job runs there: wait for it"),
            Code::Io => (Exit::Surroundings, "is the device's disk full or locked?"),
            Code::Engine => (Exit::Surroundings, "check the packages with evalkit verify"),
            Code::Interrupted => (Exit::Surroundings, "ask again with a higher attempt"),
            Code::BadFrame | Code::UnknownType | Code::Unknown => {
                (Exit::Surroundings, "install the runner that came with this evalkit")
            }
            Code::NotFound | Code::Incomplete => (Exit::Input, "send the package first"),
            Code::NotLoaded => (Exit::Input, "load a package first"),
            Code::TooLarge => (Exit::Input, "ask for fewer tokens"),
            Code::Unsupported => (Exit::Input, "evalkit devices says what the runner can do"),
            _ => (Exit::Input, "is the package one that evalkit package wrote?"),
        };
        Error::new(exit, format!("the runner refuses: {message}")).hint(hint)
    }
}
