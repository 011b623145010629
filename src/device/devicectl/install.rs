//! From the project's sources to a runner that answers: the command lines, in order, as data.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Tool, failure, run};
use crate::device::protocol::token::Token;
use crate::error::{At, Error, Result};

/// The Xcode project, from the root of the sources.
pub const PROJECT: &str = "device-runner/xcode/EvalRunner.xcodeproj";
/// Its scheme, which is the app's name too.
const SCHEME: &str = "EvalRunner";
/// A first build fetches nothing but compiles everything.
const BUILD_PATIENCE: Duration = Duration::from_secs(30 * 60);
const INSTALL_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// What is to be installed, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The phone's UDID.
    pub udid: String,
    /// The team that signs; the project's where none is given.
    pub team: Option<String>,
    /// The app's bundle identifier.
    pub bundle_id: String,
    /// Whether the app asks for the memory entitlements, which personal teams do not get.
    pub is_entitled: bool,
    /// The Xcode project.
    pub project: PathBuf,
    /// Where xcodebuild may write.
    pub derived: PathBuf,
}

/// One command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it does, in a word.
    pub name: &'static str,
    /// Whether it is xcodebuild, and not devicectl.
    pub is_build: bool,
    /// Its words.
    pub words: Vec<OsString>,
    /// How long it may take.
    pub patience: Duration,
}

/// Building and installing. Launching is [`Tool::launch`].
pub fn steps(order: &Order) -> Vec<Step> {
    let mut build: Vec<OsString> = vec![
        "-project".into(),
        order.project.clone().into(),
        "-scheme".into(),
        SCHEME.into(),
        "-configuration".into(),
        "Release".into(),
        "-destination".into(),
        format!("id={}", order.udid).into(),
        "-derivedDataPath".into(),
        order.derived.clone().into(),
        "-allowProvisioningUpdates".into(),
        "-allowProvisioningDeviceRegistration".into(),
        format!("PRODUCT_BUNDLE_IDENTIFIER={}", order.bundle_id).into(),
    ];
    if let Some(team) = &order.team {
        build.push(format!("DEVELOPMENT_TEAM={team}").into());
    }
    if !order.is_entitled {
        build.push("CODE_SIGN_ENTITLEMENTS=".into());
    }
    build.push("build".into());
    let mut install: Vec<OsString> =
        ["devicectl", "device", "install", "app", "--device", &order.udid].map(Into::into).into();
    install.push(app(&order.derived).into());
    vec![
        Step { name: "build", is_build: true, words: build, patience: BUILD_PATIENCE },
        Step { name: "install", is_build: false, words: install, patience: INSTALL_PATIENCE },
    ]
}

/// Where xcodebuild puts the app.
pub fn app(derived: &Path) -> PathBuf {
    derived.join("Build/Products/Release-iphoneos").join(format!("{SCHEME}.app"))
}

/// Builds, installs and launches; `hear` is told of each step.
///
/// # Errors
/// Surroundings errors, with the step that failed.
pub fn install(
    tool: &Tool,
    order: &Order,
    token: &Token,
    hear: &mut dyn FnMut(&str),
) -> Result<()> {
    if !order.project.exists() {
        return Err(Error::input(format!("no Xcode project at {}", order.project.display()))
            .hint("run it in the root of evalkit's sources"));
    }
    for step in steps(order) {
        hear(step.name);
        let done = if step.is_build {
            match run(&tool.xcodebuild, &step.words, step.patience)? {
                (true, _) => Ok(()),
                (false, said) => Err(failure("xcodebuild", &errors(&said))),
            }
        } else {
            tool.json(&step.words, step.patience).map(|_| ())
        };
        done.at(|| step.name)?;
    }
    hear("launch");
    tool.launch(&order.udid, &order.bundle_id, token).map(|_| ()).at(|| "launch")
}

/// The lines of a build's output that are errors; all, where none is.
fn errors(said: &str) -> String {
    let is_error = |line: &&str| line.contains("error:") || line.contains("Error:");
    let lines: Vec<&str> = said.lines().filter(is_error).collect();
    if lines.is_empty() { said.to_owned() } else { lines.join("\n") }
}
