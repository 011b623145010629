//! Examines the bytes of a text as they are read: their encoding, their hash, and what is unusual.

use crate::error::{Error, Result};

/// The token that begins a message in gpt-oss's format.
const CHAT_START: &str = "<|start|>";

/// A text that is being examined.
#[derive(Default)]
pub struct Scan {
    hasher: blake3::Hasher,
    /// The number of bytes whose characters are complete.
    pub size_bytes: u64,
    /// The first bytes of a character that is not complete.
    carry: Vec<u8>,
    /// The last bytes that were examined.
    tail: Vec<u8>,
    /// Whether the text holds messages in gpt-oss's format.
    pub is_chat: bool,
    /// The number of lines that end in CRLF.
    pub crlf_lines: usize,
    ends_in_cr: bool,
    is_utf16: bool,
}

impl Scan {
    /// Examines the next bytes of the text.
    ///
    /// # Errors
    /// An input error if the text is not UTF-8.
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        self.is_utf16 |= self.size_bytes == 0 && bytes.starts_with(b"\xff\xfe");
        self.is_utf16 |= self.size_bytes == 0 && bytes.starts_with(b"\xfe\xff");
        self.hasher.update(bytes);
        self.carry.extend_from_slice(bytes);
        let complete = match std::str::from_utf8(&self.carry) {
            Ok(text) => text.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(error) => return Err(self.not_utf8(error.valid_up_to())),
        };
        // A mark that two blocks share is found in the last bytes of one and the first of the next.
        let mut seam = std::mem::take(&mut self.tail);
        let text = &self.carry[..complete];
        seam.extend_from_slice(&text[..text.len().min(CHAT_START.len())]);
        for text in [&seam, text] {
            let text = String::from_utf8_lossy(text);
            self.is_chat |= text.contains(CHAT_START);
        }
        let pairs = text.windows(2).filter(|pair| *pair == b"\r\n").count();
        self.crlf_lines += pairs + usize::from(self.ends_in_cr && text.starts_with(b"\n"));
        if let Some(last) = text.last() {
            self.ends_in_cr = *last == b'\r';
        }
        let from = text.len().saturating_sub(CHAT_START.len());
        self.tail = if text.len() < CHAT_START.len() { seam } else { text[from..].to_vec() };
        self.carry.drain(..complete);
        self.size_bytes += complete as u64;
        Ok(())
    }

    fn not_utf8(&self, at: usize) -> Error {
        let at = self.size_bytes + at as u64;
        Error::input(format!("expected UTF-8, found invalid bytes from byte {at} on")).hint(
            if self.is_utf16 {
                "it is UTF-16: convert it with iconv -f UTF-16 -t UTF-8"
            } else {
                "convert it, for example with iconv -t UTF-8"
            },
        )
    }

    /// Whether anything of the text was seen.
    pub fn is_at_start(&self) -> bool {
        self.size_bytes == 0 && self.carry.is_empty()
    }

    /// Examines the end of the text.
    ///
    /// # Errors
    /// Input errors: an incomplete last character, an empty text.
    pub fn check_end(&self) -> Result<()> {
        if !self.carry.is_empty() {
            return Err(self.not_utf8(0));
        }
        if self.size_bytes == 0 {
            return Err(Error::input("the text is empty"));
        }
        Ok(())
    }

    /// The blake3 hash of the text, in hexadecimal.
    pub fn hash(&self) -> String {
        self.hasher.finalize().to_hex().to_string()
    }
}
