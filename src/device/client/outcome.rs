//! How a request ended, so that the caller can record it and go on.

use std::fmt;
use std::time::Duration;

use crate::device::protocol::code::Code;
use crate::device::protocol::message::Ask;
use crate::error::{Error, Exit, Result};

/// How a request ended.
#[derive(Debug, Clone, PartialEq)]
pub enum RequestOutcome<T> {
    /// The runner gave a result.
    Finished(Finished<T>),
    /// The runner refused.
    Refused(RefusedRequest),
    /// The runner's process ended while the job ran: the system reclaimed its memory, or it
    /// crashed. A request with a higher attempt runs the job again.
    Killed(Killed),
    /// The runner does not answer any more.
    Gone(Gone),
}

/// The result of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Finished<T> {
    /// The result.
    pub value: T,
    /// The attempt that produced it; 1 for a request that is not a job.
    pub attempt: u32,
    /// Whether it comes from the runner's journal.
    pub replayed: bool,
}

/// Why the runner refused a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRequest {
    /// The protocol's code.
    pub code: Code,
    /// The runner's explanation.
    pub message: String,
    /// The attempt that failed.
    pub attempt: u32,
    /// Whether the refusal comes from the runner's journal.
    pub replayed: bool,
}

/// A job during which the runner's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Killed {
    /// The attempt that was running.
    pub attempt: u32,
    /// What is known of the process's end.
    pub message: String,
}

/// A runner that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Why, as seen from here.
    pub reason: LossReason,
    /// The reason in words.
    pub message: String,
    /// How to mend it; `None` if that is not known.
    pub hint: Option<String>,
    /// How long reconnecting was tried.
    pub after: Duration,
}

/// Why there is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// The phone is not attached, or there is no usbmuxd.
    Detached,
    /// Nothing listens: the app is not open, or the program cannot be started.
    NotListening,
    /// The connection ended.
    Closed,
    /// No data came for as long as the protocol allows.
    Silent,
    /// The other side violates the protocol.
    ProtocolViolation,
    /// A request exceeded its time limit.
    Overdue,
    /// The runner refused the session.
    Refused(Code),
    /// The stop flag was set.
    Stopped,
}

impl LossReason {
    /// How to mend it; `None` if there is no general advice.
    fn hint(self) -> Option<&'static str> {
        match self {
            LossReason::Detached => Some("attach the phone with a cable and unlock it"),
            LossReason::NotListening => Some(
                "start the runner; on a phone, unlock it and open the evalkit runner app; if the app is \
                     not there, run evalkit devices install",
            ),
            LossReason::Closed => {
                Some("start the runner again; on a phone, keep the app in the foreground")
            }
            LossReason::Silent => Some("start the runner again; on a phone, unlock it first"),
            LossReason::ProtocolViolation => {
                Some("check that an evalkit runner listens at this address")
            }
            LossReason::Overdue => Some(
                "start the runner again; if it is only slow, evalkit devices --timeout allows more time",
            ),
            LossReason::Refused(Code::Token) => {
                Some("give the runner's token with --token, or run evalkit devices install again")
            }
            LossReason::Refused(Code::Version) => {
                Some("install the runner of this version of evalkit: evalkit devices install")
            }
            LossReason::Refused(Code::Busy) => Some("end the other evalkit that uses this runner"),
            LossReason::Refused(_) | LossReason::Stopped => None,
        }
    }
}

/// Why a session ended, or could not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLost {
    /// Why.
    pub reason: LossReason,
    /// The reason in words.
    pub message: String,
    /// How to mend it; `None` if that is not known.
    pub hint: Option<String>,
}

impl ConnectionLost {
    /// A reason with its words, and the general advice on it.
    pub(super) fn new(reason: LossReason, message: impl Into<String>) -> ConnectionLost {
        ConnectionLost { reason, message: message.into(), hint: reason.hint().map(str::to_owned) }
    }

    /// A reason that an error explains; the error's advice is better than the general one.
    pub(super) fn explained(reason: LossReason, error: &Error) -> ConnectionLost {
        let lost = ConnectionLost::new(reason, error.cause());
        ConnectionLost { hint: error.advice().map(str::to_owned).or(lost.hint), ..lost }
    }

    /// The stop flag was set.
    pub(super) fn stopped() -> ConnectionLost {
        ConnectionLost::new(LossReason::Stopped, "interrupted")
    }

    /// The stream ended.
    pub(super) fn closed() -> ConnectionLost {
        ConnectionLost::new(LossReason::Closed, "the runner closed the connection")
    }

    /// The runner violated the protocol, in the way that `what` says.
    pub(super) fn violation(what: impl fmt::Display) -> ConnectionLost {
        let message = format!("the runner violates the protocol: {what}");
        ConnectionLost::new(LossReason::ProtocolViolation, message)
    }

    /// The runner did not answer this request within `limit`, though it may have shown that it lives.
    pub(super) fn overdue(ask: &Ask, limit: Duration) -> ConnectionLost {
        let name = ask.name();
        let what = format!("the runner did not answer {name} within {limit:?}");
        let lost = ConnectionLost::new(LossReason::Overdue, what);
        let hint = match ask {
            Ask::Generate { .. } | Ask::Score { .. } => {
                "start the runner again; if it is only slow, ask for fewer tokens"
            }
            Ask::Load { .. } | Ask::Plan { .. } | Ask::Put { .. } | Ask::Commit { .. } => {
                "start the runner again, and run the command again: it goes on where it stopped"
            }
            _ => return lost,
        };
        ConnectionLost { hint: Some(hint.to_owned()), ..lost }
    }

    /// Whether another client is connected.
    pub(super) fn is_busy(&self) -> bool {
        self.reason == LossReason::Refused(Code::Busy)
    }

    /// Whether another attempt may succeed.
    pub(super) fn is_temporary(&self) -> bool {
        match self.reason {
            LossReason::Stopped | LossReason::Overdue => false,
            LossReason::Refused(_) => self.is_busy(),
            _ => true,
        }
    }

    /// The crate's error, with a hint if there is one.
    pub fn into_error(self) -> Error {
        if self.reason == LossReason::Stopped {
            return Error::interrupted();
        }
        let error = Error::surroundings(self.message);
        match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// The end of a request that was tried for this long.
    pub(super) fn into_gone(self, after: Duration) -> Gone {
        let ConnectionLost { reason, message, hint } = self;
        Gone { reason, message, hint, after }
    }
}

impl<T> RequestOutcome<T> {
    /// The result, for callers that do not record failures.
    ///
    /// # Errors
    /// Everything but a result: surroundings if the device failed, input if the request was wrong.
    pub fn finished(self) -> Result<Finished<T>> {
        match self {
            RequestOutcome::Finished(finished) => Ok(finished),
            RequestOutcome::Refused(refused) => Err(refused.into_error()),
            RequestOutcome::Killed(Killed { attempt, message }) => {
                let what =
                    format!("the runner's process ended during attempt {attempt}: {message}");
                Err(Error::surroundings(what)
                    .hint("the model may need more memory than the device has: try a smaller one"))
            }
            RequestOutcome::Gone(Gone { reason, message, hint, .. }) => {
                Err(ConnectionLost { reason, message, hint }.into_error())
            }
        }
    }

    /// Applies `change` to the result, if there is one.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> RequestOutcome<U> {
        match self {
            RequestOutcome::Finished(Finished { value, attempt, replayed }) => {
                RequestOutcome::Finished(Finished { value: change(value), attempt, replayed })
            }
            RequestOutcome::Refused(refused) => RequestOutcome::Refused(refused),
            RequestOutcome::Killed(killed) => RequestOutcome::Killed(killed),
            RequestOutcome::Gone(gone) => RequestOutcome::Gone(gone),
        }
    }
}

impl RefusedRequest {
    /// The crate's error, with a hint.
    fn into_error(self) -> Error {
        let RefusedRequest { code, message, .. } = self;
        let (exit, hint) = match code {
            Code::NoSpace => (Exit::Surroundings, "free space on the device"),
            Code::OutOfMemory => (Exit::Surroundings, "try a smaller model"),
            Code::Hash => (Exit::Surroundings, "a file changed while it was sent: send it again"),
            Code::Busy => (Exit::Surroundings, "wait until the other job on the runner has ended"),
            Code::Io => {
                (Exit::Surroundings, "check whether the device is locked or its disk is full")
            }
            Code::Engine => (Exit::Surroundings, "check the packages with evalkit verify"),
            Code::Interrupted => (Exit::Surroundings, "run the command again"),
            Code::BadFrame | Code::UnknownType | Code::Unknown => {
                (Exit::Surroundings, "install the runner of this version of evalkit")
            }
            Code::NotFound | Code::Incomplete => (Exit::Input, "send the package first"),
            Code::NotLoaded => (Exit::Input, "load a package first"),
            Code::TooLarge => (Exit::Input, "ask for fewer tokens"),
            Code::Unsupported => (Exit::Input, "evalkit devices shows what the runner supports"),
            _ => (Exit::Input, "check that evalkit package wrote the package"),
        };
        Error::new(exit, format!("the runner refuses: {message}")).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_of_an_error_replaces_the_general_one_until_a_request_ends() {
        let locked = Error::surroundings("the phone is locked").hint("unlock it");
        let told = |error: &Error| {
            let lost = ConnectionLost::explained(LossReason::NotListening, error);
            let gone = RequestOutcome::<()>::Gone(lost.into_gone(Duration::ZERO));
            gone.finished().unwrap_err().one_line()
        };
        assert_eq!(told(&locked), "the phone is locked; unlock it");
        let general = LossReason::NotListening.hint().unwrap();
        assert_eq!(told(&Error::surroundings("no answer")), format!("no answer; {general}"));
    }
}
