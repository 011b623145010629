//! Messages and progress bars on stderr while a command works.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;
use crate::error::{Error, Exit, Result};
use crate::escape;
use crate::run::observer::Observer;

/// The observer of every command: prints messages and bars on stderr, listens for Ctrl-C.
#[derive(Debug, Default)]
pub struct Reporter {
    /// Print nothing but errors.
    quiet: bool,
    stop: Arc<AtomicBool>,
    /// The bar of the current stage, with the stage's name.
    bar: Mutex<Option<(String, ProgressBar)>>,
}

impl Reporter {
    /// A reporter that prints nothing but errors if `quiet`.
    pub fn new(quiet: bool) -> Self {
        Reporter { quiet, ..Reporter::default() }
    }

    /// Prints one line on stderr, unless quiet.
    pub fn say(&self, line: impl std::fmt::Display) {
        self.show(&escape::line(&line.to_string()));
    }

    /// Prints lines on stderr, such as a table, unless quiet.
    pub fn show(&self, lines: &str) {
        if !self.quiet {
            output::talk(lines);
        }
    }

    /// Prints an error on stderr.
    pub fn error(&self, error: &Error) {
        output::talk(&format!("error: {error}"));
    }

    /// Listens for Ctrl-C: the first asks the run to stop at its next step, the second ends the
    /// process.
    ///
    /// # Errors
    /// Surroundings errors of the signal handler.
    #[allow(clippy::exit)]
    pub fn listen(&self) -> Result<()> {
        let (stop, quiet) = (Arc::clone(&self.stop), self.quiet);
        let handler = move || {
            if stop.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            if !quiet {
                output::talk("stopping at the next step; press Ctrl-C again to stop at once");
            }
        };
        ctrlc::set_handler(handler)
            .map_err(|e| Error::surroundings("cannot listen for Ctrl-C").because(e))
    }

    fn new_bar(&self, stage: &str) -> ProgressBar {
        let target = if self.quiet { ProgressDrawTarget::hidden() } else { output::bars() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = "{prefix} [{bar:30}] {pos}/{len} {elapsed} elapsed, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(escape::line(stage).into_owned());
        bar
    }
}

impl Observer for Reporter {
    fn message(&self, line: &str) {
        self.say(line);
    }

    fn not_done(&self, line: &str) {
        output::talk(&escape::line(&format!("error: {line}")));
    }

    fn progress(&self, stage: &str, done: u64, total: u64) {
        let mut current = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_none_or(|(name, _)| name != stage) {
            *current = Some((stage.to_owned(), self.new_bar(stage)));
        }
        if let Some((_, bar)) = &*current {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    fn stage_ended(&self, stage: &str) {
        let mut current = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bar)) = current.take_if(|(name, _)| name == stage) {
            bar.finish_and_clear();
        }
    }

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        Some(Arc::clone(&self.stop))
    }
}
