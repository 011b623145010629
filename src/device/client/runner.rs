//! A runner that is asked for results, over as many connections as it takes.

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::answer::{Logits, Reply};
use super::limits::{Limits, Stop, TimeLimit};
use super::link::{Link, Options};
use super::outcome::{
    ConnectionLost, Finished, Killed, LossReason, RefusedRequest, RequestOutcome,
};
use super::session::Session;
use super::target::Target;
use crate::device::protocol::code::Code;
use crate::device::protocol::message::{Ask, ComputeUnits, Job, ModelFunction};
use crate::device::protocol::result::{
    ComputePlan, Description, Figures, Generated, Listing, Loaded, Scored,
};
use crate::error::{At, Result};
use crate::units::hex;

/// The pause before the second attempt to connect; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often a runner is greeted that closes the connection without a greeting, as it does when others
/// open connections faster than it can greet them.
const MOST_GREETINGS: u32 = 10;
/// How long the first connection waits for a runner whose last client has just left.
const BUSY_PATIENCE: Duration = Duration::from_secs(3);
/// How long an app may be away before it is launched again.
const RELAUNCH_AFTER: Duration = Duration::from_secs(3);

/// The first attempt of a new job, whose id is drawn at random.
pub fn new_job() -> Job {
    Job { job: hex(&rand::random::<[u8; 16]>()), attempt: 1 }
}

/// A runner, and the link to it.
#[derive(Debug)]
pub struct Runner {
    pub(super) target: Target,
    pub(super) link: Link,
    pub(super) limits: Limits,
    pub(super) stop: Stop,
    pub(super) session: Option<Session>,
    /// How the last child process ended.
    pub(super) end: Option<String>,
}

impl Runner {
    /// Connects to a single target.
    ///
    /// # Errors
    /// Why it cannot be reached, with a hint on how to mend it.
    pub fn connect(target: &Target, options: &Options) -> Result<Runner> {
        let place = || target.to_string();
        let mut runner = Runner::unconnected(target, options).at(place)?;
        runner.open().map_err(ConnectionLost::into_error).at(place)?;
        Ok(runner)
    }

    /// Looks for a target without starting anything: a phone must be attached and its token known,
    /// and at an address a runner must answer. `all` is whatever there is.
    ///
    /// # Errors
    /// As [`Runner::connect`].
    pub fn look_for(target: &Target, options: &Options) -> Result<()> {
        match target {
            Target::All | Target::Host => Ok(()),
            Target::Usb(_) => {
                Runner::unconnected(target, options).at(|| target.to_string()).map(drop)
            }
            Target::Tcp { .. } => Runner::connect(target, options).map(drop),
        }
    }

    /// A runner without a session.
    pub(super) fn unconnected(target: &Target, options: &Options) -> Result<Runner> {
        Ok(Runner {
            target: target.clone(),
            link: Link::new(target, options)?,
            limits: options.limits.clone(),
            stop: options.stop.clone(),
            session: None,
            end: None,
        })
    }

    /// Opens the first session.
    pub(super) fn open(&mut self) -> Result<(), ConnectionLost> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut closed = 0;
        loop {
            let lost = match self.link.open(&self.limits, &self.stop) {
                Ok(session) => {
                    self.session = Some(session);
                    return Ok(());
                }
                Err(lost) => lost,
            };
            if lost.is_busy() && begun.elapsed() < BUSY_PATIENCE {
                self.link.wait(&lost, LONGEST_PAUSE / 4, BUSY_PATIENCE, &self.stop);
                continue;
            }
            closed += 1;
            let is_closed = lost.reason == LossReason::Closed && !self.link.is_child();
            if !is_closed || closed >= MOST_GREETINGS || begun.elapsed() >= self.limits.handshake {
                return Err(lost);
            }
            self.link.wait(&lost, pause, pause, &self.stop);
            pause = (pause * 2).min(LONGEST_PAUSE / 4);
        }
    }

    /// How long things may take. Changes apply from the next request on.
    pub fn limits_mut(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// Asks what the runner is.
    ///
    /// # Errors
    /// The stop flag was set.
    pub fn describe(&mut self) -> Result<RequestOutcome<Description>> {
        self.ask_plain(&Ask::Describe)
    }

    /// Lists the packages that the runner has stored.
    ///
    /// # Errors
    /// The stop flag was set.
    pub fn list(&mut self) -> Result<RequestOutcome<Listing>> {
        self.ask_plain(&Ask::List)
    }

    /// Asks for the system's figures at this moment.
    ///
    /// # Errors
    /// The stop flag was set.
    pub fn sample(&mut self) -> Result<RequestOutcome<Figures>> {
        self.ask_plain(&Ask::Sample)
    }

    /// Loads these functions of a package, which must have been sent; all if there are none.
    ///
    /// # Errors
    /// The stop flag was set.
    pub fn load(
        &mut self,
        job: &Job,
        package: &str,
        compute_units: ComputeUnits,
        functions: &[ModelFunction],
        sample_ms: u32,
    ) -> Result<RequestOutcome<Loaded>> {
        let (job, package, functions) = (job.clone(), package.to_owned(), functions.to_vec());
        self.ask_plain(&Ask::Load { job, package, compute_units, functions, sample_ms })
    }

    /// Continues a prompt by `tokens` tokens.
    ///
    /// # Errors
    /// The stop flag was set.
    pub fn generate(
        &mut self,
        job: &Job,
        prompt: &[u32],
        tokens: usize,
        sample_ms: u32,
    ) -> Result<RequestOutcome<Generated>> {
        let (job, prompt) = (job.clone(), prompt.to_vec());
        let ask = Ask::Generate { job, prompt, tokens, sample_ms };
        let outcome = self.ask_plain::<Generated>(&ask)?;
        Ok(self.checked(outcome, |found| {
            let (ids, times) = (found.ids.len(), found.token_ms.len());
            if ids != tokens || times + 1 != tokens.max(1) {
                return Err(format!("expected {tokens} tokens, found {ids} and {times} times"));
            }
            Ok(())
        }))
    }

    /// Scores a text, and returns its logits after the ascending positions `logits_at`.
    ///
    /// # Errors
    /// The stop flag was set.
    pub fn score(
        &mut self,
        job: &Job,
        ids: &[u32],
        logits_at: &[u32],
    ) -> Result<RequestOutcome<(Scored, Vec<Logits>)>> {
        let (job, ids, logits_at) = (job.clone(), ids.to_vec(), logits_at.to_vec());
        let expected = ids.len().saturating_sub(1);
        let outcome = self.ask::<Scored>(&Ask::Score { job, ids, logits_at })?;
        Ok(self.checked(outcome, |(found, logits)| {
            let scores = found.nll_nats.len();
            if scores != expected {
                return Err(format!("expected {expected} likelihoods, found {scores}"));
            }
            let vocab_size = found.vocab_size;
            match logits.iter().find(|logits| logits.values.len() != vocab_size) {
                Some(odd) => {
                    Err(format!("expected {vocab_size} logits, found {}", odd.values.len()))
                }
                None => Ok(()),
            }
        }))
    }

    /// Asks on which compute device the system expects to run each operation of a package.
    ///
    /// # Errors
    /// The stop flag was set.
    pub fn plan(
        &mut self,
        job: &Job,
        package: &str,
        compute_units: ComputeUnits,
    ) -> Result<RequestOutcome<ComputePlan>> {
        let (job, package) = (job.clone(), package.to_owned());
        self.ask_plain(&Ask::Plan { job, package, compute_units })
    }

    fn ask_plain<T: DeserializeOwned>(&mut self, ask: &Ask) -> Result<RequestOutcome<T>> {
        Ok(self.ask(ask)?.map(|(value, _)| value))
    }

    /// Asks until there is an answer, and reconnects as often as the limits allow.
    fn ask<T: DeserializeOwned>(&mut self, ask: &Ask) -> Result<RequestOutcome<(T, Vec<Logits>)>> {
        let begun = Instant::now();
        let limit = TimeLimit::from_now(self.limits.of(ask));
        let mut lost_at = None;
        let mut losses = 0;
        loop {
            let reply = self.session().and_then(|session| session.ask(ask, limit));
            let lost = match reply {
                Ok(Reply::Done { result, logits, attempt, replayed }) => {
                    return match serde_json::from_value(result) {
                        Ok(value) => {
                            let value = (value, logits);
                            Ok(RequestOutcome::Finished(Finished { value, attempt, replayed }))
                        }
                        Err(error) => self.gone(ConnectionLost::violation(error), begun),
                    };
                }
                Ok(Reply::Failed(refused)) => return Ok(self.refusal(ask, refused)),
                Err(lost) => lost,
            };
            let since = *lost_at.get_or_insert_with(Instant::now);
            let is_unreached = self.session.is_none();
            self.lose(&lost);
            losses += 1;
            let is_final = !lost.is_temporary() || lost.reason == LossReason::ProtocolViolation;
            if is_final || is_unreached || losses > self.limits.losses {
                return self.gone(lost, since);
            }
        }
    }

    fn refusal<T>(&self, ask: &Ask, refused: RefusedRequest) -> RequestOutcome<T> {
        if refused.code != Code::Interrupted || ask.job().is_none() {
            return RequestOutcome::Refused(refused);
        }
        let message = match &self.end {
            Some(end) => format!("{} ({end})", refused.message),
            None => refused.message,
        };
        RequestOutcome::Killed(Killed { attempt: refused.attempt, message })
    }

    /// Treats a result that fails `check` as a violation of the protocol.
    fn checked<T>(
        &mut self,
        outcome: RequestOutcome<T>,
        check: impl FnOnce(&T) -> Result<(), String>,
    ) -> RequestOutcome<T> {
        let RequestOutcome::Finished(finished) = &outcome else { return outcome };
        let Err(what) = check(&finished.value) else { return outcome };
        let lost = ConnectionLost::violation(what);
        self.lose(&lost);
        RequestOutcome::Gone(lost.into_gone(Duration::ZERO))
    }

    /// Drops the session, and ends a child that does not answer.
    pub(super) fn lose(&mut self, lost: &ConnectionLost) {
        self.session = None;
        let is_closed = lost.reason == LossReason::Closed;
        let end = if is_closed { self.link.end() } else { self.link.abandon() };
        self.end = end.or(self.end.take());
    }

    /// Drops the session for good; an error if the stop flag was the reason.
    pub(super) fn gone<T>(
        &mut self,
        lost: ConnectionLost,
        since: Instant,
    ) -> Result<RequestOutcome<T>> {
        self.lose(&lost);
        if lost.reason == LossReason::Stopped {
            return Err(lost.into_error());
        }
        Ok(RequestOutcome::Gone(lost.into_gone(since.elapsed())))
    }

    /// The session; a new one if the last was lost.
    pub(super) fn session(&mut self) -> Result<&mut Session, ConnectionLost> {
        if self.session.as_ref().is_none_or(|session| !session.is_usable()) {
            self.session = None;
            self.session = Some(self.reconnect()?);
        }
        self.session.as_mut().ok_or_else(ConnectionLost::closed)
    }

    fn reconnect(&mut self) -> Result<Session, ConnectionLost> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut may_relaunch = self.link.can_relaunch();
        loop {
            let lost = match self.link.open(&self.limits, &self.stop) {
                Ok(session) => return Ok(session),
                Err(lost) => lost,
            };
            let left = self.limits.reconnect.saturating_sub(begun.elapsed());
            if !lost.is_temporary() || left.is_zero() {
                return Err(lost);
            }
            let is_away =
                lost.reason == LossReason::NotListening && begun.elapsed() >= RELAUNCH_AFTER;
            if may_relaunch && is_away {
                may_relaunch = false;
                if let Err(error) = self.link.relaunch() {
                    return Err(ConnectionLost::explained(lost.reason, &error));
                }
            }
            self.link.wait(&lost, pause.min(left), left, &self.stop);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
