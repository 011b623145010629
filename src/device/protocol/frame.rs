//! Frames: a length, a kind, a payload. A length is checked against its limit before memory is
//! allocated for it.

use std::io::{self, Read, Write};

use crate::error::{Error, Result};

/// The largest length of a frame, in bytes of kind and payload.
pub const MAX_FRAME_BYTES: usize = 4 << 20;
/// The largest length of a frame before the handshake is over.
pub const MAX_GREETING_BYTES: usize = 4096;
/// The most bytes of a file in one chunk frame.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;
/// How deeply objects and lists may be nested in a control frame.
pub const MAX_DEPTH: usize = 16;

const CONTROL: u8 = 1;
const CHUNK: u8 = 2;
const LOGITS: u8 = 3;

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// The bytes of a JSON object, of which only the nesting depth has been checked.
    Control(Vec<u8>),
    /// Bytes of a file.
    Chunk(Vec<u8>),
    /// Logits after the token at a position.
    Logits {
        /// Index of the token.
        position: u32,
        /// `[vocabulary]`.
        values: Vec<f32>,
    },
}

/// Reads one frame whose length is at most `max_bytes`; `None` if the stream ends before it.
///
/// # Errors
/// An input error if the frame is invalid; surroundings if the stream breaks or ends within it.
pub fn read_frame(stream: &mut impl Read, max_bytes: usize) -> Result<Option<Frame>> {
    let mut head = [0; 5];
    if !fill_or_end(stream, &mut head)? {
        return Ok(None);
    }
    let [a, b, c, d, kind] = head;
    let bytes = u32::from_le_bytes([a, b, c, d]) as usize;
    if bytes == 0 || bytes > max_bytes {
        return Err(bad(format!("expected a frame of 1 to {max_bytes} bytes, found {bytes}")));
    }
    let most = match kind {
        CONTROL | LOGITS => max_bytes,
        CHUNK => MAX_CHUNK_BYTES + 1,
        _ => return Err(bad(format!("expected a frame of kind 1, 2 or 3, found {kind}"))),
    };
    if bytes > most {
        return Err(bad(format!(
            "expected a chunk of at most {} bytes, found {}",
            most - 1,
            bytes - 1
        )));
    }
    let mut payload = vec![0; bytes - 1];
    stream.read_exact(&mut payload).map_err(broken)?;
    match kind {
        CONTROL => checked_control(payload).map(Some),
        CHUNK if payload.is_empty() => {
            Err(bad("expected a chunk of at least 1 byte, found an empty one".into()))
        }
        CHUNK => Ok(Some(Frame::Chunk(payload))),
        _ => logits(&payload).map(Some),
    }
}

/// Writes one frame; the caller flushes.
///
/// # Errors
/// Surroundings if the stream breaks; a bug if the frame is too long.
pub fn write_frame(stream: &mut impl Write, frame: &Frame) -> Result<()> {
    match frame {
        Frame::Control(json) => write_parts(stream, CONTROL, &[json]),
        Frame::Chunk(bytes) => write_chunk(stream, bytes),
        Frame::Logits { position, values } => {
            let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            write_parts(stream, LOGITS, &[&position.to_le_bytes(), &values])
        }
    }
}

/// Writes a chunk frame from a borrowed slice of at most [`MAX_CHUNK_BYTES`].
///
/// # Errors
/// As [`write_frame`].
pub fn write_chunk(stream: &mut impl Write, bytes: &[u8]) -> Result<()> {
    write_parts(stream, CHUNK, &[bytes])
}

fn write_parts(stream: &mut impl Write, kind: u8, parts: &[&[u8]]) -> Result<()> {
    let bytes = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    let most = if kind == CHUNK { MAX_CHUNK_BYTES + 1 } else { MAX_FRAME_BYTES };
    if bytes > most {
        return Err(Error::bug(format!("a frame of {bytes} bytes is longer than {most}")));
    }
    let [a, b, c, d] = u32::try_from(bytes).map_err(|_| Error::bug("frame"))?.to_le_bytes();
    stream.write_all(&[a, b, c, d, kind]).map_err(broken)?;
    parts.iter().try_for_each(|part| stream.write_all(part)).map_err(broken)
}

/// Fills `head`; `false` if the stream ends before its first byte.
fn fill_or_end(stream: &mut impl Read, head: &mut [u8]) -> Result<bool> {
    let mut filled = 0;
    while filled < head.len() {
        match stream.read(&mut head[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(broken(io::ErrorKind::UnexpectedEof.into())),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(broken(error)),
        }
    }
    Ok(true)
}

fn logits(payload: &[u8]) -> Result<Frame> {
    let Some((position, values)) = payload.split_first_chunk::<4>() else {
        return Err(bad(format!("expected logits of at least 4 bytes, found {}", payload.len())));
    };
    let (values, rest) = values.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(bad(format!("expected 4 bytes per logit, found {} left over", rest.len())));
    }
    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(Frame::Logits { position: u32::from_le_bytes(*position), values })
}

/// Checks the nesting depth of a control frame before a parser recurses into it.
fn checked_control(json: Vec<u8>) -> Result<Frame> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for byte in &json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(bad(format!("a control frame is nested deeper than {MAX_DEPTH}")));
        }
    }
    Ok(Frame::Control(json))
}

fn bad(what: String) -> Error {
    Error::input(what).hint("the other side does not speak evalkit's runner protocol")
}

fn broken(cause: io::Error) -> Error {
    Error::surroundings("the connection to the runner broke").because(cause)
}
