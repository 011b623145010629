//! Products of stored weights with one row of activations, without decoding into a buffer.
//!
//! Codes and fp16 numbers are converted to f32 in registers and multiplied there. Several rows of
//! codes are multiplied at a time, so that each load of activations serves all of them.

#[cfg(target_arch = "aarch64")]
use super::neon as instructions;
use super::registers::RowGroup;
#[cfg(target_arch = "x86_64")]
use super::x86 as instructions;
use super::{LANES, share_stored};
use crate::package::constexpr::{PackedWeight, StoredRows};

/// The number of rows that a thread takes is a multiple of this, so that few groups of rows with a
/// common table are divided between threads.
const STEP_ROWS: usize = 16;

/// The product `[out]` of `weight` `[out, inputs]` and the row `x`. `None` if `x` has several rows,
/// or if this weight cannot be multiplied as it is stored.
pub(super) fn multiply(weight: &PackedWeight, inputs: usize, x: &[f32]) -> Option<Vec<f32>> {
    let is_one_row = x.len() == inputs && inputs > 0 && inputs.is_multiple_of(LANES);
    let rows = weight
        .stored_rows()
        .filter(|rows| is_one_row && instructions::can_multiply(rows.bits()))?;
    Some(share_stored(weight.rows(), inputs, STEP_ROWS, |first, out| {
        chunk(rows, inputs, x, first, out);
    }))
}

/// Writes the products of the rows from `first` on to `out`.
fn chunk(rows: StoredRows<'_>, inputs: usize, x: &[f32], first: usize, out: &mut [f32]) {
    match rows {
        StoredRows::Half(bytes) => {
            instructions::multiply(RowGroup::Half(&bytes[2 * first * inputs..]), x, out)
        }
        StoredRows::Codes { bits, codes, tables, rows_per_table } => {
            let entries = 1 << bits;
            let row_bytes = inputs * usize::from(bits) / 8;
            let (mut row, mut out) = (first, out);
            while !out.is_empty() {
                let group = row / rows_per_table;
                let len = ((group + 1) * rows_per_table - row).min(out.len());
                let (now, later) = out.split_at_mut(len);
                let table = &tables[group * entries..][..entries];
                let table = std::array::from_fn(|i| table[i % entries]);
                let codes = &codes[row * row_bytes..];
                let weights = RowGroup::Codes { bits, codes, table: &table };
                instructions::multiply(weights, x, now);
                (row, out) = (row + len, later);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::share;
    use super::*;
    use crate::package::read::literal::LiteralTensor;
    use crate::package::spec::DataType;

    fn literal(data_type: DataType, shape: &[usize], bytes: Vec<u8>) -> LiteralTensor {
        LiteralTensor { data_type, shape: shape.to_vec(), bytes: bytes.into(), text: None }
    }

    /// fp16 numbers between 0.5 and 2 of either sign.
    fn halves(len: usize) -> Vec<u8> {
        (0..len)
            .flat_map(|i| [(i * 97) as u8, 0x38 + (i % 8) as u8 + (i % 3 / 2) as u8 * 128])
            .collect()
    }

    fn plain(shape: &[usize]) -> PackedWeight {
        let bytes = halves(shape.iter().product());
        PackedWeight::plain(&literal(DataType::Float16, shape, bytes)).unwrap()
    }

    #[test]
    fn decoding_in_registers_and_into_a_buffer_give_the_same_bits() {
        for shape in [[48, 96], [6, 32], [400, 576]] {
            let inputs = shape[1];
            let x: Vec<f32> = (0..inputs).map(|i| (i * 7919 % 1021) as f32 / 511.0 - 1.0).collect();
            let mut weights = vec![plain(&shape)];
            let types = [(DataType::Uint1, 1), (DataType::Uint2, 2), (DataType::Uint4, 4)];
            for ((data_type, bits), group) in types.into_iter().flat_map(|t| [(t, 1), (t, 2)]) {
                let codes = (0..shape[0] * inputs * bits / 8).map(|i| ((i * 193) >> 2) as u8);
                let tables = plain(&[shape[0] / group, 1, 1 << bits, 1]);
                let indices = literal(data_type, &shape, codes.collect());
                weights.push(PackedWeight::palette(&indices, &tables, None).unwrap());
            }
            for weight in weights {
                let buffered =
                    share(shape[0], inputs, &x, |row, buffer| weight.fill(row * inputs, buffer));
                let Some(direct) = multiply(&weight, inputs, &x) else { continue };
                assert!(buffered == direct && direct.iter().all(|v| v.is_finite()), "{shape:?}");
            }
        }
    }
}
