//! Known failures of devicectl and xcodebuild, the words that give them away, and how to mend each.

use std::fmt;

use crate::error::Error;

/// A known failure, in the order in which they are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceError {
    /// Xcode's licence was not accepted, or its first launch is not complete.
    XcodeNotReady,
    /// The command line tools are selected instead of Xcode.
    OnlyCommandLineTools,
    /// Xcode is not installed.
    NoXcode,
    /// Xcode lacks the platform iOS.
    NoPlatform,
    /// Developer Mode is off.
    DeveloperModeOff,
    /// The app's provisioning profile or signing identity has expired.
    ProfileExpired,
    /// The phone has as many apps of a free team as it allows.
    TooManyApps,
    /// The phone does not trust the app's developer, or the app's profile has expired.
    DeveloperNotTrusted,
    /// The phone does not trust this Mac.
    NotTrusted,
    /// The team may not sign the memory entitlements.
    NotEntitled,
    /// Xcode knows no Apple account.
    NoAccounts,
    /// No team was named to sign the app.
    NoTeam,
    /// There is no profile for the bundle identifier, or another team uses it.
    NoProfile,
    /// The phone's storage is full.
    PhoneFull,
    /// The Mac's disk is full.
    MacFull,
    /// The phone's iOS is too old.
    UnsupportedOs,
    /// The phone is locked.
    Locked,
    /// The developer disk image is not mounted.
    NoDeveloperImage,
    /// The app is not on the phone under this bundle identifier.
    NotInstalled,
    /// The phone cannot be reached.
    NotConnected,
}

/// What is known of a failure.
struct Known {
    error: DeviceError,
    /// Fragments of the tools' texts, in lower case.
    signs: &'static [&'static str],
    what: &'static str,
    hint: &'static str,
}

/// All failures. The first with a matching sign counts: a cause stands before what it leads to, such as a
/// locked phone before a disk image that cannot be mounted.
const KNOWN: [Known; 20] = [
    Known {
        error: DeviceError::XcodeNotReady,
        signs: &["xcode license", "agree to the xcode", "-runfirstlaunch"],
        what: "Xcode's licence was not accepted, or its first launch is not complete",
        hint: "run: sudo xcodebuild -license accept, then: sudo xcodebuild -runFirstLaunch",
    },
    Known {
        error: DeviceError::OnlyCommandLineTools,
        signs: &["is a command line tools instance"],
        what: "the command line tools are selected instead of Xcode",
        hint: "install Xcode, then run: sudo xcode-select -s /Applications/Xcode.app",
    },
    Known {
        error: DeviceError::NoXcode,
        signs: &[
            "requires xcode",
            "unable to find utility",
            "active developer path",
            "no developer tools were found",
        ],
        what: "Xcode's tools are not installed",
        hint: "install Xcode, open it once, then run: sudo xcode-select -s /Applications/Xcode.app",
    },
    Known {
        error: DeviceError::NoPlatform,
        signs: &["install the platform from xcode"],
        what: "Xcode lacks the platform iOS",
        hint: "run: xcodebuild -downloadPlatform iOS",
    },
    Known {
        error: DeviceError::DeveloperModeOff,
        signs: &[
            "developer mode disabled",
            "developer mode is not enabled",
            "developer mode is disabled",
            "enable developer mode",
        ],
        what: "Developer Mode is off on the phone",
        hint: "switch it on in the phone's Settings, Privacy & Security, Developer Mode; it restarts",
    },
    Known {
        error: DeviceError::ProfileExpired,
        signs: &[
            "profile has expired",
            "0xe8008011",
            "used to sign the executable is no longer valid",
            "0xe8008018",
        ],
        what: "the app's signature has expired",
        hint: "renew the profile, which for a free team is valid for 7 days: open Xcode's Settings, Accounts, sign \
               in if it asks, select the team and click Download Manual Profiles; then run evalkit devices \
               install again",
    },
    Known {
        error: DeviceError::TooManyApps,
        signs: &[
            "maximum number of installed apps using a free",
            "maximum number of apps for free development",
        ],
        what: "the phone has as many apps of a free team as it allows",
        hint: "delete one of the apps that a free team signed, at most 3, and try again",
    },
    Known {
        error: DeviceError::DeveloperNotTrusted,
        signs: &[
            "has not been explicitly trusted",
            "untrusted developer",
            "invalid code signature, inadequate entitlements",
        ],
        what: "the phone does not trust the app's developer",
        hint: "trust the developer in the phone's Settings, General, VPN & Device Management; if that was \
               done, the signature has expired: run evalkit devices install again",
    },
    Known {
        error: DeviceError::NotTrusted,
        signs: &[
            "not paired",
            "unpaired",
            "must be paired",
            "trust this computer",
            "trust dialog",
            "pairing is required",
            "host is not trusted",
        ],
        what: "the phone does not trust this Mac",
        hint: "unlock the phone and tap Trust when it asks, or run: xcrun devicectl manage pair",
    },
    Known {
        error: DeviceError::NotEntitled,
        signs: &[
            "personal development teams",
            "support the increased memory limit",
            "support the extended virtual addressing",
            "com.apple.developer.kernel",
        ],
        what: "the team may not sign the memory entitlements",
        hint: "sign with --without-entitlements; packages may then take less memory",
    },
    Known {
        error: DeviceError::NoAccounts,
        signs: &["no accounts", "no account for team", "no apple id account"],
        what: "Xcode knows no Apple account",
        hint: "add your Apple ID in Xcode's Settings, Accounts",
    },
    Known {
        error: DeviceError::NoTeam,
        signs: &["requires a development team", "no development team"],
        what: "no team was named to sign the app",
        hint: "name your team with --team; Xcode shows it under Settings, Accounts",
    },
    Known {
        error: DeviceError::NoProfile,
        signs: &[
            "no profiles for",
            "failed registering bundle identifier",
            "cannot be registered to your development team",
            "valid provisioning profile for this executable was not found",
        ],
        what: "there is no profile for the app's bundle identifier",
        hint: "choose an identifier that no other team uses, such as --bundle-id com.yourname.runner",
    },
    Known {
        error: DeviceError::PhoneFull,
        signs: &["enough storage"],
        what: "the phone's storage is full",
        hint: "delete what is not needed in the phone's Settings, General, iPhone Storage",
    },
    Known {
        error: DeviceError::MacFull,
        signs: &["no space left on device"],
        what: "the disk of this Mac is full",
        hint: "free some space and try again",
    },
    Known {
        error: DeviceError::UnsupportedOs,
        signs: &[
            "unsupported os",
            "os version is not supported",
            "not supported on this version",
            "requires ios 17",
            "deployment target",
        ],
        what: "the phone's iOS is too old",
        hint: "update the phone: the runner needs iOS 18, and devicectl needs iOS 17",
    },
    Known {
        error: DeviceError::Locked,
        signs: &[
            "device is locked",
            "imagemounterdevicelocked",
            "passcode protected",
            "was not, or could not be, unlocked",
            "unlock the device",
            "unlock your device",
            "device was locked",
            "may need to be unlocked",
        ],
        what: "the phone is locked",
        hint: "unlock the phone, keep it awake, and try again",
    },
    // The words of CoreDevice's error 12040. Its progress lines name the image, too.
    Known {
        error: DeviceError::NoDeveloperImage,
        signs: &[
            "12040",
            "disk image could not be mounted",
            "disk image is missing",
            "disk image is not mounted",
            "ddi is missing",
        ],
        what: "the phone's developer disk image is not mounted",
        hint: "see that Developer Mode is on in the phone's Settings, Privacy & Security; unlock the phone, \
               attach it with a cable, and select it in Xcode's Window, Devices and Simulators: that \
               mounts the image",
    },
    Known {
        error: DeviceError::NotInstalled,
        signs: &[
            "is not installed",
            "application is unknown",
            "no such application",
            "unable to locate application",
            "unknown to frontboard",
            "-10814",
        ],
        what: "the runner app is not installed",
        hint: "run evalkit devices install, with the --bundle-id that your team may use",
    },
    Known {
        error: DeviceError::NotConnected,
        signs: &[
            "device not found",
            "unable to locate a device",
            "no device found",
            "device is not connected",
            "unable to find a destination",
            "tunnel connection failed",
            "connection to this device could not be established",
            "peer is no longer reachable",
            "connection interrupted",
            "connection was invalidated",
        ],
        what: "the phone cannot be reached",
        hint: "attach the phone with a cable and unlock it",
    },
];

/// The table is indexed by the failure.
const _: () = {
    let mut at = 0;
    while at < KNOWN.len() {
        assert!(KNOWN[at].error as usize == at, "KNOWN is not in the order of DeviceError");
        at += 1;
    }
};

impl DeviceError {
    /// The known failure that a tool's words describe, if any.
    pub fn of(words: &str) -> Option<DeviceError> {
        let words = words.to_lowercase().replace('\u{2019}', "'");
        let is_in = |sign: &&str| match words.find(*sign) {
            // A short sign must not be part of a longer word.
            Some(at) if sign.len() <= 5 => {
                let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
                !is_letter(words[..at].chars().next_back())
                    && !is_letter(words[at + sign.len()..].chars().next())
            }
            found => found.is_some(),
        };
        KNOWN.iter().find(|known| known.signs.iter().any(is_in)).map(|known| known.error)
    }

    /// The crate's error, with its hint.
    pub fn into_error(self) -> Error {
        Error::surroundings(self.to_string()).hint(self.hint())
    }

    /// How to mend it.
    pub fn hint(self) -> &'static str {
        KNOWN[self as usize].hint
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KNOWN[*self as usize].what)
    }
}
