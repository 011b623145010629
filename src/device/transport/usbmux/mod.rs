//! Phones on cables: what usbmuxd lists, what comes and goes, and a stream to a port of a phone.

mod address;
mod wire;

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use plist::{Dictionary, Value};

pub use self::address::{Address, VARIABLE, host_and_port, join};
pub use self::wire::MAX_REPLY_BYTES;
use self::wire::Wire;
use super::Socket;
use crate::error::Error;

/// How long usbmuxd may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A phone that usbmuxd knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// usbmuxd's number of it, another each time that it is attached.
    pub id: u64,
    /// Its UDID.
    pub udid: String,
    /// Whether it is on a cable, and not in the network.
    pub is_usb: bool,
}

/// What happened to a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is there.
    Attached(Attached),
    /// The phone of this number is gone.
    Detached(u64),
    /// Something else, such as a pairing.
    Other,
}

/// What usbmuxd answers instead of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// 1.
    BadCommand,
    /// 2: no such phone any more.
    BadDevice,
    /// 3: nothing listens on that port of the phone.
    ConnectionRefused,
    /// 6.
    BadVersion,
    /// Any other.
    Other(u32),
}

impl From<u32> for Number {
    fn from(number: u32) -> Number {
        match number {
            1 => Number::BadCommand,
            2 => Number::BadDevice,
            3 => Number::ConnectionRefused,
            6 => Number::BadVersion,
            other => Number::Other(other),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::BadCommand => f.write_str("bad command"),
            Number::BadDevice => f.write_str("no such phone"),
            Number::ConnectionRefused => f.write_str("nothing listens on that port"),
            Number::BadVersion => f.write_str("bad version"),
            Number::Other(number) => write!(f, "result {number}"),
        }
    }
}

/// Why usbmuxd did not do what it was asked.
#[derive(Debug)]
pub enum Fault {
    /// There is no usbmuxd.
    Absent(Address, io::Error),
    /// It said no.
    Refused(Number),
    /// It said nothing for so long.
    Silent(Duration),
    /// The connection to it broke.
    Broken(String),
    /// It said what is no message.
    Garbled(String),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Fault {
        Fault::Broken(error.to_string())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Absent(address, error) => write!(f, "no usbmuxd at {address}: {error}"),
            Fault::Refused(number) => write!(f, "usbmuxd refuses: {number}"),
            Fault::Silent(time) => write!(f, "usbmuxd said nothing for {time:?}"),
            Fault::Broken(what) => write!(f, "the connection to usbmuxd broke: {what}"),
            Fault::Garbled(what) => write!(f, "usbmuxd said what is no message: {what}"),
        }
    }
}

impl Fault {
    /// As an error, with a hint that mends it.
    pub fn into_error(self) -> Error {
        let error = Error::surroundings(self.to_string());
        match self {
            Fault::Absent(..) if cfg!(target_os = "macos") => {
                error.hint("macOS runs usbmuxd itself; attach the phone and look again")
            }
            Fault::Absent(..) => error.hint(format!(
                "install and start usbmuxd (Debian: apt-get install usbmuxd), or set {VARIABLE}"
            )),
            Fault::Refused(Number::ConnectionRefused) => {
                error.hint("open the evalkit runner app on the phone")
            }
            Fault::Refused(Number::BadDevice) => error.hint("attach the phone, and unlock it"),
            _ => error.hint(format!("is it usbmuxd that listens there ({VARIABLE})?")),
        }
    }
}

/// A connection to usbmuxd.
#[derive(Debug)]
pub struct Mux {
    wire: Wire,
}

impl Mux {
    /// Connects to usbmuxd.
    ///
    /// # Errors
    /// [`Fault::Absent`] where nothing listens.
    pub fn open(address: &Address) -> Result<Mux, Fault> {
        let socket = match address {
            Address::Path(path) => UnixStream::connect(path).map(Socket::Unix),
            Address::Tcp { host, port } => Socket::tcp(host, *port, PATIENCE),
        };
        let socket = socket.map_err(|error| Fault::Absent(address.clone(), error))?;
        Ok(Mux { wire: Wire::new(socket) })
    }

    /// The phones that are there. One that is both on a cable and in the network is listed twice.
    ///
    /// # Errors
    /// Those of usbmuxd.
    pub fn list(&mut self) -> Result<Vec<Attached>, Fault> {
        let answer = self.ask("ListDevices", &[])?;
        let devices = answer.get("DeviceList").and_then(Value::as_array);
        let devices = devices.ok_or_else(|| match number(&answer) {
            Some(number) => Fault::Refused(number),
            None => Fault::Garbled("an answer without DeviceList".into()),
        })?;
        Ok(devices.iter().filter_map(|device| attached(device.as_dictionary()?)).collect())
    }

    /// Becomes a listener, which is told at once of the phones that are there.
    ///
    /// # Errors
    /// Those of usbmuxd.
    pub fn listen(mut self) -> Result<Listener, Fault> {
        self.succeed("Listen", &[])?;
        Ok(Listener { wire: self.wire })
    }

    /// Becomes a stream to a port of a phone.
    ///
    /// # Errors
    /// Those of usbmuxd: the phone is gone, nothing listens.
    pub fn connect(mut self, device_id: u64, port: u16) -> Result<Socket, Fault> {
        // The port in network order, as a number of this machine's order.
        let port = u16::from_ne_bytes(port.to_be_bytes());
        self.succeed("Connect", &[("DeviceID", device_id), ("PortNumber", port.into())])?;
        Ok(self.wire.into_socket())
    }

    fn succeed(&mut self, kind: &str, fields: &[(&str, u64)]) -> Result<(), Fault> {
        let answer = self.ask(kind, fields)?;
        match number(&answer) {
            Some(Number::Other(0)) => Ok(()),
            Some(number) => Err(Fault::Refused(number)),
            None => Err(Fault::Garbled(format!("an answer to {kind} without its Number"))),
        }
    }

    fn ask(&mut self, kind: &str, fields: &[(&str, u64)]) -> Result<Dictionary, Fault> {
        let tag = self.wire.send(kind, fields, PATIENCE)?;
        self.wire.answer(tag, PATIENCE)
    }
}

/// A connection that is told what comes and goes.
#[derive(Debug)]
pub struct Listener {
    wire: Wire,
}

impl Listener {
    /// The next event, if one comes within `timeout`.
    ///
    /// # Errors
    /// Those of usbmuxd.
    pub fn next(&mut self, timeout: Duration) -> Result<Option<Event>, Fault> {
        let Some(reply) = self.wire.receive(timeout)? else {
            return Ok(None);
        };
        let id = || unsigned(&reply.body, "DeviceID");
        let kind = reply.body.get("MessageType").and_then(Value::as_string);
        Ok(Some(match kind {
            Some("Attached") => attached(&reply.body).map_or(Event::Other, Event::Attached),
            Some("Detached") => id().map_or(Event::Other, Event::Detached),
            _ => Event::Other,
        }))
    }
}

fn unsigned(body: &Dictionary, key: &str) -> Option<u64> {
    body.get(key).and_then(Value::as_unsigned_integer)
}

fn number(answer: &Dictionary) -> Option<Number> {
    unsigned(answer, "Number").and_then(|number| u32::try_from(number).ok()).map(Number::from)
}

fn attached(device: &Dictionary) -> Option<Attached> {
    let properties = device.get("Properties")?.as_dictionary()?;
    let id = unsigned(device, "DeviceID").or_else(|| unsigned(properties, "DeviceID"))?;
    let udid = properties.get("SerialNumber")?.as_string()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let is_usb = properties.get("ConnectionType").and_then(Value::as_string) != Some("Network");
    let is_udid = !udid.is_empty() && udid.len() <= 64 && udid.chars().all(is_plain);
    is_udid.then(|| Attached { id, udid: udid.to_owned(), is_usb })
}

/// Whether two UDIDs are the same: dashes and case are written in several ways.
pub fn is_same(a: &str, b: &str) -> bool {
    let plain = |text: &str| text.replace('-', "").to_ascii_lowercase();
    plain(a) == plain(b)
}

/// Phones that are attached to the usbmuxd of the environment.
///
/// # Errors
/// Surroundings errors: there is none, or it does not answer; input errors of the address.
pub fn phones() -> crate::error::Result<Vec<Attached>> {
    let address = Address::from_environment()?;
    Mux::open(&address).and_then(|mut mux| mux.list()).map_err(Fault::into_error)
}
