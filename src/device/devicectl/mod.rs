//! Apple's tools on a Mac: devicectl lists, installs and launches, xcodebuild builds.
//!
//! Only their JSON is read, every field of which may be absent; a failure is recognised by its words
//! or codes and said again in words that mend it.

mod install;
mod listing;
mod trouble;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub use self::install::{Order, PROJECT, Step, app, install, steps};
pub use self::listing::{Listed, Phone, listed, merged};
pub use self::trouble::Trouble;
use crate::device::protocol::message::TOKEN_VARIABLE;
use crate::device::protocol::token::Token;
use crate::error::{Error, Result};
use crate::units::hex;

/// The app's bundle identifier unless another is given.
pub const BUNDLE_ID: &str = "dev.evalkit.runner";
/// How long devicectl may take to list or to launch.
const PATIENCE: Duration = Duration::from_secs(60);
/// The most bytes of JSON that are read.
const MAX_JSON_BYTES: u64 = 16 << 20;
/// The most bytes of other output that are read.
const MAX_SAID_BYTES: u64 = 1 << 20;

/// Where Apple's tools are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// `xcrun`.
    pub xcrun: PathBuf,
    /// `xcodebuild`.
    pub xcodebuild: PathBuf,
}

impl Tool {
    /// Those of this machine, where it is a Mac.
    pub fn of_system() -> Option<Tool> {
        let tool = || Tool { xcrun: "xcrun".into(), xcodebuild: "xcodebuild".into() };
        cfg!(target_os = "macos").then(tool)
    }

    /// Those in a folder.
    pub fn in_folder(folder: &Path) -> Tool {
        Tool { xcrun: folder.join("xcrun"), xcodebuild: folder.join("xcodebuild") }
    }

    /// The phones that devicectl knows.
    ///
    /// # Errors
    /// Surroundings errors of the tool.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let words = ["devicectl", "list", "devices", "--timeout", "10"];
        self.json(&words.map(OsString::from), PATIENCE).map(|result| listed(&result))
    }

    /// Whether a phone wants its passcode, where it says so.
    ///
    /// # Errors
    /// Surroundings errors of the tool.
    pub fn is_locked(&self, udid: &str) -> Result<Option<bool>> {
        let words = ["devicectl", "device", "info", "lockState", "--device", udid];
        let result = self.json(&words.map(OsString::from), PATIENCE)?;
        Ok(result.get("passcodeRequired").and_then(Value::as_bool))
    }

    /// Starts the app afresh with a token; its process number, where it is said.
    ///
    /// # Errors
    /// Surroundings errors: a locked phone, no such app.
    pub fn launch(&self, udid: &str, bundle_id: &str, token: &Token) -> Result<Option<u64>> {
        let variables = serde_json::json!({ TOKEN_VARIABLE: token.as_str() }).to_string();
        let words = [
            "devicectl",
            "device",
            "process",
            "launch",
            "--device",
            udid,
            "--terminate-existing",
            "--environment-variables",
            &variables,
            bundle_id,
        ];
        let result = self.json(&words.map(OsString::from), PATIENCE)?;
        Ok(result.pointer("/process/processIdentifier").and_then(Value::as_u64))
    }

    /// Runs `xcrun` with these words and a file for its JSON; the JSON's `result`.
    ///
    /// # Errors
    /// Surroundings errors, in words that mend where the failure is known.
    pub fn json(&self, words: &[OsString], patience: Duration) -> Result<Value> {
        let file = Scratch::new("json");
        let mut words = words.to_vec();
        // Before the bundle identifier of a launch, after which words are the app's.
        let at = words.iter().take(4).count();
        words.splice(at..at, ["--json-output".into(), file.0.clone().into()]);
        let (is_success, said) = run(&self.xcrun, &words, patience)?;
        let json = read_bounded(&file.0, MAX_JSON_BYTES);
        result(is_success, json.as_deref(), &said)
    }
}

/// What a tool's JSON says; what it said where there is none.
fn result(is_success: bool, json: Option<&str>, said: &str) -> Result<Value> {
    let json: Option<Value> = json.and_then(|text| serde_json::from_str(text).ok());
    let outcome = json.as_ref().and_then(|json| json.pointer("/info/outcome")?.as_str());
    if let (true, Some("success") | None, Some(json)) = (is_success, outcome, &json) {
        return Ok(json.get("result").cloned().unwrap_or(Value::Null));
    }
    let mut words = String::new();
    if let Some(error) = json.as_ref().and_then(|json| json.get("error")) {
        gather(error, &mut words);
    }
    words.push_str(said);
    Err(failure("devicectl", &words))
}

/// A tool's failure by its words.
fn failure(tool: &str, said: &str) -> Error {
    if let Some(trouble) = Trouble::of(said) {
        return trouble.into_error();
    }
    let line = said.lines().map(str::trim).rfind(|line| !line.is_empty());
    Error::surroundings(format!("{tool} failed: {}", line.unwrap_or("it said nothing")))
        .hint("unlock the phone and try again; Xcode's Devices window may say more")
}

/// All codes and sentences of an error, the ones within it too, a line each.
fn gather(error: &Value, words: &mut String) {
    match error {
        Value::String(text) => words.extend([text, "\n"]),
        Value::Number(number) => words.extend([number.to_string().as_str(), "\n"]),
        Value::Array(all) => all.iter().for_each(|one| gather(one, words)),
        Value::Object(all) => all.values().for_each(|one| gather(one, words)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Runs a program to its end; whether it succeeded, and what it said.
fn run(program: &Path, words: &[OsString], patience: Duration) -> Result<(bool, String)> {
    let failed = |error: std::io::Error| {
        Error::surroundings(format!("cannot run {}", program.display()))
            .because(error)
            .hint(Trouble::NoXcode.hint())
    };
    // Into a file: a pipe that nobody reads would hold the program up.
    let file = Scratch::new("txt");
    let said = std::fs::File::create_new(&file.0).map_err(failed)?;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(said.try_clone().map_err(failed)?)
        .stderr(said)
        .spawn()
        .map_err(failed)?;
    let until = Instant::now() + patience;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            None => {
                // Both fail only where it has ended just now.
                let _ = child.kill();
                let _ = child.wait();
                let what = format!("{} did not end within {patience:?}", program.display());
                return Err(Error::surroundings(what).hint(Trouble::Locked.hint()));
            }
        }
    };
    Ok((status.success(), read_bounded(&file.0, MAX_SAID_BYTES).unwrap_or_default()))
}

/// The end of a file's text.
fn read_bounded(path: &Path, most: u64) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path).ok()?;
    let beyond = file.metadata().ok()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(beyond)).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file that is gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(ending: &str) -> Scratch {
        let name = format!("evalkit-{}.{ending}", hex(&rand::random::<[u8; 16]>()));
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The tool may never have written it.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests;
