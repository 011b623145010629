//! What Core ML prescribes for codes: their widths, and groups that divide their axis.

use std::num::NonZeroUsize;

use crate::error::{Error, Result};

/// A code width that Core ML has an index type for: 1, 2, 3, 4, 6 or 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IndexBits(u8);

impl IndexBits {
    /// All widths.
    pub const ALL: [u8; 6] = [1, 2, 3, 4, 6, 8];

    /// `bits` as a code width. Fails (input) for a width that Core ML has no type for.
    pub fn new(bits: u8) -> Result<Self> {
        if Self::ALL.contains(&bits) {
            return Ok(IndexBits(bits));
        }
        Err(Error::input(format!(
            "{bits}-bit palettes do not exist: Core ML has index types of 1, 2, 3, 4, 6 and 8 bits"
        )))
    }

    /// The width in bits.
    pub fn get(self) -> u8 {
        self.0
    }

    /// Entries of a table that codes of this width index.
    pub fn entries(self) -> usize {
        1 << self.0
    }
}

/// The width of a linear code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinearBits {
    /// int4 or uint4.
    Four,
    /// int8 or uint8.
    Eight,
}

impl LinearBits {
    /// The width in bits.
    pub fn get(self) -> u8 {
        match self {
            LinearBits::Four => 4,
            LinearBits::Eight => 8,
        }
    }
}

/// The group size that is used along an axis of `len` if `wanted` is asked for: the largest divisor
/// of `len` that is at most `wanted`, since Core ML's tables and blocks must divide their axis.
pub fn effective_group(len: usize, wanted: NonZeroUsize) -> usize {
    (1..=wanted.get().min(len)).rev().find(|group| len.is_multiple_of(*group)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_does_not_divide_becomes_the_largest_divisor_below_it() {
        let sixteen = NonZeroUsize::new(16).unwrap();
        assert_eq!(effective_group(1536, sixteen), 16);
        assert_eq!(effective_group(24, sixteen), 12);
        assert_eq!(effective_group(17, sixteen), 1);
        assert_eq!(effective_group(5, sixteen), 5);
        assert_eq!(effective_group(0, sixteen), 1);
    }
}
