//! The widths of codes that Core ML has a type for.

use crate::error::{Error, Result};

/// A code width that Core ML has an index type for: 1, 2, 3, 4, 6 or 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IndexBits(u8);

impl IndexBits {
    /// Every width there is.
    pub const ALL: [u8; 6] = [1, 2, 3, 4, 6, 8];

    /// `bits` as a code width. Fails for widths that Core ML has no type for.
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

    /// Entries in a table that such codes point into.
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
