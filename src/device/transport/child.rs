//! A runner as a child process, whose standard input and output are one end of a socket pair.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Socket;

/// How many of the first and of the last bytes of a child's stderr are kept.
const MAX_SAID_BYTES: usize = 4096;
/// The most characters of a child's words in a message.
const MAX_QUOTED: usize = 600;
/// Interval between checks of whether a child has ended.
const LOOK: Duration = Duration::from_millis(5);

/// The command line of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Environment variables, in addition to those of this process.
    pub variables: Vec<(String, String)>,
}

/// A running child; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    said: Arc<Mutex<Said>>,
    listener: Option<JoinHandle<()>>,
}

impl Program {
    /// Starts the program.
    ///
    /// # Errors
    /// Errors of the operating system, such as a program that does not exist.
    pub fn start(&self) -> io::Result<(Process, Socket)> {
        let (ours, theirs) = UnixStream::pair()?;
        let input = OwnedFd::from(theirs.try_clone()?);
        let mut child = Command::new(&self.path)
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::from(input))
            .stdout(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::piped())
            .spawn()?;
        let said = Arc::new(Mutex::new(Said::default()));
        let listener = child.stderr.take().map(|stderr| {
            let said = Arc::clone(&said);
            std::thread::spawn(move || listen(stderr, &said))
        });
        Ok((Process { child, said, listener }, Socket::Unix(ours)))
    }
}

/// What a child has written to stderr: the beginning and the end of it.
#[derive(Debug, Default)]
struct Said {
    first: Vec<u8>,
    last: Vec<u8>,
    /// Whether bytes between both were dropped.
    is_cut: bool,
}

impl Said {
    fn add(&mut self, bytes: &[u8]) {
        let room = MAX_SAID_BYTES - self.first.len();
        let (first, last) = bytes.split_at(room.min(bytes.len()));
        self.first.extend_from_slice(first);
        self.last.extend_from_slice(last);
        let beyond = self.last.len().saturating_sub(MAX_SAID_BYTES);
        self.is_cut |= beyond > 0;
        self.last.drain(..beyond);
    }

    /// In one line, what the child said is wrong: its error with its hint, as evalkit's own commands
    /// write them, or else its first and its last line. `None` if it said nothing.
    fn in_one_line(&self) -> Option<String> {
        let gap = if self.is_cut { &b"\n"[..] } else { b"" };
        let text = [self.first.as_slice(), gap, self.last.as_slice()].concat();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let error = lines.iter().rposition(|line| line.starts_with("error: "));
        let said = match (error, lines.as_slice()) {
            (Some(error), lines) => lines[error..].join("; "),
            (None, [first, .., last]) => format!("{first}; {last}"),
            (None, [only]) => (*only).to_owned(),
            (None, []) => return None,
        };
        Some(said.chars().take(MAX_QUOTED).collect())
    }
}

/// Keeps what the child writes to stderr.
fn listen(mut stderr: impl Read, said: &Mutex<Said>) {
    let mut bytes = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut bytes) {
        said.lock().unwrap_or_else(PoisonError::into_inner).add(&bytes[..count]);
    }
}

impl Process {
    /// Waits up to `patience` for the child to end, then kills it. Returns how it ended.
    pub fn end(mut self, patience: Duration) -> String {
        let status = self.wait(patience);
        let how = match status {
            Some(status) => format!("the runner's process ended ({status})"),
            None => "the runner's process did not end and was killed".to_owned(),
        };
        self.kill();
        if let Some(listener) = self.listener.take() {
            // Processes that the child started may keep its stderr open.
            let until = Instant::now() + Duration::from_millis(200);
            while !listener.is_finished() && Instant::now() < until {
                std::thread::sleep(LOOK);
            }
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match said.in_one_line() {
            Some(line) => format!("{how}; it said {line:?}"),
            None => how,
        }
    }

    /// Waits up to `patience` for the child to end; `None` if it has not ended by then.
    fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
                _ => return None,
            }
        }
    }

    fn kill(&mut self) {
        // Both fail only if the child has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn shell(script: &str) -> Program {
        let arguments = vec!["-c".into(), script.into()];
        Program { path: "/bin/sh".into(), arguments, variables: Vec::new() }
    }

    #[test]
    fn a_child_echoes_and_its_exit_status_and_stderr_are_reported() {
        let (process, mut socket) = shell("head -c 3; echo no model >&2; exit 7").start().unwrap();
        socket.write_all(b"abc").unwrap();
        let mut received = Vec::new();
        socket.read_to_end(&mut received).unwrap();
        assert_eq!(received, b"abc");
        let end = process.end(Duration::from_secs(5));
        assert!(end.contains("exit status: 7") && end.contains("no model"), "{end}");
    }

    #[test]
    fn a_child_that_fails_is_quoted_from_its_error_on() {
        let end = |script: &str| shell(script).start().unwrap().0.end(Duration::from_secs(5));
        let hinted = "echo warming up >&2; echo 'error: /store: another runner uses it' >&2; \
                      echo 'hint: end it' >&2; exit 3";
        let end_of_hinted = end(hinted);
        let expected = "it said \"error: /store: another runner uses it; hint: end it\"";
        assert!(end_of_hinted.ends_with(expected), "{end_of_hinted}");
        assert!(
            end("echo one >&2; echo two >&2; echo three >&2").ends_with("it said \"one; three\"")
        );
        let long =
            end("echo start >&2; head -c 20000 /dev/zero | tr '\\0' x >&2; echo >&2; echo end >&2");
        assert!(long.contains("\"start; ") && long.len() < 2 * MAX_QUOTED, "{long}");
        assert!(!end("exit 1").contains("said"));
    }

    #[test]
    fn reading_from_a_silent_child_times_out_and_the_child_is_killed() {
        let (process, mut socket) = shell("exec sleep 60").start().unwrap();
        socket.set_read_timeout(Duration::from_millis(20)).unwrap();
        let error = socket.read(&mut [0; 1]).unwrap_err();
        assert!(crate::device::transport::is_timeout(&error), "{error}");
        assert!(process.end(Duration::ZERO).contains("was killed"));
    }
}
