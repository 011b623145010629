//! The runner's process: its end, and a fresh one for cold loads.

use std::time::Instant;

use super::Runner;
use super::outcome::{Finished, Lost, Outcome, Why};
use super::session::Reply;
use crate::device::protocol::message::Ask;
use crate::error::{At, Result};

impl Runner {
    /// Ends the runner's process.
    ///
    /// # Errors
    /// The stop flag.
    pub fn exit(&mut self) -> Result<Outcome<()>> {
        let limit = self.limits.request;
        let Some(session) = &mut self.session else {
            self.end = self.link.abandon();
            return Ok(Outcome::Finished(Finished { value: (), attempt: 1, replayed: false }));
        };
        let reply = session.ask(&Ask::Exit, limit, &mut |_| ());
        if let Ok(Reply::Failed(refused)) = reply {
            return Ok(Outcome::Refused(refused));
        }
        self.session = None;
        self.end = self.link.end();
        match reply {
            // Its end may overtake its answer.
            Ok(_) | Err(Lost { why: Why::Closed, .. }) => {
                Ok(Outcome::Finished(Finished { value: (), attempt: 1, replayed: false }))
            }
            Err(lost) => self.gone(lost, Instant::now()),
        }
    }

    /// A fresh process: for cold loads.
    ///
    /// # Errors
    /// Where it cannot be started from here; why it does not answer.
    pub fn restart(&mut self) -> Result<()> {
        let place = self.target.to_string();
        if self.link.is_child() {
            self.exit()?;
            self.session = None;
        } else {
            self.session = None;
            self.link.relaunch().at(|| &place)?;
        }
        self.session().map(|_| ()).map_err(Lost::into_error).at(|| place)
    }
}
