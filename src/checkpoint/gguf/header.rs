//! The header of a GGUF file: typed metadata, then the table of tensors.
//!
//! A header is untrusted input. Counts and lengths are compared with the bytes that are left before
//! anything is allocated, names must be unique, and tensors must be inside the file without sharing
//! bytes. Layout: the GGUF specification (ggml, docs/gguf.md), versions 2 and 3, little-endian.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::checkpoint::dtype::Dtype;
use crate::error::{At, Error, Result};

use super::cursor::Cursor;
use super::forks;
use super::metadata::{Metadata, MetadataValue};
use super::table::{RawEntry, table};
use super::types::dtype;

/// Largest metadata that is read. The largest vocabularies in use need about 20 MB.
const MAX_METADATA_BYTES: usize = 64 << 20;
const DEFAULT_ALIGNMENT: i128 = 32;
const MAX_ALIGNMENT: i128 = 1 << 16;
/// Bytes of a value before the elements of an array: two types and a length.
const ARRAY_HEADER_BYTES: usize = 16;
/// Bytes of a metadata entry with an empty key and a one-byte value.
const MIN_KEY_ENTRY: u64 = 13;

/// The contents of a GGUF header.
#[derive(Debug)]
pub(super) struct Header {
    pub metadata: Metadata,
    pub tensors: BTreeMap<String, TensorEntry>,
    /// Where arrays of f32 in the metadata are in the first file, by key.
    pub arrays: BTreeMap<String, Range<usize>>,
}

/// One tensor of the table, checked.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorEntry {
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    pub dtype: Dtype,
    /// Index into the model's files.
    pub file: usize,
    /// The tensor's bytes within that file.
    pub range: Range<usize>,
}

/// Reads the header of a whole GGUF file.
pub(super) fn parse(bytes: &[u8]) -> Result<Header> {
    let mut cursor = Cursor::new(bytes);
    magic_and_version(&mut cursor)?;
    let tensor_count = cursor.u64("the number of tensors")?;
    let key_count = cursor.u64("the number of metadata keys")?;
    let (metadata, arrays) = metadata(&mut cursor, key_count).at(|| "metadata")?;
    let alignment = alignment(&metadata)?;
    let mut raw = table(&mut cursor, tensor_count)?;
    let data = cursor.at().next_multiple_of(alignment);
    forks::settle(&mut raw, bytes.len().saturating_sub(data) as u64, alignment as u64)?;
    let mut tensors = BTreeMap::new();
    for tensor in raw {
        let entry = place(&tensor, data, alignment, bytes.len())
            .at(|| format!("tensor {}", tensor.name))?;
        if tensors.insert(tensor.name.clone(), entry).is_some() {
            return Err(
                Error::input("the name appears twice").at(format!("tensor {}", tensor.name))
            );
        }
    }
    refuse_overlap(&tensors)?;
    Ok(Header { metadata, tensors, arrays })
}

fn magic_and_version(cursor: &mut Cursor<'_>) -> Result<()> {
    let magic = cursor.take(4, "the magic number")?;
    if magic != b"GGUF" {
        let found = String::from_utf8_lossy(magic).escape_debug().to_string();
        return Err(Error::input(format!(
            "expected a GGUF file, which begins with \"GGUF\", found \"{found}\""
        ))
        .hint("an HTML page or a Git LFS pointer in its place means that the download failed"));
    }
    match cursor.u32("the version")? {
        2 | 3 => Ok(()),
        swapped if swapped.swap_bytes() <= 3 => {
            Err(Error::input("expected a little-endian GGUF file, found a big-endian one")
                .hint("convert the model again without --bigendian"))
        }
        version => Err(Error::input(format!("expected GGUF version 2 or 3, found {version}"))
            .hint("convert the model again with a current llama.cpp")),
    }
}

/// The metadata, and where its arrays of f32 are.
fn metadata(
    cursor: &mut Cursor<'_>,
    count: u64,
) -> Result<(Metadata, BTreeMap<String, Range<usize>>)> {
    cursor.room_for(count, MIN_KEY_ENTRY, "keys")?;
    let first = cursor.at();
    let (mut values, mut arrays) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..count {
        let key = cursor.name("a key")?;
        let before = cursor.at();
        let value = cursor.value().at(|| format!("key {key}"))?;
        if cursor.at() - first > MAX_METADATA_BYTES {
            return Err(Error::input(format!(
                "expected at most {MAX_METADATA_BYTES} bytes of metadata, found more"
            ))
            .at(format!("key {key}")));
        }
        let elements = before + ARRAY_HEADER_BYTES..cursor.at();
        if matches!(&value, MetadataValue::Floats(list) if 4 * list.len() == elements.len()) {
            arrays.insert(key.clone(), elements);
        }
        if values.insert(key.clone(), value).is_some() {
            return Err(Error::input("the key appears twice").at(format!("key {key}")));
        }
    }
    Ok((Metadata::new(values), arrays))
}

fn alignment(metadata: &Metadata) -> Result<usize> {
    let key = "general.alignment";
    let found = metadata.integer(key)?.unwrap_or(DEFAULT_ALIGNMENT);
    match usize::try_from(found) {
        Ok(alignment) if (8..=MAX_ALIGNMENT).contains(&found) && alignment.is_power_of_two() => {
            Ok(alignment)
        }
        _ => Err(Error::input(format!(
            "expected a power of two from 8 to {MAX_ALIGNMENT}, found {found}"
        ))
        .at(format!("key {key}"))),
    }
}

/// Checks that the tensor is inside the file, and reverses its dimensions to outermost first.
fn place(raw: &RawEntry, data: usize, alignment: usize, file_len: usize) -> Result<TensorEntry> {
    let dtype = dtype(raw.type_id)?;
    let too_large = || Error::input(format!("the dimensions {:?} overflow", raw.dims));
    let dims: Option<Vec<usize>> = raw.dims.iter().map(|&d| usize::try_from(d).ok()).collect();
    let mut shape = dims.ok_or_else(too_large)?;
    shape.reverse();
    if shape.contains(&0) {
        return Err(Error::input(format!("a dimension is 0: {:?}", raw.dims)));
    }
    let (&width, outer) = shape.split_last().ok_or_else(too_large)?;
    let rows = outer.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(too_large)?;
    let row_bytes = dtype.row_bytes(width).ok_or_else(|| {
        let name = dtype.name();
        Error::input(format!("rows of {width} weights do not fill blocks of {name}"))
    })?;
    let len = row_bytes.checked_mul(rows).ok_or_else(too_large)?;
    if !raw.offset.is_multiple_of(alignment as u64) {
        let offset = raw.offset;
        return Err(Error::input(format!(
            "expected an offset divisible by {alignment}, found {offset}"
        )));
    }
    let start = usize::try_from(raw.offset).ok().and_then(|o| o.checked_add(data));
    match start.and_then(|s| Some((s, s.checked_add(len)?))) {
        Some((start, end)) if end <= file_len => {
            Ok(TensorEntry { shape, dtype, file: 0, range: start..end })
        }
        _ => Err(Error::input(format!(
            "expected {len} bytes at offset {} of the data, found the end of the file at {}",
            raw.offset,
            file_len.saturating_sub(data)
        ))
        .hint("the file is truncated: download it again")),
    }
}

fn refuse_overlap(tensors: &BTreeMap<String, TensorEntry>) -> Result<()> {
    let mut placed: Vec<_> = tensors.iter().map(|(name, entry)| (&entry.range, name)).collect();
    placed.sort_by_key(|(range, _)| range.start);
    for pair in placed.windows(2) {
        if let [(first, a), (second, b)] = pair
            && first.end > second.start
        {
            return Err(Error::input(format!(
                "tensors {a} (bytes {first:?}) and {b} (bytes {second:?}) overlap"
            )));
        }
    }
    Ok(())
}
