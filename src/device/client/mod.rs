//! Talking to runners: [`Runner`] is what measures ask; a lost connection is mended under it.
//!
//! Every request ends in an [`Outcome`] within bounded time. `Err` is kept for what ends the whole
//! command: the stop flag, bad input, a bug. A job keeps its id over reconnections, so the runner
//! answers from its journal what it finished meanwhile, and nothing runs twice unseen.

mod greeting;
mod hearing;
mod link;
mod outcome;
mod package;
mod process;
mod session;
mod target;
mod tokens;
mod transfer;

use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

pub use self::link::{APP_PORT, Link, Options};
pub use self::outcome::{Finished, Gone, Killed, Lost, Outcome, Refused, Why};
pub use self::package::{Package, content_of};
pub use self::session::{Limits, Logits, Progress, Reply, Session, Stop};
pub use self::target::Target;
pub use self::tokens::Tokens;
pub use self::transfer::Sent;
use crate::device::protocol::message::{Ask, Code, ComputeUnits, Job};
use crate::device::protocol::result::{
    Description, Figures, Generated, Listing, Loaded, Plan, Scored,
};
pub use crate::device::protocol::token::Token;
use crate::error::{At, Result};
use crate::units::hex;

/// The first pause before another try to connect; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a first connection waits for a runner whose last client has only just gone.
const BUSY_PATIENCE: Duration = Duration::from_secs(3);
/// How long an app may be away before it is launched again.
const RELAUNCH_AFTER: Duration = Duration::from_secs(3);

/// A job's first attempt, with an id drawn at random.
pub fn new_job() -> Job {
    Job { job: hex(&rand::random::<[u8; 16]>()), attempt: 1 }
}

/// The job's next attempt after `attempt`, which was interrupted.
pub fn again(job: &Job, attempt: u32) -> Job {
    Job { job: job.job.clone(), attempt: attempt.saturating_add(1) }
}

/// A runner, and the way to it.
#[derive(Debug)]
pub struct Runner {
    target: Target,
    link: Link,
    limits: Limits,
    stop: Stop,
    session: Option<Session>,
    /// How the last child ended.
    end: Option<String>,
}

impl Runner {
    /// Connects to a single target.
    ///
    /// # Errors
    /// Why it cannot be reached, with a hint that mends it.
    pub fn connect(target: &Target, options: &Options) -> Result<Runner> {
        let place = || target.to_string();
        let mut runner = Runner {
            target: target.clone(),
            link: Link::new(target, options).at(place)?,
            limits: options.limits.clone(),
            stop: options.stop.clone(),
            session: None,
            end: None,
        };
        let begun = Instant::now();
        loop {
            match runner.link.open(&runner.limits, &runner.stop) {
                Ok(session) => {
                    runner.session = Some(session);
                    return Ok(runner);
                }
                Err(lost) if lost.is_busy() && begun.elapsed() < BUSY_PATIENCE => {
                    runner.link.wait(&lost, LONGEST_PAUSE / 4, BUSY_PATIENCE, &runner.stop);
                }
                Err(lost) => return Err(lost.into_error()).at(place),
            }
        }
    }

    /// What was connected to.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The process number of a runner that is a child of this process.
    pub fn process_id(&self) -> Option<u32> {
        self.link.process_id()
    }

    /// How long things may take; to be changed between requests.
    pub fn limits_mut(&mut self) -> &mut Limits {
        &mut self.limits
    }

    /// What it is.
    ///
    /// # Errors
    /// The stop flag.
    pub fn describe(&mut self) -> Result<Outcome<Description>> {
        self.plain(&Ask::Describe)
    }

    /// Which packages it holds.
    ///
    /// # Errors
    /// The stop flag.
    pub fn list(&mut self) -> Result<Outcome<Listing>> {
        self.plain(&Ask::List)
    }

    /// Its figures now.
    ///
    /// # Errors
    /// The stop flag.
    pub fn sample(&mut self) -> Result<Outcome<Figures>> {
        self.plain(&Ask::Sample)
    }

    /// Forgets the loaded package.
    ///
    /// # Errors
    /// The stop flag.
    pub fn unload(&mut self) -> Result<Outcome<()>> {
        Ok(self.plain::<serde_json::Value>(&Ask::Unload)?.map(|_| ()))
    }

    /// Removes a package.
    ///
    /// # Errors
    /// The stop flag.
    pub fn evict(&mut self, package: &str) -> Result<Outcome<()>> {
        let ask = Ask::Evict { package: package.to_owned() };
        Ok(self.plain::<serde_json::Value>(&ask)?.map(|_| ()))
    }

    /// Loads a package, which must have been sent.
    ///
    /// # Errors
    /// The stop flag.
    pub fn load(
        &mut self,
        job: &Job,
        package: &str,
        compute_units: ComputeUnits,
        sample_ms: u32,
        hear: &mut dyn FnMut(Progress),
    ) -> Result<Outcome<Loaded>> {
        let (job, package) = (job.clone(), package.to_owned());
        self.job(&Ask::Load { job, package, compute_units, sample_ms }, hear)
    }

    /// Continues a prompt by `tokens` tokens.
    ///
    /// # Errors
    /// The stop flag.
    pub fn generate(
        &mut self,
        job: &Job,
        prompt: &[u32],
        tokens: usize,
        sample_ms: u32,
        hear: &mut dyn FnMut(Progress),
    ) -> Result<Outcome<Generated>> {
        let (job, prompt) = (job.clone(), prompt.to_vec());
        let ask = Ask::Generate { job, prompt, tokens, sample_ms };
        let outcome = self.job::<Generated>(&ask, hear)?;
        Ok(self.checked(outcome, |found| {
            let (ids, times) = (found.ids.len(), found.token_ms.len());
            if ids != tokens || times + 1 != tokens.max(1) {
                return Err(format!("{ids} tokens and {times} times instead of {tokens} tokens"));
            }
            Ok(())
        }))
    }

    /// Likelihoods of a text, and its logits at `logits_at` (ascending).
    ///
    /// # Errors
    /// The stop flag.
    pub fn score(
        &mut self,
        job: &Job,
        ids: &[u32],
        logits_at: &[u32],
        hear: &mut dyn FnMut(Progress),
    ) -> Result<Outcome<(Scored, Vec<Logits>)>> {
        let (job, ids, logits_at) = (job.clone(), ids.to_vec(), logits_at.to_vec());
        let texts = ids.len().saturating_sub(1);
        let limit = self.limits.job;
        let outcome = self.ask::<Scored>(&Ask::Score { job, ids, logits_at }, limit, hear)?;
        Ok(self.checked(outcome, |(found, logits)| {
            let scores = found.nll_nats.len();
            if scores != texts {
                return Err(format!("{scores} likelihoods instead of {texts}"));
            }
            let vocab_size = found.vocab_size;
            match logits.iter().find(|logits| logits.values.len() != vocab_size) {
                Some(odd) => Err(format!("{} logits instead of {vocab_size}", odd.values.len())),
                None => Ok(()),
            }
        }))
    }

    /// Which unit the system expects to compute what.
    ///
    /// # Errors
    /// The stop flag.
    pub fn plan(
        &mut self,
        job: &Job,
        package: &str,
        compute_units: ComputeUnits,
    ) -> Result<Outcome<Plan>> {
        let (job, package) = (job.clone(), package.to_owned());
        self.job(&Ask::Plan { job, package, compute_units }, &mut |_| ())
    }

    fn plain<T: DeserializeOwned>(&mut self, ask: &Ask) -> Result<Outcome<T>> {
        let limit = self.limits.request;
        Ok(self.ask(ask, limit, &mut |_| ())?.map(|(value, _)| value))
    }

    fn job<T: DeserializeOwned>(
        &mut self,
        ask: &Ask,
        hear: &mut dyn FnMut(Progress),
    ) -> Result<Outcome<T>> {
        let limit = self.limits.job;
        Ok(self.ask(ask, limit, hear)?.map(|(value, _)| value))
    }

    /// Asks until there is an answer, over as many connections as it takes and may take.
    fn ask<T: DeserializeOwned>(
        &mut self,
        ask: &Ask,
        limit: Duration,
        hear: &mut dyn FnMut(Progress),
    ) -> Result<Outcome<(T, Vec<Logits>)>> {
        let begun = Instant::now();
        let mut lost_at = None;
        let mut losses = 0;
        loop {
            let left = limit.saturating_sub(begun.elapsed());
            let reply = self.session().and_then(|session| session.ask(ask, left, hear));
            let lost = match reply {
                Ok(Reply::Done { result, logits, attempt, replayed }) => {
                    return match serde_json::from_value(result) {
                        Ok(value) => {
                            let value = (value, logits);
                            Ok(Outcome::Finished(Finished { value, attempt, replayed }))
                        }
                        Err(error) => self.gone(hearing::garbled(error.to_string()), begun),
                    };
                }
                Ok(Reply::Failed(refused)) => return Ok(self.refusal(ask, refused)),
                Err(lost) => lost,
            };
            let since = *lost_at.get_or_insert_with(Instant::now);
            let is_unreached = self.session.is_none();
            self.lose(&lost);
            losses += 1;
            let is_over = !lost.is_passing() || lost.why == Why::Garbled;
            if is_over || is_unreached || losses > self.limits.losses {
                return self.gone(lost, since);
            }
        }
    }

    fn refusal<T>(&self, ask: &Ask, refused: Refused) -> Outcome<T> {
        if refused.code != Code::Interrupted || ask.job().is_none() {
            return Outcome::Refused(refused);
        }
        let message = match &self.end {
            Some(end) => format!("{} ({end})", refused.message),
            None => refused.message,
        };
        Outcome::Killed(Killed { attempt: refused.attempt, message })
    }

    /// A result that does not hold what was asked for is none.
    fn checked<T>(
        &mut self,
        outcome: Outcome<T>,
        check: impl FnOnce(&T) -> Result<(), String>,
    ) -> Outcome<T> {
        let Outcome::Finished(finished) = &outcome else { return outcome };
        match check(&finished.value) {
            Ok(()) => outcome,
            Err(what) => {
                let lost = hearing::garbled(what);
                self.lose(&lost);
                Outcome::Gone(Gone { why: lost.why, message: lost.message, after: Duration::ZERO })
            }
        }
    }

    /// Gives the session up; a child that does not answer is ended.
    fn lose(&mut self, lost: &Lost) {
        self.session = None;
        let end = if lost.why == Why::Closed { self.link.end() } else { self.link.abandon() };
        self.end = end.or(self.end.take());
    }

    fn gone<T>(&mut self, lost: Lost, since: Instant) -> Result<Outcome<T>> {
        self.lose(&lost);
        if lost.why == Why::Stopped {
            return Err(lost.into_error());
        }
        let Lost { why, message } = lost;
        Ok(Outcome::Gone(Gone { why, message, after: since.elapsed() }))
    }

    /// The session; another where it was lost, as soon as there is one.
    fn session(&mut self) -> Result<&mut Session, Lost> {
        if self.session.as_ref().is_none_or(|session| !session.is_usable()) {
            self.session = None;
            self.session = Some(self.reconnect()?);
        }
        self.session.as_mut().ok_or_else(hearing::ended)
    }

    fn reconnect(&mut self) -> Result<Session, Lost> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut may_relaunch = self.link.can_relaunch();
        loop {
            let lost = match self.link.open(&self.limits, &self.stop) {
                Ok(session) => return Ok(session),
                Err(lost) => lost,
            };
            let left = self.limits.reconnect.saturating_sub(begun.elapsed());
            if !lost.is_passing() || left.is_zero() {
                return Err(lost);
            }
            let is_away = lost.why == Why::NotListening && begun.elapsed() >= RELAUNCH_AFTER;
            if may_relaunch && is_away {
                may_relaunch = false;
                if let Err(error) = self.link.relaunch() {
                    return Err(Lost::new(lost.why, error.cause()));
                }
            }
            self.link.wait(&lost, pause.min(left), left, &self.stop);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
