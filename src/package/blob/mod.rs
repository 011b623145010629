//! The weight file of a package ("MILBlob" storage format, version 2).
//!
//! A 64-byte header (`u32` number of blobs, `u32` version, zeros), then blobs. Each is 64 bytes of
//! metadata (`u32` sentinel, `u32` type, `u64` size in bytes, `u64` offset of the data, `u64`
//! number of unused bits in the last byte, zeros) followed by its data. Metadata and data are both
//! aligned to 64 bytes, and everything is little endian. A program refers to a blob by the offset
//! of its metadata; the shape is in the program.

pub mod read;
mod write;

pub use write::{BlobLayout, BlobRef, BlobWriter, WrittenBlobs};

use crate::package::spec::DataType;

/// The alignment of metadata and of data.
pub const ALIGNMENT_BYTES: u64 = 64;
/// The version of the format.
pub const VERSION: u32 = 2;
/// The first four bytes of a blob's metadata.
pub const SENTINEL: u32 = 0xDEAD_BEEF;
/// The name that programs use for the weight file.
pub const FILE_NAME: &str = "@model_path/weights/weight.bin";

/// The type of a blob's elements; the discriminant is the number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names are the format's own")]
pub enum BlobType {
    Float16 = 1,
    Float32 = 2,
    Uint8 = 3,
    Int8 = 4,
    Bfloat16 = 5,
    Int16 = 6,
    Uint16 = 7,
    Int4 = 8,
    Uint1 = 9,
    Uint2 = 10,
    Uint4 = 11,
    Uint3 = 12,
    Uint6 = 13,
    Int32 = 14,
    Uint32 = 15,
}

impl BlobType {
    /// Every type, its width in bits and the name that programs use for it.
    const ALL: [(BlobType, u8, DataType); 15] = [
        (BlobType::Float16, 16, DataType::Float16),
        (BlobType::Float32, 32, DataType::Float32),
        (BlobType::Uint8, 8, DataType::Uint8),
        (BlobType::Int8, 8, DataType::Int8),
        (BlobType::Bfloat16, 16, DataType::Bfloat16),
        (BlobType::Int16, 16, DataType::Int16),
        (BlobType::Uint16, 16, DataType::Uint16),
        (BlobType::Int4, 4, DataType::Int4),
        (BlobType::Uint1, 1, DataType::Uint1),
        (BlobType::Uint2, 2, DataType::Uint2),
        (BlobType::Uint4, 4, DataType::Uint4),
        (BlobType::Uint3, 3, DataType::Uint3),
        (BlobType::Uint6, 6, DataType::Uint6),
        (BlobType::Int32, 32, DataType::Int32),
        (BlobType::Uint32, 32, DataType::Uint32),
    ];

    fn row(self) -> &'static (BlobType, u8, DataType) {
        &Self::ALL[self as usize - 1]
    }

    /// The type with this number; `None` if there is no such type.
    pub fn from_number(number: u32) -> Option<Self> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        Self::ALL.get(index).map(|(kind, ..)| *kind)
    }

    /// The type that programs call `data_type`; `None` if blobs cannot hold it.
    pub fn of(data_type: DataType) -> Option<Self> {
        Self::ALL.iter().find(|(.., of)| *of == data_type).map(|(kind, ..)| *kind)
    }

    /// The name that programs use for it.
    pub fn data_type(self) -> DataType {
        self.row().2
    }

    /// The width of an element in bits.
    pub fn bits(self) -> u8 {
        self.row().1
    }

    /// The bytes that `elements` elements take, packed without gaps; `None` if that overflows.
    pub fn size_bytes(self, elements: u64) -> Option<u64> {
        Some(elements.checked_mul(u64::from(self.bits()))?.div_ceil(8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_format() {
        for number in 1..=15 {
            let kind = BlobType::from_number(number).expect("a known number");
            assert_eq!((kind as u32, kind.row().0), (number, kind));
            assert_eq!(BlobType::of(kind.data_type()), Some(kind));
        }
        assert_eq!((BlobType::from_number(0), BlobType::from_number(16)), (None, None));
        assert_eq!(BlobType::Uint3.size_bytes(5), Some(2));
        assert_eq!(BlobType::Float32.size_bytes(u64::MAX), None);
    }
}
