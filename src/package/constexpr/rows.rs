//! The rows of a weight as they are stored, for products that decode them in registers.

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

impl PackedWeight {
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
