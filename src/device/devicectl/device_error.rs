//! Known failures of devicectl and xcodebuild, and how to mend each.

use std::fmt;

use crate::error::Error;

/// A known failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceError {
    /// The phone is locked.
    Locked,
    /// Developer Mode is off.
    DeveloperModeOff,
    /// The phone does not trust this Mac.
    NotTrusted,
    /// Xcode knows no Apple account.
    NoAccounts,
    /// No team was named to sign the app.
    NoTeam,
    /// There is no profile for the bundle identifier, or another team uses it.
    NoProfile,
    /// The team may not sign the memory entitlements.
    NotEntitled,
    /// The app is not on the phone.
    NotInstalled,
    /// The phone's iOS is older than devicectl supports.
    UnsupportedOs,
    /// The developer disk image is not mounted.
    NoDeveloperImage,
    /// The phone does not trust the app's developer.
    DeveloperNotTrusted,
    /// The phone cannot be reached.
    NotConnected,
    /// Xcode is not installed, or its licence has not been accepted.
    NoXcode,
}

/// Fragments of failures' texts, in lower case. The first entry that matches counts.
const SIGNS: [(DeviceError, &[&str]); 13] = [
    (
        DeviceError::DeveloperModeOff,
        &[
            "developer mode disabled",
            "developer mode is not enabled",
            "developer mode is disabled",
            "enable developer mode",
        ],
    ),
    (
        DeviceError::DeveloperNotTrusted,
        &[
            "has not been explicitly trusted",
            "untrusted developer",
            "invalid code signature, inadequate entitlements",
        ],
    ),
    (
        DeviceError::NotTrusted,
        &[
            "not paired",
            "unpaired",
            "must be paired",
            "trust this computer",
            "trust dialog",
            "pairing",
            "host is not trusted",
        ],
    ),
    (
        DeviceError::NotEntitled,
        &[
            "do not support the increased memory limit",
            "doesn't support the increased memory limit",
            "com.apple.developer.kernel",
        ],
    ),
    (DeviceError::NoAccounts, &["no accounts", "no account for team", "no apple id account"]),
    (DeviceError::NoTeam, &["requires a development team", "no development team"]),
    (
        DeviceError::NoProfile,
        &[
            "no profiles for",
            "failed registering bundle identifier",
            "cannot be registered to your development team",
        ],
    ),
    (
        DeviceError::NoXcode,
        &[
            "requires xcode",
            "unable to find utility",
            "xcode license",
            "active developer path",
            "agree to the xcode",
        ],
    ),
    (
        DeviceError::UnsupportedOs,
        &[
            "unsupported os",
            "os version is not supported",
            "not supported on this version",
            "requires ios 17",
            "deployment target",
        ],
    ),
    (
        DeviceError::Locked,
        &[
            "12040",
            "device is locked",
            "passcode protected",
            "was not, or could not be, unlocked",
            "unlock the device",
            "device was locked",
        ],
    ),
    (
        DeviceError::NoDeveloperImage,
        &["developer disk image", "ddi", "disk image could not be mounted"],
    ),
    (
        DeviceError::NotInstalled,
        &[
            "is not installed",
            "application is unknown",
            "no such application",
            "unable to locate application",
            "unknown to frontboard",
        ],
    ),
    (
        DeviceError::NotConnected,
        &[
            "device not found",
            "unable to locate a device",
            "no device found",
            "device is not connected",
            "unable to find a destination",
            "tunnel connection failed",
        ],
    ),
];

impl DeviceError {
    /// The known failure that a tool's output describes, if any.
    pub fn of(output: &str) -> Option<DeviceError> {
        let output = output.to_lowercase();
        let is_in = |sign: &&str| match output.find(*sign) {
            // A short sign must not be part of a longer word.
            Some(at) if sign.len() <= 5 => {
                let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                !is_letter(output[..at].chars().next_back())
                    && !is_letter(output[at + sign.len()..].chars().next())
            }
            found => found.is_some(),
        };
        SIGNS.iter().find(|(_, signs)| signs.iter().any(is_in)).map(|(error, _)| *error)
    }

    /// The crate's error, with its hint.
    pub fn into_error(self) -> Error {
        Error::surroundings(self.to_string()).hint(self.hint())
    }

    /// How to mend it.
    pub fn hint(self) -> &'static str {
        match self {
            DeviceError::Locked => "unlock the phone, keep it awake, and try again",
            DeviceError::DeveloperModeOff => {
                "switch it on in the phone's Settings, Privacy & Security, Developer Mode; it restarts"
            }
            DeviceError::NotTrusted => {
                "unlock the phone and tap Trust when it asks, or run: xcrun devicectl manage pair"
            }
            DeviceError::NoAccounts => "add your Apple ID in Xcode's Settings, Accounts",
            DeviceError::NoTeam => {
                "name your team with --team; Xcode shows it under Settings, Accounts"
            }
            DeviceError::NotEntitled => {
                "sign with --without-entitlements; packages may then take less memory"
            }
            DeviceError::NoProfile => "choose another identifier with --bundle-id",
            DeviceError::NotInstalled => "run evalkit devices install",
            DeviceError::UnsupportedOs => {
                "update the phone: the runner needs iOS 18, and devicectl needs iOS 17"
            }
            DeviceError::NoDeveloperImage => {
                "unlock the phone and open Xcode's Devices window once: that mounts the image"
            }
            DeviceError::DeveloperNotTrusted => {
                "trust the developer in the phone's Settings, General, VPN & Device Management"
            }
            DeviceError::NotConnected => "attach the phone with a cable and unlock it",
            DeviceError::NoXcode => {
                "install Xcode, open it once, then run: sudo xcode-select -s /Applications/Xcode.app"
            }
        }
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DeviceError::Locked => "the phone is locked",
            DeviceError::DeveloperModeOff => "Developer Mode is off on the phone",
            DeviceError::NotTrusted => "the phone does not trust this Mac",
            DeviceError::NoAccounts => "Xcode knows no Apple account",
            DeviceError::NoTeam => "no team was named to sign the app",
            DeviceError::NotEntitled => "the team may not sign the memory entitlements",
            DeviceError::NoProfile => "there is no profile for the app's bundle identifier",
            DeviceError::NotInstalled => "the runner app is not installed",
            DeviceError::UnsupportedOs => "the phone's iOS is too old",
            DeviceError::NoDeveloperImage => "the phone's developer disk image is not mounted",
            DeviceError::DeveloperNotTrusted => "the phone does not trust the app's developer",
            DeviceError::NotConnected => "the phone cannot be reached",
            DeviceError::NoXcode => "Xcode's tools are not installed",
        })
    }
}
