//! Running Apple's tools: command lines, time limits, and what their output means.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::device_error::DeviceError;
use super::listing::{ListedDevice, listed};
use crate::device::protocol::message::TOKEN_VARIABLE;
use crate::device::protocol::token::Token;
use crate::error::{Error, Result};
use crate::units::hex;

/// The app's default bundle identifier.
pub const BUNDLE_ID: &str = "dev.evalkit.runner";
/// How long devicectl may take to list or to launch.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many of the last bytes of a tool's JSON are read.
const MAX_JSON_BYTES: u64 = 16 << 20;
/// How many of the last bytes of a tool's other output are read.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// Where Apple's tools are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// `xcrun`.
    pub xcrun: PathBuf,
    /// `xcodebuild`.
    pub xcodebuild: PathBuf,
}

impl Tool {
    /// The tools of this machine; `None` if it is not a Mac.
    pub fn of_system() -> Option<Tool> {
        let tool = || Tool { xcrun: "xcrun".into(), xcodebuild: "xcodebuild".into() };
        cfg!(target_os = "macos").then(tool)
    }

    /// Lists the devices that devicectl knows.
    ///
    /// # Errors
    /// Surroundings if the tool fails.
    pub fn list(&self) -> Result<Vec<ListedDevice>> {
        let words = ["devicectl", "list", "devices", "--timeout", "10"];
        self.json(&words.map(OsString::from), PATIENCE).map(|result| listed(&result))
    }

    /// Whether a phone asks for its passcode; `None` if devicectl does not tell.
    ///
    /// # Errors
    /// Surroundings if the tool fails.
    pub fn is_locked(&self, udid: &str) -> Result<Option<bool>> {
        let words = ["devicectl", "device", "info", "lockState", "--device", udid];
        let result = self.json(&words.map(OsString::from), PATIENCE)?;
        Ok(result.get("passcodeRequired").and_then(Value::as_bool))
    }

    /// Launches the app with a token, and ends an instance that is already running.
    ///
    /// # Errors
    /// Surroundings, such as a locked phone or an app that is not installed.
    pub fn launch(&self, udid: &str, bundle_id: &str, token: &Token) -> Result<()> {
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
        self.json(&words.map(OsString::from), PATIENCE).map(|_| ())
    }

    /// Runs `xcrun` with these arguments and a file for its JSON, and returns the JSON's `result`.
    ///
    /// # Errors
    /// Surroundings, with a hint if the failure is a known one.
    pub(super) fn json(&self, words: &[OsString], patience: Duration) -> Result<Value> {
        let file = Scratch::new("json");
        let mut words = words.to_vec();
        // What follows the bundle identifier of a launch is passed to the app.
        let at = words.iter().take(4).count();
        words.splice(at..at, ["--json-output".into(), file.0.clone().into()]);
        let (is_success, output) = run(&self.xcrun, &words, patience)?;
        let json = read_bounded(&file.0, MAX_JSON_BYTES);
        result(is_success, json.as_deref(), &output)
    }
}

/// The `result` of a tool's JSON, or an error made of the JSON's `error` and the other output.
fn result(is_success: bool, json: Option<&str>, output: &str) -> Result<Value> {
    let json: Option<Value> = json.and_then(|text| serde_json::from_str(text).ok());
    let outcome = json.as_ref().and_then(|json| json.pointer("/info/outcome")?.as_str());
    if let (true, Some("success") | None, Some(json)) = (is_success, outcome, &json) {
        return Ok(json.get("result").cloned().unwrap_or(Value::Null));
    }
    let mut words = String::new();
    if let Some(error) = json.as_ref().and_then(|json| json.get("error")) {
        gather(error, &mut words);
    }
    words.push_str(output);
    Err(failure("devicectl", &words))
}

/// The error that a tool's output describes: a known one, or its last line.
pub(super) fn failure(tool: &str, output: &str) -> Error {
    if let Some(error) = DeviceError::of(output) {
        return error.into_error();
    }
    let line = output.lines().map(str::trim).rfind(|line| !line.is_empty());
    Error::surroundings(format!("{tool} failed: {}", line.unwrap_or("it printed nothing")))
        .hint("unlock the phone and try again; Xcode's Devices window may tell more")
}

/// Collects all codes and sentences of an error and of those nested in it, one per line.
fn gather(error: &Value, words: &mut String) {
    match error {
        Value::String(text) => words.extend([text, "\n"]),
        Value::Number(number) => words.extend([number.to_string().as_str(), "\n"]),
        Value::Array(all) => all.iter().for_each(|one| gather(one, words)),
        Value::Object(all) => all.values().for_each(|one| gather(one, words)),
        Value::Null | Value::Bool(_) => {}
    }
}

/// Runs a program to its end. Returns whether it succeeded, and the end of its output.
pub(super) fn run(
    program: &Path,
    words: &[OsString],
    patience: Duration,
) -> Result<(bool, String)> {
    let failed = |error: std::io::Error| {
        Error::surroundings(format!("cannot run {}", program.display()))
            .because(error)
            .hint(DeviceError::NoXcode.hint())
    };
    // The output goes to a file, because a pipe that nobody reads would block the program.
    let file = Scratch::new("txt");
    let output = std::fs::File::create_new(&file.0).map_err(failed)?;
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(output.try_clone().map_err(failed)?)
        .stderr(output)
        .spawn()
        .map_err(failed)?;
    let until = Instant::now() + patience;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            None => {
                // Both fail only if it has ended just now.
                let _ = child.kill();
                let _ = child.wait();
                let what = format!("{} did not end within {patience:?}", program.display());
                return Err(Error::surroundings(what).hint(DeviceError::Locked.hint()));
            }
        }
    };
    Ok((status.success(), read_bounded(&file.0, MAX_OUTPUT_BYTES).unwrap_or_default()))
}

/// The last `most` bytes of a file, as text; `None` if the file cannot be read.
fn read_bounded(path: &Path, most: u64) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = std::fs::File::open(path).ok()?;
    let beyond = file.metadata().ok()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(beyond)).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A temporary file that is removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(ending: &str) -> Scratch {
        let name = format!("evalkit-{}.{ending}", hex(&rand::random::<[u8; 16]>()));
        Scratch(std::env::temp_dir().join(name))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // This fails if the tool has not written the file.
        let _ = std::fs::remove_file(&self.0);
    }
}
