//! Progress on stderr: a bar with an estimate, silent where stderr is not a terminal.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::{Error, Exit, Result};

/// A bar over steps of work.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar labelled `label`; hidden off-terminal and when `quiet`.
    pub fn new(label: &str, quiet: bool) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if quiet || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = "{prefix} [{bar:30}] {pos}/{len} {elapsed} elapsed, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(label.to_owned());
        Progress { bar }
    }

    /// `done` of `total`.
    pub fn set(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// Words on stderr.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    /// Say nothing but errors.
    pub quiet: bool,
}

impl Talk {
    /// Says one line, unless quiet.
    #[allow(clippy::print_stderr)]
    pub fn say(&self, line: impl std::fmt::Display) {
        if !self.quiet {
            eprintln!("{line}");
        }
    }
}

/// Ctrl-C: the first asks the walk to stop at its next layer, the second ends the process.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Starts listening.
    ///
    /// # Errors
    /// Surroundings errors of the signal handler.
    #[allow(clippy::exit)]
    pub fn listen(talk: Talk) -> Result<Self> {
        let interrupt = Interrupt::default();
        let flag = Arc::clone(&interrupt.0);
        let handler = move || {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
            talk.say("stopping at the next step; press again to stop at once");
        };
        ctrlc::set_handler(handler)
            .map_err(|e| Error::surroundings("cannot listen for Ctrl-C").because(e))?;
        Ok(interrupt)
    }

    /// The flag itself, for rooms that know no terminal.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// Whether Ctrl-C was pressed.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
