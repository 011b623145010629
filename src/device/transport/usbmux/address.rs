//! The address on which usbmuxd listens: the default, or the one that the environment names.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{At, Error, Result};

/// The environment variable in which usbmux clients look for the address.
pub const VARIABLE: &str = "USBMUXD_SOCKET_ADDRESS";
/// The default address on Linux and macOS.
const DEFAULT: &str = "/var/run/usbmuxd";

/// An address of usbmuxd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket in the file system: `UNIX:/path` or `/path`.
    Path(PathBuf),
    /// A host and a port: `host:port`, `[::1]:port`.
    Tcp {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
}

impl Address {
    /// The address that the environment names, or the default.
    ///
    /// # Errors
    /// An input error if the variable holds no valid address.
    pub fn from_environment() -> Result<Address> {
        match std::env::var(VARIABLE) {
            Ok(text) if !text.is_empty() => text.parse().at(|| VARIABLE),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Error::input("expected UTF-8").at(VARIABLE))
            }
            _ => Ok(Address::Path(DEFAULT.into())),
        }
    }
}

/// Splits `host:port`, and removes the brackets around an IPv6 address; `None` if it is neither.
pub fn host_and_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty() && !host.contains(is_odd)).then(|| (host.to_owned(), port))
}

/// Joins a host and a port in the form that [`host_and_port`] reads.
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Address> {
        if let Some(path) = text.strip_prefix("UNIX:").or(text.starts_with('/').then_some(text))
            && !path.is_empty()
        {
            return Ok(Address::Path(path.into()));
        }
        let (host, port) = host_and_port(text).ok_or_else(|| {
            let what = "expected UNIX:/path, /path or host:port";
            Error::input(format!("{what}, found {text:?}"))
        })?;
        Ok(Address::Tcp { host, port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Path(path) => write!(f, "UNIX:{}", path.display()),
            Address::Tcp { host, port } => f.write_str(&join(host, *port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_address_is_read_and_what_is_printed_can_be_read_again() {
        for (text, again) in [
            ("UNIX:/run/mux", "UNIX:/run/mux"),
            ("/run/mux", "UNIX:/run/mux"),
            ("UNIX:mux", "UNIX:mux"),
            ("localhost:27015", "localhost:27015"),
            ("[::1]:27015", "[::1]:27015"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), again);
            assert_eq!(again.parse::<Address>().unwrap(), address);
        }
        for bad in ["", "UNIX:", "mux", "host:", "host:0", "host:65536", ":1", "a b:1", "::1:5"] {
            assert!(bad.parse::<Address>().is_err(), "{bad:?}");
        }
    }
}
