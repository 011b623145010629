//! The values of `--device`: this machine, a phone, an address.

use std::fmt;
use std::str::FromStr;

use crate::device::transport::usbmux::{host_and_port, is_same, join};
use crate::error::{Error, Result};

/// A device to measure on, as named on the command line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// `host`: this machine, in a separate process.
    Host,
    /// `usb:<udid>`: the phone with this UDID; `usb`: the only phone that is attached.
    Usb(Option<String>),
    /// `tcp:HOST:PORT`: a runner that listens on this address.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// `all`: this machine and every phone; see [`Target::expand`].
    All,
}

impl Target {
    /// A phone by any of its names: `usb`, `usb:<udid>` or a bare UDID.
    ///
    /// # Errors
    /// Input if the text names no phone.
    pub fn phone(text: &str) -> Result<Target> {
        match text.parse() {
            Ok(Target::Usb(udid)) => Ok(Target::Usb(udid)),
            Err(_) if !text.contains(':') && !text.is_empty() => format!("usb:{text}").parse(),
            _ => {
                let what = format!("expected a phone as usb, usb:UDID or UDID, found {text:?}");
                Err(Error::input(what).hint("evalkit devices lists the phones"))
            }
        }
    }

    /// Resolves to single targets, given the UDIDs of the attached phones: `usb` becomes the only
    /// phone, `all` this machine and every phone.
    ///
    /// # Errors
    /// Surroundings if the phone is not attached, or if `usb` could mean several phones.
    pub fn expand(&self, udids: &[String]) -> Result<Vec<Target>> {
        let phone = |udid: &String| Target::Usb(Some(udid.clone()));
        match self {
            Target::Host | Target::Tcp { .. } => Ok(vec![self.clone()]),
            Target::All => Ok([Target::Host].into_iter().chain(udids.iter().map(phone)).collect()),
            Target::Usb(Some(udid)) => match udids.iter().find(|found| is_same(found, udid)) {
                Some(found) => Ok(vec![phone(found)]),
                None => Err(absent(format!("no phone {udid} is attached"), udids)),
            },
            Target::Usb(None) => match udids {
                [udid] => Ok(vec![phone(udid)]),
                [] => Err(absent("no phone is attached".into(), udids)),
                _ => Err(Error::surroundings(format!("{} phones are attached", udids.len()))
                    .at("usb")
                    .hint(format!("name one: usb:{}", udids.join(", usb:")))),
            },
        }
    }
}

fn absent(what: String, udids: &[String]) -> Error {
    let error = Error::surroundings(what).at("usb");
    match udids {
        [] => error.hint("attach the phone with a cable, unlock it, and tap Trust when it asks"),
        _ => error.hint(format!("these are attached: usb:{}", udids.join(", usb:"))),
    }
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Target> {
        let refused = |expected: &str| {
            Error::input(format!("expected {expected}, found {text:?}"))
                .hint("evalkit devices lists the devices and their names")
        };
        match text.split_once(':') {
            None if text == "host" => Ok(Target::Host),
            None if text == "usb" => Ok(Target::Usb(None)),
            None if text == "all" => Ok(Target::All),
            Some(("usb", udid)) => {
                let is_udid = |c: char| c.is_ascii_alphanumeric() || c == '-';
                if udid.is_empty() || udid.len() > 64 || !udid.chars().all(is_udid) {
                    return Err(refused("a UDID of letters, digits and dashes after usb:"));
                }
                Ok(Target::Usb(Some(udid.to_owned())))
            }
            Some(("tcp", address)) => {
                let (host, port) = host_and_port(address)
                    .ok_or_else(|| refused("tcp:HOST:PORT, such as tcp:127.0.0.1:47193"))?;
                Ok(Target::Tcp { host, port })
            }
            _ => Err(refused("host, usb, usb:<udid>, tcp:HOST:PORT or all")),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Host => f.write_str("host"),
            Target::All => f.write_str("all"),
            Target::Usb(None) => f.write_str("usb"),
            Target::Usb(Some(udid)) => write!(f, "usb:{udid}"),
            Target::Tcp { host, port } => write!(f, "tcp:{}", join(host, *port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_printed_as_it_was_written() {
        for text in ["host", "all", "usb", "usb:00008110-000A", "tcp:mac.local:5", "tcp:[::1]:5"] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        for bad in ["", "Host", "usb:", "usb:a/b", "usb:a b", "tcp:", "tcp:x", "tcp:x:0", "mac:1"] {
            let error = bad.parse::<Target>().unwrap_err();
            assert!(error.exit().code() == 2 && error.advice().is_some(), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_phone_is_named_as_devices_lists_it_or_by_its_udid() {
        assert_eq!(Target::phone("usb").unwrap(), Target::Usb(None));
        for text in ["usb:00008110-000A", "00008110-000A"] {
            assert_eq!(Target::phone(text).unwrap(), Target::Usb(Some("00008110-000A".into())));
        }
        for bad in ["", "host", "all", "usb:", "tcp:a:1", "a b"] {
            assert_eq!(Target::phone(bad).unwrap_err().exit().code(), 2, "{bad:?}");
        }
    }

    #[test]
    fn usb_means_the_only_phone_and_all_means_the_host_and_every_phone() {
        let udids = |all: &[&str]| all.iter().map(|&udid| udid.to_owned()).collect::<Vec<_>>();
        let expand = |text: &str, all: &[&str]| {
            let targets = text.parse::<Target>().unwrap().expand(&udids(all));
            targets.map(|found| found.iter().map(Target::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(expand("usb", &["A-1"]).unwrap(), "usb:A-1");
        assert_eq!(expand("usb:a1", &["A-1", "B"]).unwrap(), "usb:A-1");
        assert_eq!(expand("all", &["A", "B"]).unwrap(), "host usb:A usb:B");
        for (text, all) in [("usb", &[][..]), ("usb", &["A", "B"]), ("usb:C", &["A", "B"])] {
            let error = expand(text, all).unwrap_err();
            assert!(error.exit().code() == 3 && error.advice().is_some(), "{error}");
        }
    }
}
