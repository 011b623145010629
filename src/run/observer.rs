//! How a run reports to its caller, and how the caller stops it.
//!
//! Besides its records, a run has no other output: no room below the command line prints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::eval::{State, WalkObserver};

/// Receives the messages and the progress of a run, and tells it when to stop.
///
/// Every method has a default that does nothing, so that [`Silent`] and small observers stay small.
pub trait Observer {
    /// A line for the user: what was found, decided or written.
    fn message(&self, _line: &str) {}

    /// Something that may go wrong, and what to do about it. By default a message.
    fn warning(&self, line: &str) {
        self.message(&format!("warning: {line}"));
    }

    /// Something that was asked could not be done. The run goes on, and ends with an exit code other
    /// than *done*. By default a message.
    fn not_done(&self, line: &str) {
        self.message(&format!("error: {line}"));
    }

    /// `done` of `total` steps of a stage are complete.
    fn progress(&self, _stage: &str, _done: u64, _total: u64) {}

    /// A stage is over, whether it succeeded or not.
    fn stage_ended(&self, _stage: &str) {}

    /// The flag that asks the run to stop at its next step; `None` if it is never asked to.
    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        None
    }
}

/// An observer that ignores everything and never stops a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}

/// A stage of a run, reported to an observer step by step. Dropping it ends the stage.
pub struct Stage<'a> {
    name: String,
    observer: &'a dyn Observer,
    stop: Option<Arc<AtomicBool>>,
}

impl<'a> Stage<'a> {
    /// Begins a stage; `name` is what a progress bar shows.
    pub fn new(name: impl Into<String>, observer: &'a dyn Observer) -> Self {
        Stage { name: name.into(), observer, stop: observer.stop_flag() }
    }

    /// Reports that `done` of `total` steps are complete.
    pub fn set(&self, done: u64, total: u64) {
        self.observer.progress(&self.name, done, total);
    }

    /// Reports progress, and fails if the run was asked to stop.
    ///
    /// # Errors
    /// Interruption.
    pub fn step(&self, done: u64, total: u64) -> Result<()> {
        self.set(done, total);
        self.check_stop()
    }

    /// Whether the run was asked to stop.
    pub fn is_interrupted(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::SeqCst))
    }

    /// Fails if the run was asked to stop.
    ///
    /// # Errors
    /// Interruption.
    pub fn check_stop(&self) -> Result<()> {
        if self.is_interrupted() { Err(Error::interrupted()) } else { Ok(()) }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        self.observer.stage_ended(&self.name);
    }
}

/// Reports a walk as a stage and stops it when asked. The walk's state is not saved.
impl WalkObserver for Stage<'_> {
    fn progress(&mut self, done: usize, total: usize) {
        self.set(done as u64, total as u64);
    }

    fn interrupted(&self) -> bool {
        self.is_interrupted()
    }

    fn keep(&mut self, _: &State<'_>) -> Result<()> {
        self.check_stop()
    }
}
