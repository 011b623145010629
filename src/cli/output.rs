//! All that the program writes for its caller: data to stdout, talk to stderr. Nothing else writes there.
//!
//! A reader may go away at any time (`evalkit sweep 2>&1 | head`). That is no error: the work goes on to
//! its own exit code, without words.

use std::io::{ErrorKind, IsTerminal, Write};

use indicatif::ProgressDrawTarget;

use crate::error::{Error, Result};
use crate::escape;
use crate::report::{Document, Format, render};

/// Width of tables in characters if stdout is not a terminal.
const OFF_TERMINAL_WIDTH: usize = 120;

/// Prints a document on stdout.
///
/// # Errors
/// As [`data`].
pub fn print(format: Format, document: &Document) -> Result<()> {
    let width = terminal_size::terminal_size()
        .map_or(OFF_TERMINAL_WIDTH, |(width, _)| usize::from(width.0));
    data(render(format, document, width)?.as_bytes())
}

/// Writes to stdout. A closed pipe is a success: the reader wants no more.
///
/// # Errors
/// Surroundings errors of stdout, such as a full disk.
pub fn data(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|e| Error::surroundings("cannot write to stdout").because(e)),
    }
}

/// Writes lines to stderr. Nobody may be reading, and that must not stop a run.
pub fn talk(text: &str) {
    stderr_line(&escape::log(text));
}

/// Writes a workflow command of GitHub Actions to stderr; its parts are escaped.
pub fn command(line: &str) {
    stderr_line(line);
}

fn stderr_line(line: &str) {
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}

/// Where progress bars are drawn; nowhere if stderr is not a terminal.
pub fn bars() -> ProgressDrawTarget {
    if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

/// Writes what clap has to say: help and version are data, the rest is talk.
///
/// # Errors
/// As [`data`].
pub fn clap(error: &clap::Error) -> Result<()> {
    let text = error.render();
    if error.use_stderr() {
        talk(text.to_string().trim_end());
        return Ok(());
    }
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if std::io::stdout().is_terminal() && !is_plain {
        data(text.ansi().to_string().as_bytes())
    } else {
        data(text.to_string().as_bytes())
    }
}
