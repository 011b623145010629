//! Reads little-endian numbers, texts and typed values from untrusted bytes.

use crate::error::{Error, Result};

use super::metadata::MetadataValue;

/// Most elements of a metadata array. The largest lists of merges in use have about 500,000.
const MAX_ARRAY_LEN: u64 = 1 << 22;
const MAX_NAME_BYTES: usize = 1 << 10;

/// A position in bytes that never moves past their end.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// Bytes taken so far.
    pub fn at(&self) -> usize {
        self.at
    }

    fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    pub fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8]> {
        let end = self.at.checked_add(len).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else {
            return Err(Error::input(format!(
                "expected {len} bytes for {what} at byte {}, found {}",
                self.at,
                self.left()
            ))
            .hint("the file is truncated or damaged: download it again"));
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut word = [0; N];
        word.copy_from_slice(self.take(N, what)?);
        Ok(word)
    }

    pub fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Fails (input) if `count` entries of at least `entry_bytes` bytes do not fit in the bytes
    /// left.
    pub fn room_for(&self, count: u64, entry_bytes: u64, what: &str) -> Result<()> {
        if count > self.left() as u64 / entry_bytes {
            return Err(Error::input(format!(
                "{count} {what} do not fit into the {} bytes that follow",
                self.left()
            ))
            .hint("the file is truncated or damaged: download it again"));
        }
        Ok(())
    }

    fn text(&mut self, what: &str) -> Result<String> {
        let len = self.u64(what)?;
        self.room_for(len, 1, "bytes of text")?;
        let bytes = self.take(len as usize, what)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(e) => Err(Error::input(format!("expected UTF-8 text for {what}")).because(e)),
        }
    }

    pub fn name(&mut self, what: &str) -> Result<String> {
        let name = self.text(what)?;
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            let len = name.len();
            return Err(Error::input(format!(
                "expected {what} of 1 to {MAX_NAME_BYTES} bytes, found {len}"
            )));
        }
        Ok(name)
    }

    pub fn value(&mut self) -> Result<MetadataValue> {
        match self.u32("the value's type")? {
            8 => Ok(MetadataValue::Text(self.text("a text")?)),
            9 => self.array_value(),
            scalar => Ok(match self.scalar(scalar)? {
                Scalar::Integer(value) => MetadataValue::Integer(value),
                Scalar::Float(value) => MetadataValue::Float(value),
                Scalar::Bool(value) => MetadataValue::Bool(value),
            }),
        }
    }

    fn array_value(&mut self) -> Result<MetadataValue> {
        let kind = self.u32("the array's type")?;
        let count = self.u64("the array's length")?;
        if count > MAX_ARRAY_LEN {
            return Err(Error::input(format!(
                "expected an array of at most {MAX_ARRAY_LEN} elements, found {count}"
            )));
        }
        let least = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => {
                return Err(Error::input("expected an array of plain values, found nested arrays"));
            }
            other => return Err(unknown_value_type(other)),
        };
        self.room_for(count, least, "array elements")?;
        if kind == 8 {
            return (0..count)
                .map(|_| self.text("a text"))
                .collect::<Result<_>>()
                .map(MetadataValue::Texts);
        }
        let mut integers = Vec::new();
        let mut floats = Vec::new();
        for _ in 0..count {
            match self.scalar(kind)? {
                Scalar::Integer(value) => integers.push(i64::try_from(value).map_err(|_| {
                    Error::input(format!("expected numbers of 63 bits, found {value}"))
                })?),
                Scalar::Bool(value) => integers.push(i64::from(value)),
                Scalar::Float(value) => floats.push(value),
            }
        }
        Ok(if matches!(kind, 6 | 12) {
            MetadataValue::Floats(floats)
        } else {
            MetadataValue::Integers(integers)
        })
    }

    fn scalar(&mut self, kind: u32) -> Result<Scalar> {
        let what = "a number";
        Ok(match kind {
            0 => Scalar::Integer(u8::from_le_bytes(self.array(what)?).into()),
            1 => Scalar::Integer(i8::from_le_bytes(self.array(what)?).into()),
            2 => Scalar::Integer(u16::from_le_bytes(self.array(what)?).into()),
            3 => Scalar::Integer(i16::from_le_bytes(self.array(what)?).into()),
            4 => Scalar::Integer(self.u32(what)?.into()),
            5 => Scalar::Integer(i32::from_le_bytes(self.array(what)?).into()),
            6 => Scalar::Float(f32::from_le_bytes(self.array(what)?).into()),
            7 => match self.array::<1>("a boolean")? {
                [value @ (0 | 1)] => Scalar::Bool(value == 1),
                [other] => {
                    return Err(Error::input(format!("expected a boolean, 0 or 1, found {other}")));
                }
            },
            10 => Scalar::Integer(self.u64(what)?.into()),
            11 => Scalar::Integer(i64::from_le_bytes(self.array(what)?).into()),
            12 => Scalar::Float(f64::from_le_bytes(self.array(what)?)),
            other => return Err(unknown_value_type(other)),
        })
    }
}

enum Scalar {
    Integer(i128),
    Float(f64),
    Bool(bool),
}

fn unknown_value_type(id: u32) -> Error {
    Error::input(format!("expected a value type from 0 to 12, found {id}"))
}
