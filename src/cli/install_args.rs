//! Arguments of `evalkit devices install`, checked before anything is built.

use std::path::PathBuf;

use clap::Args;

use super::help;
use crate::device::client::Target;
use crate::device::devicectl::BUNDLE_ID;
use crate::error::{Error, Result};

/// Length of a team's identifier.
const TEAM_LEN: usize = 10;

/// Arguments of `evalkit devices install`.
#[derive(Debug, Args)]
#[command(after_long_help = help::after(
    &[
        "evalkit devices install --team ABCDE12345",
        "evalkit devices install --team ABCDE12345 --bundle-id com.me.runner --without-entitlements",
    ],
    &[],
))]
pub struct InstallArgs {
    /// The phone: usb, usb:<udid> or its UDID [default: the only attached one]
    #[arg(long, value_name = "PHONE", value_parser = parse_phone)]
    pub device: Option<Target>,
    /// Team that signs the app: ten letters and digits
    ///
    /// Xcode shows it under Settings, Accounts.
    #[arg(long, value_name = "TEAM", value_parser = parse_team)]
    pub team: Option<String>,
    /// Bundle identifier of the app
    ///
    /// A personal (free) team needs one of its own, such as com.me.runner.
    #[arg(long, value_name = "ID", default_value = BUNDLE_ID, value_parser = parse_bundle_id)]
    pub bundle_id: String,
    /// Sign without the memory entitlements
    ///
    /// Personal teams do not get them. Packages may then use less memory.
    #[arg(long)]
    pub without_entitlements: bool,
    /// Root of evalkit's sources
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub sources: PathBuf,
}

/// A phone by any of its names: `usb`, `usb:<udid>` or a bare UDID.
fn parse_phone(text: &str) -> Result<Target> {
    match text.parse() {
        Ok(Target::Usb(udid)) => Ok(Target::Usb(udid)),
        Err(_) if !text.contains(':') && !text.is_empty() => format!("usb:{text}").parse(),
        Ok(_) | Err(_) => {
            Err(Error::input(format!("expected a phone as usb, usb:UDID or UDID, found {text:?}"))
                .hint("evalkit devices lists the phones"))
        }
    }
}

fn parse_team(text: &str) -> Result<String> {
    if text.len() == TEAM_LEN && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(text.to_owned());
    }
    let what = format!("expected a team of {TEAM_LEN} letters and digits, found {text:?}");
    Err(Error::input(what).hint("Xcode shows it under Settings, Accounts"))
}

/// A reverse domain name: parts of letters, digits and dashes, none of which begins with a dash.
fn parse_bundle_id(text: &str) -> Result<String> {
    let is_part = |part: &str| {
        let is_known = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !part.is_empty() && !part.starts_with('-') && part.chars().all(is_known)
    };
    if text.contains('.') && text.split('.').all(is_part) {
        return Ok(text.to_owned());
    }
    let what =
        format!("expected a bundle identifier of letters, digits, dashes and dots, found {text:?}");
    Err(Error::input(what).hint("write a reverse domain name, such as com.me.runner"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_named_as_devices_lists_it_or_by_its_udid() {
        assert_eq!(parse_phone("usb").unwrap(), Target::Usb(None));
        for text in ["usb:00008110-000A", "00008110-000A"] {
            assert_eq!(parse_phone(text).unwrap(), Target::Usb(Some("00008110-000A".into())));
        }
        for bad in ["", "host", "all", "usb:", "tcp:a:1", "a b"] {
            assert_eq!(parse_phone(bad).unwrap_err().exit().code(), 2, "{bad:?}");
        }
    }

    #[test]
    fn teams_and_bundle_identifiers_that_apple_does_not_know_are_refused() {
        assert_eq!(parse_team("ABCDE12345").unwrap(), "ABCDE12345");
        for bad in ["", "ABCDE1234", "ABCDE123456", "-BCDE12345", "ABCDE 2345"] {
            assert_eq!(parse_team(bad).unwrap_err().exit().code(), 2, "{bad:?}");
        }
        for good in [BUNDLE_ID, "com.me.runner", "com.my-name.runner2"] {
            assert_eq!(parse_bundle_id(good).unwrap(), good);
        }
        for bad in ["", "bad id!", "runner", "-com.me", "com.-me", "com..me", "com.me.", "com.m_e"]
        {
            assert_eq!(parse_bundle_id(bad).unwrap_err().exit().code(), 2, "{bad:?}");
        }
    }
}
