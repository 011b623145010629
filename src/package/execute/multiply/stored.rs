//! Products of weights as they are stored with one row of activations.
//!
//! Codes and fp16 numbers become f32 in registers and are multiplied there, several rows of codes
//! at a time, which share the loads of the activations. Sums have the lanes of the products that go
//! through a buffer, so that both give the same bits.

use super::{LANES, share_stored, x86};
use crate::package::constexpr::{PackedWeight, Rows};

/// Rows of weights that a thread takes are a multiple of this: few groups of rows that share a
/// table are cut.
const STEP_ROWS: usize = 16;

/// What a table of codes that fits in registers holds; shorter ones are repeated.
pub(super) const ENTRIES: usize = 16;

/// Rows of weights that a product can read as they are stored, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stored<'a> {
    /// fp16, little endian.
    Half(&'a [u8]),
    /// Codes of 1, 2 or 4 bits into one table.
    Codes(u8, &'a [u8], &'a [f32; ENTRIES]),
}

/// `weight` `[out, inputs]` times the one row `x`, as `[out]`; nothing where there are more rows, or
/// no way to multiply this weight as it is stored.
pub(super) fn multiply(weight: &PackedWeight, inputs: usize, x: &[f32]) -> Option<Vec<f32>> {
    let is_one_row = x.len() == inputs && inputs > 0 && inputs.is_multiple_of(LANES);
    let rows = weight.stored_rows().filter(|rows| is_one_row && x86::can_multiply(rows))?;
    Some(share_stored(weight.rows(), inputs, STEP_ROWS, |first, out| {
        chunk(rows, inputs, x, first, out);
    }))
}

/// The products of the rows from `first` on.
fn chunk(rows: Rows<'_>, inputs: usize, x: &[f32], first: usize, out: &mut [f32]) {
    match rows {
        Rows::Half(bytes) => x86::multiply(Stored::Half(&bytes[2 * first * inputs..]), x, out),
        Rows::Codes { bits, codes, tables, rows_per_table } => {
            let entries = 1 << bits;
            let row_bytes = inputs * usize::from(bits) / 8;
            let (mut row, mut out) = (first, out);
            while !out.is_empty() {
                let group = row / rows_per_table;
                let len = ((group + 1) * rows_per_table - row).min(out.len());
                let (now, later) = out.split_at_mut(len);
                let table = &tables[group * entries..][..entries];
                let table = std::array::from_fn(|i| table[i % entries]);
                x86::multiply(Stored::Codes(bits, &codes[row * row_bytes..], &table), x, now);
                (row, out) = (row + len, later);
            }
        }
    }
}

/// `LANES` numbers in a processor's registers, and what products do with them.
pub(super) trait Registers: Copy {
    /// `LANES` numbers.
    type Lanes: Copy;
    /// A table.
    type Table: Copy;

    /// Zeros.
    fn zeros(self) -> Self::Lanes;
    /// Numbers from memory.
    fn load(self, numbers: &[f32; LANES]) -> Self::Lanes;
    /// fp16 numbers from memory.
    fn halves(self, bytes: &[u8; 2 * LANES]) -> Self::Lanes;
    /// A table from memory.
    fn table(self, entries: &[f32; ENTRIES]) -> Self::Table;
    /// Table entries of `LANES` codes of `BITS` bits, which are `BYTES` bytes.
    fn look_up<const BITS: usize, const BYTES: usize>(
        self,
        table: Self::Table,
        codes: &[u8; BYTES],
    ) -> Self::Lanes;
    /// `sums + weights * x`, rounded once.
    fn mul_add(self, weights: Self::Lanes, x: Self::Lanes, sums: Self::Lanes) -> Self::Lanes;
    /// The sum of the lanes, halves added to halves.
    fn total(self, sums: Self::Lanes) -> f32;
}

/// The products of `stored` rows and `x`, whose length is a multiple of `LANES`, into `out`; `N`
/// rows of codes at a time.
#[inline(always)]
pub(super) fn products<R: Registers, const N: usize>(
    registers: R,
    stored: Stored<'_>,
    x: &[f32],
    out: &mut [f32],
) {
    match stored {
        Stored::Half(bytes) => {
            // Memory is the limit here: row after row is what processors read ahead best.
            rows::<R, { 2 * LANES }, 1>(
                registers,
                bytes,
                x,
                out,
                #[inline(always)]
                |bytes| registers.halves(bytes),
            );
        }
        Stored::Codes(1, codes, table) => coded::<R, 1, 4, N>(registers, codes, table, x, out),
        Stored::Codes(2, codes, table) => coded::<R, 2, 8, N>(registers, codes, table, x, out),
        Stored::Codes(_, codes, table) => coded::<R, 4, 16, N>(registers, codes, table, x, out),
    }
}

#[inline(always)]
fn coded<R: Registers, const BITS: usize, const BYTES: usize, const N: usize>(
    registers: R,
    codes: &[u8],
    table: &[f32; ENTRIES],
    x: &[f32],
    out: &mut [f32],
) {
    let table = registers.table(table);
    rows::<R, BYTES, N>(
        registers,
        codes,
        x,
        out,
        #[inline(always)]
        |codes| registers.look_up::<BITS, BYTES>(table, codes),
    );
}

/// Rows whose `LANES` numbers are `BYTES` bytes, `N` at a time while there are as many.
#[inline(always)]
fn rows<R: Registers, const BYTES: usize, const N: usize>(
    registers: R,
    bytes: &[u8],
    x: &[f32],
    out: &mut [f32],
    convert: impl Fn(&[u8; BYTES]) -> R::Lanes + Copy,
) {
    let x = x.as_chunks::<LANES>().0;
    let bytes = bytes.as_chunks::<BYTES>().0;
    let (several, single) = out.as_chunks_mut::<N>();
    let (first, rest) = bytes.split_at((several.len() * N * x.len()).min(bytes.len()));
    for (out, bytes) in several.iter_mut().zip(first.chunks_exact(N * x.len().max(1))) {
        let rows = std::array::from_fn(|n| &bytes[n * x.len()..(n + 1) * x.len()]);
        *out = dots::<R, BYTES, N>(registers, rows, x, convert);
    }
    for (out, bytes) in single.iter_mut().zip(rest.chunks_exact(x.len().max(1))) {
        [*out] = dots::<R, BYTES, 1>(registers, [bytes], x, convert);
    }
}

#[inline(always)]
fn dots<R: Registers, const BYTES: usize, const N: usize>(
    registers: R,
    rows: [&[[u8; BYTES]]; N],
    x: &[[f32; LANES]],
    convert: impl Fn(&[u8; BYTES]) -> R::Lanes,
) -> [f32; N] {
    let rows = rows.map(|row| &row[..x.len()]);
    let mut sums = [registers.zeros(); N];
    for (i, x) in x.iter().enumerate() {
        let x = registers.load(x);
        for n in 0..N {
            sums[n] = registers.mul_add(convert(&rows[n][i]), x, sums[n]);
        }
    }
    let mut out = [0.0; N];
    for n in 0..N {
        out[n] = registers.total(sums[n]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::share;
    use super::*;
    use crate::package::read::literal::Literal;
    use crate::package::spec::DataType;

    fn literal(data_type: DataType, shape: &[usize], bytes: Vec<u8>) -> Literal {
        Literal { data_type, shape: shape.to_vec(), bytes: bytes.into(), text: None }
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
    fn what_is_decoded_in_registers_and_in_a_buffer_gives_the_same_bits() {
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
