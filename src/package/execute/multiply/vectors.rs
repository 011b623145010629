//! Products of weights whose tables hold vectors with one row of activations.
//!
//! A code stands for the weights of one input in several consecutive rows. It is looked up once,
//! and the vector in the table, times the activation, is added to the sums of all these rows. A
//! table fits in the L1 cache; codes stay packed. The arrays here have fixed lengths, so that
//! compilers keep them in registers on every processor. Sums use the same lanes as the products
//! that go through a buffer, so that both give the same bits.

use pulp::{Simd, WithSimd};

use super::{LANES, share_stored};
use crate::package::constexpr::{PackedWeight, VectorRows};
use crate::quantize::bitpack::unpack;

/// A table for codes of up to 8 bits, whose entries are vectors of `W` weights.
type Entries<const W: usize> = [[f32; W]; 256];

/// The number of rows of codes that a thread takes is a multiple of this.
const STEP_CODE_ROWS: usize = 4;
/// The number of lanes that are summed in one pass over a row of codes: as many as registers can
/// hold.
const PASS: usize = 8;

/// The product `[out]` of `weight` `[out, inputs]` and the row `x`. `None` if `x` has several rows,
/// or if the weight has no vectors along its first axis.
pub(super) fn multiply(weight: &PackedWeight, inputs: usize, x: &[f32]) -> Option<Vec<f32>> {
    let is_one_row = x.len() == inputs && inputs > 0 && inputs.is_multiple_of(LANES);
    let rows = weight.vector_rows().filter(|_| is_one_row)?;
    let x = x.as_chunks().0;
    let chunk = match rows.length {
        2 => chunk::<2>,
        3 | 4 => chunk::<4>,
        5..=8 => chunk::<8>,
        _ => return None,
    };
    Some(share_stored(weight.rows(), inputs, STEP_CODE_ROWS * rows.length, |first, out| {
        chunk(&rows, x, first / rows.length, out);
    }))
}

/// Writes the products of the rows of codes from `first` on to `out`, table by table. Vectors
/// shorter than `W` are padded with zeros.
fn chunk<const W: usize>(rows: &VectorRows<'_>, x: &[[f32; LANES]], first: usize, out: &mut [f32]) {
    let VectorRows { bits, codes, length, tables, code_rows_per_table } = *rows;
    let entries = 1 << bits;
    let row_bytes = x.len() * LANES * usize::from(bits) / 8;
    let mut unpacked = vec![[0; LANES]; x.len()];
    let mut table = [[0.0; W]; 256];
    let mut known = None;
    for (row, out) in (first..).zip(out.chunks_exact_mut(length)) {
        let group = row / code_rows_per_table;
        if known != Some(group) {
            let own = &tables[group * length * entries..][..length * entries];
            for (d, column) in own.chunks_exact(entries).enumerate() {
                table.iter_mut().zip(column).for_each(|(entry, value)| entry[d] = *value);
            }
            known = Some(group);
        }
        let packed = &codes[row * row_bytes..][..row_bytes];
        let codes = match bits {
            8 => packed.as_chunks().0,
            _ => {
                // The row has exactly this number of codes, so this cannot fail.
                let _ = unpack(packed, bits, 0, unpacked.as_flattened_mut());
                &unpacked
            }
        };
        let products = pulp::Arch::new().dispatch(Products { codes, x, table: &table });
        out.copy_from_slice(&products[..length]);
    }
}

/// Computes the products of `W` rows that share their codes. This is not a closure, because
/// compilers do not inline large closures into the code for the widest registers.
struct Products<'a, const W: usize> {
    codes: &'a [[u8; LANES]],
    x: &'a [[f32; LANES]],
    table: &'a Entries<W>,
}

impl<const W: usize> WithSimd for Products<'_, W> {
    type Output = [f32; W];

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Self::Output {
        let mut lanes = [[0.0; W]; LANES];
        for (pass, lanes) in lanes.as_chunks_mut::<PASS>().0.iter_mut().enumerate() {
            *lanes = self.pass(pass);
        }
        total(lanes)
    }
}

impl<const W: usize> Products<'_, W> {
    /// Computes the sums of `PASS` lanes.
    #[inline(always)]
    fn pass(&self, pass: usize) -> [[f32; W]; PASS] {
        let mut sums = [[0.0f32; W]; PASS];
        for (codes, x) in self.codes.iter().zip(self.x) {
            let (codes, x) = (&codes.as_chunks::<PASS>().0[pass], &x.as_chunks::<PASS>().0[pass]);
            for ((sums, code), x) in sums.iter_mut().zip(codes).zip(x) {
                let entry = &self.table[usize::from(*code)];
                for (sum, weight) in sums.iter_mut().zip(entry) {
                    *sum = weight.mul_add(*x, *sum);
                }
            }
        }
        sums
    }
}

/// Adds up the lanes, the upper half to the lower half until one is left.
#[inline(always)]
fn total<const W: usize>(mut lanes: [[f32; W]; LANES]) -> [f32; W] {
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(high) {
            low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
        }
        width /= 2;
    }
    lanes[0]
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

    /// Weights with codes of every width, for vectors of `length` elements along `axis`.
    fn weights(code_rows: usize, inputs: usize, length: usize, axis: usize) -> Vec<PackedWeight> {
        use DataType::{Uint1, Uint2, Uint3, Uint4, Uint6, Uint8};
        let types = [(Uint1, 1), (Uint2, 2), (Uint3, 3), (Uint4, 4), (Uint6, 6), (Uint8, 8)];
        let mut weights = Vec::new();
        for ((data_type, bits), groups) in types.into_iter().flat_map(|t| [(t, 1), (t, 3)]) {
            let codes = (0..code_rows * inputs * bits / 8).map(|i| ((i * 193) >> 2) as u8);
            let shape = [groups, 1, 1 << bits, length];
            let table = (0..shape.iter().product::<usize>()).flat_map(|i| {
                half::f16::from_f32((i * 7919 % 251) as f32 / 125.0 - 1.0).to_le_bytes()
            });
            let table = literal(DataType::Float16, &shape, table.collect());
            let table = PackedWeight::plain(&table).unwrap();
            let indices = literal(data_type, &[code_rows, inputs], codes.collect());
            weights.push(PackedWeight::palette(&indices, &table, Some(axis)).unwrap());
        }
        weights
    }

    #[test]
    fn looking_up_vectors_and_decoding_into_a_buffer_give_the_same_bits() {
        for (length, shape) in
            [(2, [33, 64]), (3, [6, 32]), (4, [240, 576]), (6, [3, 96]), (8, [48, 416])]
        {
            let [code_rows, inputs] = shape;
            let x: Vec<f32> = (0..inputs).map(|i| (i * 7919 % 1021) as f32 / 511.0 - 1.0).collect();
            for weight in weights(code_rows, inputs, length, 0) {
                let rows = weight.rows();
                let buffered =
                    share(rows, inputs, &x, |row, buffer| weight.fill(row * inputs, buffer));
                let direct = multiply(&weight, inputs, &x).unwrap();
                assert!(buffered == direct && direct.iter().any(|v| *v != 0.0), "{shape:?}");
            }
        }
    }

    #[test]
    fn other_products_go_through_a_buffer() {
        let x = vec![1.0; 3 * 64];
        for weight in weights(6, 64, 4, 0) {
            assert!(multiply(&weight, 64, &x).is_none(), "several rows");
        }
        for weight in weights(6, 32, 2, 1) {
            assert!(multiply(&weight, 64, &x[..64]).is_none(), "vectors along a row");
        }
        for weight in weights(6, 8, 4, 0) {
            assert!(multiply(&weight, 8, &x[..8]).is_none(), "not a multiple of the lanes");
        }
    }
}
