//! The rows of a weight whose codes select vectors, for products that look up several rows at once.

use super::{Form, PackedWeight};

/// The rows of a weight as it is stored. Each code stands for several consecutive rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VectorRows<'a> {
    /// The width of a code in bits.
    pub bits: u8,
    /// Codes `[rows / length, in]`, packed. Every row of codes begins at a whole byte.
    pub codes: &'a [u8],
    /// The number of rows that a code stands for.
    pub length: usize,
    /// `[.., length, 2^bits]`.
    pub tables: &'a [f32],
    /// The number of rows of codes that share a table.
    pub code_rows_per_table: usize,
}

impl PackedWeight {
    /// The rows as they are stored; `None` unless the weight has vectors along its first axis and
    /// its rows of codes begin at whole bytes.
    pub(crate) fn vector_rows(&self) -> Option<VectorRows<'_>> {
        let inputs = self.elements() / self.rows().max(1);
        let Form::Palette(palette) = &self.form else { return None };
        let vector = palette.vector?;
        let (bits, code_rows) = (palette.codes.bits(), self.rows() / vector.len);
        let row_bytes = inputs * usize::from(bits) / 8;
        let is_whole = (inputs * usize::from(bits)).is_multiple_of(8);
        if !is_whole || vector.axis_len != code_rows || vector.inner != inputs {
            return None;
        }
        Some(VectorRows {
            bits,
            codes: palette.codes.bytes.get(..code_rows * row_bytes)?,
            length: vector.len,
            tables: &palette.tables,
            code_rows_per_table: palette.grid.rows_per_block(inputs)?,
        })
    }
}
