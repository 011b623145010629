//! The rows of a weight as they are stored, for products that decode them in registers, or look
//! several rows up at once.

use super::{Form, PackedWeight};
use crate::package::spec::DataType;

/// All rows of a weight, in a form that needs no decoding beforehand.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// fp16, little endian.
    Half(&'a [u8]),
    /// Codes of `bits` bits; each of `tables` `[.., 2^bits]` is that of `rows_per_table` rows.
    Codes { bits: u8, codes: &'a [u8], tables: &'a [f32], rows_per_table: usize },
}

/// The rows of a weight whose codes stand for several rows each, in order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VectorRows<'a> {
    /// Bits of a code.
    pub bits: u8,
    /// Codes `[rows / length, in]`, packed; rows of them begin at whole bytes.
    pub codes: &'a [u8],
    /// Rows that a code stands for.
    pub length: usize,
    /// `[.., length, 2^bits]`.
    pub tables: &'a [f32],
    /// Rows of codes that share a table.
    pub code_rows_per_table: usize,
}

impl PackedWeight {
    /// The rows as they are stored, where vectors run down the rows.
    pub(crate) fn vector_rows(&self) -> Option<VectorRows<'_>> {
        let inputs = self.len() / self.rows().max(1);
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

    /// The rows as they are stored, where they begin at whole bytes and each has one table.
    pub(crate) fn stored_rows(&self) -> Option<Rows<'_>> {
        let inputs = self.len() / self.rows().max(1);
        match &self.form {
            Form::Plain(numbers) if numbers.data_type == DataType::Float16 => {
                let bytes = numbers.bytes.get(..2 * self.len())?;
                Some(Rows::Half(bytes))
            }
            Form::Palette(palette) if palette.vector.is_none() => {
                let bits = palette.codes.bits();
                let whole = (inputs * usize::from(bits)).is_multiple_of(8);
                let bytes = self.len() * usize::from(bits) / 8;
                let codes = palette.codes.bytes.get(..bytes).filter(|_| whole)?;
                let rows_per_table = palette.grid.rows_per_block(inputs)?;
                Some(Rows::Codes { bits, codes, tables: &palette.tables, rows_per_table })
            }
            _ => None,
        }
    }
}
