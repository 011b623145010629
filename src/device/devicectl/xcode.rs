//! Which Xcode is selected, and whether it can build the runner.

use std::fmt;
use std::time::Duration;

use super::tool::{Tool, failure, run};
use crate::error::{Error, Result};

/// The first Xcode that can build the runner. The runner is Swift 6, and the system headers of earlier
/// SDKs declare `mach_task_self_` in a way that Swift 6 refuses.
pub const OLDEST_XCODE: XcodeVersion = XcodeVersion { major: 16, minor: 3 };
/// How long xcodebuild may take to tell its version. The first call after an update is slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A version of Xcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct XcodeVersion {
    /// 16 of 16.3.
    pub major: u32,
    /// 3 of 16.3.
    pub minor: u32,
}

impl XcodeVersion {
    /// The version in the output of `xcodebuild -version`; `None` if there is none.
    pub fn of(output: &str) -> Option<XcodeVersion> {
        let version = output.lines().find_map(|line| line.trim().strip_prefix("Xcode "))?;
        let mut parts = version.trim().split('.').map(|part| part.parse::<u32>().ok());
        let major = parts.next()??;
        Some(XcodeVersion { major, minor: parts.next().flatten().unwrap_or(0) })
    }
}

impl fmt::Display for XcodeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Refuses an Xcode that is absent, not ready, or too old to build the runner. A version that cannot be
/// read is not refused.
///
/// # Errors
/// Surroundings, with what to install or to select.
pub fn require_xcode(tool: &Tool) -> Result<()> {
    let (is_success, output) = run(&tool.xcodebuild, &["-version".into()], &[], PATIENCE)?;
    if !is_success {
        return Err(failure("xcodebuild", &output));
    }
    match XcodeVersion::of(&output) {
        Some(found) if found < OLDEST_XCODE => {
            let what = format!(
                "expected Xcode {OLDEST_XCODE} or later, found {found}: Swift 6, in which the runner is \
                 written, refuses the system headers of earlier SDKs"
            );
            Err(Error::surroundings(what).hint(format!(
                "install Xcode {OLDEST_XCODE} or later; if it is installed already, select it: \
                 sudo xcode-select -s /Applications/Xcode.app"
            )))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_xcodebuild_writes_them_and_compared_as_numbers() {
        let of = |text: &str| XcodeVersion::of(text).map(|version| version.to_string());
        assert_eq!(of("Xcode 16.3\nBuild version 16E140\n").as_deref(), Some("16.3"));
        assert_eq!(of("Xcode 26.0.1\nBuild version 17A400").as_deref(), Some("26.0"));
        assert_eq!(of("Xcode 16\n").as_deref(), Some("16.0"));
        assert_eq!(of("xcodebuild: error"), None);
        let at = |major, minor| XcodeVersion { major, minor };
        assert!(at(16, 2) < OLDEST_XCODE && at(16, 10) > OLDEST_XCODE && at(26, 0) > OLDEST_XCODE);
    }
}
