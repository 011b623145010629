//! Writes a weight file in one pass.
//!
//! Blobs are appended one by one, and the offset of a blob is final as soon as it is appended; only
//! the number of blobs in the header is filled in at the end. Zeros pad the file between blobs, but
//! not after the last one. [`BlobLayout`] predicts offsets and sizes from types and lengths alone.

use std::io::{Seek, SeekFrom, Write};

use super::{ALIGNMENT_BYTES, BlobType, SENTINEL, VERSION};
use crate::error::{Error, Result};

/// Where a blob is in the weight file. Any number of operators may refer to the same blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlobRef {
    /// The offset of its metadata.
    pub offset: u64,
    /// The type of its elements.
    pub kind: BlobType,
    /// The number of its elements.
    pub elements: u64,
}

/// Predicts where blobs will be, from their types and lengths alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobLayout {
    /// The size of the file so far.
    end: u64,
}

impl BlobLayout {
    /// A file without blobs: only the header.
    pub fn new() -> Self {
        BlobLayout { end: ALIGNMENT_BYTES }
    }

    /// Appends a blob.
    ///
    /// # Errors
    /// An input error if the size of the file would overflow 64 bits.
    pub fn append(&mut self, kind: BlobType, elements: u64) -> Result<BlobRef> {
        let place = || {
            let offset = self.end.checked_next_multiple_of(ALIGNMENT_BYTES)?;
            let data = offset.checked_add(ALIGNMENT_BYTES)?;
            Some((offset, data.checked_add(kind.size_bytes(elements)?)?))
        };
        let too_large =
            || Error::input(format!("{elements} weights are too many for one weight file"));
        let (offset, end) = place().ok_or_else(too_large)?;
        self.end = end;
        Ok(BlobRef { offset, kind, elements })
    }

    /// The size of the file in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.end
    }
}

impl Default for BlobLayout {
    fn default() -> Self {
        Self::new()
    }
}

/// A finished weight file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenBlobs {
    /// The number of its blobs.
    pub count: u32,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// A hash over the types, lengths and contents of all blobs, in order.
    pub hash: blake3::Hash,
}

/// A weight file that is being written. The blobs are not kept in memory.
#[derive(Debug)]
pub struct BlobWriter<W> {
    out: W,
    layout: BlobLayout,
    count: u32,
    hasher: blake3::Hasher,
}

impl<W: Write + Seek> BlobWriter<W> {
    /// Begins the file at the start of `out`, which should be buffered.
    ///
    /// # Errors
    /// Surroundings errors of `out`.
    pub fn new(mut out: W) -> Result<Self> {
        write(&mut out, &[0; ALIGNMENT_BYTES as usize])?;
        let hasher = blake3::Hasher::new();
        Ok(BlobWriter { out, layout: BlobLayout::new(), count: 0, hasher })
    }

    /// Appends `bytes`: little-endian elements, packed without gaps. The caller appends what is
    /// used twice only once and keeps its reference, so that sizes follow from types and lengths.
    ///
    /// # Errors
    /// A bug-class error if the length of `bytes` is not that of `elements` elements; surroundings
    /// errors of the output.
    pub fn append(&mut self, kind: BlobType, elements: u64, bytes: &[u8]) -> Result<BlobRef> {
        if kind.size_bytes(elements) != Some(bytes.len() as u64) {
            let found = bytes.len();
            return Err(Error::bug(format!(
                "{elements} elements of {kind:?} cannot be {found} bytes"
            )));
        }
        let content = blake3::Hasher::new().update_rayon(bytes).finalize();
        let before = self.layout.size_bytes();
        let blob = self.layout.append(kind, elements)?;
        write(&mut self.out, &[0; ALIGNMENT_BYTES as usize][..(blob.offset - before) as usize])?;
        let metadata = metadata(&blob, bytes.len() as u64);
        write(&mut self.out, &metadata)?;
        write(&mut self.out, bytes)?;
        self.hasher.update(&metadata).update(content.as_bytes());
        self.count += 1;
        Ok(blob)
    }

    /// Completes the header and returns `out`, flushed but not synced to the disk.
    ///
    /// # Errors
    /// Surroundings errors of the output.
    pub fn finish(mut self) -> Result<(W, WrittenBlobs)> {
        let header = [self.count.to_le_bytes(), VERSION.to_le_bytes()].concat();
        self.out.seek(SeekFrom::Start(0)).map_err(failed)?;
        write(&mut self.out, &header)?;
        self.out.flush().map_err(failed)?;
        let size_bytes = self.layout.size_bytes();
        Ok((self.out, WrittenBlobs { count: self.count, size_bytes, hash: self.hasher.finalize() }))
    }
}

/// The 64 bytes before a blob's data.
fn metadata(blob: &BlobRef, size_bytes: u64) -> [u8; ALIGNMENT_BYTES as usize] {
    let unused_bits = size_bytes * 8 - blob.elements * u64::from(blob.kind.bits());
    let mut bytes = [0; ALIGNMENT_BYTES as usize];
    bytes[0..4].copy_from_slice(&SENTINEL.to_le_bytes());
    bytes[4..8].copy_from_slice(&(blob.kind as u32).to_le_bytes());
    bytes[8..16].copy_from_slice(&size_bytes.to_le_bytes());
    bytes[16..24].copy_from_slice(&(blob.offset + ALIGNMENT_BYTES).to_le_bytes());
    bytes[24..32].copy_from_slice(&unused_bits.to_le_bytes());
    bytes
}

fn write(out: &mut impl Write, bytes: &[u8]) -> Result<()> {
    out.write_all(bytes).map_err(failed)
}

fn failed(cause: std::io::Error) -> Error {
    Error::surroundings("cannot write the weight file").because(cause)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn blobs_are_aligned() {
        let mut writer = BlobWriter::new(Cursor::new(Vec::new())).unwrap();
        let first = writer.append(BlobType::Uint3, 5, &[0b1101_0001, 0x58]).unwrap();
        let second = writer.append(BlobType::Float16, 40, &[7; 80]).unwrap();
        let third = writer.append(BlobType::Uint8, 80, &[7; 80]).unwrap();
        let (bytes, written) = writer.finish().unwrap();
        let bytes = bytes.into_inner();
        assert_eq!((first.offset, second.offset, third.offset), (64, 192, 384));
        assert_eq!(written.size_bytes, bytes.len() as u64);
        assert_eq!(bytes[..8], [3, 0, 0, 0, 2, 0, 0, 0]);
        assert_eq!(bytes[64..72], [0xef, 0xbe, 0xad, 0xde, 12, 0, 0, 0]);
        assert_eq!((bytes[72], bytes[80], bytes[88]), (2, 128, 1));
        assert_eq!(bytes[448..528], [7; 80]);
        assert_eq!(bytes[528 - 80 - 64 - 48..384], [0; 48]);
    }

    #[test]
    fn sizes_are_known_before_a_byte_is_written() {
        let blobs = [(BlobType::Uint1, 3u64), (BlobType::Float16, 1000), (BlobType::Uint6, 65)];
        let mut writer = BlobWriter::new(Cursor::new(Vec::new())).unwrap();
        let mut layout = BlobLayout::new();
        for (kind, elements) in blobs {
            let bytes = vec![0; kind.size_bytes(elements).unwrap() as usize];
            let blob = writer.append(kind, elements, &bytes).unwrap();
            assert_eq!(layout.append(kind, elements).unwrap(), blob);
        }
        let (bytes, written) = writer.finish().unwrap();
        assert_eq!(bytes.into_inner().len() as u64, layout.size_bytes());
        assert_eq!(written.size_bytes, layout.size_bytes());
    }

    #[test]
    fn bytes_that_are_not_the_elements_are_a_bug() {
        let mut writer = BlobWriter::new(Cursor::new(Vec::new())).unwrap();
        let error = writer.append(BlobType::Float16, 3, &[0; 5]).unwrap_err();
        assert!(error.to_string().contains("3 elements of Float16 cannot be 5 bytes"), "{error}");
        assert!(BlobLayout::new().append(BlobType::Float32, u64::MAX).is_err());
    }
}
