//! The runner's process: ending it, and starting a new one so that a load is cold.

use std::time::Instant;

use super::answer::Reply;
use super::limits::TimeLimit;
use super::link::Options;
use super::outcome::{ConnectionLost, Finished, LossReason, RequestOutcome};
use super::runner::Runner;
use super::target::Target;
use crate::device::protocol::message::Ask;
use crate::error::{At, Result};

impl Runner {
    /// Connects to a single target. An app on a phone that does not listen is launched, where this machine
    /// can launch it.
    ///
    /// # Errors
    /// Why it cannot be reached or launched, with a hint on how to mend it.
    pub fn connect_or_launch(target: &Target, options: &Options) -> Result<Runner> {
        let place = || target.to_string();
        let mut runner = Runner::unconnected(target, options).at(place)?;
        let opened = match runner.open() {
            Err(lost) if lost.reason == LossReason::NotListening && runner.link.can_relaunch() => {
                runner.link.relaunch().at(place)?;
                runner.session().map(|_| ())
            }
            opened => opened,
        };
        opened.map_err(ConnectionLost::into_error).at(place)?;
        Ok(runner)
    }

    /// Ends the runner's process.
    ///
    /// # Errors
    /// The stop flag was set.
    pub fn exit(&mut self) -> Result<RequestOutcome<()>> {
        let exited = RequestOutcome::Finished(Finished { value: (), attempt: 1, replayed: false });
        let limit = TimeLimit::from_now(self.limits.of(&Ask::Exit));
        let Some(session) = &mut self.session else {
            self.end = self.link.abandon();
            return Ok(exited);
        };
        let reply = session.ask(&Ask::Exit, limit);
        if let Ok(Reply::Failed(refused)) = reply {
            return Ok(RequestOutcome::Refused(refused));
        }
        self.session = None;
        self.end = self.link.end();
        match reply {
            // The process may end before its answer has been sent.
            Ok(_) | Err(ConnectionLost { reason: LossReason::Closed, .. }) => Ok(exited),
            Err(lost) => self.gone(lost, Instant::now()),
        }
    }

    /// Starts the runner in a new process, so that the next load is cold.
    ///
    /// # Errors
    /// The runner cannot be started from here, or does not answer afterwards.
    pub fn restart(&mut self) -> Result<()> {
        let place = self.target.to_string();
        if self.link.is_child() {
            self.exit()?;
            self.session = None;
        } else {
            self.session = None;
            self.link.relaunch().at(|| &place)?;
        }
        self.session().map(|_| ()).map_err(ConnectionLost::into_error).at(|| place)
    }
}
