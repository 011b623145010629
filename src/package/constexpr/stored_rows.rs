//! The rows of a weight as they are stored, for products that decode them in registers. Such
//! products exist for x86-64 and 64-bit ARM only, and so does this file.

use super::{Form, PackedWeight};
use crate::package::spec::DataType;

/// All rows of a weight, in a form that products can read directly.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StoredRows<'a> {
    /// fp16, little endian.
    Half(&'a [u8]),
    /// Codes of `bits` bits. `tables` are `[.., 2^bits]`, one for every `rows_per_table` rows.
    Codes { bits: u8, codes: &'a [u8], tables: &'a [f32], rows_per_table: usize },
}

impl StoredRows<'_> {
    /// The number of bits of a weight: 16 for fp16.
    pub(crate) fn bits(&self) -> u8 {
        match self {
            StoredRows::Half(_) => 16,
            StoredRows::Codes { bits, .. } => *bits,
        }
    }
}

impl PackedWeight {
    /// The rows as they are stored; `None` unless the weight is fp16, or has one table per group of
    /// rows and its rows begin at whole bytes.
    pub(crate) fn stored_rows(&self) -> Option<StoredRows<'_>> {
        let inputs = self.elements() / self.rows().max(1);
        match &self.form {
            Form::Plain(numbers) if numbers.data_type == DataType::Float16 => {
                let bytes = numbers.bytes.get(..2 * self.elements())?;
                Some(StoredRows::Half(bytes))
            }
            Form::Palette(palette) if palette.vector.is_none() => {
                let bits = palette.codes.bits();
                let whole = (inputs * usize::from(bits)).is_multiple_of(8);
                let bytes = self.elements() * usize::from(bits) / 8;
                let codes = palette.codes.bytes.get(..bytes).filter(|_| whole)?;
                let rows_per_table = palette.grid.rows_per_block(inputs)?;
                Some(StoredRows::Codes { bits, codes, tables: &palette.tables, rows_per_table })
            }
            _ => None,
        }
    }
}
