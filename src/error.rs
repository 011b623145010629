//! The crate's one error: what failed, where, and how to mend it.
//!
//! It is built where the failure is found, in words that say what was expected and what was found;
//! callers add the place that they know (path, tensor, layer, flag). No code matches on the text: the
//! only thing that decides anything is [`Exit`], the class that becomes the process's exit code. What
//! strangers wrote in it (names, texts of servers) is escaped when it is displayed.

use std::fmt;

use crate::escape;

/// The class of an outcome, which becomes the process's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: everything asked for was done.
    Done,
    /// 1: it ran and the answer is no: a regression, a failed variant, a mismatch.
    No,
    /// 2: bad arguments or bad input.
    Input,
    /// 3: the environment failed: disk full, read-only folder, no network, no device.
    Surroundings,
    /// 4: too little data for the certainty that was asked for.
    Inconclusive,
    /// 130: interrupted; the same command continues.
    Interrupted,
    /// 101: a bug, the same code as a panic.
    Bug,
}

impl Exit {
    /// The process exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::No => 1,
            Exit::Input => 2,
            Exit::Surroundings => 3,
            Exit::Inconclusive => 4,
            Exit::Bug => 101,
            Exit::Interrupted => 130,
        }
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What failed, where, why, and what to do next. Boxed, so that `Result` stays small.
#[derive(Debug)]
pub struct Error(Box<Parts>);

#[derive(Debug)]
struct Parts {
    exit: Exit,
    what: String,
    /// Innermost first: each caller adds the wider place that it knows.
    places: Vec<String>,
    hint: Option<String>,
    cause: Option<Cause>,
}

impl Error {
    /// An error of a given class.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        let what = what.into();
        Error(Box::new(Parts { exit, what, places: Vec::new(), hint: None, cause: None }))
    }

    /// Bad arguments or input (exit code 2).
    pub fn input(what: impl Into<String>) -> Self {
        Self::new(Exit::Input, what)
    }

    /// The environment failed (exit code 3).
    pub fn surroundings(what: impl Into<String>) -> Self {
        Self::new(Exit::Surroundings, what)
    }

    /// A bug of this program (exit code 101).
    pub fn bug(what: impl Into<String>) -> Self {
        Self::new(Exit::Bug, what)
    }

    /// The run was asked to stop (exit code 130).
    pub fn interrupted() -> Self {
        Self::new(Exit::Interrupted, "interrupted").hint("run the same command again to continue")
    }

    /// A failed file operation: a missing or unreadable file is bad input, anything else (disk full, no
    /// permission, read-only) a failed environment.
    pub fn io(doing: impl fmt::Display, path: &std::path::Path, cause: std::io::Error) -> Self {
        use std::io::ErrorKind::{
            InvalidData, InvalidInput, IsADirectory, NotADirectory, NotFound,
        };
        let exit = match cause.kind() {
            NotFound | InvalidData | InvalidInput | NotADirectory | IsADirectory => Exit::Input,
            _ => Exit::Surroundings,
        };
        Self::new(exit, format!("cannot {doing}")).at(path.display()).because(cause)
    }

    /// Adds a place; the innermost comes first: tensor, then file. A place that was just added is not
    /// repeated.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        let place = place.to_string();
        if self.0.places.last() != Some(&place) {
            self.0.places.push(place);
        }
        self
    }

    /// Says how to mend it. The first hint stays, because the innermost place knows most.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert(hint.into());
        self
    }

    /// Keeps the underlying error.
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// How to mend it; `None` if that is not known.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The text without its hint, which failure records keep as the cause.
    pub fn cause(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_cause(&mut text);
        text
    }

    /// The text and its hint on one line, for tables and records.
    pub fn one_line(&self) -> String {
        match self.advice() {
            Some(hint) => format!("{}; {}", self.cause(), escape::line(hint)),
            None => self.cause(),
        }
    }

    /// Whether this is an error of what was asked for, such as a recipe that does not fit a tensor.
    /// The same input would fail again. Errors of files, of the surroundings, bugs and interruptions
    /// are not: the same command may succeed later.
    pub fn is_of_input(&self) -> bool {
        let is_io = self.0.cause.as_ref().is_some_and(|cause| cause.is::<std::io::Error>());
        matches!(self.0.exit, Exit::Input | Exit::No) && !is_io
    }

    /// The error if it [is of the input](Self::is_of_input) and may be recorded as a failure. Nothing
    /// that would be tried again for good reason is recorded as one.
    ///
    /// # Errors
    /// Any other error, which ends the run. An operation on a file that failed is one of the
    /// surroundings then, since the run's own files are no input.
    pub fn recordable(mut self) -> Result<Self> {
        if self.is_of_input() {
            return Ok(self);
        }
        if matches!(self.0.exit, Exit::Input | Exit::No) {
            self.0.exit = Exit::Surroundings;
        }
        Err(self.hint("what is finished is kept: mend this and run the same command again"))
    }

    /// The class that decides the exit code.
    pub fn exit(&self) -> Exit {
        self.0.exit
    }
}

impl fmt::Display for Error {
    /// `place: place: what: cause`, then `hint: ...` on its own line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_cause(f)?;
        match &self.0.hint {
            Some(hint) => write!(f, "\nhint: {}", escape::line(hint)),
            None => Ok(()),
        }
    }
}

impl Error {
    /// `place: place: what: cause`.
    fn write_cause(&self, out: &mut impl fmt::Write) -> fmt::Result {
        let Parts { what, places, cause, .. } = &*self.0;
        for place in places.iter().rev() {
            write!(out, "{}: ", escape::line(place))?;
        }
        write!(out, "{}", escape::line(what))?;
        let mut next: Option<&dyn std::error::Error> = cause.as_deref().map(|c| c as _);
        let mut last = String::new();
        while let Some(cause) = next {
            let text = cause.to_string();
            // Many errors already end in the text of their own cause.
            if !last.ends_with(&text) {
                write!(out, ": {}", escape::cause(&text))?;
            }
            last = text;
            next = cause.source();
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Adds a place to the error of any result.
pub trait At<T> {
    /// Adds `place()` to the error, if there is one.
    fn at<D: fmt::Display>(self, place: impl FnOnce() -> D) -> Result<T>;
}

impl<T, E: Into<Error>> At<T> for std::result::Result<T, E> {
    fn at<D: fmt::Display>(self, place: impl FnOnce() -> D) -> Result<T> {
        self.map_err(|e| e.into().at(place()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_begins_with_the_outermost_place_and_ends_with_its_hint() {
        let error = Error::input("expected 4 bytes, found 2")
            .at("tensor lm_head.weight")
            .hint("download the file again")
            .hint("a later, vaguer hint")
            .at("model.safetensors")
            .at("model.safetensors");
        let text = "model.safetensors: tensor lm_head.weight: expected 4 bytes, found 2\n\
                    hint: download the file again";
        assert_eq!(error.to_string(), text);
        assert_eq!(error.cause(), text.split('\n').next().unwrap());
        assert_eq!(error.one_line(), text.replace("\nhint: ", "; "));
        assert_eq!(error.exit().code(), 2);
    }

    #[test]
    fn no_name_and_no_cause_can_command_a_terminal_or_speak_for_the_program() {
        for attack in escape::attacks::ATTACKS {
            let cause = std::io::Error::other(*attack);
            let error = Error::input(format!("found {attack}"))
                .at(attack)
                .hint(format!("rename {attack}"))
                .because(cause);
            let text = error.to_string();
            escape::attacks::assert_inert_log(&escape::log(&text));
            assert!(!text.contains(|c| escape::is_hidden(c) && c != '\n'), "{text:?}");
            assert_eq!(text.lines().count(), 2, "{text:?}");
            assert!(!error.one_line().contains(escape::is_hidden), "{text:?}");
        }
    }

    #[test]
    fn only_an_error_of_the_input_is_recorded_as_a_failure() {
        use std::io::ErrorKind;
        let own = Error::input("weights that are not finite").at("layer 3");
        assert_eq!(own.recordable().unwrap().cause(), "layer 3: weights that are not finite");
        let path = std::path::Path::new("coded/palette4.safetensors");
        let kinds = [
            ErrorKind::StorageFull,
            ErrorKind::Other,
            ErrorKind::ReadOnlyFilesystem,
            ErrorKind::PermissionDenied,
            ErrorKind::OutOfMemory,
            ErrorKind::NotFound,
            ErrorKind::IsADirectory,
        ];
        for kind in kinds {
            let error = Error::io("write", path, kind.into()).at("layer 3").recordable();
            assert_eq!(error.unwrap_err().exit(), Exit::Surroundings, "{kind:?}");
        }
        assert_eq!(Error::interrupted().recordable().unwrap_err().exit(), Exit::Interrupted);
        assert_eq!(Error::bug("a shape").recordable().unwrap_err().exit(), Exit::Bug);
    }

    #[test]
    fn a_full_disk_is_the_surroundings_and_a_missing_file_is_input() {
        let path = std::path::Path::new("records.jsonl");
        let full = Error::io("write", path, std::io::ErrorKind::StorageFull.into());
        let missing = Error::io("read", path, std::io::ErrorKind::NotFound.into());
        assert_eq!((full.exit(), missing.exit()), (Exit::Surroundings, Exit::Input));
    }
}
