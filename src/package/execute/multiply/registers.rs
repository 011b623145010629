//! Products that decode weights in registers, written once for every instruction set.
//!
//! [`Registers`] is what an instruction set must provide; [`products`] is built on it. Sums use the
//! same lanes as the products that go through a buffer, so that both give the same bits.

use super::LANES;

/// The number of entries of a table that fits in registers. Shorter tables are repeated.
pub(super) const ENTRIES: usize = 16;

/// Consecutive rows of weights as they are stored. All of them use the same table.
#[derive(Debug, Clone, Copy)]
pub(super) enum RowGroup<'a> {
    /// fp16, little endian.
    Half(&'a [u8]),
    /// Packed codes of `bits` bits (1, 2 or 4).
    Codes { bits: u8, codes: &'a [u8], table: &'a [f32; ENTRIES] },
}

/// An instruction set: registers that hold `LANES` numbers, and the operations of products on them.
pub(super) trait Registers: Copy {
    /// Registers with `LANES` numbers.
    type Lanes: Copy;
    /// Registers with a table.
    type Table: Copy;

    /// Returns zeros.
    fn zeros(self) -> Self::Lanes;
    /// Loads numbers from memory.
    fn load(self, numbers: &[f32; LANES]) -> Self::Lanes;
    /// Loads fp16 numbers from memory and converts them.
    fn halves(self, bytes: &[u8; 2 * LANES]) -> Self::Lanes;
    /// Loads a table from memory.
    fn table(self, entries: &[f32; ENTRIES]) -> Self::Table;
    /// Looks up `LANES` codes of `BITS` bits, which take `BYTES` bytes.
    fn look_up<const BITS: usize, const BYTES: usize>(
        self,
        table: Self::Table,
        codes: &[u8; BYTES],
    ) -> Self::Lanes;
    /// Computes `sums + weights * x`, rounded once.
    fn mul_add(self, weights: Self::Lanes, x: Self::Lanes, sums: Self::Lanes) -> Self::Lanes;
    /// Adds up the lanes, the upper half to the lower half until one is left.
    fn total(self, sums: Self::Lanes) -> f32;
}

/// Writes the products of the rows `weights` with `x` to `out`, `N` rows of codes at a time. The
/// length of `x` is a multiple of `LANES`.
#[inline(always)]
pub(super) fn products<R: Registers, const N: usize>(
    registers: R,
    weights: RowGroup<'_>,
    x: &[f32],
    out: &mut [f32],
) {
    match weights {
        RowGroup::Half(bytes) => {
            // Memory bandwidth is the limit here, and processors prefetch single rows best.
            rows::<R, { 2 * LANES }, 1>(
                registers,
                bytes,
                x,
                out,
                #[inline(always)]
                |bytes| registers.halves(bytes),
            );
        }
        RowGroup::Codes { bits, codes, table } => match bits {
            1 => coded::<R, 1, 4, N>(registers, codes, table, x, out),
            2 => coded::<R, 2, 8, N>(registers, codes, table, x, out),
            _ => coded::<R, 4, 16, N>(registers, codes, table, x, out),
        },
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

/// Multiplies rows whose `LANES` numbers take `BYTES` bytes: `N` at a time, and the rest one by
/// one.
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
