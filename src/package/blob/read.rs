//! Reading a weight file: every blob is checked once when the file is opened, and then looked up by
//! its offset.
//!
//! Blobs follow one another without gaps other than padding, so one pass over the file finds all of
//! them. An offset in a program must be one that this pass found. No length in the file decides how
//! much memory is allocated.

use std::ops::{Deref, Range};
use std::path::PathBuf;
use std::sync::Arc;

use super::{ALIGNMENT_BYTES, BlobType, SENTINEL, VERSION};
use crate::checkpoint::FileBytes;
use crate::error::{At, Error, Result};

/// Read-only bytes that are cheap to clone: a range of a mapped file, or bytes in memory.
#[derive(Debug, Clone)]
pub struct SharedBytes {
    source: Storage,
    range: Range<usize>,
}

#[derive(Debug, Clone)]
enum Storage {
    File(Arc<FileBytes>),
    Memory(Arc<[u8]>),
}

impl SharedBytes {
    /// A range of these bytes, which shares their memory; empty if `range` is out of bounds.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let (start, end) = (self.range.start + range.start, self.range.start + range.end);
        let range = if start <= end && end <= self.range.end { start..end } else { 0..0 };
        SharedBytes { source: self.source.clone(), range }
    }
}

impl From<FileBytes> for SharedBytes {
    fn from(file: FileBytes) -> Self {
        SharedBytes { range: 0..file.len(), source: Storage::File(Arc::new(file)) }
    }
}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        SharedBytes { range: 0..bytes.len(), source: Storage::Memory(bytes.into()) }
    }
}

impl Deref for SharedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let all: &[u8] = match &self.source {
            Storage::File(file) => file,
            Storage::Memory(bytes) => bytes,
        };
        all.get(self.range.clone()).unwrap_or_default()
    }
}

/// The elements of one blob.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The type of the elements.
    pub kind: BlobType,
    /// The number of elements.
    pub elements: u64,
    /// The bytes of the elements, packed as in the file.
    pub bytes: SharedBytes,
}

/// An opened weight file. All its blobs have been checked.
#[derive(Debug, Clone)]
pub struct BlobFile {
    path: PathBuf,
    /// Each blob with the offset of its metadata, in ascending order.
    blobs: Vec<(u64, Blob)>,
    size_bytes: u64,
}

impl BlobFile {
    /// Checks all of `bytes`; `path` is used in messages only.
    ///
    /// # Errors
    /// Input errors that name the offset: a header, metadata or padding that the format does not
    /// allow, or bytes that belong to no blob.
    pub fn new(path: impl Into<PathBuf>, bytes: &SharedBytes) -> Result<Self> {
        let path = path.into();
        let blobs = walk(bytes).at(|| path.display().to_string())?;
        Ok(BlobFile { path, blobs, size_bytes: bytes.len() as u64 })
    }

    /// The size of the file.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The blob whose metadata begins at `offset`.
    ///
    /// # Errors
    /// An input error if no blob begins there.
    pub fn blob(&self, offset: u64) -> Result<Blob> {
        let found = self.blobs.binary_search_by_key(&offset, |(at, _)| *at);
        found.map(|index| self.blobs[index].1.clone()).map_err(|_| {
            Error::input(format!("no blob begins at offset {offset}")).at(self.path.display())
        })
    }
}

/// Finds and checks all blobs of a file.
fn walk(bytes: &SharedBytes) -> Result<Vec<(u64, Blob)>> {
    let header = bytes.get(..64).ok_or_else(|| {
        Error::input(format!("expected a header of 64 bytes, found {} bytes", bytes.len()))
    })?;
    let (count, version) = (u32_at(header, 0), u32_at(header, 4));
    if version != VERSION {
        return Err(Error::input(format!("weight file: expected version 2, found {version}")));
    }
    expect_zeros(&header[8..], "header", 8)?;
    let mut blobs = Vec::new();
    let mut at = ALIGNMENT_BYTES;
    for _ in 0..count {
        let blob = blob_at(bytes, at)
            .at(|| format!("blob {} of {count} at offset {at}", blobs.len() + 1))?;
        let end = at + ALIGNMENT_BYTES + blob.bytes.len() as u64;
        let next = end.next_multiple_of(ALIGNMENT_BYTES);
        let gap = bytes.get(end as usize..bytes.len().min(next as usize)).unwrap_or_default();
        expect_zeros(gap, "padding", end)?;
        blobs.push((at, blob));
        at = next;
    }
    if bytes.len() as u64 > at {
        return Err(Error::input(format!(
            "the header counts {count} blobs, which end at offset {at}, but the file has {} bytes",
            bytes.len()
        )));
    }
    Ok(blobs)
}

/// Reads and checks the blob whose metadata begins at `at`.
fn blob_at(bytes: &SharedBytes, at: u64) -> Result<Blob> {
    let start = usize::try_from(at).ok();
    let metadata = start.and_then(|start| bytes.get(start..start.checked_add(64)?));
    let metadata = metadata.ok_or_else(|| {
        Error::input(format!("its metadata ends past the file's {} bytes", bytes.len()))
    })?;
    let (sentinel, number) = (u32_at(metadata, 0), u32_at(metadata, 4));
    if sentinel != SENTINEL {
        return Err(Error::input(format!(
            "expected the sentinel 0x{SENTINEL:08X}, found 0x{sentinel:08X}"
        )));
    }
    let kind = BlobType::from_number(number).ok_or_else(|| {
        Error::input(format!("expected an element type from 1 to 15, found {number}"))
    })?;
    let (size, data, padding) = (u64_at(metadata, 8), u64_at(metadata, 16), u64_at(metadata, 24));
    if data != at + ALIGNMENT_BYTES {
        return Err(Error::input(format!(
            "expected its data at offset {}, found {data}",
            at + ALIGNMENT_BYTES
        )));
    }
    expect_zeros(&metadata[32..], "reserved metadata", at + 32)?;
    let end = data.checked_add(size).filter(|end| *end <= bytes.len() as u64).ok_or_else(|| {
        Error::input(format!(
            "its {size} bytes of data at offset {data} end past the file's {} bytes",
            bytes.len()
        ))
    })?;
    let data = bytes.slice(data as usize..end as usize);
    let elements = elements(kind, &data, padding)?;
    Ok(Blob { kind, elements, bytes: data })
}

/// The number of elements in `data`. The `padding` high bits of its last byte are unused.
fn elements(kind: BlobType, data: &[u8], padding: u64) -> Result<u64> {
    let bits = u64::from(kind.bits());
    let used = (data.len() as u64 * 8).checked_sub(padding).filter(|_| padding < 8);
    let whole = used.filter(|used| used.is_multiple_of(bits) && (bits < 8 || padding == 0));
    let used = whole.ok_or_else(|| {
        Error::input(format!(
            "{} bytes with {padding} unused bits are not a whole number of {kind:?} elements",
            data.len()
        ))
    })?;
    let last = data.last().copied().unwrap_or(0);
    if padding > 0 && last >> (8 - padding) != 0 {
        return Err(Error::input(format!("expected its last {padding} bits to be zero")));
    }
    Ok(used / bits)
}

fn expect_zeros(bytes: &[u8], what: &str, offset: u64) -> Result<()> {
    match bytes.iter().position(|byte| *byte != 0) {
        None => Ok(()),
        Some(index) => Err(Error::input(format!(
            "{what}: expected 0 at offset {}, found {}",
            offset + index as u64,
            bytes[index]
        ))),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one fp16 blob of three elements and one uint3 blob of five.
    fn file() -> Vec<u8> {
        let mut bytes = [2u32.to_le_bytes(), 2u32.to_le_bytes()].concat();
        for (kind, padding, data) in [(1u32, 0u64, vec![1u8; 6]), (12, 1, vec![0xff, 0x7f])] {
            bytes.resize(bytes.len().next_multiple_of(64), 0);
            let data_at = bytes.len() as u64 + 64;
            bytes.extend(SENTINEL.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            for word in [data.len() as u64, data_at, padding] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.resize(data_at as usize, 0);
            bytes.extend(data);
        }
        bytes
    }

    fn read(bytes: Vec<u8>) -> Result<BlobFile> {
        BlobFile::new("weight.bin", &bytes.into())
    }

    #[test]
    fn blobs_are_found_by_their_offsets() {
        let file = read(file()).unwrap();
        let blob = file.blob(64).unwrap();
        assert_eq!((blob.kind, blob.elements, &*blob.bytes), (BlobType::Float16, 3, &[1; 6][..]));
        let blob = file.blob(192).unwrap();
        assert_eq!((blob.kind, blob.elements, blob.bytes.len()), (BlobType::Uint3, 5, 2));
        let error = file.blob(128).unwrap_err().to_string();
        assert_eq!(error, "weight.bin: no blob begins at offset 128");
    }

    #[test]
    fn every_contradiction_is_reported_with_its_offset() {
        let cases: [(usize, u8, &str); 12] = [
            (0, 3, "blob 3 of 3 at offset 320: its metadata ends past the file's 258 bytes"),
            (0, 1, "the header counts 1 blobs, which end at offset 192, but the file has 258"),
            (4, 1, "expected version 2, found 1"),
            (9, 1, "header: expected 0 at offset 9, found 1"),
            (64, 0, "offset 64: expected the sentinel 0xDEADBEEF, found 0xDEADBE00"),
            (68, 16, "expected an element type from 1 to 15, found 16"),
            (72, 5, "5 bytes with 0 unused bits are not a whole number of Float16"),
            (79, 0xff, "end past the file's 258 bytes"),
            (80, 192, "expected its data at offset 128, found 192"),
            (100, 7, "reserved metadata: expected 0 at offset 100, found 7"),
            (216, 2, "2 bytes with 2 unused bits are not a whole number of Uint3"),
            (257, 0xff, "expected its last 1 bits to be zero"),
        ];
        for (at, byte, expected) in cases {
            let mut bytes = file();
            bytes[at] = byte;
            let error = read(bytes).unwrap_err();
            assert!(error.to_string().contains(expected), "{at}: {error}");
            assert_eq!(error.exit().code(), 2);
        }
        for len in 0..file().len() {
            assert!(read(file()[..len].to_vec()).is_err(), "{len} bytes");
        }
    }
}
