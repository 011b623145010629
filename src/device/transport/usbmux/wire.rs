//! usbmuxd's messages: a header of 16 bytes, then a property list. Nothing is allocated because a
//! length says so, and nothing is read beyond a message, for after `Connect` comes the stream.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use plist::{Dictionary, Value};

use super::Fault;
use crate::device::transport::{Socket, is_timeout};

/// The most bytes of a reply, header included.
pub const MAX_REPLY_BYTES: usize = 1 << 20;
/// The most lists and dictionaries within one another.
const MAX_DEPTH: usize = 16;
const HEADER_BYTES: usize = 16;
/// `message` of a header before a property list.
const PLIST: u32 = 8;
/// `message` of a header before the number of a result alone.
const RESULT: u32 = 1;

/// A connection to usbmuxd.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    /// What has come of the next message.
    partial: Vec<u8>,
    tag: u32,
}

/// What usbmuxd sent.
#[derive(Debug, PartialEq)]
pub struct Reply {
    /// The request that it answers; 0 for an event.
    pub tag: u32,
    /// What it says.
    pub body: Dictionary,
}

impl Wire {
    /// Speaks over a socket.
    pub fn new(socket: Socket) -> Wire {
        Wire { socket, partial: Vec::new(), tag: 0 }
    }

    /// The socket, of which nothing was read that was not answered.
    pub fn into_socket(self) -> Socket {
        self.socket
    }

    /// Sends a request with these further fields; its tag.
    ///
    /// # Errors
    /// A connection that broke or takes nothing.
    pub fn send(
        &mut self,
        kind: &str,
        fields: &[(&str, u64)],
        timeout: Duration,
    ) -> Result<u32, Fault> {
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
            .map_err(|error| Fault::Garbled(format!("a request: {error}")))?;
        self.tag += 1;
        let header = [bytes.len() as u32, 1, PLIST, self.tag];
        for (at, number) in header.into_iter().enumerate() {
            bytes[4 * at..4 * at + 4].copy_from_slice(&number.to_le_bytes());
        }
        self.socket.set_write_timeout(timeout)?;
        self.socket.write_all(&bytes)?;
        Ok(self.tag)
    }

    /// The reply to a request.
    ///
    /// # Errors
    /// A connection that broke, silence, a message that is none.
    pub fn answer(&mut self, tag: u32, timeout: Duration) -> Result<Dictionary, Fault> {
        let reply = self.receive(timeout)?.ok_or(Fault::Silent(timeout))?;
        if reply.tag != tag {
            let found = reply.tag;
            return Err(Fault::Garbled(format!("expected the answer {tag}, found {found}")));
        }
        Ok(reply.body)
    }

    /// The next message, if all of it comes within `timeout`; what came of it is kept.
    ///
    /// # Errors
    /// A connection that broke, a message that is none.
    pub fn receive(&mut self, timeout: Duration) -> Result<Option<Reply>, Fault> {
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
                Ok(0) => return Err(Fault::Broken("usbmuxd closed the connection".into())),
                Ok(count) => self.partial.extend_from_slice(&bytes[..count]),
                Err(error) if is_timeout(&error) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Bytes of the message that is coming, as far as that is known.
    fn wanted(&self) -> Result<usize, Fault> {
        let Some((length, _)) = self.partial.split_first_chunk::<4>() else {
            return Ok(HEADER_BYTES);
        };
        let bytes = u32::from_le_bytes(*length) as usize;
        if !(HEADER_BYTES..=MAX_REPLY_BYTES).contains(&bytes) {
            return Err(Fault::Garbled(format!(
                "a message of {bytes} bytes: expected {HEADER_BYTES} to {MAX_REPLY_BYTES}"
            )));
        }
        Ok(bytes)
    }
}

fn parse(bytes: &[u8]) -> Result<Reply, Fault> {
    let (header, body) = bytes.split_at(HEADER_BYTES);
    let number = |at: usize| {
        u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let (message, tag) = (number(8), number(12));
    if message == RESULT {
        // How usbmuxd answers a version that it does not know.
        let Some(number) = body.first_chunk::<4>() else {
            return Err(Fault::Garbled("a result without its number".into()));
        };
        return Err(Fault::Refused(u32::from_le_bytes(*number).into()));
    }
    if message != PLIST {
        return Err(Fault::Garbled(format!("a message of kind {message}: expected {PLIST}")));
    }
    check_depth(body)?;
    match Value::from_reader_xml(body) {
        Ok(Value::Dictionary(body)) => Ok(Reply { tag, body }),
        Ok(_) => Err(Fault::Garbled("a property list that is no dictionary".into())),
        Err(error) => Err(Fault::Garbled(format!("no property list: {error}"))),
    }
}

/// Refuses deep nesting before a parser recurses into it.
fn check_depth(body: &[u8]) -> Result<(), Fault> {
    let mut depth = 0_usize;
    for (at, _) in body.iter().enumerate().filter(|(_, byte)| **byte == b'<') {
        let tag = &body[at + 1..];
        if tag.starts_with(b"dict") || tag.starts_with(b"array") {
            depth += 1;
        } else if tag.starts_with(b"/dict") || tag.starts_with(b"/array") {
            depth = depth.saturating_sub(1);
        }
        if depth > MAX_DEPTH {
            return Err(Fault::Garbled(format!("a property list nested deeper than {MAX_DEPTH}")));
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

    fn heard(bytes: &[u8]) -> Result<Option<Reply>, Fault> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        Wire::new(Socket::Unix(ours)).receive(Duration::from_millis(50))
    }

    #[test]
    fn lengths_that_lie_are_refused_without_waiting_for_what_they_promise() {
        for length in [0, 1, 15, MAX_REPLY_BYTES as u32 + 1, u32::MAX] {
            let fault = heard(&message(length, PLIST, 0, b"")).unwrap_err();
            assert!(matches!(&fault, Fault::Garbled(what) if what.contains("expected 16")));
        }
        assert_eq!(heard(&message(1 << 20, PLIST, 0, b"<plist>")).unwrap(), None, "it is coming");
    }

    #[test]
    fn garbage_and_deep_lists_are_refused_and_a_bare_number_is_a_refusal() {
        for body in [b"abcd".to_vec(), b"<plist><array/></plist>".to_vec(), Vec::new()] {
            let bytes = message(16 + body.len() as u32, PLIST, 0, &body);
            assert!(matches!(heard(&bytes), Err(Fault::Garbled(_))), "{body:?}");
        }
        let deep = [b"<plist>".to_vec(), b"<array>".repeat(10_000)].concat();
        let fault = heard(&message(16 + deep.len() as u32, PLIST, 0, &deep)).unwrap_err();
        assert!(matches!(&fault, Fault::Garbled(what) if what.contains("nested")));
        let fault = heard(&message(20, RESULT, 0, &6_u32.to_le_bytes())).unwrap_err();
        assert!(matches!(fault, Fault::Refused(super::super::Number::BadVersion)));
    }

    #[test]
    fn a_message_is_kept_when_it_comes_in_pieces_and_nothing_beyond_it_is_read() {
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
