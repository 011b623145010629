//! The runner's process: ending it, and starting a new one so that a load is cold.

use std::time::Instant;

use super::answer::Reply;
use super::outcome::{ConnectionLost, Finished, LossReason, RequestOutcome};
use super::runner::Runner;
use crate::device::protocol::message::Ask;
use crate::error::{At, Result};

impl Runner {
    /// Ends the runner's process.
    ///
    /// # Errors
    /// The stop flag was set.
    pub fn exit(&mut self) -> Result<RequestOutcome<()>> {
        let exited = RequestOutcome::Finished(Finished { value: (), attempt: 1, replayed: false });
        let limit = self.limits.request;
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
