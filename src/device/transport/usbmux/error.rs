//! Why usbmuxd did not do what it was asked.

use std::fmt;
use std::io;
use std::time::Duration;

use super::address::{Address, VARIABLE};
use crate::error::Error;

/// The number with which usbmuxd answers a request; 0, among `Other`, is success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultCode {
    /// 1.
    BadCommand,
    /// 2: the phone is not attached any more.
    BadDevice,
    /// 3: nothing listens on that port of the phone.
    ConnectionRefused,
    /// 6.
    BadVersion,
    /// Any other number.
    Other(u32),
}

impl From<u32> for ResultCode {
    fn from(number: u32) -> ResultCode {
        match number {
            1 => ResultCode::BadCommand,
            2 => ResultCode::BadDevice,
            3 => ResultCode::ConnectionRefused,
            6 => ResultCode::BadVersion,
            other => ResultCode::Other(other),
        }
    }
}

impl fmt::Display for ResultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResultCode::BadCommand => f.write_str("bad command"),
            ResultCode::BadDevice => f.write_str("no such phone"),
            ResultCode::ConnectionRefused => f.write_str("nothing listens on that port"),
            ResultCode::BadVersion => f.write_str("bad version"),
            ResultCode::Other(number) => write!(f, "result {number}"),
        }
    }
}

/// Why usbmuxd did not do what it was asked.
#[derive(Debug)]
pub enum MuxError {
    /// Nothing listens at usbmuxd's address.
    Absent(Address, io::Error),
    /// usbmuxd refused the request.
    Refused(ResultCode),
    /// usbmuxd did not answer within this time.
    Silent(Duration),
    /// The connection to usbmuxd broke.
    Broken(String),
    /// usbmuxd sent an invalid message.
    ProtocolViolation(String),
}

impl From<io::Error> for MuxError {
    fn from(error: io::Error) -> MuxError {
        MuxError::Broken(error.to_string())
    }
}

impl fmt::Display for MuxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MuxError::Absent(address, error) => write!(f, "no usbmuxd at {address}: {error}"),
            MuxError::Refused(code) => write!(f, "usbmuxd refuses: {code}"),
            MuxError::Silent(time) => write!(f, "usbmuxd did not answer within {time:?}"),
            MuxError::Broken(what) => write!(f, "the connection to usbmuxd broke: {what}"),
            MuxError::ProtocolViolation(what) => write!(f, "invalid message from usbmuxd: {what}"),
        }
    }
}

impl MuxError {
    /// The crate's error, with a hint on how to mend it.
    pub fn into_error(self) -> Error {
        let error = Error::surroundings(self.to_string());
        match self {
            MuxError::Absent(..) if cfg!(target_os = "macos") => {
                error.hint("macOS starts usbmuxd by itself: attach the phone and try again")
            }
            MuxError::Absent(..) => error.hint(format!(
                "install and start usbmuxd (Debian: apt-get install usbmuxd), or set {VARIABLE}"
            )),
            MuxError::Refused(ResultCode::ConnectionRefused) => {
                error.hint("open the evalkit runner app on the phone")
            }
            MuxError::Refused(ResultCode::BadDevice) => {
                error.hint("attach the phone and unlock it")
            }
            _ => error.hint(format!("check that {VARIABLE} is the address of usbmuxd")),
        }
    }
}
