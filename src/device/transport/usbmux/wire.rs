//! usbmuxd's messages: a header of 16 bytes, then a property list. Memory grows with what arrives,
//! not with what a length announces. Nothing is read beyond a message, since the bytes that follow
//! the answer to `Connect` belong to the stream.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use plist::{Dictionary, Value};

use super::error::MuxError;
use crate::device::transport::{Socket, is_timeout};

/// The most bytes of a reply, header included.
pub const MAX_REPLY_BYTES: usize = 1 << 20;
/// How deeply lists and dictionaries may be nested.
const MAX_DEPTH: usize = 16;
const HEADER_BYTES: usize = 16;
/// The message number of a header that a property list follows.
const PLIST: u32 = 8;
/// The message number of a header that only a result number follows.
const RESULT: u32 = 1;

/// A connection to usbmuxd.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    /// The bytes of the next message that have arrived.
    partial: Vec<u8>,
    tag: u32,
}

/// What usbmuxd sent.
#[derive(Debug, PartialEq)]
pub struct Reply {
    /// The tag of the request that it answers; 0 for an event.
    pub tag: u32,
    /// Its property list.
    pub body: Dictionary,
}

impl Wire {
    /// A connection over this socket.
    pub fn new(socket: Socket) -> Wire {
        Wire { socket, partial: Vec::new(), tag: 0 }
    }

    /// Gives the socket back. No bytes beyond the last message were read from it.
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// Sends a request with these additional fields, and returns its tag.
    ///
    /// # Errors
    /// The connection broke, or the request could not be sent within `timeout`.
    pub fn send(
        &mut self,
        kind: &str,
        fields: &[(&str, u64)],
        timeout: Duration,
    ) -> Result<u32, MuxError> {
        let mut body = Dictionary::new();
        for (key, text) in [
            ("MessageType", kind),
            ("ClientVersionString", concat!("evalkit ", env!("CARGO_PKG_VERSION"))),
            ("ProgName", "evalkit"),
        ] {
            body.insert(key.to_owned(), text.into());
        }
        for (key, number) in [("kLibUSBMuxVersion", 3)].iter().chain(fields) {
            body.insert((*key).to_owned(), (*number).into());
        }
        let mut bytes = vec![0; HEADER_BYTES];
        Value::Dictionary(body)
            .to_writer_xml(&mut bytes)
            .map_err(|error| MuxError::Broken(format!("cannot write a request: {error}")))?;
        self.tag += 1;
        let header = [bytes.len() as u32, 1, PLIST, self.tag];
        for (at, number) in header.into_iter().enumerate() {
            bytes[4 * at..4 * at + 4].copy_from_slice(&number.to_le_bytes());
        }
        self.socket.set_write_timeout(timeout)?;
        self.socket.write_all(&bytes)?;
        Ok(self.tag)
    }

    /// Waits for the reply to a request.
    ///
    /// # Errors
    /// The connection broke, no reply came, or the message is invalid.
    pub fn answer(&mut self, tag: u32, timeout: Duration) -> Result<Dictionary, MuxError> {
        let reply = self.receive(timeout)?.ok_or(MuxError::Silent(timeout))?;
        if reply.tag != tag {
            let found = reply.tag;
            return Err(MuxError::ProtocolViolation(format!(
                "expected the answer to request {tag}, found the one to {found}"
            )));
        }
        Ok(reply.body)
    }

    /// Waits for the next message; `None` if it is not complete within `timeout`. What has arrived
    /// is kept for the next call.
    ///
    /// # Errors
    /// The connection broke, or the message is invalid.
    pub fn receive(&mut self, timeout: Duration) -> Result<Option<Reply>, MuxError> {
        let until = Instant::now() + timeout;
        loop {
            let wanted = self.wanted()?;
            if self.partial.len() >= HEADER_BYTES && self.partial.len() == wanted {
                let bytes = std::mem::take(&mut self.partial);
                return parse(&bytes).map(Some);
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                return Ok(None);
            };
            self.socket.set_read_timeout(left)?;
            let mut bytes = [0; 16 << 10];
            let most = (wanted - self.partial.len()).min(bytes.len());
            match self.socket.read(&mut bytes[..most]) {
                Ok(0) => return Err(MuxError::Broken("usbmuxd closed the connection".into())),
                Ok(count) => self.partial.extend_from_slice(&bytes[..count]),
                Err(error) if is_timeout(&error) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Length of the message that is arriving: its header until the header is complete.
    fn wanted(&self) -> Result<usize, MuxError> {
        let Some((length, _)) = self.partial.split_first_chunk::<4>() else {
            return Ok(HEADER_BYTES);
        };
        let bytes = u32::from_le_bytes(*length) as usize;
        if !(HEADER_BYTES..=MAX_REPLY_BYTES).contains(&bytes) {
            return Err(MuxError::ProtocolViolation(format!(
                "expected {HEADER_BYTES} to {MAX_REPLY_BYTES} bytes, found {bytes}"
            )));
        }
        Ok(bytes)
    }
}

fn parse(bytes: &[u8]) -> Result<Reply, MuxError> {
    let (header, body) = bytes.split_at(HEADER_BYTES);
    let number = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let (message, tag) = (number(8), number(12));
    if message == RESULT {
        // This is how usbmuxd answers a protocol version that it does not know.
        let Some(number) = body.first_chunk::<4>() else {
            return Err(MuxError::ProtocolViolation("a result without a number".into()));
        };
        return Err(MuxError::Refused(u32::from_le_bytes(*number).into()));
    }
    if message != PLIST {
        return Err(MuxError::ProtocolViolation(format!(
            "expected message number {PLIST}, found {message}"
        )));
    }
    check_depth(body)?;
    match Value::from_reader_xml(body) {
        Ok(Value::Dictionary(body)) => Ok(Reply { tag, body }),
        Ok(_) => Err(MuxError::ProtocolViolation(
            "expected a dictionary, found another property list".into(),
        )),
        Err(error) => {
            Err(MuxError::ProtocolViolation(format!("expected a property list: {error}")))
        }
    }
}

/// Refuses deep nesting before a parser recurses into it.
fn check_depth(body: &[u8]) -> Result<(), MuxError> {
    let mut depth = 0_usize;
    for (at, _) in body.iter().enumerate().filter(|(_, byte)| **byte == b'<') {
        let tag = &body[at + 1..];
        if tag.starts_with(b"dict") || tag.starts_with(b"array") {
            depth += 1;
        } else if tag.starts_with(b"/dict") || tag.starts_with(b"/array") {
            depth = depth.saturating_sub(1);
        }
        if depth > MAX_DEPTH {
            return Err(MuxError::ProtocolViolation(format!(
                "the property list is nested deeper than {MAX_DEPTH}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn message(length: u32, kind: u32, tag: u32, body: &[u8]) -> Vec<u8> {
        let header = [length, 1, kind, tag].map(u32::to_le_bytes).concat();
        [&header, body].concat()
    }

    fn received(bytes: &[u8]) -> Result<Option<Reply>, MuxError> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        Wire::new(Socket::Unix(ours)).receive(Duration::from_millis(50))
    }

    #[test]
    fn a_length_out_of_range_is_refused_without_waiting_for_the_bytes_it_announces() {
        for length in [0, 1, 15, MAX_REPLY_BYTES as u32 + 1, u32::MAX] {
            let fault = received(&message(length, PLIST, 0, b"")).unwrap_err();
            assert!(
                matches!(&fault, MuxError::ProtocolViolation(what) if what.contains("expected 16"))
            );
        }
        assert_eq!(
            received(&message(1 << 20, PLIST, 0, b"<plist>")).unwrap(),
            None,
            "it is coming"
        );
    }

    #[test]
    fn invalid_and_deeply_nested_lists_are_errors_and_a_bare_number_is_a_refusal() {
        for body in [b"abcd".to_vec(), b"<plist><array/></plist>".to_vec(), Vec::new()] {
            let bytes = message(16 + body.len() as u32, PLIST, 0, &body);
            assert!(matches!(received(&bytes), Err(MuxError::ProtocolViolation(_))), "{body:?}");
        }
        let deep = [b"<plist>".to_vec(), b"<array>".repeat(10_000)].concat();
        let fault = received(&message(16 + deep.len() as u32, PLIST, 0, &deep)).unwrap_err();
        assert!(matches!(&fault, MuxError::ProtocolViolation(what) if what.contains("nested")));
        let fault = received(&message(20, RESULT, 0, &6_u32.to_le_bytes())).unwrap_err();
        assert!(matches!(
            fault,
            MuxError::Refused(crate::device::transport::usbmux::ResultCode::BadVersion)
        ));
    }

    #[test]
    fn a_message_may_arrive_in_pieces_and_nothing_beyond_it_is_read() {
        let body = b"<plist><dict><key>a</key><integer>1</integer></dict></plist>";
        let bytes = message(16 + body.len() as u32, PLIST, 9, body);
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut wire = Wire::new(Socket::Unix(ours));
        for piece in [&bytes[..3], &bytes[3..20]] {
            theirs.write_all(piece).unwrap();
            assert_eq!(wire.receive(Duration::from_millis(5)).unwrap(), None);
        }
        theirs.write_all(&[&bytes[20..], b"stream"].concat()).unwrap();
        let reply = wire.receive(Duration::from_millis(50)).unwrap().unwrap();
        assert_eq!((reply.tag, reply.body.len()), (9, 1));
        let mut rest = [0; 6];
        wire.into_socket().read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"stream");
    }
}
