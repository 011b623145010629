//! Known failures of devicectl and xcodebuild, and how each is mended.

use std::fmt;

use crate::error::Error;

/// A failure that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The phone is locked.
    Locked,
    /// Developer Mode is off.
    DeveloperModeOff,
    /// The phone does not trust this Mac.
    NotTrusted,
    /// Xcode knows no Apple account.
    NoAccounts,
    /// No team was named to sign for.
    NoTeam,
    /// There is no profile for the bundle identifier, or it is taken.
    NoProfile,
    /// The team may not ask for more memory.
    NotEntitled,
    /// The app is not on the phone.
    NotInstalled,
    /// iOS is older than devicectl knows.
    UnsupportedOs,
    /// The developer disk image is not mounted.
    NoDeveloperImage,
    /// The phone does not trust the developer of the app.
    DeveloperNotTrusted,
    /// The phone is not reachable.
    NotConnected,
    /// Xcode is not there, or its licence was not agreed to.
    NoXcode,
}

/// What failures say, in lower case; the first that is found counts.
const SIGNS: [(Trouble, &[&str]); 13] = [
    (
        Trouble::DeveloperModeOff,
        &[
            "developer mode disabled",
            "developer mode is not enabled",
            "developer mode is disabled",
            "enable developer mode",
        ],
    ),
    (
        Trouble::DeveloperNotTrusted,
        &[
            "has not been explicitly trusted",
            "untrusted developer",
            "invalid code signature, inadequate entitlements",
        ],
    ),
    (
        Trouble::NotTrusted,
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
        Trouble::NotEntitled,
        &[
            "do not support the increased memory limit",
            "doesn't support the increased memory limit",
            "com.apple.developer.kernel",
        ],
    ),
    (Trouble::NoAccounts, &["no accounts", "no account for team", "no apple id account"]),
    (Trouble::NoTeam, &["requires a development team", "no development team"]),
    (
        Trouble::NoProfile,
        &[
            "no profiles for",
            "failed registering bundle identifier",
            "cannot be registered to your development team",
        ],
    ),
    (
        Trouble::NoXcode,
        &[
            "requires xcode",
            "unable to find utility",
            "xcode license",
            "active developer path",
            "agree to the xcode",
        ],
    ),
    (
        Trouble::UnsupportedOs,
        &[
            "unsupported os",
            "os version is not supported",
            "not supported on this version",
            "requires ios 17",
            "deployment target",
        ],
    ),
    (
        Trouble::Locked,
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
        Trouble::NoDeveloperImage,
        &["developer disk image", "ddi", "disk image could not be mounted"],
    ),
    (
        Trouble::NotInstalled,
        &[
            "is not installed",
            "application is unknown",
            "no such application",
            "unable to locate application",
            "unknown to frontboard",
        ],
    ),
    (
        Trouble::NotConnected,
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

impl Trouble {
    /// The failure that these words are of.
    pub fn of(said: &str) -> Option<Trouble> {
        let said = said.to_lowercase();
        let is_in = |sign: &&str| match said.find(*sign) {
            // A short word within another is none.
            Some(at) if sign.len() <= 5 => {
                let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                !is_letter(said[..at].chars().next_back())
                    && !is_letter(said[at + sign.len()..].chars().next())
            }
            found => found.is_some(),
        };
        SIGNS.iter().find(|(_, signs)| signs.iter().any(is_in)).map(|(trouble, _)| *trouble)
    }

    /// As an error, with its hint.
    pub fn into_error(self) -> Error {
        Error::surroundings(self.to_string()).hint(self.hint())
    }

    /// How it is mended.
    pub fn hint(self) -> &'static str {
        match self {
            Trouble::Locked => "unlock the phone, keep it awake, and try again",
            Trouble::DeveloperModeOff => {
                "on the phone: Settings, Privacy & Security, Developer Mode, on; it restarts"
            }
            Trouble::NotTrusted => {
                "unlock the phone, tap Trust when it asks, or run: xcrun devicectl manage pair"
            }
            Trouble::NoAccounts => "in Xcode: Settings, Accounts, add your Apple ID",
            Trouble::NoTeam => {
                "name your team with --team; Xcode shows it under Settings, Accounts"
            }
            Trouble::NotEntitled => {
                "sign with --without-entitlements; packages may then take less memory"
            }
            Trouble::NoProfile => "choose an identifier of your own with --bundle-id",
            Trouble::NotInstalled => "run evalkit devices install",
            Trouble::UnsupportedOs => "update the phone: the runner needs iOS 18, devicectl iOS 17",
            Trouble::NoDeveloperImage => {
                "unlock the phone and open Xcode's Devices window once, which mounts it"
            }
            Trouble::DeveloperNotTrusted => {
                "on the phone: Settings, General, VPN & Device Management, trust the developer"
            }
            Trouble::NotConnected => "attach the phone with a cable and unlock it",
            Trouble::NoXcode => {
                "install Xcode, open it once, then: sudo xcode-select -s /Applications/Xcode.app"
            }
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Locked => "the phone is locked",
            Trouble::DeveloperModeOff => "Developer Mode is off on the phone",
            Trouble::NotTrusted => "the phone does not trust this Mac",
            Trouble::NoAccounts => "Xcode knows no Apple account",
            Trouble::NoTeam => "no team to sign for",
            Trouble::NotEntitled => "the team may not sign the memory entitlements",
            Trouble::NoProfile => "no profile for the app's bundle identifier",
            Trouble::NotInstalled => "the runner app is not installed",
            Trouble::UnsupportedOs => "the phone's iOS is too old",
            Trouble::NoDeveloperImage => "the phone's developer disk image is not mounted",
            Trouble::DeveloperNotTrusted => "the phone does not trust the app's developer",
            Trouble::NotConnected => "the phone cannot be reached",
            Trouble::NoXcode => "Xcode's tools are not there",
        })
    }
}
