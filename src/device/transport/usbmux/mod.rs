//! Phones on cables, through usbmuxd: which are attached, when they come and go, and streams to
//! their ports.

mod address;
mod error;
mod wire;

use std::os::unix::net::UnixStream;
use std::time::Duration;

use plist::{Dictionary, Value};

pub use self::address::{Address, host_and_port, join};
pub use self::error::{MuxError, ResultCode};
use self::wire::Wire;
use super::Socket;

/// How long usbmuxd may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A phone that usbmuxd knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// usbmuxd's number for it, which changes each time that it is attached.
    pub id: u64,
    /// Its UDID.
    pub udid: String,
    /// Whether it is attached by cable; `false` if it is reached over the network.
    pub is_usb: bool,
}

/// What happened to a phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PhoneEvent {
    /// It was attached.
    Attached(Attached),
    /// The phone with this number was detached.
    Detached(u64),
    /// Another event, such as a pairing.
    Other,
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
    /// [`MuxError::Absent`] if nothing listens there.
    pub fn open(address: &Address) -> Result<Mux, MuxError> {
        let socket = match address {
            Address::Path(path) => UnixStream::connect(path).map(Socket::Unix),
            Address::Tcp { host, port } => Socket::tcp(host, *port, PATIENCE),
        };
        let socket = socket.map_err(|error| MuxError::Absent(address.clone(), error))?;
        Ok(Mux { wire: Wire::new(socket) })
    }

    /// Lists the attached phones. A phone that is reachable by cable and over the network is listed
    /// twice.
    ///
    /// # Errors
    /// See [`MuxError`].
    pub fn list(&mut self) -> Result<Vec<Attached>, MuxError> {
        let answer = self.ask("ListDevices", &[])?;
        let devices = answer.get("DeviceList").and_then(Value::as_array);
        let devices = devices.ok_or_else(|| match number(&answer) {
            Some(number) => MuxError::Refused(number),
            None => MuxError::ProtocolViolation("an answer without DeviceList".into()),
        })?;
        Ok(devices.iter().filter_map(|device| attached(device.as_dictionary()?)).collect())
    }

    /// Turns the connection into a listener, which first receives the phones that are attached.
    ///
    /// # Errors
    /// See [`MuxError`].
    pub fn listen(mut self) -> Result<Listener, MuxError> {
        self.succeed("Listen", &[])?;
        Ok(Listener { wire: self.wire })
    }

    /// Turns the connection into a stream to a port of a phone.
    ///
    /// # Errors
    /// See [`MuxError`]; among others, the phone is detached or nothing listens on the port.
    pub fn connect(mut self, device_id: u64, port: u16) -> Result<Socket, MuxError> {
        // usbmuxd expects the number whose bytes, on this machine, are the port in network order.
        let port = u16::from_ne_bytes(port.to_be_bytes());
        self.succeed("Connect", &[("DeviceID", device_id), ("PortNumber", port.into())])?;
        Ok(self.wire.into_socket())
    }

    fn succeed(&mut self, kind: &str, fields: &[(&str, u64)]) -> Result<(), MuxError> {
        let answer = self.ask(kind, fields)?;
        match number(&answer) {
            Some(ResultCode::Other(0)) => Ok(()),
            Some(number) => Err(MuxError::Refused(number)),
            None => Err(MuxError::ProtocolViolation(format!("an answer to {kind} without Number"))),
        }
    }

    fn ask(&mut self, kind: &str, fields: &[(&str, u64)]) -> Result<Dictionary, MuxError> {
        let tag = self.wire.send(kind, fields, PATIENCE)?;
        self.wire.answer(tag, PATIENCE)
    }
}

/// A connection that reports phones as they come and go.
#[derive(Debug)]
pub struct Listener {
    wire: Wire,
}

impl Listener {
    /// Waits for the next event; `None` if there is none within `timeout`.
    ///
    /// # Errors
    /// See [`MuxError`].
    pub fn next(&mut self, timeout: Duration) -> Result<Option<PhoneEvent>, MuxError> {
        let Some(reply) = self.wire.receive(timeout)? else {
            return Ok(None);
        };
        let id = || unsigned(&reply.body, "DeviceID");
        let kind = reply.body.get("MessageType").and_then(Value::as_string);
        Ok(Some(match kind {
            Some("Attached") => {
                attached(&reply.body).map_or(PhoneEvent::Other, PhoneEvent::Attached)
            }
            Some("Detached") => id().map_or(PhoneEvent::Other, PhoneEvent::Detached),
            _ => PhoneEvent::Other,
        }))
    }
}

fn unsigned(body: &Dictionary, key: &str) -> Option<u64> {
    body.get(key).and_then(Value::as_unsigned_integer)
}

fn number(answer: &Dictionary) -> Option<ResultCode> {
    unsigned(answer, "Number").and_then(|number| u32::try_from(number).ok()).map(ResultCode::from)
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

/// Whether two spellings are of the same UDID: tools differ in dashes and case.
pub fn is_same(a: &str, b: &str) -> bool {
    let plain = |text: &str| text.replace('-', "").to_ascii_lowercase();
    plain(a) == plain(b)
}

/// Lists the phones of the usbmuxd that the environment names.
///
/// # Errors
/// Surroundings if there is no usbmuxd or it does not answer; input if its address is invalid.
pub fn phones() -> crate::error::Result<Vec<Attached>> {
    let address = Address::from_environment()?;
    Mux::open(&address).and_then(|mut mux| mux.list()).map_err(MuxError::into_error)
}
