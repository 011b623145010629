//! Running Apple's tools: command lines, time limits, and what their output means.

use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
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
/// devicectl gives a launched app those of its own environment variables that begin with this, without it.
///
/// `xcrun devicectl device process launch --help` (devicectl 518.31, Xcode 26) says: "set them in the
/// calling environment with a DEVICECTL_CHILD_ prefix". Its option `--environment-variables` overrides
/// them and shows their values to everyone who lists this machine's processes, so it is not used.
const CHILD_PREFIX: &str = "DEVICECTL_CHILD_";
/// How long devicectl may take to list or to launch.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many of the last bytes of a tool's JSON are read.
const MAX_JSON_BYTES: u64 = 16 << 20;
/// How many of the last bytes of a tool's other output are read.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;
/// What devicectl prints while all goes well, in lower case.
const PROGRESS: [&str; 4] = [
    "acquired tunnel connection to device",
    "enabling developer disk image services",
    "acquired usage assertion",
    "enabling developer mode throttling override",
];

/// Where Apple's tools are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// `xcrun`.
    pub xcrun: PathBuf,
    /// `xcodebuild`.
    pub xcodebuild: PathBuf,
}

/// A command line of devicectl.
#[derive(Debug)]
pub(super) struct Devicectl {
    /// `list devices`.
    pub subcommand: &'static [&'static str],
    /// Options and arguments.
    pub words: Vec<OsString>,
    /// Environment variables, in addition to those of this process.
    pub variables: Vec<(String, String)>,
    /// The time limit.
    pub patience: Duration,
}

impl Devicectl {
    /// A command without environment variables of its own.
    pub fn new<const N: usize>(subcommand: &'static [&'static str], words: [&str; N]) -> Devicectl {
        let words = words.map(OsString::from).into();
        Devicectl { subcommand, words, variables: Vec::new(), patience: PATIENCE }
    }

    /// The arguments of `xcrun`. Options of ours stand between the subcommand and its own: there they part
    /// no option from its value, and do not follow the bundle identifier of a launch, where the app's own
    /// arguments stand.
    fn arguments(&self, json: &Path) -> Vec<OsString> {
        let mut all = vec!["devicectl".into()];
        all.extend(self.subcommand.iter().map(OsString::from));
        all.extend(["--quiet".into(), "--json-output".into(), json.into()]);
        all.extend(self.words.iter().cloned());
        all
    }
}

impl Tool {
    /// The tools on this process's path; `None` if there is no `xcrun`.
    pub fn of_system() -> Option<Tool> {
        let path = std::env::var_os("PATH")?;
        let xcrun = std::env::split_paths(&path).map(|folder| folder.join("xcrun"));
        let xcrun = xcrun.into_iter().find(|file| file.is_file())?;
        Some(Tool { xcrun, xcodebuild: "xcodebuild".into() })
    }

    /// Lists the devices that devicectl knows.
    ///
    /// # Errors
    /// Surroundings if the tool fails.
    pub fn list(&self) -> Result<Vec<ListedDevice>> {
        let command = Devicectl::new(&["list", "devices"], ["--timeout", "10"]);
        self.json(&command).map(|result| listed(&result))
    }

    /// Whether a phone asks for its passcode; `None` if devicectl does not tell.
    ///
    /// # Errors
    /// Surroundings if the tool fails.
    pub fn is_locked(&self, udid: &str) -> Result<Option<bool>> {
        let words = ["--device", &dashed(udid)];
        let result = self.json(&Devicectl::new(&["device", "info", "lockState"], words))?;
        Ok(result.get("passcodeRequired").and_then(Value::as_bool))
    }

    /// Launches the app with a token, and ends an instance that is already running.
    ///
    /// # Errors
    /// Surroundings, such as a locked phone or an app that is not installed.
    pub fn launch(&self, udid: &str, bundle_id: &str, token: &Token) -> Result<()> {
        let words = ["--device", &dashed(udid), "--terminate-existing", bundle_id];
        let variable = (format!("{CHILD_PREFIX}{TOKEN_VARIABLE}"), token.as_str().to_owned());
        let launch = Devicectl {
            variables: vec![variable],
            ..Devicectl::new(&["device", "process", "launch"], words)
        };
        self.json(&launch).map(|_| ())
    }

    /// Runs devicectl with a file for its JSON, and returns the JSON's `result`.
    ///
    /// # Errors
    /// Surroundings, with a hint if the failure is a known one.
    pub(super) fn json(&self, command: &Devicectl) -> Result<Value> {
        let scratch = Scratch::new()?;
        let file = scratch.0.join("result.json");
        let (is_success, output) =
            run(&self.xcrun, &command.arguments(&file), &command.variables, command.patience)?;
        if !is_success && output.contains("unable to find utility") && self.is_without_xcode() {
            return Err(DeviceError::OnlyCommandLineTools.into_error());
        }
        let json = read_bounded(&file, MAX_JSON_BYTES);
        result(is_success, json.as_deref(), &output)
    }

    /// Whether the command line tools are selected instead of an Xcode: they have no devicectl.
    fn is_without_xcode(&self) -> bool {
        let xcode_select = self.xcrun.with_file_name("xcode-select");
        let selected = run(&xcode_select, &["-p".into()], &[], PATIENCE);
        selected.is_ok_and(|(is_success, path)| is_success && path.contains("CommandLineTools"))
    }
}

/// A UDID as devicectl knows it. Apple's usbmuxd leaves out the dash of those with 24 digits; libusbmuxd
/// puts it back in the same way.
fn dashed(udid: &str) -> String {
    match udid.split_at_checked(8) {
        Some((chip, number)) if udid.len() == 24 => format!("{chip}-{number}"),
        _ => udid.to_owned(),
    }
}

/// The `result` of a tool's JSON, or the error that the JSON describes; without JSON, the one that the
/// other output describes.
fn result(is_success: bool, json: Option<&str>, output: &str) -> Result<Value> {
    let json: Option<Value> = json.and_then(|text| serde_json::from_str(text).ok());
    let outcome = json.as_ref().and_then(|json| json.pointer("/info/outcome")?.as_str());
    if let (true, Some("success") | None, Some(json)) = (is_success, outcome, &json) {
        return Ok(json.get("result").cloned().unwrap_or(Value::Null));
    }
    match json.as_ref().and_then(|json| json.get("error")) {
        Some(error) => Err(described(error)),
        None => Err(failure("devicectl", output)),
    }
}

/// The error that devicectl's JSON describes: a known one, or its own sentences, from the outermost to the
/// innermost.
fn described(error: &Value) -> Error {
    let mut words = String::new();
    gather(error, &mut words);
    if let Some(known) = DeviceError::of(&words) {
        return known.into_error();
    }
    let mut sentences = Vec::new();
    let mut inner = Some(error);
    while let Some(error) = inner {
        for key in ["NSLocalizedDescription", "NSLocalizedFailureReason"] {
            let text = error.pointer(&format!("/userInfo/{key}"));
            let text = text.and_then(|text| text.as_str().or_else(|| text.get("string")?.as_str()));
            sentences.extend(text.filter(|text| !text.is_empty()));
        }
        inner = error.pointer("/userInfo/NSUnderlyingError/error");
    }
    if sentences.is_empty() {
        sentences.extend(words.lines());
    }
    unknown("devicectl", &sentences.join(" "))
}

/// The error that a tool's output describes: a known one, or its last line that reports an error. Lines of
/// progress describe none.
pub(super) fn failure(tool: &str, output: &str) -> Error {
    let is_sign = |line: &&str| {
        let line = line.to_lowercase();
        !PROGRESS.iter().any(|progress| line.contains(progress))
    };
    let lines: Vec<&str> = output.lines().map(str::trim).filter(is_sign).collect();
    if let Some(known) = DeviceError::of(&lines.join("\n")) {
        return known.into_error();
    }
    let reports = |line: &&&str| line.to_lowercase().contains("error:");
    let line = lines.iter().rfind(reports).or(lines.iter().rfind(|line| !line.is_empty()));
    unknown(tool, line.unwrap_or(&"it printed nothing"))
}

fn unknown(tool: &str, what: &str) -> Error {
    Error::surroundings(format!("{tool} failed: {what}"))
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
    variables: &[(String, String)],
    patience: Duration,
) -> Result<(bool, String)> {
    let failed = |error: std::io::Error| {
        Error::surroundings(format!("cannot run {}", program.display()))
            .because(error)
            .hint(DeviceError::NoXcode.hint())
    };
    // The output goes to a file, because a pipe that nobody reads would block the program.
    let scratch = Scratch::new()?;
    let file = scratch.0.join("output.txt");
    let output = std::fs::File::create_new(&file).map_err(failed)?;
    let mut child = Command::new(program)
        .args(words)
        .envs(variables.iter().map(|(name, value)| (name, value)))
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
    Ok((status.success(), read_bounded(&file, MAX_OUTPUT_BYTES).unwrap_or_default()))
}

/// The last `most` bytes of a file, as text; `None` if the file cannot be read.
fn read_bounded(path: &Path, most: u64) -> Option<String> {
    let mut file = std::fs::File::open(path).ok()?;
    let beyond = file.metadata().ok()?.len().saturating_sub(most);
    file.seek(SeekFrom::Start(beyond)).ok()?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A temporary folder that only this user can read, removed when dropped: devicectl writes its environment
/// into its JSON.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Scratch> {
        let name = format!("evalkit-{}", hex(&rand::random::<[u8; 16]>()));
        let folder = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| Error::io("create a temporary folder", &folder, error))?;
        Ok(Scratch(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A folder that cannot be removed harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
