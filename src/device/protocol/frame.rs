//! Frames: a length, a kind, a payload. Lengths are bounded before anything is allocated.

use std::io::{self, Read, Write};

use crate::error::{Error, Result};

/// The most bytes that a frame's length may state (kind and payload).
pub const MAX_FRAME_BYTES: usize = 4 << 20;
/// The same before the handshake is over.
pub const MAX_GREETING_BYTES: usize = 4096;
/// The most bytes of a file in one chunk.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;
/// The most objects and lists that may lie within one another in a control frame.
pub const MAX_DEPTH: usize = 16;

const CONTROL: u8 = 1;
const CHUNK: u8 = 2;
const LOGITS: u8 = 3;

/// One frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Frame {
    /// A JSON object as its bytes, checked for depth and not yet for content.
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

/// Reads one frame whose length is at most `max_bytes`; nothing where the stream ended before it.
///
/// # Errors
/// Input errors of bad frames, surroundings of a stream that broke or ended within one.
pub fn read_frame(stream: &mut impl Read, max_bytes: usize) -> Result<Option<Frame>> {
    let mut head = [0; 5];
    if !fill_or_end(stream, &mut head)? {
        return Ok(None);
    }
    let [a, b, c, d, kind] = head;
    let bytes = u32::from_le_bytes([a, b, c, d]) as usize;
    if bytes == 0 || bytes > max_bytes {
        return Err(bad(format!("a frame of {bytes} bytes: expected 1 to {max_bytes}")));
    }
    let most = match kind {
        CONTROL | LOGITS => max_bytes,
        CHUNK => MAX_CHUNK_BYTES + 1,
        _ => return Err(bad(format!("a frame of kind {kind}: expected 1, 2 or 3"))),
    };
    if bytes > most {
        return Err(bad(format!("a chunk of {} bytes: expected at most {}", bytes - 1, most - 1)));
    }
    let mut payload = vec![0; bytes - 1];
    stream.read_exact(&mut payload).map_err(broken)?;
    match kind {
        CONTROL => checked_control(payload).map(Some),
        CHUNK if payload.is_empty() => Err(bad("a chunk without bytes".into())),
        CHUNK => Ok(Some(Frame::Chunk(payload))),
        _ => logits(&payload).map(Some),
    }
}

/// Writes one frame; the caller flushes.
///
/// # Errors
/// Surroundings of a stream that broke; a bug for a frame that is too long.
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

/// Writes a chunk from a borrowed slice of at most [`MAX_CHUNK_BYTES`].
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

/// Whether `head` was filled; not where the stream ended before its first byte.
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
        return Err(bad(format!("logits of {} bytes: expected at least 4", payload.len())));
    };
    let (values, rest) = values.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(bad(format!("logits with {} bytes beyond their last number", rest.len())));
    }
    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(Frame::Logits { position: u32::from_le_bytes(*position), values })
}

/// A control frame whose nesting is bounded before a parser recurses into it.
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
            return Err(bad(format!("a control frame nested deeper than {MAX_DEPTH}")));
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
