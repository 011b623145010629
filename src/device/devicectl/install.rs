//! Building, installing and launching the runner on a phone.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::tool::{Devicectl, Tool, failure, run};
use crate::device::protocol::token::Token;
use crate::error::{At, Error, Result};

/// The Xcode project, relative to the root of the sources.
pub const PROJECT: &str = "device-runner/xcode/EvalRunner.xcodeproj";
/// The project's scheme, which is also the app's name.
const SCHEME: &str = "EvalRunner";
/// Time limit of the build: the first one compiles everything.
const BUILD_PATIENCE: Duration = Duration::from_secs(30 * 60);
const INSTALL_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// Length of a team's identifier.
const TEAM_LEN: usize = 10;

/// What to install, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallOrder {
    /// The phone's UDID.
    pub udid: String,
    /// The team that signs the app [default: the project's].
    pub team: Option<String>,
    /// The app's bundle identifier.
    pub bundle_id: String,
    /// Whether to sign the memory entitlements, which personal teams do not get.
    pub is_entitled: bool,
    /// The Xcode project.
    pub project: PathBuf,
    /// The folder that xcodebuild writes to.
    pub derived: PathBuf,
}

/// A team's identifier: ten letters and digits.
///
/// # Errors
/// Input if the text is something else.
pub fn team(text: &str) -> Result<String> {
    if text.len() == TEAM_LEN && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(text.to_owned());
    }
    let what = format!("expected a team of {TEAM_LEN} letters and digits, found {text:?}");
    Err(Error::input(what).hint("Xcode shows it under Settings, Accounts"))
}

/// A bundle identifier: a reverse domain name with parts of letters, digits and dashes, none of which begins
/// with a dash.
///
/// # Errors
/// Input if the text is something else.
pub fn bundle_id(text: &str) -> Result<String> {
    let is_part = |part: &str| {
        let is_known = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !part.is_empty() && !part.starts_with('-') && part.chars().all(is_known)
    };
    if text.contains('.') && text.split('.').all(is_part) {
        return Ok(text.to_owned());
    }
    let what = "expected a bundle identifier of letters, digits, dashes and dots";
    Err(Error::input(format!("{what}, found {text:?}"))
        .hint("write a reverse domain name, such as com.yourname.runner"))
}

/// The arguments of xcodebuild.
fn build(order: &InstallOrder) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec![
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
        words.push(format!("DEVELOPMENT_TEAM={team}").into());
    }
    if !order.is_entitled {
        words.push("CODE_SIGN_ENTITLEMENTS=".into());
    }
    words.push("build".into());
    words
}

/// The app that xcodebuild builds.
fn app(derived: &Path) -> PathBuf {
    derived.join("Build/Products/Release-iphoneos").join(format!("{SCHEME}.app"))
}

/// Builds, installs and launches the app. `on_step` is called with the name of each step.
///
/// # Errors
/// Surroundings, with the name of the step that failed.
pub fn install(
    tool: &Tool,
    order: &InstallOrder,
    token: &Token,
    on_step: &mut dyn FnMut(&str),
) -> Result<()> {
    if !order.project.exists() {
        return Err(Error::input(format!("no Xcode project at {}", order.project.display()))
            .hint("run this command in the root of evalkit's sources, or name it with --sources"));
    }
    on_step("build");
    let (is_built, output) =
        run(&tool.xcodebuild, &build(order), &[], BUILD_PATIENCE).at(|| "build")?;
    if !is_built {
        return Err(failure("xcodebuild", &errors(&output))).at(|| "build");
    }
    on_step("install");
    let mut install = Devicectl::new(&["device", "install", "app"], ["--device", &order.udid]);
    install.words.push(app(&order.derived).into());
    install.patience = INSTALL_PATIENCE;
    tool.json(&install).at(|| "install")?;
    on_step("launch");
    tool.launch(&order.udid, &order.bundle_id, token).at(|| "launch")
}

/// The lines of a build's output that report errors; the whole output if no line does.
fn errors(output: &str) -> String {
    let is_error = |line: &&str| line.contains("error:") || line.contains("Error:");
    let lines: Vec<&str> = output.lines().filter(is_error).collect();
    if lines.is_empty() { output.to_owned() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teams_and_bundle_identifiers_that_apple_does_not_know_are_refused() {
        assert_eq!(team("ABCDE12345").unwrap(), "ABCDE12345");
        for bad in ["", "ABCDE1234", "ABCDE123456", "-BCDE12345", "ABCDE 2345"] {
            assert_eq!(team(bad).unwrap_err().exit().code(), 2, "{bad:?}");
        }
        for good in ["dev.evalkit.runner", "com.me.runner", "com.my-name.runner2"] {
            assert_eq!(bundle_id(good).unwrap(), good);
        }
        for bad in ["", "bad id!", "runner", "-com.me", "com.-me", "com..me", "com.me.", "com.m_e"]
        {
            assert_eq!(bundle_id(bad).unwrap_err().exit().code(), 2, "{bad:?}");
        }
    }
}
